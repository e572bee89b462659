"""Requests that are held until something changes."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from pointsman.discovery.answers import Answer, Answers, Kind
from pointsman.discovery.version import Standing, Version, standing

Asked = tuple[Kind, str]
"""What is waited for: a kind, and the name where it is endpoints."""


@dataclass(eq=False, slots=True)
class Held:
    """A request that waits for something newer than `version`; the future is that, or None when its time is over."""

    version: Version | None
    future: asyncio.Future[Answer | None]

    def tell(self, answer: Answer | None) -> None:
        """End the waiting, unless it has ended."""
        if not self.future.done():
            self.future.set_result(answer)


@dataclass(eq=False, slots=True)
class Channel:
    """What Envoys of one kind are answered, and who waits for something else. It belongs to the server's loop."""

    answers: Answers | None = None
    held: dict[Asked, set[Held]] = field(default_factory=dict)

    def take(self, answers: Answers) -> None:
        """Answer with these from now on, and at once to those who waited for them."""
        before, self.answers = self.answers, answers
        if before is answers:
            return
        for (kind, name), waiting in list(self.held.items()):
            answer = answers.get(kind, name)
            if answer is None or (before is not None and before.get(kind, name) is answer):
                continue
            for each in waiting:
                if standing(answer.version, each.version) is Standing.NEWER:
                    each.tell(answer)

    async def wait(
        self,
        asked: Asked,
        version: Version | None,
        seconds: float,
        on_gone: Callable[[Callable[[], None]], None] = lambda go: None,
    ) -> Answer | None:
        """What is newer than `version` once it is there; None if `seconds` pass before.

        `on_gone` is given what ends the waiting early, for when nobody wants the answer any more.
        """
        loop = asyncio.get_running_loop()
        held = Held(version, loop.create_future())
        waiting = self.held.setdefault(asked, set())
        waiting.add(held)
        timer = loop.call_later(seconds, held.tell, None)
        on_gone(partial(held.tell, None))
        try:
            return await held.future
        finally:
            timer.cancel()
            waiting.discard(held)
            if not waiting and self.held.get(asked) is waiting:
                del self.held[asked]

    def release(self) -> None:
        """Let everybody go who waits."""
        for waiting in self.held.values():
            for each in waiting:
                each.tell(None)


def render_awaited(answers: Answers, before: Answers | None, asked: Iterable[Asked]) -> None:
    """Render now what somebody waits for, on a thread that has the time."""
    for kind, name in asked:
        answer, past = answers.get(kind, name), before.get(kind, name) if before else None
        if answer is not None and (past is None or past.version.digest != answer.version.digest):
            _ = answer.body
