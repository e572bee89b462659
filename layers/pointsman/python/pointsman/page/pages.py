"""The pages: what is shown for a path, as HTML, and how long what was made is shown again."""

import mimetypes
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from importlib.resources import files
from threading import Lock
from typing import Any, Final
from urllib.parse import parse_qs

from jinja2 import Environment, PackageLoader, StrictUndefined

from pointsman.failover.down import read_down
from pointsman.failover.explain_text import explain_text
from pointsman.model.duration import duration_text
from pointsman.model.errors import InvalidInput
from pointsman.model.findings import Severity
from pointsman.model.names import DEFAULT_NAMESPACE, GATEWAYS, ServiceName
from pointsman.model.orders import order_line
from pointsman.model.seen import State
from pointsman.model.words import counted
from pointsman.overview.explained import read_explanation
from pointsman.overview.history import History, plain
from pointsman.overview.instances import read_instances
from pointsman.overview.now import Now
from pointsman.overview.past import read_history, read_span
from pointsman.overview.proxies import BAD, EnvoyView, read_proxies
from pointsman.overview.reading import read_now
from pointsman.page.mark import read_mark
from pointsman.page.matrix import cell_of, line_of, matrix_of
from pointsman.page.picture import BOX_WIDTH, picture_of
from pointsman.page.timeline import LEFT, MOST_MARKS, WIDTH, timeline_of
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.what_if import Supposition, what_if

SPAN: Final = "24h"
"""The span of the timeline."""

MOST_KEPT: Final = 32
"""Pages that are kept as they were made."""

MOST_KEPT_BYTES: Final = 32 * 1024 * 1024
"""Bytes of these together; one that is larger is made anew each time."""

MOST_INSTANCES: Final = 500
"""Instances of a service that are shown, the worst of each datacenter first."""

MOST_LINES: Final = 100
"""Things that are behind or rejected, and warnings, that a page lists."""

LONGEST_SEARCH: Final = 100
"""Characters of a search."""

STATIC: Final = "/page/"
"""What the paths of the style sheet, the script and the icon begin with."""

CHANGES: Final = "/page/changes"
"""The path of the server-sent events."""

_AMISS: Final = BAD | {State.AHEAD}
"""States of Envoys that are told of before all others."""

_FRONTS: Final = ("service-router", "service-splitter")

WHAT_IF: Final = "/whatif"
"""The path of what would happen."""

SERVICES: Final = "/services/"
"""What the paths of services begin with."""


@dataclass(frozen=True, slots=True)
class Shown:
    """An answer to a browser. `mark` is the state that it shows."""

    status: int
    type: str
    data: bytes
    mark: str = ""


