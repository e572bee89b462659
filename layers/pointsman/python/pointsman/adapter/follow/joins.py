"""Prepares for proxies that Envoys begin to ask for: a limited number at a time, the others wait in order."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

JOINS_AT_ONCE = 32
"""Proxies that one adapter prepares for at the same time. They share one read of the store (`Follower.join`)."""

_T = TypeVar("_T")


class Joins:
    """Runs the blocking part of a join outside the server's loop, since a store may be slow. Use it from one loop."""

    def __init__(self, name: str, at_once: int = JOINS_AT_ONCE) -> None:
        self._pool = ThreadPoolExecutor(at_once, name)
        self._at_once, self._under_way = at_once, 0

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return max(0, self._under_way - self._at_once)

    async def run(self, work: Callable[[], _T]) -> _T:
        """Run `work` in its turn. Returns its result."""
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._under_way -= 1

    def close(self) -> None:
        """Release the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)
