"""Ingest: from health events to catalogs to published heads. All waiting events are one pass."""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from pointsman.model.cause import NO_CAUSE, Cause, by_event, by_return
from pointsman.model.events import HealthEvent
from pointsman.model.keys import PATHS
from pointsman.model.lease import Lease, heard_again, published_again
from pointsman.model.since import timed
from pointsman.model.stale import Stale
from pointsman.model.stored import NewerSchema
from pointsman.pipeline.codecs import PlanEntry
from pointsman.pipeline.config import Root
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.lapses import readers_of_lease
from pointsman.pipeline.load import readers_of
from pointsman.pipeline.moved import Moved, MovedManifest
from pointsman.pipeline.recording import Recorded, catalog_key, record
from pointsman.pipeline.rosters import Appeared, publish_roster, remote_job, remote_jobs, service_job
from pointsman.pipeline.settle import Settled, Unsettled, settle
from pointsman.pipeline.silences import DamagedSilence, read_silence_object, swap_silence, swap_silences
from pointsman.pipeline.troubles import note_trouble
from pointsman.store import keys
from pointsman.store.protocol import StoreUnavailable


@dataclass(slots=True)
class Ingested:
    """What one event did to its catalog (see Recorded) and to the heads that read it.

    All heads that the event touches were recomputed: `moved` have a new version, `stood` already covered the event,
    `stamped` have the same version with newer provenance. If several events of a pass touch a head, each of them lists
    it. `failed` are the heads that cannot be computed, each with the reason: the event is in the catalog, and they stay
    unchanged until a later event or reconcile can compute them. `warnings` are for people, for instance that the store
    went back. `heard_again` is whether the event's source was silent, `shared` why two producers seem to use its name.
    """

    revision: int
    new: bool
    changed: bool = False
    stale: Stale | None = None
    doubt: str = ""
    vanished: int = 0
    moved: list[Moved] = field(default_factory=list)
    stood: list[Moved] = field(default_factory=list)
    stamped: list[Moved] = field(default_factory=list)
    failed: dict[str, Exception] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    heard_again: bool = False
    shared: str = ""


def _always() -> bool:
    return True


def ingest(engine: Engine, event: HealthEvent) -> Ingested:
    """Ingest `event`. When this returns, every head that it touches covers it or failed, and it may be acknowledged.

    Raises the error that `ingest_all` returns for it.
    """
    (done,) = ingest_all(engine, [event])
    if isinstance(done, Exception):
        raise done
    return done


def ingest_all(
    engine: Engine, events: Sequence[HealthEvent], in_time: Callable[[], bool] = _always
) -> list[Ingested | Exception]:
    """Ingest `events` in one pass. Returns for each what it did, or the error that forbids its acknowledgment.

    An event without a time gets that of now. First the catalogs are written, with all events; only then are the config
    head, the plans' other inputs and the current heads read. Each head is computed once, however many events touch it.
    For an event that says nothing new only the write is skipped, so that a redelivery repairs what a crash left.

    An event is done when every head that it touches covers it or failed, and their notices were sent. Its result is
    StoreUnavailable if the store cannot be reached, races are lost too often, or `in_time` returns False before its
    heads are settled: ingest it again. It is InvalidInput, and nothing changed, if its catalog would be larger than
    MOST_CATALOG_BYTES. No error affects other events, unless they touch the same heads. Nothing is raised.
    """
    if not events:
        return []
    now_ms = engine.now_ms()
    events = [timed(event, now_ms) for event in events]
    try:
        recorded = record(engine, events)
    except Exception as error:
        return [error for _ in events]
    done = [(event, each) for event, each in zip(events, recorded, strict=True) if isinstance(each, Recorded)]
    one_pass = _Pass(engine, done)
    try:
        if done:
            one_pass.settle(in_time)
    except Exception as error:
        return [error if isinstance(each, Recorded) else each for each in recorded]
    one_pass.tell()
    one_pass.end_silences()
    note_trouble(engine, done)
    return [
        one_pass.outcome(event, each) if isinstance(each, Recorded) else each
        for event, each in zip(events, recorded, strict=True)
    ]


