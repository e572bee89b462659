"""How a service fails over beyond Consul's rule: what a config entry `failover-policy` comes to."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

Gateways = Literal["avoid", "require", "ignore"]
OnSwitch = Literal["keep", "drain"]


@dataclass(frozen=True, slots=True)
class Policy:
    """The fields of a `failover-policy`; by default nothing is other than without one.

    `threshold` is how many instances of a target have to be healthy, with `percent` how many in a hundred of them.
    `failback_after_ms` is for how long a target has to be healthy before traffic returns to it. `gateways` is what
    the health of gateways does: ill ones are avoided; besides, a target needs a way through well ones; or nothing.
    `on_switch` is whether connections stay where they are when another target serves.
    """

    threshold: int = 1
    percent: bool = False
    failback_after_ms: int = 0
    gateways: Gateways = "avoid"
    on_switch: OnSwitch = "keep"

    def needed(self, total: int) -> int:
        """How many of `total` instances have to be healthy, at least one."""
        return max(1, -(-self.threshold * total // 100)) if self.percent else self.threshold


NO_POLICY = Policy()
"""That of a service without an entry."""


def policy_json(policy: Policy) -> dict[str, Any]:
    """`policy` as plain JSON values, without what is at its default; `read_policy` is its inverse."""
    found = {each.name: getattr(policy, each.name) for each in fields(Policy)}
    return {name: value for name, value in found.items() if value != getattr(NO_POLICY, name)}


def read_policy(body: Mapping[str, Any]) -> Policy:
    """The policy that `policy_json` wrote."""
    return Policy(**body) if body else NO_POLICY
