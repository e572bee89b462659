"""Returns traffic to targets that wait (pipeline/waits.py), without a process that runs all the time.

Whoever notes that a cluster waits sends a wake, a message with a delay in the queue of events, unless one stands that
comes early enough: its moment is written beside what waits. Whoever gets it computes what is due, and sends the wake
for what waits longer. One that comes twice or late does no harm. If one is lost, `reconcile` computes what is due, and
sends another for the rest.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import orjson

from pointsman.model.sources.wake import DETAIL_TYPE
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.settle import Settled
from pointsman.pipeline.wait_watch import WaitWatch
from pointsman.pipeline.waits import Waits, swap_waits

LONGEST_DELAY_SECONDS: Final = 900
"""Seconds for which SQS keeps a message back; for what waits longer the wake is sent again."""

LATE_SECONDS: Final = 120
"""Seconds after which a wake that did not come counts as lost."""

Send = Callable[[str, int], None]
"""Sends a message with this body to the queue of events, to be delivered after so many seconds."""


def arm(engine: Engine, send: Send, *, taken: int = 0) -> bool:
    """Send a wake for what waits, unless one stands that comes early enough. Returns whether it did.

    `taken` is the moment of the wake that has just come, if one has: that is no other one to come. Raises StoreError.
    """
    sent = 0

    def change(waits: Waits) -> Waits:
        nonlocal sent
        now_ms, due = engine.now_ms(), waits.next
        standing = waits.wake if waits.wake != taken and waits.wake > now_ms - LATE_SECONDS * 1000 else 0
        if due is None:
            return waits if standing == waits.wake else replace(waits, wake=0)
        if standing and standing <= max(due, now_ms):
            return waits
        if not sent:  # once, though the write may be repeated; and before it, so that a crash loses none
            delay = min(max(math.ceil((due - now_ms) / 1000), 1), LONGEST_DELAY_SECONDS)
            sent = now_ms + delay * 1000
            send(orjson.dumps({"detail-type": DETAIL_TYPE, "detail": {"Moment": sent}}).decode(), delay)
        return replace(waits, wake=sent)

    swap_waits(engine, change)
    return bool(sent)


def woken(engine: Engine, send: Send, moment: int) -> Settled | None:
    """The wake of `moment` has come: compute again what has waited for long enough, and send the wake for what waits
    longer. Returns what was settled, None if nothing was due.

    Raises StoreError; then the message comes again.
    """
    done = WaitWatch(engine).look()
    arm(engine, send, taken=moment)
    return done
