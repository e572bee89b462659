"""Who may call, worked out directly from what is written: the rule of docs/semantics.md, section 11, in few lines.

Nothing of Pointsman is in it, so that what Pointsman computes can be compared with it.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

JSON = dict[str, Any]
Name = tuple[str, str]
"""A service: namespace and name."""

WEB: Name = ("default", "web")
"""Who is called."""


@dataclass(frozen=True)
class Request:
    """What is asked for; header names are in lower case."""

    path: str = "/"
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = field(default=())


def may_call(entries: list[JSON], caller: Name, request: Request | None) -> bool:
    """Whether `caller` may send `request` to WEB, or, without one, connect to it."""
    found: list[tuple[int, Name, bool, JSON]] = []
    for entry in entries:
        called = (entry.get("Namespace") or "default", entry["Name"])
        if not is_one_of(WEB, called):
            continue
        for source in entry["Sources"]:
            own = "default" if called[0] == "*" else called[0]
            calling = (source.get("Namespace") or own, source["Name"])
            general = called[1] == calling[1] == "*"
            found.append((3 * exactness(called) + exactness(calling), calling, general, source))
    found.sort(key=lambda one: one[0], reverse=True)
    general_ones = [(calling, source["Action"]) for _, calling, general, source in reversed(found) if general]
    default = next((action for calling, action in general_ones if calling == ("*", "*")), "allow")
    holding: dict[Name, str] = {}
    for _, calling, _, source in found:
        # Who is named more exactly by an earlier one is not meant; whoever is named alike is decided about already.
        narrower = any(exactness(each) >= exactness(calling) for each in holding)
        if is_one_of(caller, calling) and not narrower:
            unmatched = next((action for names, action in general_ones if is_one_of(calling, names)), "allow")
            holding[calling] = decided(source, request, unmatched)
    other = "deny" if default == "allow" else "allow"
    return (other if other in holding.values() else default) == "allow"


def decided(source: JSON, request: Request | None, default: str) -> str:
    if "Action" in source:
        return str(source["Action"])
    if request is None:
        return "deny"
    holds = (each["Action"] for each in source["Permissions"] if is_met(each["HTTP"], request))
    return str(next(holds, default))


def is_one_of(service: Name, names: Name) -> bool:
    return all(wanted in ("*", had) for had, wanted in zip(service, names, strict=True))


def exactness(names: Name) -> int:
    return 2 - names.count("*")


def is_met(conditions: JSON, request: Request) -> bool:
    path = request.path.partition("?")[0]
    return (
        path == conditions.get("PathExact", path)
        and path.startswith(conditions.get("PathPrefix", ""))
        and re.fullmatch(conditions.get("PathRegex", ".*"), path) is not None
        and request.method in conditions.get("Methods", [request.method])
        and all(header_holds(each, dict(request.headers).get(each["Name"])) for each in conditions.get("Header", []))
    )


def header_holds(condition: JSON, value: str | None) -> bool:
    invert = condition.get("Invert", False)
    if "Present" in condition:
        return (value is not None) != invert
    if value is None:
        return False
    if condition.get("IgnoreCase"):
        value = value.lower()
        condition = {key: each.lower() if isinstance(each, str) else each for key, each in condition.items()}
    holds = (
        value == condition.get("Exact", value)
        and value.startswith(condition.get("Prefix", ""))
        and value.endswith(condition.get("Suffix", ""))
        and condition.get("Contains", "") in value
        and re.fullmatch(condition.get("Regex", ".*"), value) is not None
    )
    return bool(holds) != invert


CALLERS: list[Name] = [("default", "api"), ("default", "db"), ("team", "api"), ("team", "web")]
REQUESTS = [
    Request(),
    Request("/a?b=/admin"),
    Request("/admin/x", "POST"),
    Request("/a/b", "PUT", (("x-team", "ops"),)),
    Request("/", "POST", (("x-team", "Dev Ops"),)),
]
HEADERS: list[JSON] = [
    {"Present": True},
    {"Exact": "ops"},
    {"Prefix": "dev", "IgnoreCase": True},
    {"Suffix": "ops", "IgnoreCase": True},
    {"Contains": "Op"},
    {"Regex": "[a-z]+"},
]
conditions: list[JSON] = [
    *({"Header": [{"Name": "x-team", **each, **more}]} for each in HEADERS for more in ({}, {"Invert": True})),
    {"PathExact": "/a"},
    {"PathPrefix": "/a"},
    {"PathPrefix": "/admin", "Methods": ["GET", "PUT"]},
    {"PathRegex": "/a.*"},
    {"Methods": ["POST"]},
    {"Methods": ["PUT"], "Header": [{"Name": "x-team", "Exact": "ops"}]},
]
"""Every kind of condition."""

actions = st.sampled_from(["allow", "deny"])
permissions = st.lists(
    st.fixed_dictionaries({"Action": actions, "HTTP": st.sampled_from(conditions)}), min_size=1, max_size=4
)
places = st.sampled_from(
    [{"Name": "api"}, {"Name": "db"}, {"Name": "*"}, {"Name": "api", "Namespace": "team"}]
    + [{"Name": "*", "Namespace": each} for each in ("team", "*")]
)


@st.composite
def entries(draw: st.DrawFn) -> list[JSON]:
    """Intentions for WEB, for all of its namespace and for all, or some of them, in any order."""
    found = []
    for called in ({"Name": "web"}, {"Name": "*"}, {"Name": "*", "Namespace": "*"}):
        sources = []
        for place in draw(st.lists(places, max_size=4, unique_by=lambda each: (each["Name"], each.get("Namespace")))):
            if called["Name"] == "web" and draw(st.booleans()):
                sources.append(place | {"Permissions": draw(permissions)})
            else:
                sources.append(place | {"Action": draw(actions)})
        if sources:
            found.append({"Kind": "service-intentions", **called, "Sources": sources})
    return list(draw(st.permutations(found)))
