"""Keeps a notice queue for as long as a process lives, and receives from it."""

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
"""Seconds between two renewals of a queue; `pointsman.aws.sweep` waits for six of them."""

PAUSES = (1.0, 5.0, 15.0, 30.0, 60.0)
"""Seconds before a retry after each failure in a row; the last one repeats."""

_DELETED_S = 60.0
"""Seconds after which received messages are deleted, unless enough for one request are waiting earlier. After twice as
long they would be delivered again."""

_FAREWELL_S = 10.0
"""Seconds that `close` waits for a queue that is being created."""


def share(name: str) -> float:
    """A number from 0 to 1, always the same for one `name`. It spreads what many processes do once per period."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) / 2**32


class Listener:
    """A thread that receives from its own queue, renews it, and creates another one if it is lost."""

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
        """`make` creates a queue or raises QueueError; `take` is called with the texts of messages, `on_turn` when
        receiving starts or stops working. Nothing is created before `start`."""
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
        """Start the thread and return at once. If the queue cannot be created, that is logged and tried again."""
        self._thread.start()

    @property
    def hearing(self) -> int:
        """0 while nothing is received; otherwise a number that changes whenever messages may have been missed."""
        return 0 if self._silent else self._turns

    @property
    def problem(self) -> str:
        """Why nothing is received; "" while it is, or before the first attempt has ended."""
        return self._reported

    def settling(self, seconds: float) -> bool:
        """Whether the queue has a filter that is newer than `seconds`."""
        queue = self._queue
        return queue is not None and queue.filtered and self._clock() - self._since < seconds

    def close(self) -> None:
        """Stop receiving, and remove the queue and its subscription."""
        self._stop.set()
        if not self._leave(_FAREWELL_S):
            _log.warning("a queue is still being created at the end; if it stays, reconcile sweeps it")
        if self._thread.is_alive():
            self._thread.join(1.0)

    def _leave(self, timeout: float = -1) -> bool:
        """Remove the queue, as far as it exists. Returns False if it was still being created after `timeout` seconds
        (-1: wait without limit)."""
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
                    self._leave()  # its subscription may still exist
                self._deaf(str(error))
            except Exception as error:
                _log.exception("received notices could not be processed")
                self._deaf(repr(error))

    def _once(self) -> None:
        """Create a queue if there is none, receive once, and renew it if due. Raises QueueError."""
        queue = self._queue or self._made()
        if queue is None:
            return
        # A short poll first, so that a process that was cut off soon knows that it receives again.
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
            _log.info("%s", error)  # they are delivered again, and change nothing then

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
                    _log.warning("%s; if that continues for an hour, reconcile removes the queue as unused", error)
                self._renewable = False
                return
        self._renewable = True
        if not subscribed:
            _log.warning("the queue %s had lost its subscription; subscribed again", queue.name)
            self._begin()

    def _made(self) -> NoticeQueue | None:
        """A new queue, which receives from the moment of its subscription; None if the listener is closed."""
        with self._making:
            if self._stop.is_set():
                return None
            queue = self._make()
            if self._stop.is_set():
                queue.remove()
                return None
            self._queue = queue
            self._since = self._clock()
            # Spread, so that the processes of a fleet that started together do not all renew together.
            self._renewed = self._since - self._renew * share(queue.name)
        self._hear()
        return queue

    def _hear(self) -> None:
        if self._silent:
            if self._reported:
                _log.warning("notices arrive again")
            self._reported = ""
            self._begin()

    def _begin(self) -> None:
        self._turns += 1
        self._silent = False
        self._on_turn()

    def _deaf(self, why: str) -> None:
        if not self._reported:
            _log.warning("no notices arrive, so the store is polled, which costs more: %s", why)
        self._reported = why
        self._silent = True
        self._on_turn()
        self._stop.wait(self._pauses[min(self._failures, len(self._pauses) - 1)] * random.uniform(0.5, 1.5))
        self._failures += 1
