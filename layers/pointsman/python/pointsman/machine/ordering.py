"""Ends the orders of operators when they are due, in a thread of its own that survives every failure."""

import threading
from collections.abc import Callable
from datetime import datetime

from pointsman.machine.turns import Turns
from pointsman.model.orders import Ended, order_line
from pointsman.model.words import counted
from pointsman.pipeline.order_watch import OrderNews, OrderWatch

LOOK_SECONDS = 5.0
"""The most seconds between two looks at the orders: what other processes wrote is noticed then."""

_SHORTEST_S = 0.05


class Ordering:
    """Looks at the orders again and again, from `start` to `stop`, and when the next one is due. `report` gets a line
    for each that begins, changes or ends."""

    def __init__(self, watch: OrderWatch, report: Callable[[str], None]) -> None:
        self._watch, self._report = watch, report
        self._stop = threading.Event()
        self._turns = Turns("orders", self._stop, self._run)

    def start(self) -> None:
        """Start the thread, with a look at once."""
        self._turns.start()

    def stop(self) -> None:
        """Stop after the current look, which gets five seconds."""
        self._stop.set()
        self._turns.join(5.0)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._turns.alive

    @property
    def problem(self) -> str:
        """Why the last look failed; "" if it did not."""
        return self._turns.problem

    @property
    def in_force(self) -> int:
        """How many orders are in force."""
        return self._watch.in_force

    @property
    def pause_s(self) -> float:
        """Seconds until the next look."""
        if not self._watch.next_end:
            return LOOK_SECONDS
        left = datetime.fromisoformat(self._watch.next_end) - datetime.fromisoformat(self._watch.now())
        return min(max(left.total_seconds(), _SHORTEST_S), LOOK_SECONDS)

    def look(self) -> None:
        """Look at the orders once. Raises StoreError."""
        if (news := self._watch.look()) is not None:
            for line in lines(news):
                self._report(line)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.look()
            self._stop.wait(self.pause_s)


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
