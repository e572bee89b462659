"""Consul watches: the input of `consul watch` programs and of an agent's watch handlers.

A handler gets the bare result of a query, as JSON: for `type = "service"` the instances, as in /v1/health/service; for
`type = "checks"` the checks, as in /v1/health/state/any. The query's index comes in the header X-Consul-Index or in
CONSUL_INDEX. What was watched is missing, so the producer adds it, in the parameters of the URL that it posts to, or in
an event of the detail type `Consul Watch` (docs/sources.md, "Consul").
https://developer.hashicorp.com/consul/docs/automate/watch
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Annotated, Any, Literal, Required, cast

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic takes the one of `typing` from Python 3.12 on only

from pointsman.model.errors import InvalidInput, Problem
from pointsman.model.events import DETAIL_TYPES, MAX_PROBLEMS, HealthEvent, Statement, parse_event
from pointsman.model.instance import read_instance
from pointsman.model.listed import MOST_REFUSED, Refused
from pointsman.model.names import GATEWAYS, is_label
from pointsman.model.reported import CheckPart, InstancePart, Text, checks_of
from pointsman.model.sources.reading import Reading
from pointsman.model.sources.refusal import retold, shape_refusal, shown

DETAIL_TYPE = "Consul Watch"

_PARAMETERS = {
    "type": "Type",
    "dc": "Datacenter",
    "service": "Service",
    "namespace": "Namespace",
    "kind": "Kind",
    "registered": "Registered",
    "source": "Source",
    "epoch": "Epoch",
    "index": "Index",
}
"""The fields of an event's detail for the parameters of a URL."""


class _Detail(TypedDict, total=False):
    Type: Required[Literal["service", "checks"]]
    Datacenter: Required[Text]
    Index: Required[Annotated[int, Field(strict=True, ge=1, le=2**63 - 1)]]
    Result: Required[list[Any]]
    Service: Text | None
    Namespace: Text | None
    Kind: Text | None
    Registered: Text | None
    Source: Text | None
    Epoch: Annotated[int, Field(strict=True)] | None


@cache
def _detail() -> TypeAdapter[_Detail]:
    return TypeAdapter(_Detail)


@cache
def _check() -> TypeAdapter[CheckPart]:
    return TypeAdapter(CheckPart)


def watch_event(parameters: Mapping[str, str], index: str | None, result: Any) -> dict[str, Any]:
    """The event of a watch's bare `result`, to be read by `read_watch`.

    `parameters` are those of the URL that it was posted to; `index` is the X-Consul-Index or CONSUL_INDEX that came
    with it, used if the parameters have none. Raises InvalidInput for an unknown parameter.
    """
    if unknown := [name for name in parameters if name not in _PARAMETERS]:
        reason = f"is no parameter of a watch; there are {', '.join(_PARAMETERS)}"
        raise InvalidInput.single(DETAIL_TYPE, shown(unknown[0]), reason)
    detail: dict[str, Any] = {_PARAMETERS[name]: value for name, value in parameters.items()}
    if index is not None:
        detail.setdefault("Index", index)
    for name in ("Index", "Epoch"):
        if name in detail:
            detail[name] = _number(detail[name])
    return {"detail-type": DETAIL_TYPE, "detail": {**detail, "Result": result}}


