"""Settle: recomputes clusters until every head covers the current inputs (docs/architecture.md, "Ingest")."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

from pointsman.chain.plan import SidecarPlan
from pointsman.failover.selection import choose
from pointsman.model.cause import NO_CAUSE, Cause, CauseKind, by_config
from pointsman.model.era import Era
from pointsman.model.errors import PointsmanError
from pointsman.model.keys import MOMENT
from pointsman.pipeline.codecs import PlanEntry
from pointsman.pipeline.config import Root
from pointsman.pipeline.config_head import Behind, WentBack, raise_epoch
from pointsman.pipeline.engine import ATTEMPTS, Contended, Engine
from pointsman.pipeline.heads import NO_HEAD_READING, HeadReading, Inputs
from pointsman.pipeline.inputs import InputReadings
from pointsman.pipeline.moved import Moved
from pointsman.pipeline.verdict import Verdict, behind, decide, head_write, history_write
from pointsman.pipeline.waits import note_waits
from pointsman.store import keys
from pointsman.store.protocol import Stored, StoreUnavailable, Write
from pointsman.xds.content import Content, compute
from pointsman.xds.snapshot import Provenance, Snapshot

BATCH = 256
"""Heads that one round reads, computes and swaps: a service that 200 resolvers use takes one round."""

Jobs = Mapping[str, PlanEntry]
"""The plans to settle, by key."""


@dataclass(slots=True)
class Settled:
    """The result of settling: heads with a new version, heads with a new provenance, and unchanged heads.

    `failed` has, by plan, why it could not be computed: its head stays as it is. Those without a usable head are
    `absent`, and no manifest may name them. `warnings` are for people, such as that the store went back. `due` has, by
    plan, when the choice among its targets changes by itself (milliseconds since 1970). `manifests` are the keys of
    those that moved with them.
    """

    moved: list[Moved] = field(default_factory=list)
    stamped: list[Moved] = field(default_factory=list)
    stood: list[Moved] = field(default_factory=list)
    beside: dict[str, Stored | None] = field(default_factory=dict)
    failed: dict[str, Exception] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)
    due: dict[str, int] = field(default_factory=dict)
    manifests: list[str] = field(default_factory=list)

    def __iadd__(self, other: "Settled") -> "Settled":
        mine = {each.plan_key for each in (*self.moved, *self.stamped, *self.stood)}
        self.moved += other.moved
        self.stamped += [each for each in other.stamped if each.plan_key not in mine]
        self.stood += [each for each in other.stood if each.plan_key not in mine]
        self.failed |= other.failed
        self.absent |= other.absent
        self.warnings += other.warnings
        self.manifests += other.manifests
        return self

    def then(self, later: "Settled") -> "Settled":
        """The result of this and of a `later` settling of some of the same plans: of each plan the later one. What
        moved first has moved, though it was only stamped, or stood, later."""
        again = {each.plan_key for each in (*later.moved, *later.stamped, *later.stood)} | later.failed.keys()
        moved = {each.plan_key for each in self.moved}
        return Settled(
            moved=[
                *(each for each in self.moved if each.plan_key not in again or each.plan_key in later.failed),
                *later.moved,
                *(each for each in (*later.stamped, *later.stood) if each.plan_key in moved),
            ],
            stamped=[
                *(each for each in self.stamped if each.plan_key not in again),
                *(each for each in later.stamped if each.plan_key not in moved),
            ],
            stood=[
                *(each for each in self.stood if each.plan_key not in again),
                *(each for each in later.stood if each.plan_key not in moved),
            ],
            beside=self.beside,
            failed={key: error for key, error in self.failed.items() if key not in again} | later.failed,
            absent=(self.absent - again) | later.absent,
            warnings=[*self.warnings, *later.warnings],
        )

    def note(self, failed: Mapping[str, Exception], raised: str) -> bool:
        """Add failures, and the warning that the store's epoch was raised; returns whether it was."""
        self.failed |= failed
        self.warnings += filter(None, [raised])
        return bool(raised)

    def failures(self) -> list[str]:
        """One line for people for every plan that could not be computed."""
        return [
            f"{key}: {error if isinstance(error, PointsmanError) else repr(error)}"
            for key, error in sorted(self.failed.items())
        ]

    def notices(self, owed: Callable[[str], bool] = lambda plan_key: True) -> list[Moved]:
        """The heads to send notices of.

        A stamped head is the version that its Envoys have, unless its writer crashed before it sent the notice: a
        repair sends those too. `owed` returns of which plans that may be so.
        """
        return [*self.moved, *(each for each in self.stamped if owed(each.plan_key)), *self.stood]

    def by_plan(self) -> "dict[str, Settled]":
        """The result for each plan alone."""
        out: dict[str, Settled] = {}
        for each in self.moved:
            out.setdefault(each.plan_key, Settled()).moved.append(each)
        for each in self.stamped:
            out.setdefault(each.plan_key, Settled()).stamped.append(each)
        for each in self.stood:
            out.setdefault(each.plan_key, Settled()).stood.append(each)
        for plan_key, error in self.failed.items():
            out.setdefault(plan_key, Settled()).failed[plan_key] = error
        return out


