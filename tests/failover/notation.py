"""Targets in a short notation: `1/3` has three instances, of which one is healthy. What else is known stands behind
commas: `silent`, `drained`, `pinned`, `restless`, and `gateways 1/2` for the well and all gateways there,
of which none is reached from dc1 if they are `cut`."""

from collections.abc import Mapping
from dataclasses import replace

from pointsman.chain.plan import PlanTarget, SidecarPlan
from pointsman.failover.rank import Facts
from pointsman.model.instance import Instance
from pointsman.model.keys import gateways_key, paths_key, service_key
from pointsman.model.names import ServiceName, Target
from pointsman.model.orders import Order, Subject, Verb
from pointsman.model.policy import NO_POLICY, Policy

UNTIL = "2026-11-27T14:00:00.000Z"
DRAIN = Order("d-1", Subject(Verb.DRAIN), "", UNTIL, "kernel", "alice@laptop")
PIN = Order("p-2", Subject(Verb.PIN), "", UNTIL, "a try", "alice@laptop")


def plan_of(datacenters: int, policy: Policy = NO_POLICY, *, tiers: bool = False) -> SidecarPlan:
    """Web in dc1, which fails over to dc2, dc3 and so on: through the local gateways, or in tiers."""
    targets = [
        PlanTarget(Target("web", "", "default", f"dc{i}"), mode="" if i == 1 or tiers else "local")
        for i in range(1, datacenters + 1)
    ]
    return SidecarPlan("dc1", "tcp", "", 5000, tuple(targets), policy=policy)


def known(*cells: str) -> tuple[Mapping[str, list[Instance]], Facts]:
    """The instances and the facts that `cells` describe, one for each datacenter."""
    words = [cell.split(", ") for cell in cells]
    instances: dict[str, list[Instance]] = {}
    for i, (counted, *more) in enumerate(words, 1):
        web = service_key(f"dc{i}", ServiceName("default", "web"))
        instances[web] = _instances(counted, silent="silent" in more)
        for each in more:
            if each.startswith("gateways "):
                gateways = _instances(each.removeprefix("gateways "), at=f"10.0.{i}.1")
                instances[gateways_key(f"dc{i}")] = gateways
                if "cut" in more:
                    instances[paths_key("dc1")] = [replace(gateway, critical=True) for gateway in gateways]
    drained, pinned = (
        dict.fromkeys(_with(word, words), order) for word, order in (("drained", DRAIN), ("pinned", PIN))
    )
    return instances, Facts(drained, pinned, restless=_with("restless", words))


def _with(word: str, words: list[list[str]]) -> frozenset[int]:
    return frozenset(i for i, each in enumerate(words) if word in each)


def _instances(counted: str, *, silent: bool = False, at: str = "10.0.0.1") -> list[Instance]:
    healthy, total = map(int, counted.split("/"))
    return [_instance(n, n < healthy, silent, at) for n in range(total)]


def _instance(number: int, healthy: bool, silent: bool, at: str) -> Instance:
    address = (at, 8000 + number)
    return Instance({}, True, not healthy, False, healthy, None, address, address, "agent", silent)
