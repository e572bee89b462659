"""Explains who may call the services that a chain ends at, and by which intention."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from pointsman.chain.complaints import shown, thing
from pointsman.chain.entryset import EntrySet
from pointsman.chain.graph import Chain
from pointsman.chain.intentions import ALL, Intention, applying, deciding
from pointsman.failover.conditions_text import conditions_text
from pointsman.model.intentions import EVERY
from pointsman.model.names import ServiceName
from pointsman.model.shape import shape_json

_BY_NONE: Final = "allowed, by no intention"


@dataclass(frozen=True, slots=True)
class Callers:
    """The `intentions` that apply to calls of `service`, in their order.

    With a `caller` they are the one that decides what it may do, none if it may do everything.
    """

    service: ServiceName
    caller: ServiceName | None
    intentions: tuple[Intention, ...]


def callers_of(entries: EntrySet, chain: Chain, caller: ServiceName | None) -> tuple[Callers, ...]:
    """Who may call each service that `chain` ends at, or what `caller` may do there. Those that everybody may call
    because no intention applies are not among them."""
    found = []
    for service in sorted({each.target.name for each in chain.targets.values()}):
        intentions = applying(entries, service)
        if intentions:
            one = deciding(intentions, caller) if caller else None
            told = intentions if caller is None else (one,) if one else ()
            found.append(Callers(service, caller, told))
    return tuple(found)


def callers_json(callers: Iterable[Callers]) -> list[dict[str, Any]]:
    """`callers` as plain JSON values, for programs."""
    return [
        {
            "service": each.service.name,
            "namespace": each.service.namespace,
            "caller": str(each.caller) if each.caller else None,
            "intentions": [
                {
                    "source": str(one.source),
                    "permissions": [shape_json(permission) for permission in one.permissions],
                    "otherwise": one.otherwise,
                    "entry": thing(one.entry),
                }
                for one in each.intentions
            ],
        }
        for each in callers
    ]


def callers_text(callers: Iterable[Callers]) -> Iterator[str]:
    """`callers` as lines, for people."""
    for each in callers:
        told: dict[str, str] = {}
        for one in each.intentions:
            told.setdefault(_source(one.source), f"{_decision(one)}, by {thing(one.entry)}")
        if each.caller is not None:
            decision = next(iter(told.values()), _BY_NONE)
            yield f"{shown(each.caller)} calls {shown(each.service)}: {decision}"
            continue
        yield f"who may call {shown(each.service)}:"
        if each.intentions[-1].source != ALL:
            told["everybody else"] = _BY_NONE
        yield from (f"   {source}: {decision}" for source, decision in told.items())


def _source(source: ServiceName) -> str:
    if source == ALL:
        return "everybody"
    return shown(source) if source.name != EVERY else f'every service of namespace "{source.namespace}"'


def _decision(intention: Intention) -> str:
    words = {"allow": "allowed", "deny": "denied"}
    if not intention.permissions:
        return words[intention.otherwise]
    tried = [
        f"{', '.join(conditions_text(each.http)) or 'every request'} {words[each.action]}"
        for each in intention.permissions
    ]
    return f"{'; '.join(tried)}; every other request {words[intention.otherwise]}"
