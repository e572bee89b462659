"""Which service a task is an instance of (docs/sources.md, "Amazon ECS").

Each field comes from the first of these that has it: the task's tags (`pointsman:service`), the environment that it was
started with (`POINTSMAN_SERVICE` in its overrides), and the stack's own table by the task's group (`service:NAME` for
the tasks of an ECS service).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # pydantic takes the one of `typing` from Python 3.12 on only

from pointsman.model.errors import InvalidInput, Problem
from pointsman.model.events import lease_of
from pointsman.model.names import DEFAULT_NAMESPACE, ServiceName, is_label
from pointsman.model.sources.refusal import shape_refusal, shown

TAG = "pointsman:"
VARIABLE = "POINTSMAN_"
FIELDS = ("service", "namespace", "port", "datacenter", "kind")
ENVOY = "envoy"
"""The container of a task with its Envoy, if the settings say no other name."""

ANY_SERVICE = "service:*"
"""The group of every ECS service without a line of its own."""

MOST_CLUSTERS: Final = 20
"""Clusters that are looked at."""

LOOK_LEASE = "20m"
"""The lease that a look at a cluster renews, if the settings say no other one: four looks of the function's default."""

_GROUP = "service:"
_PORT = range(1, 65536)


@with_config(ConfigDict(extra="forbid"))
class _Line(TypedDict, total=False):
    service: str
    namespace: str
    port: Annotated[int, Field(strict=True, ge=1, le=65535)]
    datacenter: str
    kind: Literal["service", "mesh-gateway"]


@with_config(ConfigDict(extra="forbid"))
class _Settings(TypedDict, total=False):
    datacenter: str
    groups: dict[str, _Line]
    tags: Annotated[bool, Field(strict=True)]
    envoy: Annotated[str, Field(strict=True, min_length=1, max_length=255)]
    clusters: Annotated[
        list[Annotated[str, Field(strict=True, min_length=1, max_length=512)]], Field(max_length=MOST_CLUSTERS)
    ]
    lease: str


_SETTINGS = TypeAdapter(_Settings)


@dataclass(frozen=True, slots=True)
class TaskSettings:
    """Settings of a stack for ECS tasks.

    `datacenter` is for tasks that name none, "" for their region. `groups` has the claims by group. With `tags` the
    tags of a task without another claim are fetched; otherwise the event has to contain them. `envoy` is the name of
    the tasks' container with the Envoy. `clusters` (names or ARNs) are looked at now and then, and `lease` is the lease
    of what is said of them.
    """

    datacenter: str = ""
    groups: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    tags: bool = False
    envoy: str = ENVOY
    clusters: tuple[str, ...] = ()
    lease: str = LOOK_LEASE


@dataclass(frozen=True, slots=True)
class Claim:
    """What a task is: an instance of `service`, or a mesh gateway (None), reached at `port` of its own.

    `by_name` means that no line names the task: its ECS service counts as the service of its name.
    """

    service: ServiceName | None
    datacenter: str
    port: int
    by_name: bool


def read_task_settings(text: str) -> TaskSettings:
    """The settings in `text`, JSON like {"datacenter": "dc1", "groups": {"service:web": {"port": 21000}}}.

    "" is none. Raises InvalidInput with the problems of it.
    """
    if not text.strip():
        return TaskSettings()
    thing = "the settings for ECS tasks"
    try:
        settings = _SETTINGS.validate_python(orjson.loads(text))
    except orjson.JSONDecodeError as error:
        raise InvalidInput.single(thing, "", f"are not JSON: {error}") from None
    except ValidationError as error:
        raise shape_refusal(error, thing) from None
    groups = {
        group: {name: str(value) for name, value in line.items()} for group, line in settings.get("groups", {}).items()
    }
    out = TaskSettings(
        settings.get("datacenter", ""),
        groups,
        settings.get("tags", False),
        settings.get("envoy", ENVOY),
        tuple(settings.get("clusters", ())),
        settings.get("lease", LOOK_LEASE),
    )
    lease_of(out.lease, thing, "lease")
    if out.datacenter and not is_label(out.datacenter):
        raise InvalidInput.single(thing, "datacenter", f'"{shown(out.datacenter)}" is not a lower-case DNS label')
    for group, line in groups.items():
        problems = _complaints(line, {name: f'groups["{shown(group)}"].{name}' for name in FIELDS})
        if problems:
            raise InvalidInput([Problem(thing, *problem) for problem in problems])
    if ANY_SERVICE in groups and "port" not in groups[ANY_SERVICE]:
        raise InvalidInput.single(thing, f'groups["{ANY_SERVICE}"].port', "is required")
    return out


