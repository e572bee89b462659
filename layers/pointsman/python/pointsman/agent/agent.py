"""The agent of a host: runs its checks, and tells one or several control planes of its services."""

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pointsman.agent.counter import Counter
from pointsman.agent.definition import SECOND, Check, Definitions, Status
from pointsman.agent.outbox import Event, Outbox
from pointsman.agent.probe import Prober
from pointsman.agent.registrar import Registrar
from pointsman.agent.registrations import registrations
from pointsman.agent.sender import Sender
from pointsman.agent.statement import GATEWAYS, Host, alive, gone, is_known, names, nothing, statement
from pointsman.agent.verdict import Result, Verdict, after, begin
from pointsman.model.errors import PointsmanError
from pointsman.serve.supervisor import Supervisor
from pointsman.serve.turning import STANDSTILL_SECONDS

RENEWALS: Final = 3
"""Renewals in the time of a lease."""
REPEATS: Final = 2
"""Renewals with which what was changed is said again, so that one lost message is not believed for long."""
RESTATE_S: Final = 600.0
"""Seconds after which everything is stated again."""
BETWEEN_STATEMENTS_S: Final = 30.0
"""Seconds between two complete statements, however often a control plane asks for one."""
REREAD_S: Final = 2.0
"""Seconds between two looks at whether the files changed, and at what is over."""
TOLD_S: Final = 1.0
"""Seconds between two words to the supervisor."""
FAREWELL_S: Final = 5.0
"""Seconds for the last words."""

_ALIVE = "the lease"


@dataclass(frozen=True, slots=True)
class Settings:
    """What an agent is run with. `read` gives the definitions anew, or None if nothing changed; it raises
    PointsmanError, and then the agent goes on with those that it has."""

    host: Host
    definitions: Definitions
    read: Callable[[], Definitions | None]
    counter: Counter
    leave: bool = True


class Beside(Protocol):
    """What runs as long as an agent."""

    async def run(self) -> None:
        """Run until it is cancelled."""


