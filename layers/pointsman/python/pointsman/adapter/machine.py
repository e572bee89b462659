"""One machine: the verbs, the HTTP intake and the ways to Envoys, in one process on one store."""

import errno
import logging
import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Self

import orjson
import uvicorn

from pointsman.adapter.admin.client import Admin
from pointsman.adapter.files.access import read_group
from pointsman.adapter.intake import intake
from pointsman.adapter.process import AdapterProcess
from pointsman.adapter.process import Settings as AdapterSettings
from pointsman.adapter.serve.listen import Listen
from pointsman.model.errors import InvalidInput, PointsmanError
from pointsman.pipeline.configure import Batch, configure
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.reconcile import reconcile
from pointsman.pipeline.retention import Retention
from pointsman.pipeline.scope import EVERYWHERE, Scope, read_scope
from pointsman.store.open import open_store
from pointsman.store.protocol import Store
from pointsman.store.sqlite import SQLiteStore
from pointsman.xds.secret_source import read_sds

_SWITCH_INTERVAL = 0.001
"""Seconds that a thread may compute while others want to. Who takes an event in goes on computing when its change is
written, and who tells the Envoys waits for that: with Python's five milliseconds, a held poll was answered three
milliseconds later at the median."""

_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?\Z")


@dataclass(frozen=True, slots=True)
class Settings:
    """What `pointsman up` is told, checked.

    `adapter` is how Envoys fetch, if at all.
    """

    store: str
    trust_domain: str
    address: str
    port: int
    reconcile_every: int
    adapter: AdapterSettings
    scope: Scope = EVERYWHERE

    @classmethod
    def read(
        cls,
        store: str,
        trust_domain: str,
        listen: str,
        files: str,
        envoy_version: str,
        reconcile_every: int,
        grpc: str = "",
        http: str = "",
        admins: Sequence[str] = (),
        refresh_delay_ms: int = 1000,
        datacenters: str = "",
        sds: str = "",
        group: str = "",
    ) -> Self:
        """From the command line's texts. Raises InvalidInput."""
        address, _, port = listen.rpartition(":")
        try:
            loopback = ip_address(address.strip("[]")).is_loopback
        except ValueError:
            raise InvalidInput.single("--listen", "", f'"{listen}" is not IP:PORT') from None
        if not port.isdecimal() or int(port) > 65535:
            raise InvalidInput.single("--listen", "", f'"{listen}" is not IP:PORT')
        if not loopback:
            reason = f'"{address}" is not a loopback address: whoever reaches the port decides where traffic goes'
            raise InvalidInput.single("--listen", "", f"{reason}; put a proxy with authentication before it")
        version = _VERSION.match(envoy_version)
        if envoy_version and not version:
            raise InvalidInput.single("--envoy-version", "", f'"{envoy_version}" is not a version like 1.40.0')
        return cls(
            store,
            trust_domain,
            address.strip("[]"),
            int(port),
            reconcile_every,
            AdapterSettings(
                http=_local(http, "http") if http else "",
                grpc=_local(grpc, "grpc") if grpc else "",
                files=Path(files).absolute() if files else None,
                group=read_group(group),
                envoy_version=(int(version[1]), int(version[2]), int(version[3] or 0)) if version else None,
                refresh_delay_ms=refresh_delay_ms,
                admins=[Admin.read(each) for each in admins],
                sds=read_sds(sds) if sds else None,
            ),
            read_scope(datacenters, "--datacenters"),
        )


class Machine:
    """The process behind `pointsman up`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = threading.Event()

    def run(self) -> None:
        """Serve until a signal ends it. Raises PointsmanError if it cannot start; then nothing was changed."""
        sys.setswitchinterval(_SWITCH_INTERVAL)
        logging.basicConfig(format="pointsman: %(message)s", level=logging.WARNING, stream=sys.stderr)
        listener = _bound(self._settings.address, self._settings.port)
        try:
            store = open_store(self._settings.store, create=True)
            try:
                self._serve(store, listener)
            finally:
                store.close()
        finally:
            listener.close()

    def _serve(self, store: Store, listener: socket.socket) -> None:
        engine = Engine(store, scope=self._settings.scope)
        configure(engine, Batch(), trust_domain=self._settings.trust_domain)
        self._reconcile(engine)
        reconciling = threading.Thread(target=self._keep_reconciling, args=(engine,), name="reconcile", daemon=True)
        adapter = AdapterProcess(store, self._settings.adapter)
        takers = 1 if isinstance(store, SQLiteStore) else 16
        app = intake(
            engine,
            report,
            rejections=adapter.rejections,
            others=adapter.ops(),
            takers=takers,
            metrics=adapter.metrics,
        )
        with ExitStack() as serving:
            where = adapter.start(serving)
            server = _Server(
                uvicorn.Config(
                    app,
                    log_config=None,
                    access_log=False,
                    lifespan="off",
                    timeout_graceful_shutdown=5,
                    ws="none",
                ),
                lambda: self._ready(listener, where),
            )
            reconciling.start()
            try:
                server.run(sockets=[listener])
            finally:
                self._stop.set()
                reconciling.join(timeout=5)

    def _ready(self, listener: socket.socket, where: Mapping[str, str]) -> None:
        host, port = listener.getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        ways = {way: where.get(way) for way in ("files", "grpc", "http")}
        line = {"ready": True, "url": url, **ways, "store": self._settings.store}
        sys.stdout.buffer.write(orjson.dumps(line) + b"\n")
        sys.stdout.flush()

    def _reconcile(self, engine: Engine) -> None:
        done = reconcile(engine, report if sys.stderr.isatty() else lambda text: None)
        for failure in done.failed:
            report(f"cannot be computed and stays as it is: {failure}")
        if done.repaired:
            report(f"reconciled: {done.moved} snapshots, {done.manifests} manifests, {done.retired} retired")

    def _keep_reconciling(self, engine: Engine) -> None:
        retention = Retention(engine, pause=self._stop.wait)
        while not self._stop.wait(self._settings.reconcile_every):
            try:
                self._reconcile(engine)
                retention.run()
            except PointsmanError as error:
                report(f"reconcile: {error}")


class _Server(uvicorn.Server):
    """A server that says when it is up."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._ready()


def _local(place: str, way: str) -> str:
    listen = Listen.read(place, f"--{way}")
    if not listen.local:
        reason = (
            f'"{listen.host}" is not a loopback address; `pointsman adapter {way}` serves others, with certificates'
        )
        raise InvalidInput.single(f"--{way}", "", reason)
    return place


def _bound(address: str, port: int) -> socket.socket:
    """A listening socket, or one clear line about why there is none."""
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            reason = "the port is in use; is another `pointsman up` running? Choose another with --listen"
        else:
            reason = f"cannot listen there: {os.strerror(error.errno or 0)}"
        raise PointsmanError(f"{address}:{port}: {reason}") from None
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def report(text: str) -> None:
    """One line on stderr."""
    print(f"pointsman: {text}", file=sys.stderr, flush=True)
