"""Ends orders in time without a process that runs all the time.

Every `reconcile` sends a wake, a message with a delay in the queue of events, for the next order that ends before SQS's
longest delay is over. Whoever gets it ends the orders that are due. One that comes twice, late or for an order that
ended before finds nothing to do, and every `reconcile` ends what is due as well.
"""

import math
from collections.abc import Callable
from datetime import datetime
from typing import Final

import orjson

from pointsman.model.sources.wake import DETAIL_TYPE
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.orders import read_orders_object
from pointsman.store import keys

LONGEST_DELAY_SECONDS: Final = 900
"""Seconds for which SQS keeps a message back; of an order that ends later a later `reconcile` takes care."""

Send = Callable[[str, int], None]
"""Sends a message with this body to the queue of events, to be delivered after so many seconds."""


def send_order_wake(engine: Engine, send: Send) -> bool:
    """Send a wake for the next order that ends, if that is soon enough. Returns whether it did. Raises StoreError."""
    end = read_orders_object(engine.store.get(keys.ORDERS)).orders.next_end
    if not end:
        return False
    left = datetime.fromisoformat(end) - datetime.fromisoformat(engine.now())
    delay = max(math.ceil(left.total_seconds()), 1)
    if delay > LONGEST_DELAY_SECONDS:
        return False
    send(orjson.dumps({"detail-type": DETAIL_TYPE, "detail": {"Orders": end}}).decode(), delay)
    return True
