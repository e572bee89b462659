"""Health events: what producers send, in the EventBridge shape or as the bare detail (docs/events.md)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple, Required

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic takes the one of `typing` from Python 3.12 on only

from pointsman.model.complaints import problems_of
from pointsman.model.duration import duration_text, parse_duration
from pointsman.model.errors import InvalidInput, Problem, shortened
from pointsman.model.listed import MOST_INSTANCES, MOST_REFUSED, Refused, read_instance_part, read_instances
from pointsman.model.names import DEFAULT_NAMESPACE, GATEWAYS, GATEWAYS_REASON, ServiceName, is_label
from pointsman.model.reported import InstancePart, RemovedPart, Text, checks_of, description_of

ALIVE = "Source Alive"
DETAIL_TYPES = ("Service Health Changed", "Instance Health Changed", ALIVE)
MAX_NUMBER = 2**63 - 1
MAX_PROBLEMS = 20
"""Problems in the refusal of one event: all of its instances may have the same one."""

MOST_NAME: Final = 512
"""Characters of an event's id and time."""

LONGEST_SENDER: Final = 128
"""Characters of a sender's name."""

SHORTEST_LEASE_MS: Final = 3_000
"""A source renews its lease at a third of it: once a second at most."""

LONGEST_LEASE_MS: Final = 86_400_000
"""A day."""

_Number = Annotated[int, Field(strict=True, ge=0, le=MAX_NUMBER)]


class _Detail(TypedDict, total=False):
    Source: Required[Annotated[str, Field(strict=True, min_length=1, max_length=256)]]
    Epoch: _Number | None
    Index: Required[_Number]
    Datacenter: Required[Text]
    Lease: Any
    Sender: Annotated[str, Field(strict=True, max_length=LONGEST_SENDER)] | None
    Namespace: Text | None
    Kind: Literal["", "service", "mesh-gateway"] | None
    Service: Text | None
    Instances: list[Any] | None
    Instance: Any
    Removed: RemovedPart | None


_DETAIL = TypeAdapter(_Detail)


class Statement(NamedTuple):
    """What an event states of one instance. `description` is None if it is gone, `checks` if the event states none."""

    node: str
    id: str
    description: dict[str, Any] | None
    checks: list[dict[str, Any]] | None


class HealthEvent(NamedTuple):
    """One health event, validated.

    `service` is None for a datacenter's mesh gateways. With `full` the event is a list: the statements are all
    instances that `source` has at `index`, except those that are `refused`. With `checks_only` it changes no address.
    `time` is when it happened according to the producer (RFC 3339), "" if unknown.

    `moment` is set if the source counts its indexes by instance, so that indexes of two instances cannot be compared:
    milliseconds since 1970 by the source's clock, which order its statements about all instances.

    With `forgets` it states nothing: the tombstones of these instances are not needed any more, if they are not newer
    than its moment.

    `sender` is who sends it in the name of the source, anew at each start of a process; "" if unknown.

    With `listed` it is about one instance and comes from a list of what there is: what the source itself said of that
    instance at the same index outranks it, and that it is late is no mistake.

    `at` is when it counts (milliseconds since 1970): `model.since.timed` sets it where the event is taken in. 0 means
    that its time plays no part.

    `lease_ms` is for how long what the source says of the datacenter stands unless the source is heard again: 0 for
    ever, None if the event says nothing of it. With `is_alive` the event does nothing but renew that lease.
    """

    id: str
    time: str
    source: str
    epoch: int
    index: int  # type: ignore[assignment]  # tuples have a method of that name, which nobody needs here
    datacenter: str
    service: ServiceName | None
    full: bool
    statements: tuple[Statement, ...]
    checks_only: bool = False
    refused: tuple[Refused, ...] = ()
    moment: int | None = None
    lease_ms: int | None = None
    is_alive: bool = False
    at: int = 0
    listed: bool = False
    forgets: bool = False
    sender: str = ""

    @property
    def rank(self) -> int:
        """Its rank among what is stated at the same index: 0 for a list, 1 for a statement about one instance."""
        return 0 if self.full or self.listed else 1

    @property
    def states_absence(self) -> bool:
        """Whether it is a list by which instances missing from it are gone.

        A list with an instance that cannot be identified is not: that one may be any known instance.
        """
        return self.full and all(each.is_named for each in self.refused)

    @property
    def left_out(self) -> frozenset[tuple[str, str]]:
        """(node, id) of refused instances about which the list states nothing, neither that they exist nor that they
        are gone."""
        return frozenset((each.node, each.id) for each in self.refused if each.is_named and not each.is_gone)


