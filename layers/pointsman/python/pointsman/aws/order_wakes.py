"""Ends orders in time without a process that runs all the time.

`reconcile` sends a wake for the next order that ends. The function that gets it ends the orders that are due, and sends
the wake for the next one. Every `reconcile` ends what is due as well.
"""

from dataclasses import replace
from datetime import datetime

from pointsman.aws.delays import Arming, Send
from pointsman.model.orders import Orders
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.give import EndedOrders, end_orders_due
from pointsman.pipeline.orders import swap_orders


def arm(engine: Engine, send: Send, *, taken: int = 0) -> bool:
    """Send a wake for the next order that ends, unless one stands that comes early enough. Returns whether it did.

    `taken` is the moment of the wake that has just come, if one has. Raises StoreError.
    """
    arming = Arming(send, "Orders", taken)

    def change(orders: Orders) -> Orders:
        due = _milliseconds(orders.next_end) if orders.next_end else None
        wake = arming.wake(orders.wake, due, _milliseconds(engine.now()))
        return orders if wake == orders.wake else replace(orders, wake=wake)

    swap_orders(engine, change)
    return bool(arming.sent)


def woken(engine: Engine, send: Send, moment: int) -> EndedOrders:
    """The wake of `moment` has come: end the orders that are due, and send the wake for the next one.

    Raises StoreError; then the message comes again.
    """
    done = end_orders_due(engine)
    arm(engine, send, taken=moment)
    return done


def _milliseconds(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1000)