def claim_of(
    settings: TaskSettings,
    *,
    group: str,
    region: str,
    tags: Mapping[str, str],
    environment: Mapping[str, str],
    task: str,
) -> Claim | None:
    """What the task is; None if it is mapped to no service. Raises InvalidInput for an invalid claim, naming `task`.

    `tags` and `environment` are all that the task has; those of others are ignored.
    """
    told = [
        {name: (tags[TAG + name], f'tag "{TAG}{name}"') for name in FIELDS if tags.get(TAG + name)},
        {
            name: (environment[variable], f"{variable} in its overrides")
            for name in FIELDS
            if environment.get(variable := VARIABLE + name.upper())
        },
        _of_group(settings, group),
    ]
    by_name = not (told[0] or told[1]) and group not in settings.groups
    claimed: dict[str, tuple[str, str]] = {}
    for each in reversed(told):
        claimed |= each
    values = {name: value for name, (value, _) in claimed.items()}
    if "service" not in values and values.get("kind") != "mesh-gateway":
        return None
    if by_name and not is_label(values.get("service", "")):
        return None
    problems = _complaints(values, {name: where for name, (_, where) in claimed.items()})
    if "port" not in values:
        problems.append(("", f'says no port; give it a tag "{TAG}port", or its group one in the stack\'s settings'))
    if problems:
        raise InvalidInput([Problem(task, *problem) for problem in problems])
    gateway = values.get("kind") == "mesh-gateway"
    service = None if gateway else ServiceName(values.get("namespace") or DEFAULT_NAMESPACE, values["service"])
    return Claim(service, values.get("datacenter") or settings.datacenter or region, int(values["port"]), by_name)


def _of_group(settings: TaskSettings, group: str) -> dict[str, tuple[str, str]]:
    key = group if group in settings.groups or not group.startswith(_GROUP) else ANY_SERVICE
    line = settings.groups.get(key)
    if line is None:
        return {}
    named = {"service": group.removeprefix(_GROUP)} if group.startswith(_GROUP) else {}
    return {name: (value, f'group "{shown(group)}"') for name, value in {**named, **line}.items()}


def _complaints(values: Mapping[str, str], where: Mapping[str, str]) -> list[tuple[str, str]]:
    """(field, reason) of what is wrong with claimed `values`; `where` each comes from."""
    out = []
    for name in ("service", "namespace", "datacenter"):
        if name in values and not is_label(values[name]):
            out.append((where[name], f'"{shown(values[name])}" is not a lower-case DNS label'))
    if "port" in values and not _is_port(values["port"]):
        out.append((where["port"], f'"{shown(values["port"])}" is not a port'))
    if values.get("kind", "service") not in ("service", "mesh-gateway"):
        out.append((where["kind"], f'"{shown(values["kind"])}" is neither "service" nor "mesh-gateway"'))
    return out


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 6 and int(text) in _PORT


def pairs(items: Sequence[Mapping[str, Any]] | None, key: str) -> dict[str, str]:
    """ECS's lists of {`key`: …, "value": …} as a mapping."""
    return {item[key]: item["value"] for item in items or () if item.get(key) and item.get("value")}