def parse_event(raw: Any) -> HealthEvent:
    """The event that `raw` (EventBridge envelope or bare detail, as parsed JSON) describes.

    Raises InvalidInput with its problems, at most MAX_PROBLEMS, each cut to a readable length.
    """
    if not isinstance(raw, Mapping):
        raise InvalidInput.single("event", "", f"must be a mapping, not {_kind(raw)}")
    envelope: Mapping[str, Any] = raw if "detail" in raw or "detail-type" in raw else {"detail": raw}
    id_ = envelope.get("id")
    thing = f'event "{id_[:64]}"' if isinstance(id_, str) and id_ and id_.isprintable() else "event"
    if problems := list(_envelope_complaints(envelope)):
        raise _refusal(thing, problems)
    detail_type, body = envelope.get("detail-type"), envelope["detail"]
    if detail_type is None and "Source" not in body:
        reason = "is of no known shape: it has neither a detail-type nor a Source; docs/events.md shows the shapes"
        raise InvalidInput.single(thing, "", reason)
    try:
        detail = _DETAIL.validate_python(body)
    except ValidationError as error:
        problems = [(problem.field, problem.reason) for problem in problems_of(error, thing)]
        raise _refusal(thing, problems) from None
    if problems := list(_complaints(detail, detail_type)):
        raise _refusal(thing, problems)
    parts, refused = _read_parts(detail, thing)
    is_alive = detail_type == ALIVE
    gateways = is_alive or detail.get("Kind") == "mesh-gateway"
    service = ServiceName(detail.get("Namespace") or DEFAULT_NAMESPACE, detail.get("Service") or "")
    return HealthEvent(
        id=id_ or "",
        time=envelope.get("time") or "",
        source=detail["Source"],
        epoch=detail.get("Epoch") or 0,
        index=detail["Index"],
        datacenter=detail["Datacenter"],
        service=None if gateways else service,
        full=detail.get("Instances") is not None,
        statements=_statements(detail, parts),
        refused=tuple(refused),
        lease_ms=lease_of(detail.get("Lease"), thing),
        is_alive=is_alive,
        sender=detail.get("Sender") or "",
    )


def lease_of(given: Any, thing: str, field: str = "Lease") -> int | None:
    """The milliseconds of a lease that `thing` gives in `field`, None without one.

    Raises InvalidInput unless they are 0, or SHORTEST_LEASE_MS to LONGEST_LEASE_MS.
    """
    if given is None:
        return None
    try:
        lease_ms = parse_duration(given) // 1_000_000
    except ValueError as error:
        raise InvalidInput.single(thing, field, str(error)) from None
    if lease_ms and not SHORTEST_LEASE_MS <= lease_ms <= LONGEST_LEASE_MS:
        least, most = (duration_text(each * 1_000_000) for each in (SHORTEST_LEASE_MS, LONGEST_LEASE_MS))
        reason = f"is {duration_text(lease_ms * 1_000_000)}; a lease lasts {least} to {most}, and 0s ends it"
        raise InvalidInput.single(thing, field, reason)
    return lease_ms


def _statements(detail: _Detail, parts: Sequence[InstancePart]) -> tuple[Statement, ...]:
    if removed := detail.get("Removed"):
        return (Statement(removed["Node"], removed["ID"], None, None),)
    return tuple(
        Statement(part["Node"]["Node"], part["Service"]["ID"], description_of(part), checks_of(part)) for part in parts
    )


