"""Ends the orders of operators when they are due, in a thread of its own that survives every failure."""

from collections.abc import Callable
from datetime import datetime

from pointsman.machine.looking import Looking, until
from pointsman.model.orders import Ended, order_line
from pointsman.model.words import counted
from pointsman.pipeline.order_watch import OrderNews, OrderWatch


class Ordering(Looking):
    """Looks at the orders, also when the next one is due. `report` gets a line for each that begins, changes or
    ends."""

    def __init__(self, watch: OrderWatch, report: Callable[[str], None]) -> None:
        super().__init__("orders")
        self._watch, self._report = watch, report

    @property
    def in_force(self) -> int:
        """How many orders are in force."""
        return self._watch.in_force

    @property
    def pause_s(self) -> float:
        """Seconds until the next look."""
        if not self._watch.next_end:
            return until(None)
        left = datetime.fromisoformat(self._watch.next_end) - datetime.fromisoformat(self._watch.now())
        return until(left.total_seconds())

    def look(self) -> None:
        """Look at the orders once. Raises StoreError."""
        if (news := self._watch.look()) is not None:
            for line in lines(news):
                self._report(line)


def ended_line(each: Ended) -> str:
    """A line for an order that ended."""
    how = f"ended by {each.by}" if each.by else "its time is up"
    return f"order ended: {each.order.id}: {each.order.subject} ({each.order.reason}), {how}"


def lines(news: OrderNews) -> list[str]:
    """A line for each order that began, changed or ended, and for each cluster that cannot be computed."""
    out = [f"order in force: {order_line(each)}" for each in news.begun]
    out += map(ended_line, news.ended)
    if out:
        out[-1] += f"; {counted(len(news.settled.moved), 'cluster')} moved"
    return out + [f"cannot be computed and stays unchanged: {each}" for each in news.settled.failures()]
