"""Holds requests until something changes."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from pointsman.delivery.response import ResourceKind
from pointsman.discovery.answers import Answer, Answers
from pointsman.discovery.version import Standing, Version

Asked = tuple[ResourceKind, str]
"""What a request waits for: a kind, and for endpoints their name."""


class Woken(Enum):
    """Why a request stops waiting without an answer."""

    OVER = "its time is over, or nobody wants the answer any more"
    LOOK = "what there is has changed, or is confirmed: it is to be compared again"


Told: TypeAlias = Answer | Woken


@dataclass(eq=False, slots=True)
class Held:
    """A request that waits for something newer than `version`; the future's result is that, or why it stops waiting."""

    version: Version | None
    future: asyncio.Future[Told]

    def tell(self, answer: Told) -> None:
        """End the wait with `answer`, unless it has ended."""
        if not self.future.done():
            self.future.set_result(answer)


@dataclass(eq=False, slots=True)
class RestChannel:
    """The current answers for one kind of Envoys, and the held requests. Use it only on the server's loop.

    `node` sent the last request, at `asked` (seconds, monotonic); the channel exists since `opened`.
    """

    answers: Answers | None = None
    held: dict[Asked, set[Held]] = field(default_factory=dict)
    asked: float = float("-inf")
    node: str = ""
    opened: float = field(default_factory=time.monotonic)

    def take(self, answers: Answers) -> None:
        """Answer with these from now on, and answer the held requests for which they are newer."""
        before, self.answers = self.answers, answers
        if before is answers:
            return
        for (kind, name), waiting in list(self.held.items()):
            answer, past = answers.get(kind, name), before.get(kind, name) if before else None
            if answer is None or past is answer:
                continue
            for each in waiting:
                stands = answer.stands(each.version)
                # An Envoy that had the previous answer was not ahead: it goes back with the store.
                had_past = past is not None and past.version == each.version
                if stands is Standing.NEWER or (had_past and stands is not Standing.SAME):
                    each.tell(answer)
                elif stands is not Standing.SAME:
                    each.tell(Woken.LOOK)

    async def wait(
        self,
        asked: Asked,
        version: Version | None,
        seconds: float,
        on_held: Callable[[Held], None] = lambda held: None,
    ) -> Told:
        """Wait at most `seconds` for something newer than `version`. Returns that, or why it stops waiting.

        `on_held` is called with the held request, so that the caller can end it.
        """
        loop = asyncio.get_running_loop()
        held = Held(version, loop.create_future())
        on_held(held)
        waiting = self.held.setdefault(asked, set())
        waiting.add(held)
        timer = loop.call_later(seconds, held.tell, Woken.OVER)
        try:
            return await held.future
        finally:
            timer.cancel()
            waiting.discard(held)
            if not waiting and self.held.get(asked) is waiting:
                del self.held[asked]

    def release(self) -> None:
        """Release all held requests."""
        for waiting in self.held.values():
            for each in waiting:
                each.tell(Woken.OVER)


def render_awaited(answers: Answers, before: Answers | None, asked: Iterable[Asked]) -> None:
    """Render what held requests wait for now, on a thread outside the loop."""
    for kind, name in asked:
        answer, past = answers.get(kind, name), before.get(kind, name) if before else None
        if answer is not None and (past is None or past.version.digest != answer.version.digest):
            _ = answer.body
