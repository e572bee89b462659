"""Keeping a queue to hear from, for as long as a process lives."""

import hashlib
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from pointsman.aws.queue import BATCH, LONG_POLL_S, NoticeQueue, QueueError, QueueLost

_log = logging.getLogger(__name__)

RENEW_S = 600.0
"""Seconds between two signs of life of a queue; `pointsman.aws.sweep` waits for six of them."""

PAUSES = (1.0, 5.0, 15.0, 30.0, 60.0)
"""Seconds until what failed is tried again, the last one from then on."""

_DELETED_S = 60.0
"""Seconds after which what was taken is deleted, if not so many wait for that before as one request deletes: it would
come again after twice as long."""

_FAREWELL_S = 10.0
"""Seconds that ending waits for a queue that is just being made."""


def share(name: str) -> float:
    """From 0 to 1, the same for one `name` every time: spreads over a period what many do once in it."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) / 2**32


class Listener:
    """A thread that receives from a queue of its own, renews it, and makes another one when it is lost."""

    def __init__(
        self,
        make: Callable[[], NoticeQueue],
        take: Callable[[Sequence[str]], None],
        *,
        on_turn: Callable[[], None] = lambda: None,
        pauses: Sequence[float] = PAUSES,
        renew: float = RENEW_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`make` makes a queue or raises QueueError, `take` takes the texts of messages, `on_turn` is called when it
        begins or ceases to hear. Nothing is made before `start`.
        """
        self._make, self._take, self._on_turn = make, take, on_turn
        self._pauses, self._renew, self._clock = pauses, renew, clock
        self._stop = threading.Event()
        self._making = threading.Lock()
        self._queue: NoticeQueue | None = None
        self._failures = 0
        self._silent = True
        self._turns = 0
        self._reported = ""
        self._renewable = True
        self._taken: list[Any] = []
        self._taken_since = 0.0
        self._since = self._renewed = clock()
        self._thread = threading.Thread(target=self._run, name="notices", daemon=True)

    def start(self) -> None:
        """Begin. It comes back at once: a queue that cannot be made is told and tried again."""
        self._thread.start()

    @property
    def hearing(self) -> int:
        """0 while nothing is heard, else a number that is another one after every time that something may have been
        missed."""
        return 0 if self._silent else self._turns

    @property
    def problem(self) -> str:
        """Why nothing is heard; empty while it is, or before the first try is over."""
        return self._reported

    def settling(self, seconds: float) -> bool:
        """Whether the queue is filtered and has been for less than `seconds`."""
        queue = self._queue
        return queue is not None and queue.filtered and self._clock() - self._since < seconds

    def close(self) -> None:
        """Stop hearing, and remove queue and subscription."""
        self._stop.set()
        if not self._leave(_FAREWELL_S):
            _log.warning("a queue is still being made at the end; if it stays, reconcile sweeps it")
        if self._thread.is_alive():
            self._thread.join(1.0)

    def _leave(self, timeout: float = -1) -> bool:
        """Remove what there is of the queue; False if one was still being made after `timeout` seconds (-1: wait)."""
        if not self._making.acquire(timeout=timeout):
            return False
        try:
            queue, self._queue = self._queue, None
            if queue is not None:
                queue.remove()
        finally:
            self._making.release()
        return True

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._once()
                self._failures = 0
            except QueueError as error:
                if self._stop.is_set():
                    return
                if isinstance(error, QueueLost):
                    self._taken.clear()
                    self._leave()  # its subscription may be there yet
                self._deaf(str(error))
            except Exception as error:
                _log.exception("what was heard could not be taken")
                self._deaf(repr(error))

    def _once(self) -> None:
        """Have a queue, receive once, and renew it when that is due. Raises QueueError."""
        queue = self._queue or self._made()
        if queue is None:
            return
        # Whoever was deaf wants to know soon that it is not any more.
        messages = queue.receive(1 if self._silent else LONG_POLL_S)
        self._hear()
        if messages:
            self._take([each["Body"] for each in messages])
            self._taken_since = self._taken_since if self._taken else self._clock()
            self._taken += messages
        if len(self._taken) >= BATCH or (self._taken and self._clock() - self._taken_since >= _DELETED_S):
            self._delete(queue)
        if self._clock() - self._renewed >= self._renew:
            self._renewed = self._clock()
            self._show_life(queue)

    def _delete(self, queue: NoticeQueue) -> None:
        taken, self._taken = self._taken[:BATCH], self._taken[BATCH:]
        self._taken_since = self._clock()
        try:
            queue.delete(taken)
        except QueueLost:
            raise
        except QueueError as error:
            _log.info("%s", error)  # they come again, and say nothing new then

    def _show_life(self, queue: NoticeQueue) -> None:
        with self._making:
            if self._stop.is_set():
                return
            try:
                subscribed = queue.renew()
            except QueueLost:
                raise
            except QueueError as error:
                if self._renewable:
                    _log.warning("%s; unless it can be, reconcile takes the queue for nobody's in an hour", error)
                self._renewable = False
                return
        self._renewable = True
        if not subscribed:
            _log.warning("the queue %s was not subscribed any more, and is again", queue.name)
            self._begin()

    def _made(self) -> NoticeQueue | None:
        """A new queue, heard from the moment that it is subscribed; None at the end."""
        with self._making:
            if self._stop.is_set():
                return None
            queue = self._make()
            if self._stop.is_set():
                queue.remove()
                return None
            self._queue = queue
            self._since = self._clock()
            # Not all of a fleet that was started at once renew at once.
            self._renewed = self._since - self._renew * share(queue.name)
        self._hear()
        return queue

    def _hear(self) -> None:
        if self._silent:
            if self._reported:
                _log.warning("notices are heard again")
            self._reported = ""
            self._begin()

    def _begin(self) -> None:
        self._turns += 1
        self._silent = False
        self._on_turn()

    def _deaf(self, why: str) -> None:
        if not self._reported:
            _log.warning("no notices are heard, so the store is asked all the time, which costs more: %s", why)
        self._reported = why
        self._silent = True
        self._on_turn()
        self._stop.wait(self._pauses[min(self._failures, len(self._pauses) - 1)] * random.uniform(0.5, 1.5))
        self._failures += 1
