"""Reconcile: afterwards every head is what a fresh computation gives."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TypeVar

from pointsman.model.cause import BY_RECONCILE, Cause, by_order
from pointsman.model.keys import datacenter_of, is_gateways_key, service_in
from pointsman.model.orders import Orders
from pointsman.model.words import counted
from pointsman.pipeline.codecs import PlanEntry
from pointsman.pipeline.config import Root
from pointsman.pipeline.config_head import write_config_head
from pointsman.pipeline.engine import ATTEMPTS, Contended, Engine
from pointsman.pipeline.give import changed_scopes
from pointsman.pipeline.manifests import PublishedManifests, end_manifests, nameable, publish_manifests
from pointsman.pipeline.moved import MovedManifest
from pointsman.pipeline.orders import end_due
from pointsman.pipeline.propagate import Progress, propagate, retire
from pointsman.pipeline.rosters import publish_roster, remote_job, service_job
from pointsman.pipeline.settle import BATCH, Jobs, Settled, settle
from pointsman.store import keys


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a reconcile repaired: heads that moved, manifests rewritten, heads retired; all zero if nothing.

    `failed` are the heads and manifests that cannot be published, each with the reason; they stay as they are.
    `warnings` are other things that people should know, such as that the store went back.
    """

    checked: int
    moved: int
    manifests: int
    retired: int
    failed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def repaired(self) -> int:
        """How many objects were repaired."""
        return self.moved + self.manifests + self.retired


def reconcile(engine: Engine, progress: Progress = lambda text: None) -> Reconciled:
    """End orders that are due, finish what crashes left, recompute every cluster, and end what no plan has any more.

    It sends notices step by step, so that followers get those of what was done before a crash. A refused notice stops
    no repair. Raises Contended if the config keeps changing meanwhile, and StoreUnavailable if everything is repaired
    but not all notices were sent: the next reconcile of this engine sends the rest.

    What another epoch published is published again, even if it is the same.
    """
    found = _Found()
    why = _why(*end_due(engine))
    for _ in range(ATTEMPTS):
        _save_settings(engine)
        found.warnings += propagate(engine, progress).warnings
        if _reconcile(engine, engine.root, found, why, progress):
            engine.untold.tell_rest()
            return Reconciled(
                found.checked,
                found.moved,
                found.manifests,
                found.retired,
                tuple(found.failed),
                tuple(found.warnings),
            )
    raise Contended("the config changes faster than it can be reconciled; run it again")


@dataclass(frozen=True, slots=True)
class _Why:
    """The cause of what a reconcile publishes: the end of orders about these `scopes`, or that it was not published."""

    scopes: Collection[str]
    ended: Cause

    def of(self, jobs: Jobs, plan_key: str) -> Cause:
        """The cause of what becomes of one of `jobs`."""
        return BY_RECONCILE if jobs[plan_key].plan.orders.isdisjoint(self.scopes) else self.ended


def _why(before: Orders, after: Orders) -> _Why:
    over = [(each.order, each.by) for each in after.ended_since(before)]
    return _Why(changed_scopes(before, after), by_order([], over))


@dataclass(slots=True)
class _Found:
    """What was repaired so far. Values about everything at once are those of the last pass."""

    checked: int = 0
    moved: int = 0
    manifests: int = 0
    retired: int = 0
    failed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def _save_settings(engine: Engine) -> None:
    """Save this engine's scope and topic in the config head, for processes without."""
    head = engine.refresh()
    ours = engine.scope_beside(head), engine.notices_beside(head)
    if head.etag is not None and (head.scope, head.notices) != ours:
        # If this race is lost, the next reconcile saves it.
        write_config_head(engine, head)


