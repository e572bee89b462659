"""What is counted of a target: its instances after its filter, with their health and weight."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pointsman.chain.plan import PlanTarget
from pointsman.failover.health import health_and_weight
from pointsman.model.instance import Instance

Instances = Mapping[str, Sequence[Instance]]
"""The instances that count, by the keys of a plan's inputs; a missing key has none."""


class Measured(NamedTuple):
    """A target's instances after its filter, each with its health and weight. `healthy` is how many of them are."""

    target: PlanTarget
    instances: tuple[tuple[Instance, bool, int], ...]
    healthy: int

    @property
    def weight(self) -> int:
        """The weight of the healthy ones together."""
        return sum(weight for _, healthy, weight in self.instances if healthy)

    @property
    def heard(self) -> bool:
        """Whether a source that is not silent tells of one that is healthy."""
        return any(healthy and not instance.silent for instance, healthy, _ in self.instances)

    @property
    def silent(self) -> bool:
        """Whether all that is known of it, if anything, comes from silent sources."""
        return bool(self.instances) and all(instance.silent for instance, _, _ in self.instances)


def measure(target: PlanTarget, instances: Instances) -> Measured:
    """The instances of `target` that its subset selects, with health and weight."""
    if not target.filter and not target.only_passing:  # as most are
        counted = tuple([(each, *each.health) for each in instances.get(target.instances, ()) if each.counts])
        return Measured(target, counted, sum([healthy for _, healthy, _ in counted]))
    found = [instance for instance in instances.get(target.instances, ()) if instance.counts]
    if target.filter:
        # Imported here: most targets have no filter.
        from pointsman.failover.filters import predicate

        holds = predicate(target.filter)
        found = [instance for instance in found if holds(instance.raw)]
    counted = tuple([(each, *health_and_weight(each, target.only_passing)) for each in found])
    return Measured(target, counted, sum([healthy for _, healthy, _ in counted]))
