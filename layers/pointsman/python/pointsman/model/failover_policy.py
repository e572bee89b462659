"""`failover-policy`: how a service fails over beyond Consul's rule. Consul does not know this entry."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator

from pointsman.model.complaints import shown
from pointsman.model.duration import Nanoseconds
from pointsman.model.names import DEFAULT_NAMESPACE
from pointsman.model.owner import Owned
from pointsman.model.policy import Gateways, OnSwitch, Policy
from pointsman.model.resolver import Complaint
from pointsman.model.shape import InNamespace, StringMap

FOR_ALL: Final = "global"
"""The name of the entry for all services without one of their own."""

MOST_HEALTHY: Final = 100_000
"""The greatest threshold: no catalog holds more instances."""

LONGEST_FAILBACK_MS: Final = 86_400_000
"""The longest `FailbackAfter`, a day: traffic that waits for longer is forgotten where it is."""

_PERCENT = re.compile(r"0*([1-9][0-9]?|100)%\Z")
_WHOLE = re.compile(r"[0-9]{1,9}\Z")


def _threshold(value: Any) -> int | str:
    """A number of instances as an int, a percentage as `50%`."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str):
        text = value.strip()
        if percent := _PERCENT.match(text):
            return f"{percent[1]}%"
        value = int(text) if _WHOLE.match(text) else value
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_HEALTHY:
        return value
    what = f'must be a number of instances, 1 to {MOST_HEALTHY}, or a whole percentage of them, "1%" to "100%"'
    raise ValueError(f"{what}, not {shown(value)}")


class FailoverPolicy(Owned):
    """How one service fails over, or, named `global`, every service without such an entry of its own."""

    kind: Literal["failover-policy"]
    name: str
    namespace: InNamespace = DEFAULT_NAMESPACE
    healthy_threshold: Annotated[int | str, BeforeValidator(_threshold)] = 1
    failback_after: Nanoseconds = 0
    gateways: Gateways = "avoid"
    on_switch: OnSwitch = "keep"
    meta: StringMap = {}

    @property
    def policy(self) -> Policy:
        """What it comes to; durations are rounded up to milliseconds."""
        threshold = self.healthy_threshold
        return Policy(
            threshold=threshold if isinstance(threshold, int) else int(threshold.removesuffix("%")),
            percent=isinstance(threshold, str),
            failback_after_ms=-(-self.failback_after // 1_000_000),
            gateways=self.gateways,
            on_switch=self.on_switch,
        )

    def check(self) -> Iterator[Complaint]:
        """Every rule of the entry that needs no other entry."""
        if self.name == FOR_ALL and self.namespace != DEFAULT_NAMESPACE:
            yield "Namespace", f'must be "{DEFAULT_NAMESPACE}": the entry named "{FOR_ALL}" is for all namespaces'
        if self.failback_after < 0:
            yield "FailbackAfter", "must not be negative"
        if self.policy.failback_after_ms > LONGEST_FAILBACK_MS:
            yield "FailbackAfter", f"must be at most {LONGEST_FAILBACK_MS // 3_600_000}h"

    def labels(self) -> Iterator[Complaint]:
        """None: no name in it refers to anything."""
        return iter(())
