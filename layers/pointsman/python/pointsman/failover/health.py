"""Health and weight of one instance (docs/semantics.md, section 3)."""

from pointsman.model.instance import Instance

MAX_WEIGHT = 128


def is_well(gateway: Instance) -> bool:
    """Whether a mesh gateway is healthy by its own checks and weights."""
    return health_and_weight(gateway, only_passing=False)[0]


def health_and_weight(instance: Instance, only_passing: bool) -> tuple[bool, int]:
    """Whether `instance` is healthy, and its load balancing weight, 1 to 128."""
    healthy = not instance.critical and (instance.all_passing or not only_passing)
    if instance.weights is None:
        return healthy, 1
    weight = instance.weights[1] if instance.warning else instance.weights[0]
    if weight < 1:
        return False, 1
    return healthy, min(weight, MAX_WEIGHT)
