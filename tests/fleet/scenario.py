"""The demo's story: all healthy; s2 dies in dc1; then in dc2; dc1 comes back. Played, measured and judged."""

import contextlib
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tests.fleet.accesslog import Connection
from tests.fleet.client import Attempt
from tests.fleet.control_plane import Active
from tests.fleet.judge import Point, Switch, wrong_names, wrong_steady, wrong_switching, wrong_way
from tests.fleet.mesh import HOME, Mesh
from tests.fleet.process import FleetError, wait_until

# Connections that were under way at a switch have reached whoever logs them after that many seconds.
_SETTLING = 0.25
_GLANCE = 0.5


@dataclass(frozen=True, slots=True)
class Began:
    """A step begins: what is about to happen, and what is expected of it."""

    number: int
    title: str
    expected: str


@dataclass(frozen=True, slots=True)
class Switched:
    """The first answer came from the new datacenter, `seconds` after `what`.

    `noticed` of those passed until Pointsman had been told and had published its decision; 0 where the test told it, or
    where Envoy was faster.
    """

    datacenter: str
    seconds: float
    what: str = "health event sent"
    noticed: float = 0.0


@dataclass(frozen=True, slots=True)
class Glance:
    """The traffic since the last glance: answers by datacenter, and how many requests failed."""

    answers: Mapping[str, int]
    failures: int


@dataclass(frozen=True, slots=True)
class Step:
    """The result of a step. `seconds`: from the event, or from the decision where agents tell, to the first answer of
    the datacenter that serves now, None if nothing switched; `noticed`: from what happened to the decision. `names`:
    the server names seen by each client, once settled. `problems`: everything that must not have happened."""

    title: str
    serving: str
    seconds: float | None
    answers: Mapping[str, int]
    failures: int
    active: Active
    names: Mapping[Point, Sequence[str]]
    problems: Sequence[str]
    noticed: float = 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """The whole story. It succeeded if it has no `problems`."""

    steps: Sequence[Step]

    @property
    def problems(self) -> list[str]:
        """Everything that must not have happened, with the step in which it did."""
        return [f"{step.title}: {problem}" for step in self.steps for problem in step.problems]

    @property
    def median_seconds(self) -> float:
        """The median of the switches' `seconds`."""
        return statistics.median(step.seconds for step in self.steps if step.seconds is not None)


News: TypeAlias = Began | Switched | Glance | Step
Tell: TypeAlias = Callable[[News], None]


def run(mesh: Mesh, tell: Tell = lambda news: None, answers_per_step: int = 200) -> Report:
    """Play the story on a mesh that was just started; `tell` hears what happens as it happens.

    Each step lasts until its datacenter has given that many answers. Where the mesh has agents, their checks notice
    what happens; otherwise an event is sent as soon as a request has failed.
    """
    play = _Play(mesh, tell, answers_per_step)
    return Report(
        [
            play.steady("all healthy"),
            play.death("s2 dies in dc1", old="dc1", new="dc2"),
            play.death("s2 dies in dc2 too", old="dc2", new="dc3"),
            play.comeback("dc1 comes back", old="dc3", new="dc1"),
        ]
    )


def dark(
    mesh: Mesh, lease_s: int, tell: Tell = lambda news: None, answers_per_step: int = 200, spare_s: float = 1.0
) -> Report:
    """Play the story of a datacenter that burns, on a mesh with agents: nobody is left to send an event.

    The traffic has to have left it `spare_s` seconds after its lease.
    """
    play = _Play(mesh, tell, answers_per_step)
    return Report(
        [
            play.steady("all healthy"),
            play.death("s2 dies in dc1, and its agent notices", old="dc1", new="dc2"),
            play.darkness("all of dc2 dies, with its agent, and no event is sent", "dc2", "dc3", lease_s + spare_s),
            play.light("dc2 is back, and heard again", old="dc3", new="dc2"),
        ]
    )