class _Pass:
    """Recorded events, on their way to the heads that they touch."""

    def __init__(self, engine: Engine, events: Sequence[tuple[HealthEvent, Recorded]]) -> None:
        self._engine = engine
        # The heads that an event touches depend only on its catalog.
        self._about = {each.catalog: event for event, each in events if each.catalog}
        # A crash before a notice can only have happened if the event was recorded earlier.
        self._owed = {each.catalog for _, each in events if each.catalog and not each.new}
        self._leases = [each.lease for _, each in events if each.lease is not None]
        # The leases of those that were silent before; by source and datacenter, the plans that may change for it.
        self._back: list[Lease] = []
        self._revived: dict[tuple[str, str], Mapping[str, PlanEntry]] = {}
        self._settled = Settled()
        self._by_plan: dict[str, Settled] = {}
        self._root: Root | None = None
        self._jobs: dict[str, dict[str, PlanEntry]] = {}
        # By plan, the last event that touches it.
        self._movers: dict[str, HealthEvent] = {}
        self._gateways: dict[str, list[str]] = {}
        self._rosters: dict[str, Settled] = {}
        self._told: list[MovedManifest] = []
        self._open: dict[str, Exception] = {}

    def settle(self, in_time: Callable[[], bool]) -> None:
        """Settle every head that the events touch, and the rosters of gateways."""
        engine = self._engine
        try:
            self._settled = settle(engine, self._all_jobs, self._beside, in_time, why=self._why)
        except Unsettled as error:
            self._settled = error.settled
            self._open |= dict.fromkeys(error.pending, error)
        try:
            if self._revive():
                self._settled = self._settled.then(
                    settle(engine, self._jobs_of_revived, in_time=in_time, why=self._why_revived)
                )
        except Unsettled as error:
            self._settled = self._settled.then(error.settled)
            self._open |= dict.fromkeys(error.pending, error)
        self._by_plan = self._settled.by_plan()
        self._look_up(engine.root)
        for datacenter in sorted({each for some in self._gateways.values() for each in some}):
            try:
                self._publish_roster(datacenter)
            except Exception as error:
                self._open[datacenter] = error

    def _why(self, plan_key: str) -> Cause:
        """The event that moves a head; of several the last one."""
        event = self._movers.get(plan_key)
        return by_event(event) if event is not None else NO_CAUSE

    def _why_revived(self, plan_key: str) -> Cause:
        back = [each for each in self._back if plan_key in self._revived[each.source, each.datacenter]]
        return by_return(back)

    def _look_up(self, root: Root) -> None:
        """Look up the plans and the gateways that the events concern according to `root`."""
        if root is not self._root:
            engine, about = self._engine, self._about
            self._jobs = {key: _jobs_of(engine, root, event, key) for key, event in about.items()}
            self._gateways = {key: _gateways_of(engine, root, event) for key, event in about.items()}
            self._movers = {plan: event for key, event in self._about.items() for plan in self._jobs[key]}
            self._root = root

    def _all_jobs(self, root: Root) -> Mapping[str, PlanEntry]:
        self._look_up(root)
        jobs: dict[str, PlanEntry] = {}
        for found in self._jobs.values():
            jobs |= found
        return jobs

    def _beside(self, root: Root) -> list[str]:
        """What is read beside the heads: the rosters of gateways, and the silent sources where one was heard."""
        self._look_up(root)
        found = {each for some in self._gateways.values() for each in some}
        rosters = [keys.gateways_manifest(datacenter) for datacenter in sorted(found)]
        return rosters + sorted({keys.silence(lease.datacenter) for lease in self._leases})

    def _revive(self) -> bool:
        """Take the sources that were heard out of the silent ones. Returns whether some were silent, or were so before
        and not all that they say is published since."""
        by_datacenter: dict[str, list[Lease]] = {}
        for lease in self._leases:
            by_datacenter.setdefault(lease.datacenter, []).append(lease)
        for datacenter, mine in sorted(by_datacenter.items()):
            change = partial(heard_again, leases=mine)
            try:
                silence = read_silence_object(datacenter, self._settled.beside.get(keys.silence(datacenter))).silence
            except DamagedSilence:
                silence = swap_silence(self._engine, datacenter, change)
            if change(silence) is not silence:
                silence = swap_silence(self._engine, datacenter, change)
            self._back += [each for each in mine if each.source in silence.sources and not silence.has(each.source)]
        return bool(self._back)

    def end_silences(self) -> None:
        """Forget the silence of sources that are back, if all that they say is published."""
        done = [
            each for each in self._back if self._open.keys().isdisjoint(self._revived[each.source, each.datacenter])
        ]
        with contextlib.suppress(StoreUnavailable):  # then the next event of the source does it
            swap_silences(self._engine, done, published_again)

    def _jobs_of_revived(self, root: Root) -> Mapping[str, PlanEntry]:
        self._revived = {
            (each.source, each.datacenter): readers_of_lease(self._engine, root, each) for each in self._back
        }
        return {key: job for jobs in self._revived.values() for key, job in jobs.items()}

    def _publish_roster(self, datacenter: str) -> None:
        name = keys.gateways_manifest(datacenter)
        mine = [key for key in self._about if datacenter in self._gateways[key]]
        stored = self._settled.beside.get(name)
        try:
            roster = self._engine.rosters.read(stored, self._engine.now())
        except NewerSchema as error:
            self._rosters[datacenter] = Settled(failed={name: error})
            return
        if not all(roster.covers(self._about[key].service, self._about[key].datacenter) for key in mine):
            about = [self._about[key] for key in mine]
            appeared = Appeared(
                {str(each.service) for each in about if each.service is not None},
                {each.datacenter for each in about if each.service is None},
            )
            published = publish_roster(self._engine, datacenter, new=appeared)
            self._rosters[datacenter] = published.settled
            self._told += [published.stands] if published.stands else []
        elif stored is not None and roster.manifest is not None and not self._owed.isdisjoint(mine):
            self._told.append(MovedManifest(stored.key, datacenter, roster.manifest.generation, stored.data))

    def tell(self) -> None:
        """Send notices of the heads, then of the rosters that name them."""
        owed = {plan for key in self._owed for plan in self._jobs[key]}
        news = {each.plan_key: each for each in self._settled.notices(owed.__contains__)}
        for datacenter, settled in self._rosters.items():
            if any(datacenter in self._gateways[key] for key in self._owed):
                owed |= {each.plan_key for each in settled.stamped}
            news |= {each.plan_key: each for each in settled.notices(owed.__contains__)}
        try:
            if news:
                self._engine.notify(list(news.values()))
            if self._told:
                self._engine.notify(self._told)
        except Exception as error:
            rosters = (*self._rosters, *(keys.datacenter_of(each.key) for each in self._told))
            self._open |= dict.fromkeys((*news, *rosters), error)

    def outcome(self, event: HealthEvent, recorded: Recorded) -> Ingested | Exception:
        """The outcome of one event."""
        key = recorded.catalog
        jobs = self._jobs[key] if key else {}
        if recorded.lease is not None:
            jobs = {**jobs, **self._revived.get((event.source, event.datacenter), {})}
        gateways = self._gateways[key] if key else []
        if self._open:
            for each in (*jobs, *gateways):
                if each in self._open:
                    return self._open[each]
        parts = [self._by_plan[plan_key] for plan_key in jobs if plan_key in self._by_plan]
        parts += [self._rosters[datacenter] for datacenter in gateways if datacenter in self._rosters]
        settled = parts[0] if len(parts) == 1 else _together(parts)
        return Ingested(
            recorded.revision,
            recorded.new,
            recorded.changed,
            recorded.stale,
            recorded.doubt,
            recorded.vanished,
            settled.moved,
            settled.stood,
            settled.stamped,
            settled.failed,
            (*self._settled.warnings, *settled.warnings) if self._settled.warnings else tuple(settled.warnings),
            heard_again=(event.source, event.datacenter) in self._revived,
            shared=recorded.shared,
        )