class Unsettled(Contended):
    """Some plans could not be settled now: `pending`, by key. What is `settled` stays so."""

    def __init__(self, reason: str, pending: Iterable[str], settled: Settled) -> None:
        super().__init__(reason)
        self.pending, self.settled = frozenset(pending), settled


def _nothing(root: Root) -> Iterable[str]:
    return ()


def _always() -> bool:
    return True


def _unknown(plan_key: str) -> Cause:
    return NO_CAUSE


def settle(
    engine: Engine,
    jobs_of: Callable[[Root], Jobs],
    also: Callable[[Root], Iterable[str]] = _nothing,
    in_time: Callable[[], bool] = _always,
    *,
    why: Callable[[str], Cause] = _unknown,
    notes: bool = True,
) -> Settled:
    """Settle the jobs that `jobs_of` names for the current root.

    The config head, the catalogs that the plans read, and the current heads are read together. If the config changed,
    the new root is used and everything is read again. The keys that `also` names are read too; `beside` of the result
    has what was found. A plan that cannot be computed (because a catalog is damaged, say) stops no other: its head
    stays as it is, `failed` says why, and the next event or reconcile tries again. `why` gives the cause of what
    becomes of a plan, which is noted beside a new version. What is `due` to be computed again at some moment is noted
    in the store, unless the caller does that: then not `notes`.

    If a head is newer than what was read, another writer was faster, and everything is read again. If the head is the
    same the second time, it was published before that reading: the store went back, and its epoch is raised. Raises
    Unsettled if races are lost again and again, or if `in_time`, called after each BATCH, returns False before
    everything is settled.
    """
    out = Settled()
    done: set[str] = set()
    root = engine.root
    pending = dict(jobs_of(root))
    fruitless = 0
    newer: dict[str, _Newer] = {}
    while fruitless < ATTEMPTS:
        batch = dict(islice(pending.items(), BATCH))
        beside = list(also(root))
        objects = _read(engine, batch, beside)
        head = engine.look(objects.get(keys.CONFIG_HEAD))
        if engine.root is not root:
            root = engine.root
            pending = {key: job for key, job in jobs_of(root).items() if key not in done}
            fruitless += 1
            continue
        out.beside = {key: objects.get(key) for key in beside}
        settled, newer = _settle_batch(engine, batch, objects, era=head.era, root=root, why=why, newer=newer, out=out)
        for key in settled:
            del pending[key]
        if not pending:
            if notes:
                note_waits(engine, out.due)
            return out
        done |= settled
        fruitless = 0 if settled else fruitless + 1
        if not in_time():
            note_waits(engine, out.due)
            raise Unsettled(f"{len(pending)} snapshots are not settled in time; run the event again", pending, out)
    note_waits(engine, out.due)
    raise Unsettled(f"{len(pending)} snapshots are contended; run the event again", pending, out)