def _reconcile(engine: Engine, root: Root, found: _Found, why: "_Why", progress: Progress) -> bool:
    """Check everything against `root`; False if the config or the epoch changed, before anything of `root` could be
    wrong."""
    # Heads and manifests are listed before catalogs, so that everything listed because of a catalog finds it.
    scope, era = engine.scope, engine.era
    heads = scope.keys(_listed(engine, keys.SNAPSHOTS))
    named = scope.keys(_listed(engine, keys.MANIFESTS))
    config = engine.config(root)
    known = all_jobs(engine, root, _listed(engine, keys.CATALOG))
    found.checked = len(known)
    settled = Settled()
    for number, step in enumerate(_steps(known)):
        progress(f"{number * BATCH:,} of {counted(len(known), 'cluster')} checked")
        some = settle(engine, _while_current(root, step), why=partial(why.of, step))
        _tell_of_heads(engine, some, found)
        _note(settled, some, found)
        if engine.root is not root or engine.era != era:
            return False
    for wanted in _steps(nameable(scope.of(config.manifests), settled.absent)):
        if not _take_manifests(engine, publish_manifests(engine, wanted), settled, found):
            return False
    strays = [key for key in named if key not in config.manifests and not is_gateways_key(key)]
    for ending in _steps(dict.fromkeys(strays)):
        if not _take_manifests(engine, end_manifests(engine, ending, root.generation), settled, found):
            return False
    rosters = {datacenter_of(key) for key in named if is_gateways_key(key)}
    for datacenter in sorted(rosters | set(scope.keys(root.gateways))):
        roster = publish_roster(engine, datacenter)
        _tell_of_heads(engine, roster.settled, found)
        _note(settled, roster.settled, found)
        _tell_of_manifests(engine, [roster.stands] if roster.changed and roster.stands else [], found)
    if engine.root is not root or engine.era != era:
        # The rosters may belong to the newer config, and name plans that `root` lacks.
        return False
    retired = retire(engine, [key for key in heads if key not in known], root.generation)
    found.retired += retired.marked
    settled.failed |= retired.failed
    found.warnings += filter(None, [retired.raised])
    found.failed = settled.failures()
    return not retired.raised


def _note(settled: Settled, some: Settled, found: _Found) -> None:
    settled.failed |= some.failed
    settled.absent |= some.absent
    found.warnings += some.warnings


def _take_manifests(engine: Engine, done: PublishedManifests, settled: Settled, found: _Found) -> bool:
    """Send notices of the manifests that moved; False if everything has to be done again in a new epoch."""
    _tell_of_manifests(engine, done.moved, found)
    settled.failed |= done.failed
    found.warnings += filter(None, [done.raised])
    return not done.raised


_T = TypeVar("_T")


def _steps(things: Mapping[str, _T]) -> Iterator[dict[str, _T]]:
    """`things` in parts of bounded size."""
    left = iter(things.items())
    while step := dict(islice(left, BATCH)):
        yield step


def _while_current(root: Root, jobs: Jobs) -> Callable[[Root], Jobs]:
    """`jobs` while `root` is the config, otherwise none."""
    return lambda current: jobs if current is root else {}


def _tell_of_heads(engine: Engine, settled: Settled, found: _Found) -> None:
    found.moved += len(settled.moved)
    engine.untold.tell(settled.moved)


def _tell_of_manifests(engine: Engine, moved: list[MovedManifest], found: _Found) -> None:
    found.manifests += len(moved)
    engine.untold.tell(moved)


def _listed(engine: Engine, prefix: str) -> list[str]:
    return [each.key.removeprefix(prefix) for each in engine.store.list(prefix)]


def all_jobs(engine: Engine, root: Root, appeared: list[str]) -> dict[str, PlanEntry]:
    """Every plan of `root` in scope, with those that mesh gateways have because of a catalog, by its key."""
    jobs = dict(engine.config(root).plans)
    for source in appeared:
        where, service = datacenter_of(source), service_in(source)
        if is_gateways_key(source):
            extra = [remote_job(root, datacenter, where) for datacenter in root.gateways]
        else:
            extra = [service_job(root, where, service)] if service else []
        jobs |= {job.plan.key: job for job in extra if job is not None}
    return engine.scope.of(jobs)