class _Play:
    def __init__(self, mesh: Mesh, tell: Tell, answers_per_step: int) -> None:
        self._mesh = mesh
        self._tell = tell
        self._answers_per_step = answers_per_step
        self._number = 0
        self._judged: dict[Point, int] = {}
        # Envoys log by the wall clock.
        self._unix = time.time() - time.perf_counter()

    def steady(self, title: str) -> Step:
        start = self._begin(title, f"{HOME} answers, without a gateway: s2 is there")
        end = self._watch(HOME, start)
        wrong = wrong_steady(self._mesh.client.attempts(start, end), HOME)
        return self._end(title, HOME, None, start, start, end, wrong)

    def death(self, title: str, old: str, new: str) -> Step:
        start = self._begin(title, f"{new}, the next in the resolver's list, answers as soon as this is known")
        if self._mesh.has_agents:
            return self._noticed(title, old, new, start)
        died = time.perf_counter()
        self._mesh.kill_service(old)
        # Let the death be felt before it is reported.
        wait_until(lambda: any(attempt.failure for attempt in self._mesh.client.attempts(died)), "a request to fail")
        return self._switch(title, old, new, start, died, self._mesh.report(old, "critical"))

    def comeback(self, title: str, old: str, new: str) -> Step:
        start = self._begin(title, f"{new}, the first in the resolver's list, answers again, and no request fails")
        self._mesh.start_service(new)
        if self._mesh.has_agents:
            # While it starts, a check may find it well before it is known here to be.
            return self._switch(title, old, new, start, None, start, f"s2 was started in {new}")
        return self._switch(title, old, new, start, None, self._mesh.report(new, "passing"))

    def _noticed(self, title: str, old: str, new: str, start: float) -> Step:
        died = time.perf_counter()
        self._mesh.kill_service(old)
        return self._switch(title, old, new, start, died, died, f"s2 was killed in {old}")

    def darkness(self, title: str, old: str, new: str, limit_s: float) -> Step:
        start = self._begin(title, f"{new} answers when the lease of {old}'s agent is over")
        died = self._mesh.darken(old)
        return self._switch(title, old, new, start, died, died, f"all of {old} was killed", limit_s)

    def light(self, title: str, old: str, new: str) -> Step:
        start = self._begin(title, f"{new} answers again as soon as its agent is heard, and no request fails")
        return self._switch(title, old, new, start, None, self._mesh.lighten(new), "its agent was started")

    def _begin(self, title: str, expected: str) -> float:
        self._number += 1
        self._tell(Began(self._number, title, expected))
        return time.perf_counter()

    def _switch(
        self,
        title: str,
        old: str,
        new: str,
        start: float,
        died: float | None,
        reported: float,
        what: str = "health event sent",
        limit_s: float = float("inf"),
    ) -> Step:
        switched = self._mesh.client.wait_for_answer(new, after=reported).done
        decided = self._decided(new) if self._mesh.has_agents else reported
        # Where Envoy itself chooses among tiers, it may leave a dead instance before anybody reports it.
        noticed = decided - reported if decided < switched else 0.0
        self._tell(Switched(new, switched - reported, what, noticed))
        end = self._watch(new, switched)
        earliest = died if died is not None and self._mesh.mode == "none" else reported
        switch = Switch(old, new, died, earliest, switched)
        wrong = wrong_switching(self._mesh.client.attempts(start, end), switch)
        if switched - reported > limit_s:
            wrong.append(f"{old} was left {switched - reported:.1f} s after it died, more than {limit_s:g} s")
        return self._end(title, new, switched - reported - noticed, start, switched, end, wrong, noticed)

    def _decided(self, new: str) -> float:
        """When it was published that `new` serves, as a `time.perf_counter`."""

        def since() -> float | None:
            active = self._mesh.pointsman.serving("s2", HOME)
            return active.since if active.datacenter == new else None

        return wait_until(since, f"{new} to be active") - self._unix

    def _watch(self, serving: str, since: float) -> float:
        """Glance at the traffic until enough of it was answered by `serving`; the end of the time watched."""
        client, glanced, answered = self._mesh.client, since, 0
        while answered < self._answers_per_step:
            glance = glanced + _GLANCE
            client.wait_past(glance)
            attempts = client.attempts(glanced, glance)
            answers, failures = _counted(attempts)
            self._tell(Glance(answers, failures))
            glanced, answered = glance, answered + answers.get(serving, 0)
            if serving not in answers:
                break  # the judge will tell why
        return glanced

    def _end(
        self,
        title: str,
        serving: str,
        seconds: float | None,
        start: float,
        settled: float,
        end: float,
        wrong: list[str],
        noticed: float = 0.0,
    ) -> Step:
        mesh = self._mesh
        active = mesh.pointsman.active("s2", HOME)
        if active.datacenter != serving:
            wrong.append(f"pointsman status says that {active.datacenter} is active: {active.why}")
        # What was served in the last moments may still have to be written down.
        way = mesh.sni.expected(serving)
        with contextlib.suppress(FleetError):  # the judge will tell who saw nothing
            wait_until(lambda: _all_reach(mesh.seen(way), end + self._unix), "the access logs", timeout=3)
        seen = mesh.seen()
        first, last = settled + _SETTLING + self._unix, end + self._unix
        quiet = {point: [one for one in all_of_it if first <= one.start < last] for point, all_of_it in seen.items()}
        fresh = {point: all_of_it[self._judged.get(point, 0) :] for point, all_of_it in seen.items()}
        self._judged = {point: len(all_of_it) for point, all_of_it in seen.items()}
        wrong += wrong_names(fresh, mesh.sni) + wrong_way(quiet, mesh.sni, serving)
        answers, failures = _counted(mesh.client.attempts(start, end))
        step = Step(title, serving, seconds, answers, failures, active, _names(quiet), wrong, noticed)
        self._tell(step)
        return step


def _all_reach(seen: Mapping[Point, Sequence[Connection]], moment: float) -> bool:
    return all(any(one.start > moment for one in reversed(all_of_it)) for all_of_it in seen.values())


def _counted(attempts: Sequence[Attempt]) -> tuple[dict[str, int], int]:
    answers = Counter(attempt.datacenter for attempt in attempts if attempt.datacenter)
    return dict(answers), len(attempts) - answers.total()


def _names(seen: Mapping[Point, Sequence[Connection]]) -> dict[Point, list[str]]:
    return {point: sorted({str(one.sni) for one in all_of_it}) for point, all_of_it in seen.items() if all_of_it}