def _read(engine: Engine, batch: Jobs, extra: list[str]) -> dict[str, Stored]:
    wanted = [keys.CONFIG_HEAD, *extra]
    wanted += [keys.catalog(source) for source in sorted({s for job in batch.values() for s in job.plan.inputs()})]
    silences = {keys.silence(datacenter) for job in batch.values() for datacenter in job.plan.silences()}
    wanted += sorted(silences - set(extra))
    wanted += [keys.ORDERS] if any(job.plan.orders for job in batch.values()) else []
    wanted += [keys.snapshot(key) for key in batch]
    return engine.store.get_many(wanted)


@dataclass(frozen=True, slots=True)
class _Newer:
    """A head that was newer than what was computed beside it."""

    etag: str | None
    provenance: Provenance
    content: Content


@dataclass(slots=True)
class _Swap:
    """A head that is about to be written: as it was read, and what it becomes."""

    key: str
    before: HeadReading
    after: Snapshot
    verdict: Verdict
    inputs: Inputs
    write: Write


def _settle_batch(
    engine: Engine,
    batch: Jobs,
    objects: Mapping[str, Stored],
    *,
    era: Era,
    root: Root,
    why: Callable[[str], Cause],
    newer: Mapping[str, _Newer],
    out: Settled,
) -> tuple[set[str], dict[str, _Newer]]:
    """Compute, decide and swap once. Returns the plans whose heads now cover what was read, or cannot, and the heads
    that are newer. If one that was `newer` before is still the same, the store went back."""
    now, now_ms = engine.now(), engine.now_ms()
    done: set[str] = set()
    found: dict[str, _Newer] = {}
    gone_back: list[Behind] = []
    retired: set[str] = set()
    swaps: list[_Swap] = []
    copies: list[Write] = []
    read = InputReadings(engine, objects)
    for key, job in batch.items():
        reading = NO_HEAD_READING
        try:
            reading = engine.heads.read(key, objects.get(keys.snapshot(key)), now)
            content, provenance, inputs = recompute(
                job, read, reading, trust_domain=root.trust_domain, epoch=era.epoch, now_ms=now_ms
            )
            cause = partial(_cause, partial(why, key), reading.snapshot, provenance, root)
            verdict, snapshot = decide(reading.snapshot, content, provenance, now=now, store=era.identity, cause=cause)
            # The same head as before: it was published before this read.
            before = newer.get(key)
            is_back = verdict is Verdict.READ_AGAIN and before is not None and before.etag == reading.etag
            if verdict is Verdict.MOVE or is_back:
                content.check()
            if verdict is Verdict.READ_AGAIN and reading.snapshot is not None:
                found[key] = _Newer(reading.etag, provenance, content)
                if before is not None and is_back:
                    _check_function(key, before, found[key])
                    gone_back.append(behind(key, reading.snapshot, provenance))
                    retired |= {key} if reading.snapshot.retired else set()
        except StoreUnavailable:
            raise
        except Exception as error:  # even a defect concerns only this plan
            done.add(key)
            out.failed[key] = error
            if reading.snapshot is None or reading.snapshot.retired:
                out.absent.add(key)
            continue
        if verdict is Verdict.STANDS and snapshot is not None:
            done.add(key)
            out.stood.append(Moved(key, job.plan.datacenter, snapshot.version, reading.data))
            engine.witness.saw(job.plan, snapshot, snapshot)
            if inputs.due is not None:
                out.due[key] = inputs.due
            if reading.inputs is not inputs and (reading.inputs != inputs or reading.inputs.due != inputs.due):
                engine.heads.keep(key, replace(reading, inputs=inputs))
        elif snapshot is not None:
            if verdict is Verdict.MOVE:
                copy = history_write(key, reading)
                copies += [copy] if copy else []
            write = head_write(key, reading, snapshot, engine.nonce())
            swaps.append(_Swap(key, reading, snapshot, verdict, inputs, write))
    if swaps:
        written = engine.store.put_many([*(swap.write for swap in swaps), *copies])
        for swap, outcome in zip(swaps, written, strict=False):
            if outcome.etag is None:
                continue
            done.add(swap.key)
            if swap.inputs.due is not None:
                out.due[swap.key] = swap.inputs.due
            after = HeadReading(swap.after, swap.before.serial + 1, outcome.etag, swap.write.data, swap.inputs)
            engine.heads.keep(swap.key, after)
            engine.witness.saw(swap.inputs.plan, swap.before.snapshot, swap.after)
            switched = _switched(swap.before.snapshot, swap.after)
            moved = Moved(swap.key, swap.inputs.plan.datacenter, swap.after.version, swap.write.data, switched)
            if swap.verdict is Verdict.MOVE:
                out.moved.append(moved)
            else:
                out.stamped.append(moved)
    if gone_back:
        try:
            out.warnings += filter(None, [raise_epoch(engine, gone_back)])
        except WentBack as error:
            stuck = {each.thing for each in gone_back}
            out.failed |= {each.thing: WentBack(each, error.cause) for each in gone_back}
            out.absent |= stuck & retired
            done |= stuck
    return done, found


