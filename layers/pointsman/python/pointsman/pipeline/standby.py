"""What each target of a cluster would bring if it served: an Envoy that gets one target's endpoints at a time does not
have the others'."""

from collections.abc import Iterable

from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from pointsman.chain.plan import SidecarPlan
from pointsman.failover.measured import Instances
from pointsman.failover.selection import select
from pointsman.pipeline.config import Config
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.inputs import InputReadings
from pointsman.store import keys
from pointsman.xds.assignment import avoided, place_of, sidecar_assignment


def read_standby(
    engine: Engine, config: Config, plan_keys: Iterable[str]
) -> dict[str, tuple[ClusterLoadAssignment, ...]]:
    """By cluster id, the endpoints that the clusters of these plans would have with each of their targets, in the order
    of the plan; without those that get all of them. Raises StoreError."""
    entries = [config.plans.get(each) for each in plan_keys]
    plans = [each.plan for each in entries if each is not None]
    measured = [each for each in plans if isinstance(each, SidecarPlan) and each.measured]
    listed = {keys.catalog(source) for plan in measured for source in plan.inputs()}
    listed |= {keys.silence(datacenter) for plan in measured for datacenter in plan.silences()}
    read = InputReadings(engine, engine.store.get_many(sorted(listed)))
    return {
        plan.cluster_id: _assignments(
            plan, read.of(plan.inputs(), plan.silences()).instances(), config.root.trust_domain
        )
        for plan in measured
    }


def _assignments(plan: SidecarPlan, instances: Instances, trust_domain: str) -> tuple[ClusterLoadAssignment, ...]:
    chosen = select(plan, instances)
    out = []
    for target in range(len(plan.targets)):
        selection = chosen._replace(active=target, tiers=(target,))
        assignment = sidecar_assignment(plan, selection, instances, trust_domain)
        ill = {(address, port) for _, address, port in avoided(plan, selection, instances)}
        (group,) = assignment.endpoints
        kept = [each for each in group.lb_endpoints if place_of(each) not in ill]
        del group.lb_endpoints[:]
        group.lb_endpoints.extend(kept)
        out.append(assignment)
    return tuple(out)
