"""The orders of operators in a store: read, and changed by compare-and-swap."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from pointsman.failover.ordered import Frozen
from pointsman.model.orders import Order, Orders, orders_json, over, read_frozen, read_orders
from pointsman.model.stored import Damaged, Kind, NewerSchema, number, parse
from pointsman.pipeline.engine import ATTEMPTS, Contended, Engine
from pointsman.pipeline.objects import number_beyond, seal
from pointsman.store import keys
from pointsman.store.protocol import Stored, StoreError, Write

_log = logging.getLogger(__name__)


class DamagedOrders(StoreError):
    """The object with the orders, of this `etag`, is damaged. Whoever ends orders that are due writes it anew, without
    any."""

    def __init__(self, etag: str, reason: Damaged) -> None:
        super().__init__(f"the orders cannot be read: {reason}")
        self.etag = etag


@dataclass(frozen=True, slots=True)
class OrdersReading:
    """The orders as they were read, with the `etag` and `serial` to swap them."""

    orders: Orders
    serial: int
    etag: str | None


def read_orders_object(stored: Stored | None) -> OrdersReading:
    """The orders in `stored`, none if it is None. Raises DamagedOrders, or StoreError if a newer Pointsman wrote it."""
    if stored is None:
        return OrdersReading(Orders(), 0, None)
    try:
        return OrdersReading(*_parsed(stored.data), stored.etag)
    except Damaged as error:
        raise DamagedOrders(stored.etag, error) from None
    except NewerSchema as error:
        raise StoreError(f"the orders cannot be read: {error}") from None


@lru_cache(maxsize=2)
def _parsed(data: bytes) -> tuple[Orders, int]:
    """The orders in `data`, and their serial. They change seldom, and every event reads them."""
    body = parse(data)
    return read_orders(body), number(body, "serial")


def swap_orders(engine: Engine, change: Callable[[Orders], Orders]) -> tuple[Orders, Orders]:
    """The orders before and after `change`, which returns the same object if there is nothing to change.

    `change` is called in each attempt, and may raise. Raises Contended if races are lost again and again, and
    StoreError if the orders cannot be read.
    """
    for _ in range(ATTEMPTS):
        reading = read_orders_object(engine.store.get(keys.ORDERS))
        after = change(reading.orders)
        if after is reading.orders or _put(engine, after, reading.serial, reading.etag):
            return reading.orders, after
    raise Contended("the orders are contended; run it again")


def _put(engine: Engine, orders: Orders, serial: int, etag: str | None) -> bool:
    data = seal(orders_json(orders), serial + 1, engine.nonce())
    return engine.store.put(Write(keys.ORDERS, data, etag)).etag is not None


def end_due(engine: Engine) -> tuple[Orders, Orders]:
    """Write that the orders whose end has come are over. Returns the orders before and after; heads are not settled.

    If the orders are damaged, all of them count as lost: none is in force then, and every plan counts as concerned.
    """

    def change(orders: Orders) -> Orders:
        return over(orders, engine.now())

    try:
        return swap_orders(engine, change)
    except DamagedOrders as error:
        stored, beyond = engine.store.get(keys.ORDERS), number_beyond(engine.now())
        if stored is not None and stored.etag == error.etag:
            _put(engine, Orders(beyond, floor=beyond), beyond, stored.etag)
            _log.warning("%s; none is in force any more: give them again", error)
        return swap_orders(engine, change)


def frozen_by(engine: Engine, orders: Iterable[Order]) -> Frozen:
    """The lists of pins that `orders` refer to. Raises StoreError if one is missing or damaged."""
    return {
        order.frozen: engine.objects.made(order.frozen, Kind.FROZEN, "pins", read_frozen)
        for order in orders
        if order.frozen
    }