def _read_parts(detail: _Detail, thing: str) -> tuple[list[InstancePart], list[Refused]]:
    """The instances of the event, and those of its list that are refused.

    Raises InvalidInput if all of them, or more than MOST_REFUSED, are refused.
    """
    if (instance := detail.get("Instance")) is not None:
        part, problems = read_instance_part(instance)
        if part is None:
            raise _refusal(
                thing, [(f"Instance.{field}" if field else "Instance", reason) for field, reason in problems]
            )
        return [part], []
    listed = detail.get("Instances") or []
    parts, refused = read_instances(listed)
    if refused and (not parts or len(refused) > MOST_REFUSED):
        places = [f"Instances[{each.index}]" + (f".{each.field}" if each.field else "") for each in refused]
        raise _refusal(thing, [(place, each.reason) for place, each in zip(places, refused, strict=True)])
    return parts, refused


def _envelope_complaints(envelope: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for field in ("id", "time", "detail-type"):
        value = envelope.get(field)
        if value is None:
            continue
        if not isinstance(value, str):
            yield field, f"must be a string, not {_kind(value)}"
        elif len(value) > MOST_NAME:
            yield field, f"has {len(value)} characters; {MOST_NAME} are the most"
        elif not value.isprintable():
            yield field, "has characters that cannot be shown"
        elif field == "detail-type" and value not in DETAIL_TYPES:
            types = " and ".join(f'"{each}"' for each in DETAIL_TYPES)
            yield field, f'"{value[:64]}" is no known shape; known are {types}'
    if not isinstance(envelope.get("detail"), Mapping):
        yield "detail", f"must be a mapping, not {_kind(envelope.get('detail'))}"


def _complaints(detail: _Detail, detail_type: str | None) -> Iterator[tuple[str, str]]:
    labels = {"Datacenter": detail["Datacenter"]}
    if detail.get("Kind") != "mesh-gateway" and detail_type != ALIVE:
        labels["Namespace"] = detail.get("Namespace") or DEFAULT_NAMESPACE
        labels["Service"] = detail.get("Service") or ""
    for field, value in labels.items():
        if not is_label(value):
            yield field, f'"{value[:64]}" is not a lower-case DNS label'
        elif value == GATEWAYS and field == "Service":
            yield field, f'{GATEWAYS_REASON}, or send what it is of: "Kind": "mesh-gateway"'
    if not detail["Source"].isprintable():
        yield "Source", "has characters that cannot be shown"
    if not (detail.get("Sender") or "").isprintable():
        yield "Sender", "has characters that cannot be shown"
    given = [name for name in ("Instances", "Instance", "Removed") if detail.get(name) is not None]
    if detail_type == ALIVE:
        more = given + [name for name in ("Service", "Namespace", "Kind") if detail.get(name)]
        if more:
            yield "detail-type", f'"{ALIVE}" does nothing but renew the lease, so it goes without {" and ".join(more)}'
        if detail.get("Lease") is None:
            yield "Lease", "is required: for how long what the source says stands unless it is heard again"
    elif len(given) != 1:
        yield "", "needs exactly one of Instances (the full list, [] if there is none), Instance and Removed"
    elif detail_type and (given == ["Instances"]) != (detail_type == DETAIL_TYPES[0]):
        expected = "Instances" if detail_type == DETAIL_TYPES[0] else "Instance or Removed"
        yield "detail-type", f'"{detail_type}" goes with {expected}, not with {given[0]}'
    if (count := len(detail.get("Instances") or ())) > MOST_INSTANCES:
        yield "Instances", f"has {count} instances; {MOST_INSTANCES} are the most"


def _refusal(thing: str, problems: Sequence[tuple[str, str]]) -> InvalidInput:
    """The problems as (field, reason), cut to what a person reads and a log takes."""
    out = [Problem(thing, shortened(field), shortened(reason)) for field, reason in problems[:MAX_PROBLEMS]]
    if len(problems) > MAX_PROBLEMS:
        out.append(Problem(thing, "", f"has more than these {MAX_PROBLEMS} problems"))
    return InvalidInput(out)


def _kind(value: Any) -> str:
    """The JSON type of `value`: the value itself may be impossible to show."""
    if value is None:
        return "null"
    names = {str: "a string", bool: "true or false", int: "a number", float: "a number", list: "a list"}
    return names.get(type(value), "a mapping" if isinstance(value, Mapping) else "something else")
