"""Requests that take a while, each in a thread: so many at a time, and so many that wait for one."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Semaphore
from typing import Final

from pointsman.api.refusals import later
from pointsman.api.request import Answer

MOST_AT_ONCE: Final = 4
"""Requests that are answered at a time, events aside."""

MOST_CALLS: Final = 32
"""Requests that are answered or wait for it, events aside: each may hold a body of 6 MiB."""


class Calls:
    """Runs functions that answer requests. Several event loops may use it."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(MOST_AT_ONCE, "api")
        self._free = Semaphore(MOST_CALLS)

    async def run(self, answer: Callable[[], Answer]) -> Answer:
        """The answer of `answer`, which raises nothing; 503 if MOST_CALLS are under way."""
        if not self._free.acquire(blocking=False):
            return later(f"{MOST_CALLS} requests are being answered or wait for it")
        # Also if the sender has gone, the thread works on: only its end makes room.
        done = asyncio.get_running_loop().run_in_executor(self._threads, self._freed, answer)
        return await asyncio.shield(done)

    def close(self) -> None:
        """Give up what waits for a thread; what is under way is brought to its end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _freed(self, answer: Callable[[], Answer]) -> Answer:
        try:
            return answer()
        finally:
            self._free.release()
