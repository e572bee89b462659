"""The order in which an Envoy gets resources, the same for every way to fetch.

New clusters are sent at once, with their endpoints. Listeners follow when the clusters that they may need are usable.
So does a listener that changes because another target serves (`delivery/drains.py`): what connects again after that
must find the new endpoints.
Removed clusters go last, when the listeners that needed them are no longer used
(https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations). The ways differ
in how an Envoy's progress is known: over gRPC Envoy reports it, elsewhere it gets a fixed time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self, TypeVar

AT_ONCE = float("-inf")
"""The time of something that need not wait."""

NEVER = float("inf")
"""The time of something that Envoy has yet to acknowledge."""

C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Given:
    """How far an Envoy, or all Envoys with the same resources, has applied them.

    From `ready` on it can use its clusters; from `taken` on it uses only the listeners sent last. Both are in seconds
    on one clock with any zero.
    """

    ready: float = AT_ONCE
    taken: float = AT_ONCE

    @classmethod
    def by_time(cls, changed: float, settle: float, *, came: bool) -> Self:
        """The progress of an Envoy that applies everything within `settle` seconds. Its wanted listeners changed at
        `changed`; `came` is whether clusters came with them."""
        ready = changed + settle if came else changed
        return cls(ready, ready + settle)

    def may_listen(self, now: float) -> bool:
        """Whether other listeners may be sent at `now`."""
        return now >= self.ready

    def may_leave(self, now: float) -> bool:
        """Whether clusters that the present listeners do not use may be removed at `now`."""
        return now >= self.taken


@dataclass(frozen=True, slots=True)
class Step:
    """One step towards the wanted state: all wanted clusters, and the wanted listeners if it `relistens`.

    Unwanted clusters stay unless it `leaves`. `given` is the Envoy's progress after the step; `due` is when the next
    step may be taken, None if this is the last one.
    """

    relistens: bool
    leaves: bool
    given: Given
    due: float | None

    def clusters(self, has: Mapping[str, C], wanted: Mapping[str, C]) -> Mapping[str, C]:
        """The clusters after the step, by name, from those that it `has` and those that are `wanted`."""
        return wanted if self.leaves else {**has, **wanted}


def next_step(
    given: Given, now: float, *, came: bool, relisten: bool, leaving: bool, ready_in: float, taken_in: float
) -> Step:
    """The next step of an Envoy whose progress is `given`, known by time alone.

    `came` is whether its listeners have to wait for something in this step: clusters that are new to it, or another
    target of a cluster that drains. `relisten` is whether its listeners change, `leaving` whether it has unwanted
    clusters. It can use what came `ready_in` seconds after it is sent, and has dropped old listeners `taken_in` seconds
    after new ones are sent.
    """
    ready = now + ready_in if came else given.ready
    relistens = relisten and now >= ready
    given = Given(ready, now + taken_in if relistens else given.taken)
    held = relisten and not relistens
    leaves = not held and given.may_leave(now)
    due = given.ready if held else given.taken if leaving and not leaves else None
    return Step(relistens, leaves, given, due)