class Agent:
    """For one event loop. `report` gets a line for whatever changed or went wrong."""

    def __init__(
        self,
        settings: Settings,
        senders: Mapping[str, Sender],
        prober: Prober,
        report: Callable[[str], None],
        *,
        registrars: Sequence[Registrar] = (),
        beside: Sequence[Beside] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`registrars` get the registrations of the host, and what is `beside` runs as long as it does."""
        self._settings, self._prober, self._report, self._clock = settings, prober, report, clock
        self._definitions = settings.definitions
        self._registrars, self._beside = registrars, beside
        self._outboxes = [Outbox(place, each.send, report) for place, each in senders.items()]
        self._verdicts = {key: begin(each.definition, clock()) for key, each in self._definitions.checks.items()}
        self._said: dict[str, Event] = {}
        self._repeats: dict[str, int] = {}
        self._expiry: dict[str, float] = {}
        self._await_words()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._ran: dict[str, float] = {}
        self._stated = -BETWEEN_STATEMENTS_S
        self._restate = False

    @property
    def definitions(self) -> Definitions:
        """What it has now."""
        return self._definitions

    @property
    def unknown(self) -> list[str]:
        """The checks that have no status yet, so that nothing is said of their services."""
        return sorted(key for key, each in self._verdicts.items() if each.status is None)

    @property
    def problems(self) -> dict[str, str]:
        """By control plane, why what is said waits; none where it is taken."""
        return {each.place: each.problem for each in self._outboxes if each.problem}

    def overtaken(self, index: int) -> None:
        """A control plane knows of something newer than what was said: count on from its `index`, and state everything
        again."""
        self._settings.counter.rise(index)
        self.all_again(f"a control plane has heard of {self._settings.host.source} with index {index}")

    def all_again(self, why: str) -> None:
        """State everything again, at most every BETWEEN_STATEMENTS_S."""
        self._report(f"{why}: all is said again")
        self._restate = True

    def heard(self, check: str, status: Status, output: str) -> bool:
        """Take the word of an application for its check of kind TTL. Returns whether there is such a check."""
        known = self._definitions.checks.get(check)
        if known is None or not known.definition.ttl:
            return False
        self._expiry[check] = self._clock() + known.definition.ttl / SECOND
        self._take(known, Result(status, output))
        return True

    async def once(self) -> bool:
        """Run each check once and send everything; whether all of it was acknowledged within the farewell's time."""
        checks = [each for each in self._definitions.checks.values() if each.definition.kind in self._prober.kinds]
        for check, result in zip(
            checks, await asyncio.gather(*(self._prober.run(each.definition) for each in checks)), strict=True
        ):
            # One run decides: there is no other.
            self._verdicts[check.id] = Verdict(result.status, result.output)
        self._follow_aliases()
        self._state_all()
        self._register()
        told = await self._send_out()
        return all(await asyncio.gather(*(each.settle() for each in self._registrars))) and told

    @property
    def waiting_for(self) -> str:
        """The checks that have not run once yet; "" if there are none."""
        return ", ".join(sorted(self._running.keys() - self._ran.keys()))

    @property
    def standing(self) -> str:
        """The checks that should have ended long ago; "" if there are none."""
        now, late = self._clock(), []
        for key, ran in self._ran.items():
            if key in self._running:
                of = self._definitions.checks[key].definition
                stood = now - ran - (of.interval + of.timeout) / SECOND
                if stood >= STANDSTILL_SECONDS:
                    late.append(f"{key} is {stood:.0f} s late")
        return ", ".join(late)

    async def run(self, supervisor: Supervisor) -> None:
        """Run until a signal ends it, and tell the `supervisor` meanwhile how it goes. Raises what ends a part of it,
        so that it is started again."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with AsyncExitStack() as running:
            parts = [_until_left(running, outbox.run()) for outbox in self._outboxes]
            self._start_checks()
            self._state_all()
            self._register()
            parts += [_until_left(running, each.run()) for each in (*self._registrars, *self._beside)]
            parts += [_until_left(running, self._renew()), _until_left(running, self._look_around())]
            parts.append(_until_left(running, self._tell(supervisor)))
            running.callback(lambda: self._stop_checks(list(self._running)))
            stopped = _until_left(running, _waited_for(stop))
            done, _ = await asyncio.wait([stopped, *parts], return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
            supervisor.stopping()
            self._stop_checks(list(self._running))
            if self._settings.leave:
                self._say_farewell()
                with suppress(TimeoutError):
                    await asyncio.wait_for(_all(each.emptied() for each in self._outboxes), FAREWELL_S)

    async def _tell(self, supervisor: Supervisor) -> None:
        while True:
            supervisor.look(waiting_for=self.waiting_for, standing=self.standing)
            await asyncio.sleep(TOLD_S)

    async def _send_out(self) -> bool:
        async with AsyncExitStack() as running:
            for outbox in self._outboxes:
                _until_left(running, outbox.run())
            try:
                await asyncio.wait_for(_all(each.emptied() for each in self._outboxes), FAREWELL_S)
            except TimeoutError:
                return False
        return True

    # ── checks ──

    def _start_checks(self) -> None:
        for key, check in self._definitions.checks.items():
            if key not in self._running and check.definition.kind in self._prober.kinds:
                self._running[key] = asyncio.create_task(self._run_check(check))

    def _stop_checks(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._running.pop(key).cancel()
            self._ran.pop(key, None)

    async def _run_check(self, check: Check) -> None:
        interval = check.definition.interval / SECOND
        # Checks that began together, here or on other hosts, do not run together.
        await asyncio.sleep(random.uniform(0, min(interval, 1.0)))
        due = self._clock() + random.uniform(0, interval)
        while True:
            self._take(check, await self._prober.run(check.definition))
            now = self._ran[check.id] = self._clock()
            due = max(due, now + 0.1) if due > now else now + interval
            await asyncio.sleep(due - now)
            due += interval

    def _take(self, check: Check, result: Result) -> None:
        before = self._verdicts[check.id]
        found = after(before, result, check.definition, self._clock())
        self._verdicts[check.id] = found
        if found.status != before.status:
            was = f", was {before.status}" if before.status else ""
            self._report(f"{check.id} is {found.status}{was}: {' '.join(found.output.split())[:200]}")
            self._follow_aliases()
            self._state_changed()
        elif found.output != before.output:
            self._state_changed()

    def _await_words(self) -> None:
        for key, check in self._definitions.checks.items():
            if check.definition.ttl:
                self._expiry.setdefault(key, self._clock() + check.definition.ttl / SECOND)

    def _follow_aliases(self) -> None:
        """Give each alias the worst status of the service that it stands for."""
        order: tuple[Status, ...] = ("passing", "warning", "critical")
        for check in self._definitions.checks.values():
            if of := check.definition.alias_service:
                others = [
                    self._verdicts[each.id].status
                    for each in self._definitions.checks_of(of)
                    if each.definition.kind != "alias_service"
                ]
                if None in others:
                    continue
                worst = order[max((order.index(each) for each in others if each), default=0)]
                self._verdicts[check.id] = after(
                    self._verdicts[check.id], Result(worst, f"as {of}"), check.definition, self._clock()
                )

    # ── what is said ──

    def _state_changed(self) -> None:
        """Say what is not as it was said last."""
        now, wanted = self._clock(), names(self._definitions)
        for name in self._known_names():
            self._say(name, lambda index, name=name: statement(*self._known, name, index, now))  # type: ignore[misc]
        for name in set(self._said) - set(wanted):
            self._say(name, lambda index, name=name: nothing(self._settings.host, name, index))  # type: ignore[misc]

    def _known_names(self) -> list[str]:
        return [name for name in names(self._definitions) if is_known(self._definitions, self._verdicts, name)]

    @property
    def _known(self) -> tuple[Host, Definitions, dict[str, Verdict]]:
        return self._settings.host, self._definitions, self._verdicts

    def _say(self, name: str, event: Callable[[int], Event], *, again: bool = False) -> None:
        said = self._said.get(name)
        if said is not None and not again and event(said["detail"]["Index"]) == said:
            return
        try:
            self._said[name] = event(self._settings.counter.next())
        except PointsmanError as error:
            self._report(f"cannot speak: {error}")
            return
        self._repeats[name] = REPEATS
        self._put(name)

    def _put(self, name: str) -> None:
        about = "the mesh gateways" if name == GATEWAYS else name
        for outbox in self._outboxes:
            outbox.put(about, self._said[name])

    def _state_all(self) -> None:
        """Say everything, whether or not it was said before."""
        self._restate, self._stated = False, self._clock()
        for each in self._registrars:
            each.look()
        now = self._stated
        for name in self._known_names():
            self._say(name, lambda index, name=name: statement(*self._known, name, index, now), again=True)  # type: ignore[misc]

    def _register(self) -> None:
        try:
            found = list(registrations(self._settings.host, self._definitions))
        except PointsmanError as error:
            self._report(f"nothing is registered: {error}")
            return
        for each in self._registrars:
            each.want(found)

    def _say_farewell(self) -> None:
        for name in list(self._said):
            self._say(name, lambda index, name=name: nothing(self._settings.host, name, index))  # type: ignore[misc]
        self._put_lease(gone(self._settings.host, self._settings.counter.next()))

    def _put_lease(self, event: Event) -> None:
        for outbox in self._outboxes:
            outbox.put(_ALIVE, event)

    async def _renew(self) -> None:
        pause = self._settings.host.lease_ns / SECOND / RENEWALS
        await asyncio.sleep(random.uniform(0, pause))
        while True:
            try:
                self._put_lease(alive(self._settings.host, self._settings.counter.next()))
            except PointsmanError as error:
                self._report(f"cannot speak: {error}")
            for name, left in list(self._repeats.items()):
                self._put(name)
                self._repeats[name] = left - 1
                if left <= 1:
                    del self._repeats[name]
                    if name not in names(self._definitions):
                        # That it is gone was said often enough.
                        del self._said[name]
            await asyncio.sleep(pause)

    async def _look_around(self) -> None:
        """Read changed files, expire what was not heard, drop what was critical for too long."""
        while True:
            await asyncio.sleep(REREAD_S)
            self._reread()
            now = self._clock()
            for key, expiry in list(self._expiry.items()):
                if now >= expiry and (check := self._definitions.checks.get(key)) is not None:
                    del self._expiry[key]
                    self._take(check, Result("critical", "nothing was heard for its TTL"))
            self._state_changed()
            since = now - self._stated
            if since >= RESTATE_S or (self._restate and since >= BETWEEN_STATEMENTS_S):
                self._state_all()

    def _reread(self) -> None:
        try:
            found = self._settings.read()
        except PointsmanError as error:
            self._report(f"the definitions stay as they are: {error}")
            return
        if found is None:
            return
        kept = {key for key, check in found.checks.items() if self._definitions.checks.get(key) == check}
        self._stop_checks([key for key in self._running if key not in kept])
        now = self._clock()
        self._verdicts = {
            key: self._verdicts[key] if key in kept else begin(check.definition, now)
            for key, check in found.checks.items()
        }
        self._expiry = {key: each for key, each in self._expiry.items() if key in kept}
        self._definitions = found
        self._report(f"the definitions changed: {len(found.services)} services, {len(found.checks)} checks")
        self._await_words()
        self._follow_aliases()
        self._start_checks()
        self._register()


def _until_left(stack: AsyncExitStack, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
    task = asyncio.create_task(work)
    stack.callback(task.cancel)
    return task


async def _waited_for(event: asyncio.Event) -> None:
    await event.wait()


async def _all(waits: Iterable[Awaitable[None]]) -> None:
    await asyncio.gather(*waits)
