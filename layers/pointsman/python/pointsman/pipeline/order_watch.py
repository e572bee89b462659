"""Watches the orders of a store: ends those that are due, and settles what others began or ended."""

from dataclasses import dataclass

from pointsman.model.cause import by_order
from pointsman.model.orders import NO_ORDERS, Ended, Order, Orders
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.give import changed_scopes, settle_orders
from pointsman.pipeline.orders import end_due
from pointsman.pipeline.settle import Settled


@dataclass(frozen=True, slots=True)
class OrderNews:
    """The orders that began or changed since the last look, those that ended, and the heads that were settled."""

    begun: tuple[Order, ...]
    ended: tuple[Ended, ...]
    settled: Settled


class OrderWatch:
    """One watch of the orders of a store. For one thread.

    Whoever gives an order settles its heads. If that process died before it did, the next look does.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._seen: Orders | None = None

    @property
    def in_force(self) -> int:
        """How many orders were in force at the last look."""
        return 0 if self._seen is None else len(self._seen.in_force)

    @property
    def next_end(self) -> str:
        """When the next of them ends (RFC 3339), "" if none is in force."""
        return "" if self._seen is None else self._seen.next_end

    def now(self) -> str:
        """The time by the clock that decides whether an order is due."""
        return self._engine.now()

    def look(self) -> OrderNews | None:
        """End the orders that are due, and settle what began, changed or ended since the last look. Returns None if
        nothing did. The first look takes all orders in force for new.

        Raises StoreError; then the next look does it.
        """
        before, after = end_due(self._engine)
        seen = NO_ORDERS if self._seen is None else self._seen
        past = before.ended if self._seen is None else seen.ended
        scopes = changed_scopes(seen, after)
        known = {(each.id, each.revision) for each in seen}
        began = tuple(each for each in after if (each.id, each.revision) not in known)
        over = tuple(each for each in after.ended if each not in past)
        cause = by_order(began, [(each.order, each.by) for each in over])
        settled = settle_orders(self._engine, scopes, cause)
        self._seen = after
        return OrderNews(began, over, settled) if scopes else None
