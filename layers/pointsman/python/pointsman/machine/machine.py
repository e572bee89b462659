"""One machine: the control plane, the HTTP intake and the adapters, in one process on one store."""

import logging
import re
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import orjson
from starlette.types import ASGIApp

from pointsman.adapter.admin.client import Admin
from pointsman.adapter.follow.saved import Saved
from pointsman.api.request import Api, without_tags
from pointsman.api.routes import import_all
from pointsman.delivery.secret_source import read_sds
from pointsman.disk.access import read_group
from pointsman.machine.calls import Calls
from pointsman.machine.garbage import keep_what_is
from pointsman.machine.granted import Granted, KnownTokens
from pointsman.machine.intake import Intake
from pointsman.machine.looking import Looking
from pointsman.machine.observing import Observing
from pointsman.machine.ordering import Ordering, ended_line
from pointsman.machine.parts import stop_on_signals
from pointsman.machine.passes import Passes
from pointsman.machine.process import AdapterProcess
from pointsman.machine.reconciling import Reconciling
from pointsman.machine.settings import AdapterSettings
from pointsman.machine.waiting import Waiting
from pointsman.machine.witness import EngineWitness
from pointsman.model.errors import InvalidInput
from pointsman.model.note import Note
from pointsman.model.sources.recognize import DEFAULTS, SourceSettings
from pointsman.model.sources.task_claim import TaskSettings
from pointsman.model.sources.task_tags import TaskTags
from pointsman.page.app import PageApp
from pointsman.page.changes import Changes
from pointsman.page.pages import Pages
from pointsman.pipeline.config import NO_ROOT
from pointsman.pipeline.configure import Batch, configure
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.observer import Observer
from pointsman.pipeline.order_watch import OrderWatch
from pointsman.pipeline.orders import end_due
from pointsman.pipeline.reconcile import reconcile
from pointsman.pipeline.retention import Retention
from pointsman.pipeline.scope import EVERYWHERE, Scope, read_scope
from pointsman.pipeline.wait_watch import WaitWatch
from pointsman.serve.crowd import FOR_PRODUCERS, MOST_CONNECTIONS
from pointsman.serve.files import allow_files
from pointsman.serve.http import HttpServer
from pointsman.serve.listen import Listen
from pointsman.serve.log import KIND, LogFormat, start_log
from pointsman.serve.progress import now_and_then
from pointsman.serve.supervisor import Supervisor
from pointsman.serve.tls import ServerTls, TlsFiles
from pointsman.store.open import open_store
from pointsman.store.probe import probe
from pointsman.store.protocol import Store, StoreUnavailable
from pointsman.store.timed import timed

if TYPE_CHECKING:
    from pointsman.machine.task_looking import TaskLooking

_log = logging.getLogger(__name__)

_SWITCH_INTERVAL_S = 0.001
"""Seconds that a thread may run while others wait. The thread that ingests an event computes on after writing its
change, and the thread that sends it to Envoys waits meanwhile: with Python's default of 5 ms, a held poll was answered
3 ms later at the median."""

_VERSION = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})(?:\.([0-9]{1,4}))?\Z")


@dataclass(frozen=True, slots=True)
class MachineSettings:
    """The checked options of `pointsman up`.

    `adapter` is the adapters to run, if any. What they serve is also kept in `keep`, for a start while the store is
    unavailable.
    """

    store: str
    trust_domain: str
    listen: Listen
    reconcile_every: int
    adapter: AdapterSettings
    scope: Scope = EVERYWHERE
    keep: Path | None = None
    sources: SourceSettings = DEFAULTS
    remote: Listen | None = None
    remote_tls: TlsFiles | None = None
    log_format: LogFormat = LogFormat.TEXT

    @classmethod
    def read(
        cls,
        *,
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
        hosts: Sequence[str] = (),
        max_connections: int = MOST_CONNECTIONS,
        keep: str = "",
        tasks: TaskSettings | None = None,
        remote: str = "",
        tls: TlsFiles | None = None,
        log_format: LogFormat = LogFormat.TEXT,
    ) -> Self:
        """Parse the command line's texts. Raises InvalidInput."""
        place = Listen.read(listen, "--listen")
        if not place.local:
            reason = f'"{place.host}" is not a loopback address: every client of the port decides where traffic goes'
            raise InvalidInput.single("--listen", "", f"{reason}; for other machines there is --remote, with tokens")
        version = _VERSION.match(envoy_version)
        if envoy_version and not version:
            raise InvalidInput.single("--envoy-version", "", f'"{envoy_version[:80]}" is not a version like 1.40.0')
        scope = read_scope(datacenters, "--datacenters")
        return cls(
            store,
            trust_domain,
            place,
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
                hosts=tuple(hosts),
                max_connections=max_connections,
                datacenters=frozenset(scope.datacenters),
            ),
            scope,
            Path(keep) if keep else None,
            SourceSettings(tasks) if tasks else DEFAULTS,
            Listen.read(remote, "--remote") if remote else None,
            tls,
            log_format,
        )


