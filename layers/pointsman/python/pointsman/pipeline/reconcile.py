"""Reconcile: after it has run once, every head is what a fresh computation gives."""

from dataclasses import dataclass

from pointsman.chain.plan import gateways_key, is_gateways_key
from pointsman.model.names import ServiceName
from pointsman.pipeline.config import PlanEntry, Root
from pointsman.pipeline.engine import ATTEMPTS, Contended, Engine
from pointsman.pipeline.manifests import end_manifests, nameable, publish_manifests
from pointsman.pipeline.propagate import Progress, propagate, retire, write_config_head
from pointsman.pipeline.rosters import publish_roster, remote_job, service_job
from pointsman.pipeline.settle import Settled, settle
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

    Raises Contended when the config moves again and again meanwhile.
    """
    for _ in range(ATTEMPTS):
        _say_for_whom(engine)
        propagate(engine, progress)
        done = _reconcile(engine, engine.root, progress)
        if done is not None:
            return done
    raise Contended("the config changes faster than it can be reconciled; run it again")


def _say_for_whom(engine: Engine) -> None:
    """Note in the config head for which datacenters this engine computes, for those who are not told so."""
    head = engine.refresh()
    if head.etag is not None and head.scope != engine.scope_beside(head):
        # Who loses this race to another change of the head says it the next time.
        write_config_head(engine, head)


def _reconcile(engine: Engine, root: Root, progress: Progress) -> Reconciled | None:
    """Everything checked against `root`; None if the config moved on before anything could be named or ended."""
    # What may have to end is listed before the catalogs: whatever exists because of a catalog is then listed with it.
    scope = engine.scope
    heads = scope.keys(_listed(engine, keys.SNAPSHOTS))
    named = scope.keys(_listed(engine, keys.MANIFESTS))
    appeared = _listed(engine, keys.CATALOG)
    config = engine.config(root)
    known = set(all_jobs(engine, root, appeared))
    progress(f"{len(known)} clusters to check")
    settled: Settled = settle(engine, lambda current: all_jobs(engine, current, appeared))
    if engine.root is not root:
        return None
    manifests = publish_manifests(engine, nameable(scope.of(config.manifests), settled.absent)).moved
    rosters = {key.partition("/")[0] for key in named if is_gateways_key(key)}
    strays = [key for key in named if key not in config.manifests and not is_gateways_key(key)]
    manifests += end_manifests(engine, strays, root.generation)
    for datacenter in sorted(rosters | set(scope.keys(root.gateways))):
        roster = publish_roster(engine, datacenter)
        settled += roster.settled
        manifests += [roster.stands] if roster.changed and roster.stands else []
    retired = retire(engine, [key for key in heads if key not in known], root.generation)
    if settled.moved:
        engine.notify(settled.moved)
    if manifests:
        engine.notify(manifests)
    return Reconciled(len(known), len(settled.moved), len(manifests), retired, tuple(settled.failures()))


def _listed(engine: Engine, prefix: str) -> list[str]:
    return [each.key.removeprefix(prefix) for each in engine.store.list(prefix)]


def all_jobs(engine: Engine, root: Root, appeared: list[str]) -> dict[str, PlanEntry]:
    """Every plan of `root` in scope, with those that mesh gateways have because a catalog (by its key) appeared."""
    jobs = dict(engine.config(root).plans)
    for source in appeared:
        where, *rest = source.split("/")
        if source == gateways_key(where):
            extra = [remote_job(root, datacenter, where) for datacenter in root.gateways]
        else:
            extra = [service_job(root, where, ServiceName(*rest))]
        jobs |= {job.plan.key: job for job in extra if job is not None}
    return engine.scope.of(jobs)
