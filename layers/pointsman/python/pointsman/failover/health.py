"""Health and weight of one instance (docs/semantics.md, section 3)."""

from pointsman.model.instance import Instance


def is_well(gateway: Instance) -> bool:
    """Whether a mesh gateway is healthy by its own checks and weights."""
    return gateway.health[0]


def health_and_weight(instance: Instance, only_passing: bool) -> tuple[bool, int]:
    """Whether `instance` is healthy, for who takes `only_passing` ones or all that are not critical, and its weight."""
    healthy, weight = instance.health
    return healthy and (instance.all_passing or not only_passing), weight
