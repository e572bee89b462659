"""What may happen during a switch from one datacenter to another, and what must not. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tests.fleet.accesslog import Connection
from tests.fleet.client import Attempt

Mode = Literal["local", "remote", "none"]


@dataclass(frozen=True, slots=True)
class Point:
    """A place where a connection shows its server name: `gateway` or `sidecar` (of s2) of a datacenter."""

    kind: Literal["gateway", "sidecar"]
    datacenter: str

    def __str__(self) -> str:
        return f"{self.kind} {self.datacenter}"


@dataclass(frozen=True, slots=True)
class Switch:
    """The traffic moves from `old` to `new`. Times as `time.perf_counter` gives them.

    `died`: when `old` was killed, None if it lives on. `reported`: just before the event's first byte was sent, or
    from when on `new` may answer without one.
    `switched`: when the first answer from `new` had come.
    """

    old: str
    new: str
    died: float | None
    reported: float
    switched: float


@dataclass(frozen=True, slots=True)
class Sni:
    """Which server names belong where: `home` is the datacenter of the client's sidecar."""

    mode: Mode
    home: str
    datacenters: Sequence[str]
    trust_domain: str

    def of(self, datacenter: str) -> str:
        """The name of s2 in `datacenter`."""
        return f"s2.default.{datacenter}.internal.{self.trust_domain}"

    def expected(self, active: str) -> dict[Point, str]:
        """Which names each client sees while `active` serves; clients that are not listed see none."""
        # Priority tiers are one cluster with one server name, the primary's; the measured ones carry the active's.
        name = self.of(self.home if self.mode == "none" else active)
        way = [Point("sidecar", active)]
        if active != self.home:
            if self.mode in ("local", "remote"):
                way.append(Point("gateway", active))
            if self.mode == "local":
                way.append(Point("gateway", self.home))
        return dict.fromkeys(way, name)

    def allowed(self, point: Point) -> set[str]:
        """All the names that may ever be seen at `point`."""
        ways = [self.expected(active) for active in self.datacenters]
        return {way[point] for way in ways if point in way}


def wrong_steady(attempts: Iterable[Attempt], serving: str) -> list[str]:
    """What is wrong with `attempts` while nothing happens and `serving` serves: any other answer, any failure."""
    return _told(
        f"answered by {attempt.datacenter}, where only {serving} may" if attempt.datacenter else attempt.failure
        for attempt in attempts
        if attempt.datacenter != serving
    )


def wrong_switching(attempts: Iterable[Attempt], switch: Switch) -> list[str]:
    """What is wrong with `attempts` around a switch.

    The new datacenter may answer from the report on. The old one may answer what was sent before the first answer of
    the new one. A request may fail only if the old one died before the request was over, and only until that answer.
    """
    return _told(_wrong(attempt, switch) for attempt in attempts)


def _wrong(attempt: Attempt, switch: Switch) -> str | None:
    if attempt.datacenter == switch.new:
        early = attempt.done < switch.reported
        return f"answered by {switch.new} before anything was reported" if early else None
    settled = attempt.sent > switch.switched
    if attempt.datacenter == switch.old:
        return f"answered by {switch.old} after {switch.new} had taken over" if settled else None
    if attempt.datacenter is not None:
        return f"answered by {attempt.datacenter}, where only {switch.old} and {switch.new} may"
    if settled:
        return f"failed after {switch.new} had taken over: {attempt.failure}"
    if switch.died is None or attempt.done < switch.died:
        return f"failed while {switch.old} was alive: {attempt.failure}"
    return None


def wrong_names(seen: Mapping[Point, Iterable[Connection]], sni: Sni) -> list[str]:
    """Server names that do not belong where they were seen: an SNI that was paired with another target's endpoints."""
    return _told(
        f"the {point} saw the server name {connection.sni}"
        for point, connections in seen.items()
        for connection in connections
        if connection.sni not in sni.allowed(point)
    )


def wrong_way(settled: Mapping[Point, Sequence[Connection]], sni: Sni, active: str) -> list[str]:
    """What is wrong with the connections of a time in which `active` alone serves."""
    expected = sni.expected(active)
    silent = [f"the {point} saw nothing of {name}" for point, name in expected.items() if not settled.get(point)]
    return silent + _told(
        f"the {point} saw {connection.sni}, where it should see {expected.get(point, 'nothing')}"
        for point, connections in settled.items()
        for connection in connections
        if connection.sni != expected.get(point)
    )


def _told(problems: Iterable[str | None]) -> list[str]:
    """Each problem once, with how often it occurred."""
    counts: dict[str, int] = {}
    for problem in problems:
        if problem is not None:
            counts[problem] = counts.get(problem, 0) + 1
    return [f"{problem} ({count} times)" if count > 1 else problem for problem, count in counts.items()]
