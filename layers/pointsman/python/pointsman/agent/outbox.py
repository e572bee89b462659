"""What waits to be sent to one control plane: the newest event of each kind, until it is acknowledged."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from pointsman.model.errors import PointsmanError

FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 10.0
"""Seconds before the first and any later attempt after a failure. What is drawn lies between half of it and all."""

Event = Mapping[str, Any]


class Refused(PointsmanError):
    """The control plane refused the event: sending it again cannot help."""


class Outbox:
    """The events that wait, by what they are about: a newer one takes the place of an older one, so there are never
    more than the host has services. For one event loop."""

    def __init__(self, place: str, send: Callable[[Event], Awaitable[None]], report: Callable[[str], None]) -> None:
        """`send` returns when the event is acknowledged, raises Refused if it never will be, PointsmanError if it was
        not. `report` gets a line for what went wrong."""
        self.place, self._send, self._report = place, send, report
        self._waiting: dict[str, Event] = {}
        self._more, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self.problem = ""

    def put(self, about: str, event: Event) -> None:
        """Send `event`, in place of what waits about the same."""
        self._waiting.pop(about, None)
        self._waiting[about] = event
        self._idle.clear()
        self._more.set()

    def __len__(self) -> int:
        return len(self._waiting)

    async def run(self) -> None:
        """Send what waits, the newest first, until it is cancelled."""
        pause = FIRST_PAUSE_S
        while True:
            await self._more.wait()
            about, event = next(reversed(self._waiting.items()))
            try:
                await self._send(event)
            except Refused as error:
                self._report(f"{self.place} refused what was said of {about}: {error}")
            except Exception as error:
                # Whatever it is, the event was not acknowledged.
                if not self.problem:
                    self._report(f"{self.place}: what is said waits: {error}")
                self.problem = str(error)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(2 * pause, LONGEST_PAUSE_S)
                continue
            if self.problem:
                self._report(f"{self.place}: what is said is taken again")
            pause, self.problem = FIRST_PAUSE_S, ""
            if self._waiting.get(about) is event:
                del self._waiting[about]
            if not self._waiting:
                self._more.clear()
                self._idle.set()

    async def emptied(self) -> None:
        """Return when nothing waits any more."""
        await self._idle.wait()