class Machine:
    """The process of `pointsman up`."""

    def __init__(self, settings: MachineSettings) -> None:
        self._settings = settings

    def run(self) -> None:
        """Serve until a signal arrives.

        Raises PointsmanError if it cannot start (then nothing was changed), or if a part of it ends unexpectedly.
        """
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        start_log(self._settings.log_format, "up")
        allow_files()
        with ExitStack() as opened:
            listener = self._settings.listen.bind("--listen")
            opened.callback(listener.close)
            opened.callback(lambda: self._settings.listen.leave() if listener.fileno() >= 0 else None)
            store = open_store(self._settings.store, create=True)
            opened.callback(store.close)
            self._serve(store, listener)

    def _serve(self, store: Store, listener: socket.socket) -> None:
        kept = Saved(self._settings.keep, self._settings.store) if self._settings.keep else None
        adapter = AdapterProcess(store, self._settings.adapter, kept)
        engine = Engine(timed(store, adapter.metrics.store_took), scope=self._settings.scope)
        engine.witness = witness = EngineWitness()
        is_away = self._begin(engine, kept)

        def turn() -> None:
            if engine.root is NO_ROOT:
                self._begin_config(engine)
            self._reconcile(engine, reconciling.goes_on)
            witness.keep(set(engine.config(engine.root).plans))
            retention.run()

        reconciling = Reconciling(turn, self._settings.reconcile_every)
        retention = Retention(engine, pause=reconciling.pause)
        observing = Observing(Observer(engine), report)
        ordering = Ordering(OrderWatch(engine), report)
        waiting = Waiting(WaitWatch(engine), report)
        engine.noted = waiting.nudge
        adapter.parts.watch(
            "reconcile", lambda: reconciling.alive, lambda: reconciling.problem, lambda: reconciling.stands_still
        )
        adapter.metrics.gauge(
            "pointsman_reconcile_age_seconds",
            "Seconds since the last complete reconcile.",
            lambda: reconciling.age,
        )
        adapter.metrics.collected(witness)
        adapter.metrics.gauge(
            "pointsman_config_generation",
            "The generation of the config that is published.",
            lambda: engine.root.generation,
        )
        for name, each in {"leases": observing, "waits": waiting, "orders": ordering}.items():
            self._watch(adapter, name, each)
        adapter.metrics.each_source(
            "pointsman_source_unheard_seconds",
            "Since this process last saw a source with a lease renew it.",
            observing.unheard_s,
        )
        adapter.metrics.each_source(
            "pointsman_source_silent", "Whether a source with a lease was not heard for all of it.", observing.silent
        )
        adapter.metrics.gauge(
            "pointsman_waiting_clusters",
            "Clusters with a target that waits for its traffic to return.",
            lambda: waiting.waiting,
        )
        adapter.metrics.gauge("pointsman_orders", "Orders of operators that are in force.", lambda: ordering.in_force)
        looking, with_tags = self._tasks(engine)
        if looking is not None:
            self._watch(adapter, "tasks", looking)
        api = Api(
            engine,
            lambda: self._settings.sources,
            self._settings.trust_domain,
            with_tags=with_tags,
            more_status=lambda: {"rejections": [each.json() for each in adapter.rejections()]},
            ordered=ordering.nudge,
        )
        import_all()
        pages = Pages(engine, adapter.amiss)
        changes = Changes(store, pages.mark)
        passes, calls = Passes(api, report, adapter.metrics), Calls()
        adapter.parts.watch("events", lambda: True, stands_still=lambda: passes.stands_still)
        stop = stop_on_signals()
        with ExitStack() as serving:
            where = adapter.start(serving)
            serving.callback(calls.close)
            server = HttpServer(
                Intake(api, passes, calls, report, others=PageApp(pages, changes, adapter.ops())),
                self._settings.listen,
                name="intake",
                drain=changes.close,
                bounds=FOR_PRODUCERS,
                hosts=self._settings.adapter.hosts,
                metrics=adapter.metrics,
                listener=listener,
            )
            serving.callback(reconciling.stop)
            reconciling.start(soon=is_away)
            serving.callback(observing.stop)
            observing.start()
            serving.callback(ordering.stop)
            ordering.start()
            serving.callback(waiting.stop)
            waiting.start()
            if looking is not None:
                serving.callback(looking.stop)
                looking.start()
            remote = None
            if self._settings.remote is not None:
                app = Intake(api, passes, calls, report, others=PageApp(pages, changes))
                remote = self._remote(app, engine, adapter, changes.close)
                adapter.serve(serving, "remote", remote)
            # Started last, so that it stops first: events acknowledged before that still reach the Envoys.
            adapter.serve(serving, "intake", server)
            keep_what_is()
            self._ready(server.address, where | ({"remote": remote.address} if remote is not None else {}))
            adapter.parts.wait(stop, Supervisor(), adapter.waiting_for)

    def _watch(self, adapter: AdapterProcess, name: str, looking: Looking) -> None:
        adapter.parts.watch(name, lambda: looking.alive, lambda: looking.problem, lambda: looking.stands_still)

    def _tasks(self, engine: Engine) -> "tuple[TaskLooking | None, Callable[[TaskTags], Any]]":
        """What looks at the tasks of ECS, None without clusters, and what asks for the tags of one.

        Raises StoreError if no region is set.
        """
        sources = self._settings.sources
        if not (sources.tasks.clusters or sources.tasks.tags):
            return None, without_tags
        # Imported here: few have tasks.
        from pointsman.aws.task_tags import TagsOfTasks
        from pointsman.machine.task_looking import TaskLooking
        from pointsman.store.session import new_client, new_session

        session = new_session()
        with_tags = TagsOfTasks(session).filled if sources.tasks.tags else without_tags
        if not sources.tasks.clusters:
            return None, with_tags
        return TaskLooking(engine, sources, new_client(session, "ecs"), report), with_tags

    def _remote(self, app: ASGIApp, engine: Engine, adapter: AdapterProcess, drain: Callable[[], None]) -> HttpServer:
        assert self._settings.remote is not None
        assert self._settings.remote_tls is not None
        adapter.metrics.certificate("remote", self._settings.remote_tls.certificate)
        return HttpServer(
            Granted(app, KnownTokens(engine), report),
            self._settings.remote,
            ServerTls(self._settings.remote_tls),
            name="remote",
            drain=drain,
            option="--remote",
            bounds=FOR_PRODUCERS,
            metrics=adapter.metrics,
        )

    def _begin(self, engine: Engine, kept: Saved | None) -> bool:
        """Set the trust domain and reconcile. Returns whether the store is unavailable, which is an error without
        `kept`."""
        try:
            self._begin_config(engine)
            self._reconcile(engine)
        except StoreUnavailable as error:
            if kept is None or not kept.proxies():
                raise
            report(f"{error}; Envoys get what is kept in {kept} until the store is back")
            return True
        return False

    def _begin_config(self, engine: Engine) -> None:
        probe(self._settings.store, engine.store, report)
        # Before anything is computed.
        before, after = end_due(engine)
        for each in after.ended:
            if each not in before.ended:
                report(ended_line(each))
        done = configure(engine, Batch(), trust_domain=self._settings.trust_domain, note=Note("pointsman up"))
        for warning in done.settled.warnings:
            report(warning)

    def _ready(self, url: str, where: Mapping[str, str]) -> None:
        ways = {way: where.get(way) for way in ("files", "grpc", "http")}
        ways |= {"remote": where["remote"]} if "remote" in where else {}
        line = {"ready": True, "url": url, **ways, "store": self._settings.store}
        sys.stdout.buffer.write(orjson.dumps(line) + b"\n")
        sys.stdout.flush()

    def _reconcile(self, engine: Engine, progress: Callable[[str], None] = lambda text: None) -> None:
        tell = now_and_then(report) if sys.stderr.isatty() else lambda text: None

        def go_on(text: str) -> None:
            progress(text)
            tell(text)

        done = reconcile(engine, go_on)
        for warning in done.warnings:
            report(warning)
        for failure in done.failed:
            report(f"cannot be computed and stays unchanged: {failure}")
        if done.repaired:
            report(f"reconciled: {done.moved} snapshots, {done.manifests} manifests, {done.retired} retired")


def _local(place: str, way: str) -> str:
    listen = Listen.read(place, f"--{way}")
    if not listen.local:
        reason = (
            f'"{listen.host}" is not a loopback address; `pointsman adapter {way}` serves others, with certificates'
        )
        raise InvalidInput.single(f"--{way}", "", reason)
    return place


def report(text: str) -> None:
    """Log one line, with a limit on similar lines."""
    _log.warning("%s", text, extra={KIND: text.partition(":")[0]})
