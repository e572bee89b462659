"""Which mesh gateways of other datacenters are reached from one (docs/failover.md, "Paths that are cut").

Observers in a datacenter say so with the instances of a service: each stands for one gateway, at the address and port
where that is reached, as one observer sees it.
"""

from collections.abc import Iterable

from pointsman.failover.health import is_well
from pointsman.failover.measured import Instances
from pointsman.model.instance import Instance
from pointsman.model.keys import gateways_key, paths_key

Place = tuple[str, int]
"""The address and port of a gateway."""


def cut_from(datacenter: str, instances: Instances) -> frozenset[Place]:
    """The places of gateways that nobody in `datacenter` reaches.

    One observer that reaches a gateway is enough. Those that are silent count only where no other speaks of it, and one
    of which nobody speaks counts as reached.
    """
    said: dict[Place, list[Instance]] = {}
    for each in instances.get(paths_key(datacenter), ()):
        said.setdefault(each.local, []).append(each)
    return frozenset(place for place, of_it in said.items() if _is_cut(of_it))


def _is_cut(said: list[Instance]) -> bool:
    heard = [each for each in said if not each.silent] or said
    return all(each.critical for each in heard)


def is_open(way: Iterable[str], datacenter: str, instances: Instances, cut: frozenset[Place]) -> bool:
    """Whether of each of the mesh gateways on the `way` from `datacenter`, by the keys of their instances, one can be
    used. `cut` are the places that are not reached from there."""
    own = gateways_key(datacenter)
    return all(
        any(each.counts and is_usable(each, cut, is_own=key == own) for each in instances.get(key, ())) for key in way
    )


def is_usable(gateway: Instance, cut: frozenset[Place], *, is_own: bool) -> bool:
    """Whether a gateway is well and reached; those of one's own datacenter (`is_own`) always are."""
    return is_well(gateway) and (is_own or gateway.remote not in cut)
