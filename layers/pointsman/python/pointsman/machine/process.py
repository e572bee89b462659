"""An adapter's process: the requested adapters and the pages for operators, on one store."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster

from pointsman.adapter.admin.watch import AdminWatch
from pointsman.adapter.files.files_adapter import OURS, FilesAdapter
from pointsman.adapter.follow.follower import Follower
from pointsman.adapter.follow.idle import Idle
from pointsman.adapter.follow.running import follow
from pointsman.adapter.follow.saved import Saved
from pointsman.adapter.report.metrics import Metrics
from pointsman.adapter.report.rejection import Rejection, standing
from pointsman.adapter.report.retired import RetiredProxies
from pointsman.delivery.secret_source import with_sds
from pointsman.discovery.proxy import ProxyId
from pointsman.disk.access import shared_directory
from pointsman.disk.lock import DirectoryLock
from pointsman.machine.parts import Parts
from pointsman.machine.seeing import Seeing, Sight, Source, adapter_name
from pointsman.machine.settings import AdapterSettings
from pointsman.machine.turns import Turns
from pointsman.model.seen import Seen
from pointsman.serve.crowd import FOR_ENVOYS, FOR_OPERATORS
from pointsman.serve.listen import Listen
from pointsman.serve.supervisor import Supervisor
from pointsman.serve.threaded import ThreadedServer
from pointsman.serve.tls import ServerTls
from pointsman.serve.turning import Turning
from pointsman.store.protocol import Store
from pointsman.store.timed import timed

if TYPE_CHECKING:
    from pointsman.adapter.ads.ads_adapter import AdsAdapter
    from pointsman.adapter.rest.rest_adapter import RestAdapter

_log = logging.getLogger(__name__)

_DISCOVERY_SECONDS = 0.5
"""Seconds until a newly registered proxy gets its files."""


class AdapterProcess:
    """Serves according to `settings`, from the store, and from what is `kept` while the store is unavailable.

    Files and network have one follower each, so that a slow disk does not delay the network.
    """

    def __init__(
        self,
        store: Store,
        settings: AdapterSettings,
        kept: Saved | None = None,
        hearing: Callable[[], bool] | None = None,
    ) -> None:
        """Raises PointsmanError for contradictory settings. Does not listen yet.

        `hearing` returns whether notices arrive, if the store is followed by notices.
        """
        self._settings, self._kept = settings, kept
        self._followers: list[Follower] = []
        self._problems: list[Callable[[], Mapping[ProxyId, Sequence[str]]]] = []
        self.metrics = Metrics(self._staleness, self._unreachable, self.problems)
        self._store = timed(store, self.metrics.store_took)
        if hearing is not None:
            self.metrics.watch_notices(hearing)
        self.metrics.gauge(
            "pointsman_proxies_behind", "Proxies that do not get what the store has.", lambda: len(self.problems())
        )
        self.metrics.gauge(
            "pointsman_unconfirmed",
            "Newer versions that Envoys have and that the store has not confirmed yet.",
            lambda: len(self.ahead()),
        )
        self.metrics.total(
            "pointsman_resets",
            "Objects, and versions of Envoys, that went back because the store itself did.",
            lambda: sum(each.resets.total for each in self._followers),
        )
        self.retired = RetiredProxies()
        self.metrics.gauge(
            "pointsman_retired_proxies",
            "Proxies that Envoys fetch as, or that have files here, though their registrations were deleted.",
            lambda: len({each.proxy for each in self.retired.all()}),
        )
        self._users: list[AdsAdapter | RestAdapter] = []
        self.metrics.gauge(
            "pointsman_joins_waiting",
            "Envoys whose first stream or request waits to be prepared.",
            lambda: sum(each.waiting for each in self._users),
        )
        self.metrics.gauge(
            "pointsman_rejections",
            "Resources that Envoys rejected and still lack.",
            lambda: len(self.rejections()),
        )
        if settings.tls is not None:
            self.metrics.certificate("envoys", settings.tls.certificate)
        self._listeners: list[Callable[[set[ProxyId]], None]] = []
        self._dumps: dict[str, Callable[[], Any]] = {}
        self._rejections: list[Callable[[], Iterable[Rejection]]] = []
        self._judges: list[Callable[[ProxyId, str, str, str], bool | None]] = []
        self._addresses: dict[str, str] = {}
        self._fetching: list[Source] = []
        self.parts = Parts()

    def start(self, serving: ExitStack) -> dict[str, str]:
        """Serve until `serving` closes. Returns the addresses, by purpose (`files`, `http`, `grpc`, `ops`).

        Raises PointsmanError if it cannot listen or write.
        """
        settings, ended = self._settings, threading.Event()
        if self._kept is not None:
            kept = serving.enter_context(self._kept)
            self.metrics.gauge(
                "pointsman_kept_behind",
                "Whether the last known good could not be written to disk.",
                lambda: bool(kept.problem),
            )
            self.parts.watch("kept", lambda: kept.alive)
        if settings.files is not None:
            self._start_files(serving, ended, settings.files)
        if settings.grpc or settings.http:
            follower = self._follower(self._kept)
            self._problems.append(follower.all_problems)
            # Before the servers start: what is kept needs no store.
            follower.recall()
            if settings.grpc:
                self._start_grpc(serving, follower)
            if settings.http:
                self._start_http(serving, follower)
            idle = Idle(follower, self._users)

            turning = Turning()
            turning.goes_on()

            def on_change(changed: set[ProxyId]) -> None:
                self._on_change(changed)
                idle.look()
                self.retired.all()
                turning.goes_on()

            self._start_thread(serving, ended, "follower", lambda: follow(follower, ended, on_change), turning)
        if settings.admins:
            watch = AdminWatch(settings.admins, self.metrics, self._clusters_of, self._has)
            self._rejections.append(watch.rejections)
            self._dumps["admin"] = watch.dump
            self.parts.watch("admin", lambda: watch.alive)
            serving.enter_context(watch)
        if self._fetching:
            sight = Sight(adapter_name(self._addresses))
            seeing = Seeing(self._store, self._addresses, lambda: self._seen(sight))
            self.parts.watch("seeing", lambda: seeing.alive)
            serving.enter_context(seeing)
        if settings.ops:
            from pointsman.serve.http import HttpServer

            server = HttpServer(
                self.ops(),
                Listen.read(settings.ops, "--ops"),
                name="ops",
                option="--ops",
                bounds=FOR_OPERATORS,
                hosts=settings.hosts,
                metrics=self.metrics,
            )
            self.serve(serving, "ops", server)
        return self._addresses

    def serve(self, serving: ExitStack, what: str, server: ThreadedServer) -> None:
        """Start a server that has to run until `serving` closes. Raises PointsmanError if it cannot start."""
        serving.enter_context(server)
        self.parts.watch(what, lambda: server.alive, stands_still=lambda: server.stands_still)
        self._addresses[what] = server.address

    def rejections(self) -> list[Rejection]:
        """Resources that Envoys rejected and still lack."""
        return standing(each for found in self._rejections for each in found())

    def ahead(self) -> list[str]:
        """The Envoys with something newer than this process has, for which the store has not been read since."""
        return [each for follower in self._followers for each in follower.ahead]

    def resets(self) -> list[dict[str, str]]:
        """What recently went back with the store: what, from where to where, and when."""
        return [each for follower in self._followers for each in follower.resets.all()]

    def problems(self) -> dict[ProxyId, list[str]]:
        """For each proxy, why it does not get what the store has; proxies without problems are left out."""
        found: dict[ProxyId, list[str]] = {}
        for problems in self._problems:
            for proxy, lines in problems().items():
                found.setdefault(proxy, []).extend(lines)
        return found

    def amiss(self) -> list[str]:
        """What is wrong with Envoys, as sentences: who does not get what the store has, is ahead, or rejects
        something."""
        behind = [f"{proxy} is behind: {line}" for proxy, lines in self.problems().items() for line in lines]
        ahead = [f"{each} is ahead of the store" for each in self.ahead()]
        return [*behind, *ahead, *map(str, self.rejections())]

    def ops(self, with_dump: bool = True) -> Any:
        """The pages for operators, as an ASGI application; without the dump on addresses that are not for operators."""
        from pointsman.adapter.report.ops import ops

        return ops(
            self.metrics,
            self.waiting_for,
            self._config_dump if with_dump else None,
            rejections=self.rejections,
            ahead=self.ahead,
            resets=self.resets,
            retired=self.retired.dump,
            ended=lambda: self.parts.ended,
            failing=lambda: self.parts.failing,
            standing=lambda: self.parts.standing,
        )

    def _seen(self, sight: Sight) -> Seen:
        retired = ((each.way, each.proxy, each.node, each.since) for each in self.retired.all())
        return sight.look(self._fetching, self.rejections(), self.problems(), retired)

    def run(self, stop: threading.Event, ready: Callable[[dict[str, str]], None]) -> None:
        """Serve until `stop` is set; `ready` is called with the addresses.

        Raises PointsmanError if it cannot listen or write, or if a part of it ends unexpectedly.
        """
        with ExitStack() as serving:
            ready(self.start(serving))
            self.parts.wait(stop, Supervisor(), self.waiting_for)

    def _start_files(self, serving: ExitStack, ended: threading.Event, root: Path) -> None:
        settings = self._settings
        # Only one follower saves, because two would remove each other's objects. It is the network's: files survive by
        # themselves.
        follower = self._follower(None if settings.grpc or settings.http else self._kept)
        root = shared_directory(root, settings.group)
        adapter = FilesAdapter(
            follower,
            root,
            settings.envoy_version,
            sds=settings.sds,
            group=settings.group,
            metrics=self.metrics,
            lock=DirectoryLock(root / OURS),
        )
        self._dumps["files"] = adapter.config_dump
        self._judges.append(adapter.has)
        self._problems.append(adapter.problems)
        self._fetching.append((follower, adapter.fetchers))
        self.metrics.gauge(
            "pointsman_standing_by", "Whether another process writes the files.", lambda: adapter.standing_by
        )
        self.retired.watch(adapter.fetching)
        period, turning = None if settings.proxies else _DISCOVERY_SECONDS, Turning()

        def on_turn() -> None:
            self.retired.all()
            adapter.offer_again({each.proxy for each in self.rejections() if each.kind == "listeners"})
            turning.goes_on()

        self._start_thread(
            serving, ended, "files", lambda: adapter.run(ended, discovery_period=period, on_turn=on_turn), turning
        )
        self._addresses["files"] = str(root)

    def _start_http(self, serving: ExitStack, follower: Follower) -> None:
        from pointsman.adapter.rest.rest_adapter import REQUEST_TIMEOUT_MS, RestAdapter
        from pointsman.delivery.endpoint_source import XDS_CLUSTER, over_rest
        from pointsman.serve.http import HttpServer

        settings, listen = self._settings, Listen.read(self._settings.http, "--listen")
        tls = ServerTls(settings.tls) if settings.tls and not listen.path else None
        adapter = RestAdapter(
            follower,
            self.metrics,
            others=self.ops(tls is None),
            trust_domain=settings.trust_domain or None,
            source=with_sds(over_rest(XDS_CLUSTER, settings.refresh_delay_ms, REQUEST_TIMEOUT_MS), settings.sds),
            refresh_delay_ms=settings.refresh_delay_ms,
            announce=self._on_change,
        )
        self._listeners.append(adapter.on_change)
        self._users.append(adapter)
        self._fetching.append((follower, adapter.fetchers))
        self.retired.watch(adapter.fetching)
        self._dumps["rest"] = adapter.config_dump
        self._problems.append(adapter.problems)
        self._rejections.append(adapter.rejections)
        self._judges.append(adapter.has)
        server = HttpServer(
            adapter,
            listen,
            tls,
            drain=adapter.drain,
            option="--http",
            bounds=replace(FOR_ENVOYS, connections=settings.max_connections),
            hosts=settings.hosts,
            metrics=self.metrics,
        )
        serving.callback(adapter.close)
        self.serve(serving, "http", server)

    def _start_grpc(self, serving: ExitStack, follower: Follower) -> None:
        # Imported only when needed: gRPC is large.
        from pointsman.adapter.ads.ads_adapter import AdsAdapter
        from pointsman.adapter.ads.server import AdsServer

        settings = self._settings
        adapter = AdsAdapter(
            follower,
            self.metrics,
            trust_domain=settings.trust_domain or None,
            sds=settings.sds,
            announce=self._on_change,
        )
        self._listeners.append(adapter.on_change)
        self._users.append(adapter)
        self._fetching.append((follower, adapter.fetchers))
        self.retired.watch(adapter.fetching)
        self._dumps["ads"] = adapter.config_dump
        self._problems.append(adapter.problems)
        self._rejections.append(adapter.rejections)
        self.serve(serving, "grpc", AdsServer(adapter, Listen.read(settings.grpc, "--grpc"), settings.tls))

    def _start_thread(
        self, serving: ExitStack, ended: threading.Event, name: str, run: Callable[[], None], turning: Turning
    ) -> None:
        turns = Turns(name, ended, run)
        turns.start()
        self.parts.watch(name, lambda: turns.alive, lambda: turns.problem, lambda: turning.stands_still)
        serving.callback(turns.join, 5.0)
        serving.callback(ended.set)

    def _follower(self, kept: Saved | None) -> Follower:
        follower = Follower(self._store, self._settings.proxies, datacenters=self._settings.datacenters, kept=kept)
        self._followers.append(follower)
        return follower

    def _clusters_of(self, proxy: ProxyId) -> list[str]:
        views = (follower.view(proxy) for follower in self._followers)
        return [
            Cluster.FromString(each.content.cluster).name for view in views if view for each in view.snapshots.values()
        ]

    def _has(self, proxy: ProxyId, kind: str, name: str, version: str) -> bool | None:
        found = [judge(proxy, kind, name, version) for judge in self._judges]
        return True if True in found else False if False in found else None

    def _staleness(self) -> float:
        return max((each.staleness for each in self._followers), default=0.0)

    def _unreachable(self) -> str:
        return next((each.unreachable for each in self._followers if each.unreachable), "")

    def waiting_for(self) -> str:
        """What is missing before there is something to serve; "" if nothing is."""
        missing = [
            proxy
            for proxy in self._settings.proxies
            if any(follower.view(proxy) is None for follower in self._followers)
        ]
        if missing:
            problems = self.problems()
            why = [line for proxy in missing for line in problems.get(proxy, ())]
            return "; ".join([", ".join(map(str, missing)), *dict.fromkeys(why)])
        served = any(each.view(proxy) is not None for each in self._followers for proxy in each.proxies)
        return "" if served else self._unreachable()

    def _config_dump(self) -> dict[str, Any]:
        problems = {str(proxy.directory): lines for proxy, lines in self.problems().items()}
        found = {way: dump() for way, dump in self._dumps.items()}
        return found | {"problems": dict(sorted(problems.items())), "retired": self.retired.dump()}

    def _on_change(self, changed: set[ProxyId]) -> None:
        for listener in self._listeners:
            try:
                listener(changed)
            except Exception:
                # A proxy that cannot be rendered must not stop the follower, and with it all other proxies.
                _log.exception("a change could not be delivered: %s", ", ".join(map(str, changed)))
