"""Tells those who listen that something changed of what pages show; nothing is read while nobody listens."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from pointsman.store.protocol import Store, StoreError

_log = logging.getLogger(__name__)

MOST_LISTENERS: Final = 64
"""Browsers that are told of changes at a time."""

LOOK_SECONDS: Final = 2.0
"""The most seconds between two looks at the store; what is written where the store reports it is noticed at once."""

_PAUSE_S: Final = 0.1
"""The least seconds between two looks."""

_SHARE: Final = 20.0
"""A look is followed by a pause of so many times what it took: a large store under events is looked at less often."""

_AWAY: Final = "away"
"""The mark of a store that cannot be read."""


class Listener:
    """One who listens, on an event loop: `wait` returns each new mark."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._told, self._mark = asyncio.Event(), ""

    def tell(self, mark: str) -> None:
        """Something changed; "" ends it. Any thread may call it."""
        # A loop that has ended has nobody left to tell.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._take, mark)

    async def wait(self) -> str:
        """The newest mark, when there is one that was not returned before; "" if it is over."""
        await self._told.wait()
        self._told.clear()
        return self._mark

    def _take(self, mark: str) -> None:
        self._mark = mark
        self._told.set()


class Changes:
    """Looks at a store while somebody listens."""

    def __init__(self, store: Store, mark: Callable[[], str]) -> None:
        """`mark` is what changes whenever a page does; it may raise StoreError."""
        self._store, self._mark = store, mark
        self._lock = threading.Lock()
        self._listeners: set[Listener] = set()
        self._thread: threading.Thread | None = None
        self._last, self._closed = "", False

    def join(self) -> Listener | None:
        """A new listener on this event loop, told the mark as soon as it is known; None if there are MOST_LISTENERS
        already, or it is over."""
        listener = Listener()
        with self._lock:
            if self._closed or len(self._listeners) >= MOST_LISTENERS:
                return None
            self._listeners.add(listener)
            if self._thread is None:
                self._last = ""
                self._thread = threading.Thread(target=self._look_on, name="page", daemon=True)
                self._thread.start()
            elif self._last:
                listener.tell(self._last)
        return listener

    def leave(self, listener: Listener) -> None:
        """Tell it no more."""
        with self._lock:
            self._listeners.discard(listener)

    def close(self) -> None:
        """End all listening."""
        with self._lock:
            self._closed = True
            for each in self._listeners:
                each.tell("")
            self._listeners.clear()

    def _look_on(self) -> None:
        while True:
            began = time.monotonic()
            cursor, mark = self._look()
            took_s = time.monotonic() - began
            with self._lock:
                if not self._listeners:
                    self._thread = None
                    return
                if mark != self._last:
                    self._last = mark
                    for each in self._listeners:
                        each.tell(mark)
            time.sleep(max(_PAUSE_S, _SHARE * took_s))
            with suppress(StoreError):
                self._store.wait(cursor, LOOK_SECONDS)

    def _look(self) -> tuple[str, str]:
        try:
            # The cursor first: what is written while the mark is read is looked at again.
            cursor = self._store.changes({}).cursor
            return cursor, self._mark()
        except StoreError:
            return "", _AWAY
        except Exception:
            _log.exception("whether a page has changed could not be found out")
            return "", _AWAY