def _cause(why: Callable[[], Cause], before: Snapshot | None, provenance: Provenance, root: Root) -> Cause:
    """The cause of what is published with `provenance` after `before`: what `why` gives, unless the plan changed and
    that is not published yet. Then its config is the cause, whoever comes first."""
    given = why()
    if given.kind is CauseKind.CONFIG or before is None or before.retired:
        return given
    known = before.provenance
    is_config = known.epoch == provenance.epoch and provenance.generation > known.generation
    return by_config(root.generation, root.note) if is_config else given


def _check_function(key: str, before: _Newer, now: _Newer) -> None:
    """Raise if two computations from the same inputs differ: then the code is wrong, not the store."""
    if before.provenance == now.provenance and before.content != now.content:
        raise AssertionError(f"{key} was computed twice from the same config and catalogs, and came to two results")


def _switched(before: Snapshot | None, after: Snapshot) -> bool:
    """Whether the active target changed. A head that begins, or begins again, does not switch."""
    return before is not None and not before.retired and before.content.active != after.content.active


def recompute(
    job: PlanEntry, read: InputReadings, reading: HeadReading, *, trust_domain: str, epoch: int, now_ms: int
) -> tuple[Content, Provenance, Inputs]:
    """The content of a plan with what was read, its provenance, and what it was computed from.

    If that of `reading` was computed from the same, it is taken from there. Where the choice among its targets depends
    on the time, that is the later of `now_ms` and of the moment of the head.
    """
    plan = job.plan
    found = read.of(plan.inputs(), plan.silences(), plan.orders)
    inputs = Inputs(plan, trust_domain, found.etags, found.orders)
    timed = isinstance(plan, SidecarPlan) and plan.is_timed
    moment = reading.snapshot.provenance.catalog.get(MOMENT, 0) if reading.snapshot is not None and timed else 0
    now_ms, known = max(now_ms, moment), reading.inputs
    is_due = known is not None and known.due is not None and now_ms >= known.due
    # The etags first: of an event they are others, and to compare plans takes longer.
    is_known = known is not None and known.etags == inputs.etags and known == inputs and not is_due
    if reading.snapshot is not None and known is not None and is_known:
        content, inputs = reading.snapshot.content, known
    else:
        facts, instances = found.facts(plan), found.instances()
        if isinstance(plan, SidecarPlan) and plan.is_timed:
            choice = choose(plan, instances, facts, moment, now_ms)
            facts, inputs = choice.facts, replace(inputs, due=choice.due)
            moment = choice.facts.moment or 0
        content = compute(plan, instances, trust_domain, facts)
    revisions = {**found.revisions, MOMENT: moment} if moment else found.revisions
    return content, Provenance(epoch, job.generation, revisions), inputs