def _number(text: str) -> int | str:
    """The number in `text`; `text` itself if it is none, for the message that refuses it."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else text


def read_watch(envelope: Mapping[str, Any]) -> Reading:
    """The health event in a watch's result.

    A watch of a service states the full list of its instances at the watch's index; a watch of checks changes the
    checks of the instances that it lists, and no address. Raises InvalidInput with its problems.
    """
    body = envelope.get("detail")
    if not isinstance(body, Mapping):
        raise InvalidInput.single(DETAIL_TYPE, "detail", "must be a mapping with Type, Datacenter, Index and Result")
    if "Index" not in body:
        reason = "is required: Consul gives it as the header X-Consul-Index, or as CONSUL_INDEX to a program"
        raise InvalidInput.single(DETAIL_TYPE, "Index", reason)
    try:
        detail = _detail().validate_python(body)
    except ValidationError as error:
        raise shape_refusal(error, DETAIL_TYPE) from None
    if detail["Type"] == "service":
        return _of_service(envelope, detail)
    return _of_checks(envelope, detail)


def _of_service(envelope: Mapping[str, Any], detail: _Detail) -> Reading:
    event = _event(envelope, detail, detail["Result"])
    without = {each.index for each in event.refused}
    places = [i for i in range(len(detail["Result"])) if i not in without]
    for i, statement in zip(places, event.statements, strict=True):
        there = (statement.description or {})["Node"].get("Datacenter", event.datacenter)
        # An invalid name needs another one here; a valid name means that the watch is wrong.
        if there != event.datacenter and is_label(there):
            reason = f'is "{there}", but the watch is said to be of "{event.datacenter}"; correct dc or the watch'
            raise InvalidInput.single(DETAIL_TYPE, f"Result[{i}].Node.Datacenter", reason)
    name = event.service.name if event.service else ""
    counts = [read_instance(statement.description or {}, name).counts for statement in event.statements]
    if not counts or any(counts):
        return Reading((event,))
    if name:
        wanted = f'is a sidecar of "{name}"; watch the name that the sidecars have, usually "{name}-sidecar-proxy"'
    else:
        wanted = "is a mesh gateway"
    return Reading((event,), (f"{DETAIL_TYPE}: none of the {len(counts)} instances in Result {wanted}",))


def _of_checks(envelope: Mapping[str, Any], detail: _Detail) -> Reading:
    event = _event(envelope, detail, [])
    of_nodes: dict[str, list[CheckPart]] = {}
    own: dict[tuple[str, str], list[CheckPart]] = {}
    bad: dict[tuple[str, str], Refused] = {}
    unread = 0
    registered = _registered(detail)
    for i, raw in enumerate(detail["Result"]):
        try:
            check = _check().validate_python(raw)
        except ValidationError as error:
            names = _names(raw)
            unread += 1
            # A check without an owner may be any instance's, which would lack it.
            if names is None or unread > MOST_REFUSED:
                raise shape_refusal(error, DETAIL_TYPE, f"Result[{i}]") from None
            if not names[1]:
                of_nodes.setdefault(names[0], [])
            if not names[1] or raw.get("ServiceName") in (registered, None):
                (problem, *_) = shape_refusal(error, DETAIL_TYPE).problems
                bad.setdefault(names, Refused(i, *names, problem.field, problem.reason))
            continue
        node, id_ = check.get("Node") or "", check.get("ServiceID") or ""
        if not node:
            raise InvalidInput.single(DETAIL_TYPE, f"Result[{i}].Node", "is required")
        if not id_:
            of_nodes.setdefault(node, []).append(check)
        elif check.get("ServiceName") == registered:
            own.setdefault((node, id_), []).append(check)
    # Consul leaves out the nodes' checks if asked for those of one service. Such a list would make the instances of a
    # dead node healthy again.
    if not of_nodes:
        reason = "has no check of a node, so a dead node would not show; watch all checks, without -service"
        raise InvalidInput.single(DETAIL_TYPE, "Result", reason)
    # An instance is refused for a check of its own, or for one of its node.
    refused = {(node, id_): bad.get((node, id_)) or bad.get((node, "")) for node, id_ in own}
    refused |= {names: each for names, each in bad.items() if names[1]}
    told = tuple(replace(each, node=node, id=id_) for (node, id_), each in refused.items() if each is not None)
    statements = tuple(
        Statement(node, id_, None, checks_of(cast(InstancePart, {"Checks": of_nodes.get(node, []) + own[node, id_]})))
        for node, id_ in sorted(own)
        if refused[node, id_] is None
    )
    if told and not statements:
        problems = [Problem(DETAIL_TYPE, f"Result[{each.index}].{each.field}", each.reason) for each in told]
        raise InvalidInput(problems[:MAX_PROBLEMS])
    if not own:
        reason = f'no check in Result is of a service registered as "{shown(registered)}"'
        return Reading(ignored=(f"{DETAIL_TYPE}: {reason}",))
    return Reading((event._replace(full=False, checks_only=True, statements=statements, refused=told),))


def _names(raw: Any) -> tuple[str, str] | None:
    """The node and the instance ("" for a check of the node) of a refused check; None if it does not name them."""
    if not isinstance(raw, Mapping):
        return None
    node, id_ = raw.get("Node"), raw.get("ServiceID") or ""
    return (node, id_) if isinstance(node, str) and node and isinstance(id_, str) else None


def _registered(detail: _Detail) -> str:
    """The name under which Consul has the instances."""
    if named := detail.get("Registered"):
        return named
    return GATEWAYS if detail.get("Kind") == "mesh-gateway" else f"{detail.get('Service')}-sidecar-proxy"


def _event(envelope: Mapping[str, Any], detail: _Detail, instances: list[Any]) -> HealthEvent:
    """The event by which `instances` are the full list."""
    native = {
        "Source": detail.get("Source") or f"consul-{detail['Datacenter']}",
        **{name: detail.get(name) for name in ("Epoch", "Index", "Datacenter", "Namespace", "Kind", "Service")},
        "Instances": instances,
    }
    about = {name: envelope.get(name) for name in ("id", "time")}
    try:
        return parse_event({**about, "detail-type": DETAIL_TYPES[0], "detail": native})
    except InvalidInput as error:
        raise retold(error, DETAIL_TYPE, _place) from None


def _place(field: str) -> str:
    return f"Result{field.removeprefix('Instances')}" if field.startswith("Instances") else field
