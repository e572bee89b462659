"""Ends orders in time without a process that runs all the time.

`reconcile` sends a wake, a message with a delay in the queue of events, for the next order that ends, unless one stands
that comes early enough: its moment is written beside the orders. Whoever gets it ends the orders that are due, and
sends the wake for the next one. One that comes twice or late does no harm, and every `reconcile` ends what is due as
well.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

import orjson

from pointsman.model.orders import Orders
from pointsman.model.sources.wake import DETAIL_TYPE
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.give import EndedOrders, end_orders_due
from pointsman.pipeline.orders import swap_orders

LONGEST_DELAY_SECONDS: Final = 900
"""Seconds for which SQS keeps a message back; for an order that ends later the wake is sent again."""

LATE_SECONDS: Final = 120
"""Seconds after which a wake that did not come counts as lost."""

Send = Callable[[str, int], None]
"""Sends a message with this body to the queue of events, to be delivered after so many seconds."""


def arm(engine: Engine, send: Send, *, taken: int = 0) -> bool:
    """Send a wake for the next order that ends, unless one stands that comes early enough. Returns whether it did.

    `taken` is the moment of the wake that has just come, if one has: that is no other one to come. Raises StoreError.
    """
    sent = 0

    def change(orders: Orders) -> Orders:
        nonlocal sent
        now_ms = _milliseconds(engine.now())
        standing = orders.wake if orders.wake != taken and orders.wake > now_ms - LATE_SECONDS * 1000 else 0
        if not orders.next_end:
            return orders if standing == orders.wake else replace(orders, wake=0)
        due = _milliseconds(orders.next_end)
        if standing and standing <= max(due, now_ms):
            return orders
        if not sent:  # once, though the write may be repeated; and before it, so that a crash loses none
            delay = min(max(math.ceil((due - now_ms) / 1000), 1), LONGEST_DELAY_SECONDS)
            sent = now_ms + delay * 1000
            send(orjson.dumps({"detail-type": DETAIL_TYPE, "detail": {"Orders": sent}}).decode(), delay)
        return replace(orders, wake=sent)

    swap_orders(engine, change)
    return bool(sent)


def woken(engine: Engine, send: Send, moment: int) -> EndedOrders:
    """The wake of `moment` has come: end the orders that are due, and send the wake for the next one.

    Raises StoreError; then the message comes again.
    """
    done = end_orders_due(engine)
    arm(engine, send, taken=moment)
    return done


def _milliseconds(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1000)
