"""Proxies that somebody begins to ask for: so many are prepared at a time, the others wait in their order."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

JOINS_AT_ONCE = 32
"""Envoys that one way prepares for at the same time. They share one reading of the store (`Follower.join`)."""

_T = TypeVar("_T")


class Joins:
    """Does what a join takes away from the server's loop: a store may be slow. It belongs to one loop."""

    def __init__(self, name: str, at_once: int = JOINS_AT_ONCE) -> None:
        self._pool = ThreadPoolExecutor(at_once, name)
        self._at_once, self._under_way = at_once, 0

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return max(0, self._under_way - self._at_once)

    async def run(self, work: Callable[[], _T]) -> _T:
        """Do this in its turn: what comes of it."""
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._under_way -= 1

    def close(self) -> None:
        """Give back the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)
