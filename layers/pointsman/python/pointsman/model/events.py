"""Health events: what producers send, in the EventBridge shape or as the bare detail (docs/events.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from pointsman.model.errors import InvalidInput, Problem
from pointsman.model.names import DEFAULT_NAMESPACE, ServiceName, is_label
from pointsman.model.reported import InstancePart, Reported, Text
from pointsman.model.shape import problems_of

DETAIL_TYPES = ("Service Health Changed", "Instance Health Changed")
MAX_NUMBER = 2**63 - 1
_Number = Annotated[int, Field(ge=0, le=MAX_NUMBER, strict=True)]


class _Removed(Reported):
    node: Text
    id: Text


class _Detail(Reported):
    source: Annotated[Text, Field(min_length=1, max_length=256)]
    epoch: _Number = 0
    index: _Number
    datacenter: Text
    namespace: Text = DEFAULT_NAMESPACE
    kind: Literal["", "service", "mesh-gateway"] = ""
    service: Text = ""
    instances: list[InstancePart] | None = None
    instance: InstancePart | None = None
    removed: _Removed | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """What an event says of one instance. None: `description` of one that is gone, `checks` of nothing said."""

    node: str
    id: str
    description: dict[str, Any] | None
    checks: list[dict[str, Any]] | None


@dataclass(frozen=True, slots=True)
class HealthEvent:
    """One change of health, checked.

    `service` is None for a datacenter's mesh gateways. With `full` the statements are all instances that `source` has
    of it at `index`: whoever is not among them is gone. With `checks_only` no address is moved. `time` is when the
    producer says it happened (RFC 3339), "" if it does not say.
    """

    id: str
    time: str
    source: str
    epoch: int
    index: int
    datacenter: str
    service: ServiceName | None
    full: bool
    statements: tuple[Statement, ...]
    checks_only: bool = False


def parse_event(raw: Any) -> HealthEvent:
    """The event that `raw` (EventBridge envelope or bare detail, as parsed JSON) describes.

    Raises InvalidInput with every problem of it.
    """
    if not isinstance(raw, Mapping):
        raise InvalidInput.single("event", "", f"must be a JSON object, not {raw!r}"[:120])
    envelope: Mapping[str, Any] = raw if "detail" in raw or "detail-type" in raw else {"detail": raw}
    thing = f'event "{envelope["id"]}"' if envelope.get("id") else "event"
    detail_type = envelope.get("detail-type")
    if detail_type is not None and detail_type not in DETAIL_TYPES:
        types = " and ".join(f'"{each}"' for each in DETAIL_TYPES)
        raise InvalidInput.single(thing, "detail-type", f"{detail_type!r} is no known shape; known are {types}")
    body = envelope.get("detail")
    if not isinstance(body, Mapping):
        raise InvalidInput.single(thing, "detail", "must be a mapping")
    if detail_type is None and "Source" not in body:
        raise InvalidInput.single(
            thing,
            "",
            "is of no known shape: it has neither a detail-type nor a Source; docs/events.md shows the shapes",
        )
    try:
        detail = _Detail.model_validate({key: value for key, value in body.items() if value is not None})
    except ValidationError as error:
        raise InvalidInput(problems_of(error, thing)) from None
    if problems := [Problem(thing, field, reason) for field, reason in _complaints(detail, detail_type)]:
        raise InvalidInput(problems)
    return HealthEvent(
        id=str(envelope.get("id") or ""),
        time=str(envelope.get("time") or ""),
        source=detail.source,
        epoch=detail.epoch,
        index=detail.index,
        datacenter=detail.datacenter,
        service=None if detail.kind == "mesh-gateway" else ServiceName(detail.namespace, detail.service),
        full=detail.instances is not None,
        statements=_statements(detail),
    )


def _statements(detail: _Detail) -> tuple[Statement, ...]:
    if detail.removed:
        return (Statement(detail.removed.node, detail.removed.id, None, None),)
    parts = detail.instances if detail.instances is not None else [detail.instance] if detail.instance else []
    return tuple(Statement(part.node.node, part.service.id, part.description(), part.check_list()) for part in parts)


def _complaints(detail: _Detail, detail_type: str | None) -> list[tuple[str, str]]:
    out: list[tuple[str, str]] = []

    def label(field: str, value: str) -> None:
        if not is_label(value):
            out.append((field, f'"{value}" is not a lower-case DNS label'))

    label("Datacenter", detail.datacenter)
    if detail.kind != "mesh-gateway":
        label("Namespace", detail.namespace)
        label("Service", detail.service)
    given = [name for name in ("instances", "instance", "removed") if getattr(detail, name) is not None]
    if len(given) != 1:
        out.append(("", "needs exactly one of Instances (the full list), Instance and Removed"))
    elif detail_type and (given == ["instances"]) != (detail_type == DETAIL_TYPES[0]):
        expected = "Instances" if detail_type == DETAIL_TYPES[0] else "Instance or Removed"
        out.append(("detail-type", f'"{detail_type}" goes with {expected}, not with {given[0].capitalize()}'))
    seen: set[tuple[str, str]] = set()
    for i, part in enumerate(detail.instances or ([detail.instance] if detail.instance else [])):
        at = f"Instances[{i}]" if detail.instances is not None else "Instance"
        out.extend((f"{at}.{field}", reason) for field, reason in part.complaints())
        if (part.node.node, part.service.id) in seen:
            out.append((at, f'the instance "{part.service.id}" on node "{part.node.node}" is listed twice'))
        seen.add((part.node.node, part.service.id))
    return out