def _together(parts: Iterable[Settled]) -> Settled:
    """The sum of `parts`, each looked at once: an event about mesh gateways touches every cluster behind them."""
    out, seen = Settled(), set[str]()
    for each in parts:
        out.moved += each.moved
        out.stamped += [head for head in each.stamped if head.plan_key not in seen]
        out.stood += [head for head in each.stood if head.plan_key not in seen]
        out.failed |= each.failed
        out.absent |= each.absent
        out.warnings += each.warnings
        seen.update([head.plan_key for head in (*each.moved, *each.stamped, *each.stood)])
    return out


def jobs_of(engine: Engine, root: Root, event: HealthEvent) -> dict[str, PlanEntry]:
    """The plans of `root` in scope that read the event's catalog."""
    return _jobs_of(engine, root, event, catalog_key(event))


def _jobs_of(engine: Engine, root: Root, event: HealthEvent, key: str) -> dict[str, PlanEntry]:
    jobs = dict(readers_of(engine.objects, root, key))
    extra: Iterable[PlanEntry | None] = ()
    if not root.gateways:
        pass
    elif event.service == PATHS:
        extra = remote_jobs(engine, root, event.datacenter).values()
    elif event.service is not None:
        extra = [service_job(root, event.datacenter, event.service)]
    else:
        extra = [remote_job(root, datacenter, event.datacenter) for datacenter in root.gateways]
    return engine.scope.of(jobs | {job.plan.key: job for job in extra if job is not None})


def _gateways_of(engine: Engine, root: Root, event: HealthEvent) -> list[str]:
    """The datacenters whose gateways have to know the event's service, or its datacenter."""
    if not root.gateways:
        return []
    if event.service is not None:
        found = [event.datacenter] if service_job(root, event.datacenter, event.service) else []
    else:
        found = [datacenter for datacenter in root.gateways if datacenter != event.datacenter]
    return engine.scope.keys(found)
