"""The adapters that Envoys reach over a network: one follower, one or two servers, in one process."""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from pointsman.adapter.follow.follower import Follower
from pointsman.adapter.rest.adapter import REFRESH_DELAY_MS, REQUEST_TIMEOUT_MS, RestAdapter
from pointsman.adapter.serve.http import HttpServer
from pointsman.adapter.serve.listen import Listen
from pointsman.adapter.serve.metrics import Metrics
from pointsman.adapter.serve.ops import ops
from pointsman.adapter.serve.tls import ServerTls, TlsFiles
from pointsman.discovery.proxy import ProxyId
from pointsman.model.errors import PointsmanError
from pointsman.store.protocol import Store
from pointsman.xds.endpoint_source import XDS_CLUSTER, over_rest

_log = logging.getLogger(__name__)

_WATCH = 1.0
"""Seconds between two looks whether all threads are there."""


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """Where to listen, "" for nowhere: `http` and `grpc` for Envoys, `ops` for operators (IP:PORT or unix:PATH).

    `proxies` are followed from the start, others from their first request on. `trust_domain` is that of clients'
    certificates, "" any that their CA vouches for. `refresh_delay_ms` is between two requests over HTTP for the same
    endpoints.
    """

    http: str = ""
    grpc: str = ""
    ops: str = ""
    tls: TlsFiles | None = None
    trust_domain: str = ""
    proxies: Sequence[ProxyId] = ()
    refresh_delay_ms: int = REFRESH_DELAY_MS


class NetworkAdapter:
    """Serves as `settings` say, from the store."""

    def __init__(self, store: Store, settings: NetworkSettings, hearing: Callable[[], bool] | None = None) -> None:
        """Raises PointsmanError for settings that cannot be; nothing listens yet.

        `hearing` tells whether notices are heard, where the store is followed by them.
        """
        self._settings = settings
        self._store = store
        self._follower = Follower(store, settings.proxies)
        self._metrics = Metrics(lambda: self._follower.staleness, lambda: self._follower.unreachable)
        if hearing is not None:
            self._metrics.watch_notices(hearing)
        self._listeners: list[Callable[[set[ProxyId]], None]] = []
        self._dumps: dict[str, Callable[[], Any]] = {}
        self._addresses: dict[str, str] = {}
        self._alive: list[Callable[[], bool]] = []

    def start(self, serving: ExitStack) -> dict[str, str]:
        """Serve for as long as `serving` lasts: the addresses by what they are for, `http`, `grpc` and `ops`.

        Raises PointsmanError if it cannot listen.
        """
        ended = threading.Event()
        if self._settings.grpc:
            self._start_grpc(serving)
        if self._settings.http:
            self._start_http(serving)
        if self._settings.ops:
            server = HttpServer(self._ops(True), Listen.read(self._settings.ops, "--ops"), option="--ops")
            self._start(serving, "ops", server)
        thread = threading.Thread(
            target=self._follower.run, args=(ended, self._on_change), name="follower", daemon=True
        )
        thread.start()
        serving.callback(thread.join, 5.0)
        serving.callback(ended.set)
        self._alive.append(thread.is_alive)
        return self._addresses

    @property
    def alive(self) -> bool:
        """Whether everything that was started still runs."""
        return all(alive() for alive in self._alive)

    def run(self, stop: threading.Event, ready: Callable[[dict[str, str]], None]) -> None:
        """Serve until `stop` is set; `ready` is told the addresses.

        Raises PointsmanError if it cannot listen, or if a part of it has ended that should not.
        """
        with ExitStack() as serving:
            ready(self.start(serving))
            while not stop.wait(_WATCH):
                if not self.alive:
                    raise PointsmanError("a part of the adapter has ended unexpectedly; start it again")

    def _start_http(self, serving: ExitStack) -> None:
        settings, listen = self._settings, Listen.read(self._settings.http, "--listen")
        tls = ServerTls(settings.tls) if settings.tls and not listen.path else None
        adapter = RestAdapter(
            self._follower,
            self._store,
            self._metrics,
            others=self._ops(tls is None),
            trust_domain=settings.trust_domain or None,
            source=over_rest(XDS_CLUSTER, settings.refresh_delay_ms, REQUEST_TIMEOUT_MS),
            announce=self._on_change,
        )
        self._listeners.append(adapter.on_change)
        self._dumps["rest"] = adapter.config_dump
        server = HttpServer(adapter, listen, tls, drain=adapter.drain)
        serving.callback(adapter.close)
        self._start(serving, "http", server)

    def _start_grpc(self, serving: ExitStack) -> None:
        # Who has no use for gRPC does not load it.
        from pointsman.adapter.ads.adapter import AdsAdapter
        from pointsman.adapter.ads.server import AdsServer

        settings = self._settings
        adapter = AdsAdapter(
            self._follower,
            self._store,
            self._metrics,
            trust_domain=settings.trust_domain or None,
            announce=self._on_change,
        )
        self._listeners.append(adapter.on_change)
        self._dumps["ads"] = adapter.config_dump
        server = AdsServer(adapter, Listen.read(settings.grpc, "--grpc"), settings.tls)
        self._addresses["grpc"] = serving.enter_context(server).address

    def _start(self, serving: ExitStack, what: str, server: HttpServer) -> None:
        serving.enter_context(server)
        self._alive.append(lambda: server.alive)
        self._addresses[what] = server.address

    def _ops(self, with_dump: bool) -> Any:
        return ops(self._metrics, self._waiting_for, self._config_dump if with_dump else None)

    def _waiting_for(self) -> str:
        missing = [proxy for proxy in self._settings.proxies if self._follower.view(proxy) is None]
        if missing:
            return ", ".join(map(str, missing))
        followed = self._follower.proxies
        served = any(self._follower.view(proxy) is not None for proxy in followed)
        return "" if served else self._follower.unreachable

    def _config_dump(self) -> dict[str, Any]:
        return {way: dump() for way, dump in self._dumps.items()}

    def _on_change(self, changed: set[ProxyId]) -> None:
        for listener in self._listeners:
            try:
                listener(changed)
            except Exception:
                # What cannot be rendered must not keep the follower, and with it every other proxy, from going on.
                _log.exception("what changed could not be passed on: %s", ", ".join(map(str, changed)))
