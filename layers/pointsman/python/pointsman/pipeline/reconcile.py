"""Reconcile: after it has run once, every head is what a fresh computation gives."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from pointsman.model.keys import datacenter_of, is_gateways_key, service_in
from pointsman.pipeline.config import PlanEntry, Root
from pointsman.pipeline.engine import ATTEMPTS, Contended, Engine, MovedManifest
from pointsman.pipeline.manifests import end_manifests, nameable, publish_manifests
from pointsman.pipeline.propagate import Progress, propagate, retire, write_config_head
from pointsman.pipeline.rosters import publish_roster, remote_job, service_job
from pointsman.pipeline.settle import BATCH, Jobs, Settled, settle
from pointsman.store import keys


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a reconcile found to mend: heads that moved, manifests rewritten, heads retired. All zero: nothing.

    `failed` are the heads that cannot be computed, each with the reason; they stay as they are.
    """

    checked: int
    moved: int
    manifests: int
    retired: int
    failed: tuple[str, ...] = ()

    @property
    def repaired(self) -> int:
        """How many objects were not as they should have been."""
        return self.moved + self.manifests + self.retired


def reconcile(engine: Engine, progress: Progress = lambda text: None) -> Reconciled:
    """Finish what crashes left, recompute every cluster, and end what no plan has any more.

    It tells of what it moved step by step, so that followers hear of what was done before a crash. A notice that is
    not taken holds up no repair. Raises Contended when the config moves again and again meanwhile, and StoreUnavailable
    when everything is repaired but not all of it was told: the next reconcile of this engine tells the rest.
    """
    found = _Found()
    for _ in range(ATTEMPTS):
        _say_for_whom(engine)
        propagate(engine, progress)
        if _reconcile(engine, engine.root, found, progress):
            engine.untold.tell_rest()
            return Reconciled(found.checked, found.moved, found.manifests, found.retired, tuple(found.failed))
    raise Contended("the config changes faster than it can be reconciled; run it again")


@dataclass(slots=True)
class _Found:
    """What was found to mend so far. What is about everything at once is that of the last look."""

    checked: int = 0
    moved: int = 0
    manifests: int = 0
    retired: int = 0
    failed: list[str] = field(default_factory=list)


def _say_for_whom(engine: Engine) -> None:
    """Note in the config head for which datacenters this engine computes, for those who are not told so."""
    head = engine.refresh()
    if head.etag is not None and head.scope != engine.scope_beside(head):
        # Who loses this race to another change of the head says it the next time.
        write_config_head(engine, head)


def _reconcile(engine: Engine, root: Root, found: _Found, progress: Progress) -> bool:
    """Everything checked against `root`; False if the config moved on, before anything of `root` could be wrong."""
    # What may have to end is listed before the catalogs: whatever exists because of a catalog is then listed with it.
    scope = engine.scope
    heads = scope.keys(_listed(engine, keys.SNAPSHOTS))
    named = scope.keys(_listed(engine, keys.MANIFESTS))
    appeared = _listed(engine, keys.CATALOG)
    config = engine.config(root)
    known = all_jobs(engine, root, appeared)
    found.checked = len(known)
    progress(f"{len(known)} clusters to check")
    settled = Settled()
    for step in _steps(known):
        some = settle(engine, _while_current(root, step))
        _tell_of_heads(engine, some, found)
        settled.failed |= some.failed
        settled.absent |= some.absent
        if engine.root is not root:
            return False
    for wanted in _steps(nameable(scope.of(config.manifests), settled.absent)):
        _tell_of_manifests(engine, publish_manifests(engine, wanted).moved, found)
    strays = [key for key in named if key not in config.manifests and not is_gateways_key(key)]
    for ending in _steps(dict.fromkeys(strays)):
        _tell_of_manifests(engine, end_manifests(engine, ending, root.generation), found)
    rosters = {datacenter_of(key) for key in named if is_gateways_key(key)}
    for datacenter in sorted(rosters | set(scope.keys(root.gateways))):
        roster = publish_roster(engine, datacenter)
        _tell_of_heads(engine, roster.settled, found)
        settled.failed |= roster.settled.failed
        _tell_of_manifests(engine, [roster.stands] if roster.changed and roster.stands else [], found)
    found.failed = settled.failures()
    if engine.root is not root:
        # The rosters may be of the newer config, and name what `root` does not have.
        return False
    found.retired += retire(engine, [key for key in heads if key not in known], root.generation)
    return True


_T = TypeVar("_T")


def _steps(things: Mapping[str, _T]) -> Iterator[dict[str, _T]]:
    """`things`, a bounded number at a time."""
    left = iter(things.items())
    while step := dict(islice(left, BATCH)):
        yield step


def _while_current(root: Root, jobs: Jobs) -> Callable[[Root], Jobs]:
    """`jobs` for as long as `root` is the config, then none."""
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
    """Every plan of `root` in scope, with those that mesh gateways have because a catalog (by its key) appeared."""
    jobs = dict(engine.config(root).plans)
    for source in appeared:
        where, service = datacenter_of(source), service_in(source)
        if is_gateways_key(source):
            extra = [remote_job(root, datacenter, where) for datacenter in root.gateways]
        else:
            extra = [service_job(root, where, service)] if service else []
        jobs |= {job.plan.key: job for job in extra if job is not None}
    return engine.scope.of(jobs)
