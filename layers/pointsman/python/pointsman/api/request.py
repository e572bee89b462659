"""A request to the API, its answer, and why there may be none: the same for every server."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import orjson

from pointsman.model.complaints import shown
from pointsman.model.errors import InvalidInput, PointsmanError
from pointsman.model.grants import EVERYTHING, Grant
from pointsman.model.orders import checked_name
from pointsman.pipeline.engine import Engine

if TYPE_CHECKING:
    from pointsman.model.sources.recognize import SourceSettings
    from pointsman.model.sources.task_tags import TaskTags


def _nothing() -> None:
    pass


def _unheard(text: str) -> None:
    pass


def _defaults() -> "SourceSettings":
    # Imported here: most requests to a function are no events.
    from pointsman.model.sources.recognize import DEFAULTS

    return DEFAULTS


def without_tags(missing: "TaskTags") -> Any:
    """The event of a task of ECS without tags."""
    return missing.filled(())


@dataclass(frozen=True, slots=True)
class Api:
    """What requests are answered from.

    `settings` gives those of the sources of events; `with_tags` makes of the event of an ECS task one with its tags,
    where they ask for these. `trust_domain` is fixed by the first write of config.
    `more_status` gives what a server adds to the status, and `ordered` is called when an order began, changed or ended.
    `progress` gets texts about work that takes long.
    """

    engine: Engine
    settings: Callable[[], "SourceSettings"] = _defaults
    trust_domain: str = ""
    with_tags: Callable[["TaskTags"], Any] = without_tags
    more_status: Callable[[], Mapping[str, Any]] = dict
    ordered: Callable[[], None] = _nothing
    progress: Callable[[str], None] = _unheard


@dataclass(frozen=True, slots=True)
class Request:
    """A request: `path` is decoded, `query` as it came, names of `headers` are in lower case.

    `grant` is what the sender may do. A route finds `values` in the path, and `parameters` in the query.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    grant: Grant = EVERYTHING
    values: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)

    def by(self, stated: str) -> str:
        """The name that is noted beside what is done: the sender's own, or on loopback what they `stated`."""
        return checked_name(self.grant.name or stated)


def parameters_in(query: str, known: tuple[str, ...]) -> Mapping[str, str]:
    """The parameters in the `query` of a URL. Raises InvalidInput for one that is not `known`, or given twice."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, errors="replace") if query else ():
        if name not in known:
            these = f"there are {', '.join(known)}" if known else "there are none here"
            raise InvalidInput.single("the URL", shown(name), f"is no parameter; {these}")
        if name in found:
            raise InvalidInput.single("the URL", name, "is given twice; keep one")
        found[name] = value
    return found


def switched_on(parameters: Mapping[str, str], name: str) -> bool:
    """Whether the parameter `name` is 1 or true; not if it is 0, false or missing. Raises InvalidInput."""
    match parameters.get(name, "").lower():
        case "1" | "true":
            return True
        case "" | "0" | "false":
            return False
        case other:
            raise InvalidInput.single("the URL", name, f"{shown(other)} is neither 1 nor 0")


class Declined(PointsmanError):
    """A request that is not answered: `status` says why, `headers` go with the answer."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status, self.headers = status, headers or {}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: its status, its body as JSON values, and headers beside the content type."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    data: bytes = field(init=False, repr=False)
    """The body as it is sent."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", orjson.dumps(self.body))
