"""Reconcile: after it has run once, every head is what a fresh computation gives."""

from dataclasses import dataclass

from pointsman.chain.plan import gateways_key
from pointsman.model.names import ServiceName
from pointsman.pipeline.config import PlanEntry, Root
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.propagate import (
    Progress,
    manifest_key,
    propagate,
    publish_manifest,
    retire,
)
from pointsman.pipeline.rosters import publish_roster, remote_job, service_job
from pointsman.pipeline.settle import Settled, settle_all
from pointsman.store import keys


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a reconcile found to mend: heads that moved, manifests rewritten, heads retired. All zero: nothing."""

    checked: int
    moved: int
    manifests: int
    retired: int

    @property
    def repaired(self) -> int:
        """How many objects were not as they should have been."""
        return self.moved + self.manifests + self.retired


def reconcile(engine: Engine, progress: Progress = lambda text: None) -> Reconciled:
    """Finish what crashes left, recompute every cluster, and end what no plan has any more."""
    propagate(engine, progress)
    root = engine.root
    config = engine.config(root)
    appeared = [each.key.removeprefix(keys.CATALOG) for each in engine.store.list(keys.CATALOG)]
    known = set(all_jobs(engine, root, appeared))
    progress(f"{len(known)} clusters to check")
    settled: Settled = settle_all(engine, lambda current: all_jobs(engine, current, appeared))
    manifests = sum(publish_manifest(engine, manifest_key(key), each) for key, each in config.manifests.items())
    for datacenter in root.gateways:
        changed, more = publish_roster(engine, datacenter)
        settled += more
        manifests += changed
    listed = [each.key.removeprefix(keys.SNAPSHOTS) for each in engine.store.list(keys.SNAPSHOTS)]
    retired = [retire(engine, key, root.generation) for key in listed if key not in known]
    if settled.moved:
        engine.notify(settled.moved)
    return Reconciled(len(known), len(settled.moved), manifests, sum(each is not None for each in retired))


def all_jobs(engine: Engine, root: Root, appeared: list[str]) -> dict[str, PlanEntry]:
    """Every plan of `root`, with those that mesh gateways have because a catalog (by its key) appeared."""
    jobs = dict(engine.config(root).plans)
    for source in appeared:
        where, *rest = source.split("/")
        if source == gateways_key(where):
            extra = [remote_job(root, datacenter, where) for datacenter in root.gateways]
        else:
            extra = [service_job(root, where, ServiceName(*rest))]
        jobs |= {job.plan.key: job for job in extra if job is not None}
    return jobs
