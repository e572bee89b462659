"""The matrix service by caller's datacenter, the worst first, and the line above it that says it in words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pointsman.model.names import ServiceName
from pointsman.model.words import counted
from pointsman.overview.history import plain
from pointsman.overview.now import Now, ResolverNow

MOST_ROWS: Final = 200
"""Services that are shown at once, the worst first; a search finds the others."""

MOST_SAID: Final = 3
"""Services that the line names."""


class State(StrEnum):
    """How something is, in the order of `ResolverNow.rank`, and as the classes of the style sheet name it."""

    NOBODY = "nobody"
    WRONG = "wrong"
    OVER = "over"
    WELL = "well"


_STATES: Final = tuple(State)
_WORDS: Final = {
    State.NOBODY: "nobody serves",
    State.WRONG: "something is wrong",
    State.OVER: "failed over",
    State.WELL: "as it should be",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """What serves the callers of one datacenter: the target `active` (a datacenter, or an id if another service
    serves), and how many of its instances are `healthy`. `label` is the cluster, "" if it is the plain one."""

    state: State
    word: str
    active: str
    healthy: int
    total: int
    since: str
    why: str
    trouble: str
    label: str


@dataclass(frozen=True, slots=True)
class Row:
    """One service, with the cells of each datacenter."""

    service: ServiceName
    label: str
    state: State
    cells: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """The rows that are shown, of `found` that were searched for, of `total`."""

    datacenters: tuple[str, ...]
    rows: tuple[Row, ...]
    found: int
    total: int


@dataclass(frozen=True, slots=True)
class Line:
    """The state of everything in one sentence."""

    state: State
    text: str


def cell_of(each: ResolverNow) -> Cell:
    """The cell of one resolver."""
    state = _STATES[each.rank]
    target = next((one for one in each.targets if one.id == each.active), None)
    own = f".{each.namespace}.{target.datacenter}" if target is not None else ""
    is_plain = target is not None and target.id == f"{each.service}{own}"
    return Cell(
        state,
        _WORDS[state],
        target.datacenter if target is not None and is_plain else each.active,
        target.healthy if target is not None else 0,
        target.total if target is not None else 0,
        each.since,
        each.why,
        each.trouble,
        "" if each.cluster == f"{each.service}.{each.namespace}.{each.datacenter}" else each.cluster,
    )


def matrix_of(now: Now, search: str = "", most: int = MOST_ROWS) -> Matrix:
    """The matrix of the services whose name has `search` in it."""
    datacenters = tuple(sorted({each.datacenter for each in now.resolvers}))
    by_service: dict[ServiceName, list[ResolverNow]] = {}
    for each in now.resolvers:
        by_service.setdefault(ServiceName(each.namespace, each.service), []).append(each)
    found = [(service, some) for service, some in by_service.items() if search in plain(service)]
    found.sort(key=lambda one: (min(each.rank for each in one[1]), one[0].name, one[0].namespace))
    rows = tuple(_row(service, some, datacenters) for service, some in found[:most])
    return Matrix(datacenters, rows, len(found), len(by_service))


def _row(service: ServiceName, some: Sequence[ResolverNow], datacenters: Iterable[str]) -> Row:
    cells = tuple(tuple(cell_of(each) for each in some if each.datacenter == where) for where in datacenters)
    return Row(service, plain(service), _STATES[min(each.rank for each in some)], cells)


def line_of(now: Now) -> Line:
    """The state of everything: how many services failed over, who has nobody, what is behind, who is silent."""
    ranks: dict[ServiceName, int] = {}
    nobody: dict[ServiceName, list[str]] = {}
    over, wrong = set(), set()
    for each in now.resolvers:
        service = ServiceName(each.namespace, each.service)
        ranks[service] = min(each.rank, ranks.get(service, len(_STATES)))
        if not each.served:
            nobody.setdefault(service, []).append(each.datacenter)
        elif each.failed_over:
            over.add(service)
        if each.trouble:
            wrong.add(service)
    silent = sum(bool(each.silent_since) for each in now.sources)
    if not ranks:
        return Line(State.WRONG, "No service is known yet: `pointsman apply` registers sidecars and their upstreams.")
    total = len(ranks)
    parts = [f"{len(over)} of {counted(total, 'service')} failed over"] if over else []
    for service, datacenters in list(nobody.items())[:MOST_SAID]:
        parts.append(f"{plain(service)} has no healthy target in {', '.join(sorted(set(datacenters)))}")
    if (more := len(nobody) - MOST_SAID) > 0:
        parts.append(f"{counted(more, 'more service')} without a healthy target")
    parts += [f"{counted(len(wrong), 'service')} not as the store has it"] if wrong else []
    parts += [f"{counted(silent, 'source')} silent"] if silent else []
    parts += [f"the config is published up to generation {now.propagated}"] if now.propagated < now.generation else []
    if not parts:
        served = f"Each of {total} services is" if total > 1 else "The one service is"
        return Line(State.WELL, f"{served} served by its first target.")
    state = State.NOBODY if nobody else State.WRONG if len(parts) > bool(over) else State.OVER
    return Line(state, "; ".join(parts) + ".")
