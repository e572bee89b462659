"""What an Envoy is given before what, whichever way it fetches.

Clusters that come are given at once, with their endpoints. Listeners follow when the clusters that they may need can be
used. Clusters that end go last, when nothing uses the listeners any more that needed them
(https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations). What differs
between the ways is how it is known that an Envoy is so far: over gRPC it says so, everywhere else it is given time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self, TypeVar

AT_ONCE = float("-inf")
"""The moment of what nothing has to wait for."""

NEVER = float("inf")
"""The moment of what an Envoy has yet to say."""

C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Given:
    """How far an Envoy is with what it was given, or all Envoys that are given the same.

    From the moment `ready` on it can use the clusters that it has, from `taken` on it uses no listeners but those that
    it was given last. Both are seconds on one clock, from whenever.
    """

    ready: float = AT_ONCE
    taken: float = AT_ONCE

    @classmethod
    def by_time(cls, changed: float, settle: float, *, came: bool) -> Self:
        """How far an Envoy is that is known to follow within `settle` seconds, and that was wanted to have other
        listeners at the moment `changed`; with them came clusters, or not."""
        ready = changed + settle if came else changed
        return cls(ready, ready + settle)

    def may_listen(self, now: float) -> bool:
        """Whether it may be given other listeners."""
        return now >= self.ready

    def may_leave(self, now: float) -> bool:
        """Whether clusters may go that its present listeners do not use."""
        return now >= self.taken


@dataclass(frozen=True, slots=True)
class Step:
    """One step towards what is wanted: all clusters that are wanted, and the wanted listeners if it `relistens`.

    Unless it `leaves`, the clusters that are not wanted stay. After it the Envoy is as far as `given` says; `due` is
    when the next step may be taken, None where this was the last one.
    """

    relistens: bool
    leaves: bool
    given: Given
    due: float | None

    def clusters(self, has: Mapping[str, C], wanted: Mapping[str, C]) -> Mapping[str, C]:
        """The clusters after the step, by name, of those that it `has` and those that are `wanted`."""
        return wanted if self.leaves else {**has, **wanted}


def next_step(
    given: Given, now: float, *, came: bool, relisten: bool, leaving: bool, ready_in: float, taken_in: float
) -> Step:
    """The next step of an Envoy that is as far as `given`, and is given time.

    `came` says that clusters are wanted that it has not, `relisten` that it is to have other listeners, `leaving` that
    it has clusters which are not wanted. It can use new clusters `ready_in` seconds after it was given them, and has
    let go of old listeners `taken_in` seconds after it was given new ones.
    """
    ready = now + ready_in if came else given.ready
    relistens = relisten and now >= ready
    given = Given(ready, now + taken_in if relistens else given.taken)
    held = relisten and not relistens
    leaves = not held and given.may_leave(now)
    due = given.ready if held else given.taken if leaving and not leaves else None
    return Step(relistens, leaves, given, due)
