"""The waits of a store: which clusters have to be computed again at which moment, because a target that waits for
traffic to return will have waited for long enough (docs/architecture.md, "Waits")."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from pointsman.model.stored import Damaged, Kind, NewerSchema, check_kind, number, numbers, parse, tagged
from pointsman.pipeline.engine import ATTEMPTS, Contended, Engine
from pointsman.pipeline.objects import number_beyond, seal
from pointsman.store import keys
from pointsman.store.protocol import Stored, StoreError, Write

MOST_WAITS: Final = 1_000
"""Clusters that are named with a moment of their own."""

EVERYTHING: Final = ""
"""In place of a plan's key: all clusters whose choice depends on the time, as more than MOST_WAITS wait."""


NO_WAITS: Final[Mapping[str, int]] = {}


@dataclass(frozen=True, slots=True)
class Waits:
    """By the key of a plan, when its cluster has to be computed again (milliseconds since 1970).

    `wake` is the moment of the message that was sent last to wake a function on AWS, 0 if none was.
    """

    due: Mapping[str, int] = field(default_factory=dict)
    wake: int = 0

    @property
    def next(self) -> int | None:
        """The first moment, None if nothing waits."""
        return min(self.due.values(), default=None)

    def ready(self, now_ms: int) -> dict[str, int]:
        """What has to be computed again by now."""
        return {key: due for key, due in self.due.items() if due <= now_ms}


@dataclass(frozen=True, slots=True)
class WaitsReading:
    """The waits as they were read, with the `etag` and `serial` to swap them."""

    waits: Waits
    serial: int
    etag: str | None


def read_waits_object(stored: Stored | None, now: str) -> WaitsReading:
    """The waits in `stored`. Damaged ones count as lost: what waits is noted again by the next reconcile.

    Raises StoreError if a newer Pointsman wrote them.
    """
    if stored is None:
        return WaitsReading(Waits(), 0, None)
    try:
        body = check_kind(parse(stored.data), Kind.WAITS)
        return WaitsReading(Waits(numbers(body, "due"), number(body, "wake")), number(body, "serial"), stored.etag)
    except Damaged:
        return WaitsReading(Waits(), number_beyond(now), stored.etag)
    except NewerSchema as error:
        raise StoreError(f"{keys.WAITS} cannot be read: {error}") from None


def swap_waits(engine: Engine, change: Callable[[Waits], Waits]) -> Waits:
    """The waits after `change`, which returns the same object if there is nothing to change.

    Raises Contended if races are lost again and again, and StoreError.
    """
    for _ in range(ATTEMPTS):
        reading = read_waits_object(engine.store.get(keys.WAITS), engine.now())
        after = change(reading.waits)
        if after is reading.waits:
            return after
        body = tagged(Kind.WAITS, {"due": dict(sorted(after.due.items())), "wake": after.wake})
        data = seal(body, reading.serial + 1, engine.nonce())
        if engine.store.put(Write(keys.WAITS, data, reading.etag)).etag is not None:
            return after
    raise Contended("what waits is contended; run it again")


def note_waits(engine: Engine, due: Mapping[str, int], done: Mapping[str, int] = NO_WAITS) -> Waits | None:
    """Note when the clusters of these plans have to be computed again, before their cause is acknowledged. What waited
    until these moments and is `done` is forgotten. Returns what waits then, None if there is nothing to note.

    Where an earlier moment stands nothing is written: whoever computes the cluster then finds the later one.
    """
    if not due and not done:
        return None
    now_ms = engine.now_ms()

    def change(waits: Waits) -> Waits:
        left = {key: moment for key, moment in waits.due.items() if done.get(key) != moment}

        def stands(key: str, moment: int) -> bool:
            known = left.get(key, left.get(EVERYTHING))
            return known is not None and now_ms < known <= moment

        after = left | {key: moment for key, moment in due.items() if not stands(key, moment)}
        if len(after) > MOST_WAITS:
            after = {EVERYTHING: min(after.values())}
        return waits if after == waits.due else Waits(after, waits.wake)

    after = swap_waits(engine, change)
    if due:
        engine.noted()
    return after
