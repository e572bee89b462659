"""Where the emulator is not like AWS: what the template is deployed without and with there, and what it cannot show.

The template is written for AWS, and not for the emulator: what separates them is here.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.fleet.process import FleetError


@dataclass(frozen=True, slots=True)
class Stripped:
    """A part of the template that is left out, by the names on the way to it, and why."""

    where: str
    why: str


@dataclass(frozen=True, slots=True)
class Added:
    """An action that is allowed beside another one, wherever that is allowed, and why."""

    action: str
    beside: str
    why: str


STRIPPED = (
    Stripped(
        "Resources.BusPolicy", "the type AWS::Events::EventBusPolicy is unknown, even under a condition that is false"
    ),
    Stripped(
        "Resources.Ingest.Properties.Events.Records.Properties.ScalingConfig",
        "MaximumConcurrency stays the text that the parameter is, and is compared with a number",
    ),
    Stripped("Resources.ThrottlesAlarm", "alarms on several metrics are unknown"),
    Stripped("Resources.UndeliveredAlarm", "alarms on several metrics are unknown"),
)

ADDED = (Added("sns:PublishBatch", "sns:Publish", "AWS has no such action, sns:Publish allows the call"),)

NOT_SHOWN = (
    "buses of other regions (PeerBus1 to PeerBus5): nothing is delivered across regions",
    "message move tasks: there is no StartMessageMoveTask",
    "ReservedConcurrentExecutions: the property is ignored, each function has four executions at a time by a call",
    "SnapStart: a function starts as any process does",
    "alarms and the dashboard: they are made, but nothing feeds AWS's own metrics",
)


def adapted(template: dict[str, Any]) -> dict[str, Any]:
    """The template without what STRIPPED names and with what ADDED names.

    Raises FleetError when the template has nothing of the kind any more.
    """
    out = copy.deepcopy(template)
    for stripped in STRIPPED:
        *way, last = stripped.where.split(".")
        found: Any = out
        for name in way:
            found = found.get(name, {})
        if last not in found:
            raise FleetError(f"{stripped.where}: the template has it no more; take it out of {__name__}")
        del found[last]
    for added in ADDED:
        beside = [each for each in _allowing(out) if added.beside in _listed(each["Action"])]
        if not beside:
            raise FleetError(f"{added.beside}: the template allows it no more; take it out of {__name__}")
        for statement in beside:
            statement["Action"] = [*_listed(statement["Action"]), added.action]
    return out


def _allowing(part: Any) -> Iterator[dict[str, Any]]:
    """The statements of all policies in a part of the template that allow something."""
    if isinstance(part, dict):
        if part.get("Effect") == "Allow" and "Action" in part:
            yield part
        for each in part.values():
            yield from _allowing(each)
    elif isinstance(part, list):
        for each in part:
            yield from _allowing(each)


def _listed(action: Any) -> list[str]:
    return [action] if isinstance(action, str) else list(action)
