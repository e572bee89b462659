"""Reads an order as somebody wants to give it: when it ends, and the JSON in which a program sends it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pointsman.model.complaints import shown
from pointsman.model.duration import parse_duration
from pointsman.model.errors import InvalidInput, Problem
from pointsman.model.names import DEFAULT_NAMESPACE, ServiceName, is_label, read_service_name
from pointsman.model.orders import LONGEST_ORDER_SECONDS, Subject, Verb, Wish, checked_reason

_NANOSECONDS: Final = 1_000_000_000
_THING: Final = "the order"

_IN_WORDS: Final = '"drain dc1", "drain web in dc1", "pin web to dc3 for callers in dc1" or "freeze web"'

MOST_BYTES: Final = 64 * 1024
"""Bytes of an order as a program sends it."""

FIELDS: Final = ("verb", "datacenter", "service", "caller", "for", "until", "reason")
"""The fields of an order as it is sent."""


def read_wish(body: Any, now: str, by: str) -> Wish:
    """The order in `body`, parsed JSON with some of FIELDS, named as `order_json` names them, at the time `now`; `by`
    says who gives it.

    A service of another namespace is written `namespace/name`. Raises InvalidInput with every problem.
    """
    if not isinstance(body, Mapping):
        raise InvalidInput.single(_THING, "", f"is {shown(body)}, not an object with {', '.join(FIELDS)}")
    problems = [
        Problem(_THING, shown(name), f"is no field of an order; there are {', '.join(FIELDS)}")
        for name in body
        if name not in FIELDS
    ][:1]
    texts: dict[str, str] = {}
    for name in FIELDS:
        # A null is a field that is not set.
        value = body.get(name)
        if value is not None and not isinstance(value, str):
            problems.append(Problem(_THING, name, f"{shown(value)} is not a text"))
        texts[name] = value if isinstance(value, str) else ""
    if problems:
        raise InvalidInput(problems)
    subject = _subject(texts)
    if bool(texts["for"]) == bool(texts["until"]):
        raise InvalidInput.single(_THING, "for", 'give an end: "for": "2h" or "until": "2026-11-27T14:00:00Z"')
    return Wish(subject, read_end(now, texts["for"], texts["until"]), checked_reason(texts["reason"], "reason"), by)


def _subject(texts: Mapping[str, str]) -> Subject:
    if texts["verb"] not in list(Verb):
        reason = f"{shown(texts['verb'])} is none of {', '.join(Verb)}"
        raise InvalidInput.single(_THING, "verb", reason)
    verb = Verb(texts["verb"])
    needed = {Verb.DRAIN: ("datacenter",), Verb.PIN: ("datacenter", "service"), Verb.FREEZE: ()}[verb]
    useless = {Verb.DRAIN: ("caller",), Verb.PIN: (), Verb.FREEZE: ("datacenter", "caller")}[verb]
    problems = [Problem(_THING, name, f"is required to {verb}") for name in needed if not texts[name]]
    problems += [Problem(_THING, name, f"has no meaning to {verb}; leave it out") for name in useless if texts[name]]
    for name in ("datacenter", "caller"):
        if texts[name] and not is_label(texts[name]):
            problems.append(Problem(_THING, name, f"{shown(texts[name])} is not a lower-case DNS label"))
    service = None
    if named := texts["service"]:
        service = ServiceName(DEFAULT_NAMESPACE, named) if is_label(named) else read_service_name(named)
        if service is None:
            problems.append(Problem(_THING, "service", f"{shown(named)} is neither NAME nor NAMESPACE/NAME"))
    if problems:
        raise InvalidInput(problems)
    return Subject(verb, texts["datacenter"], service, texts["caller"])


def read_subject(text: str) -> Subject:
    """What an order in words is about, as `str(Subject)` writes it: `drain dc1`, `drain web in dc1`, `pin web to dc3`,
    `pin web to dc3 for callers in dc1`, `freeze web`, `freeze everything`.

    A service of another namespace is written `namespace/name`. Raises InvalidInput.
    """
    match text.split():
        case ["drain", datacenter]:
            texts = {"verb": "drain", "datacenter": datacenter}
        case ["drain", service, "in", datacenter]:
            texts = {"verb": "drain", "service": service, "datacenter": datacenter}
        case ["pin", service, "to", datacenter]:
            texts = {"verb": "pin", "service": service, "datacenter": datacenter}
        case ["pin", service, "to", datacenter, "for", "callers", "in", caller]:
            texts = {"verb": "pin", "service": service, "datacenter": datacenter, "caller": caller}
        case ["freeze", "everything"] | ["freeze"]:
            texts = {"verb": "freeze"}
        case ["freeze", service]:
            texts = {"verb": "freeze", "service": service}
        case _:
            raise InvalidInput.single(_THING, "", f"{shown(text)} is none; write one as {_IN_WORDS}")
    return _subject(dict.fromkeys(FIELDS, "") | texts)


def read_end(now: str, for_: str, until: str, option: str = "") -> str:
    """When an order ends that is given `now` `for_` a duration or, if that is "", `until` a moment.

    `option` is what the names of the two begin with in a message. Raises InvalidInput.
    """
    moment = datetime.fromisoformat(now)
    if for_:
        field, end = f"{option}for", moment + timedelta(seconds=_seconds(for_, f"{option}for"))
    else:
        field, end = f"{option}until", _moment(until, f"{option}until")
    if not 0 < (end - moment).total_seconds() <= LONGEST_ORDER_SECONDS:
        reason = "is in the past" if end <= moment else f"is more than {LONGEST_ORDER_SECONDS // 86400} days away"
        raise InvalidInput.single(
            _THING, field, f"{for_ or until} {reason}; it ends later than now, in 30 days at most"
        )
    return end.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _seconds(text: str, field: str) -> float:
    try:
        found = parse_duration(text) / _NANOSECONDS
    except ValueError as error:
        raise InvalidInput.single(_THING, field, str(error)) from None
    return min(found, 2.0 * LONGEST_ORDER_SECONDS)


def _moment(text: str, field: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput.single(_THING, field, f"{shown(text)} is not a time like 2026-11-27T14:00:00Z") from None
    if found.tzinfo is None:
        raise InvalidInput.single(_THING, field, f'"{text}" has no time zone; write {text}Z if that is UTC')
    return found