class Pages:
    """All pages of one store. Safe for several threads; what is made at the same time is made once."""

    def __init__(self, engine: Engine, envoys: Callable[[], Iterable[str]] = tuple) -> None:
        """`envoys` are sentences about Envoys that are behind, or reject something."""
        self._engine, self._envoys = engine, envoys
        self._lock = Lock()
        self._kept: OrderedDict[tuple[str, str], Shown] = OrderedDict()
        self._past: tuple[str, History] | None = None

    def mark(self) -> str:
        """The mark of what a page shows now: another one every minute, because the timeline goes on. Raises
        StoreError."""
        rejected = blake2b("\n".join(self._envoys()).encode(), digest_size=4).hexdigest()
        return f"{read_mark(self._engine.store)}-{rejected}-{self._engine.now_ms() // 60_000}"

    def show(self, path: str, query: str = "") -> Shown:
        """What is at a path. Raises InvalidInput for what nobody knows, and StoreError."""
        if path.startswith(STATIC):
            return static(path.removeprefix(STATIC))
        given = {name: values[-1] for name, values in parse_qs(query, True, errors="replace").items()}
        if path == WHAT_IF:
            # Not kept, and made beside all others: it may take long.
            return _page(self._what_if(given.get("down", "")[:LONGEST_SEARCH]))
        with self._lock:
            mark = self.mark()
            kept = self._kept.get((path, query))
            if kept is None or kept.mark != mark:
                kept = self._kept[path, query] = _page(self._made(path, given, mark), mark=mark)
            self._kept.move_to_end((path, query))
            while len(self._kept) > MOST_KEPT or sum(len(each.data) for each in self._kept.values()) > MOST_KEPT_BYTES:
                self._kept.popitem(last=False)
            return kept

    def _made(self, path: str, given: Mapping[str, str], mark: str) -> str:
        if path == "/":
            return self._overview(given.get("search", "")[:LONGEST_SEARCH].strip(), mark)
        if path.startswith(SERVICES):
            name = ServiceName(given.get("namespace") or DEFAULT_NAMESPACE, path.removeprefix(SERVICES))
            return self._service(name, given.get("dc", ""), mark)
        raise InvalidInput.single("the page", path[:LONGEST_SEARCH], "does not exist")

    def _overview(self, search: str, mark: str) -> str:
        now = read_now(self._engine)
        return _rendered(
            "overview.html",
            mark=mark,
            at=self._engine.now(),
            now=now,
            line=line_of(now),
            matrix=matrix_of(now, search),
            search=search,
            behind=[*_behind(now), *self._envoys()],
            fronts=self._fronts(search),
            envoys=[each for each in read_proxies(self._engine).envoys if each.state in _AMISS],
            timeline=timeline_of(self._history(mark)),
        )

    def _what_if(self, down: str) -> str:
        supposed = tuple(read_down(each.strip()) for each in down.split(",") if each.strip())
        answer = what_if(self._engine, Supposition(down=supposed)) if supposed else None
        parts = () if answer is None else (answer.stranded, answer.of("moves"), answer.receivers)
        return _rendered("what_if.html", mark="", at=self._engine.now(), down=down, answer=answer, parts_of=parts)

    def _fronts(self, search: str) -> list[ServiceName]:
        """The services with a router or a splitter, which sends their requests on to others."""
        entries = self._engine.config(self._engine.root).entries.entries
        found = {ServiceName(namespace, name) for kind, namespace, name in entries if kind in _FRONTS}
        return sorted(each for each in found if search in plain(each))

    def _history(self, mark: str) -> History:
        if self._past is None or self._past[0] != mark:
            since = read_span(SPAN, self._engine.now())
            self._past = mark, read_history(self._engine, since)
        return self._past[1]

    def _service(self, name: ServiceName, datacenter: str, mark: str) -> str:
        engine, is_gateways = self._engine, name.name == GATEWAYS
        found = read_instances(engine, name)
        resolvers = () if is_gateways else read_now(engine, name).resolvers
        datacenters = sorted({each.datacenter for each in resolvers}) or list(engine.scope.datacenters)
        worst = min(resolvers, key=lambda each: each.rank, default=None)
        shown = datacenter or (worst.datacenter if worst else "")
        explanation = read_explanation(engine, name, shown) if shown and not is_gateways else None
        since = read_span(SPAN, engine.now())
        past = [] if is_gateways else [*reversed(read_history(engine, since, name).happenings)][:MOST_MARKS]
        return _rendered(
            "service.html",
            mark=mark,
            at=engine.now(),
            name=name,
            label=plain(name),
            datacenters=datacenters,
            shown=shown,
            cells=[(each.datacenter, cell_of(each), each) for each in resolvers],
            picture=picture_of(explanation) if explanation is not None else None,
            text=explain_text(explanation) if explanation is not None else "",
            instances=found.instances[:MOST_INSTANCES],
            left_out=max(len(found.instances) - MOST_INSTANCES, 0),
            past=past,
            envoys=_envoys(engine, name),
        )


def _behind(now: Now) -> list[str]:
    """What is not as the store has it, as sentences."""
    return [f"{each.cluster}, as {each.datacenter} sees it: {each.trouble}" for each in now.resolvers if each.trouble]


def _envoys(engine: Engine, name: ServiceName) -> tuple[EnvoyView, ...]:
    """The Envoys of the sidecars of a service, or of the mesh gateways; none if it has no sidecar."""
    try:
        return read_proxies(engine, name).envoys
    except InvalidInput:
        return ()


def refused(status: int, reason: str) -> Shown:
    """A page that says why there is none."""
    return _page(_rendered("refused.html", status=status, reason=reason, mark=""), status)


def _page(html: str, status: int = 200, mark: str = "") -> Shown:
    return Shown(status, "text/html; charset=utf-8", html.encode(), mark)


@cache
def _static() -> Mapping[str, Shown]:
    found = {}
    for each in files("pointsman.page").joinpath("static").iterdir():
        data = each.read_bytes()
        kind = mimetypes.guess_type(each.name)[0] or "application/octet-stream"
        mark = blake2b(data, digest_size=8).hexdigest()
        found[each.name] = Shown(200, f"{kind}; charset=utf-8", data, mark)
    return found


def static(name: str) -> Shown:
    """The style sheet, the script or the icon. Raises InvalidInput for another one."""
    if name not in _static():
        raise InvalidInput.single("the page", STATIC + name[:LONGEST_SEARCH], "does not exist")
    return _static()[name]


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("pointsman.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["clock"] = _clock
    made.filters["lease"] = lambda lease_ms: duration_text(lease_ms * 1_000_000)
    made.filters["order"] = order_line
    made.filters["counted"] = counted
    made.globals |= {"plain": plain, "AMISS": _AMISS}
    made.globals |= {
        "plain": plain,
        "BOX_WIDTH": BOX_WIDTH,
        "WIDTH": WIDTH,
        "LEFT": LEFT,
        "MOST_LINES": MOST_LINES,
        "WARNING": Severity.WARNING,
    }
    return made


def _clock(moment: str, now: str) -> str:
    """A moment (RFC 3339, UTC) for people: the time of day, with the day if it is another one than that of `now`."""
    day, _, rest = moment.partition("T")
    clock = rest[:8]
    return clock if day == now[:10] else f"{day} {clock}"


def _rendered(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)
