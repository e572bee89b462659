"""Recognizes what a producer sent: everything that reports health comes in here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pointsman.model.errors import InvalidInput
from pointsman.model.events import DETAIL_TYPES, HealthEvent, parse_event
from pointsman.model.moments import moment_of
from pointsman.model.sources import consul_watch, ecs_task, task_list
from pointsman.model.sources.pointer import ListsAt, read_pointer
from pointsman.model.sources.reading import Reading
from pointsman.model.sources.refusal import shown
from pointsman.model.sources.task_claim import TaskSettings

_KNOWN = (*DETAIL_TYPES, consul_watch.DETAIL_TYPE, ecs_task.DETAIL_TYPE, task_list.DETAIL_TYPE)


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """Settings of a deployment for its sources. With `lists` None, events with pointers are refused."""

    tasks: TaskSettings = field(default_factory=TaskSettings)
    lists: ListsAt | None = None


DEFAULTS = SourceSettings()


def read_events(raw: Any, settings: SourceSettings = DEFAULTS) -> Reading:
    """The events in `raw`, parsed JSON: a native event (an envelope or the bare detail), a Consul watch, an ECS task.

    If something is missing, fetch it, fill it in, and read the result. Raises InvalidInput with the problems if `raw`
    is none of these, or wrong; then none of it counts.
    """
    if isinstance(raw, list):
        reason = "is a list; a Consul watch goes to /v1/consul/watch, and several events are sent one by one"
        raise InvalidInput.single("event", "", reason)
    if isinstance(raw, Mapping):
        if pointer := read_pointer(raw, settings.lists):
            return Reading(missing=pointer)
        detail_type = raw.get("detail-type")
        if detail_type == consul_watch.DETAIL_TYPE:
            return consul_watch.read_watch(raw)
        if detail_type == ecs_task.DETAIL_TYPE:
            return ecs_task.read_task(raw, settings.tasks)
        if detail_type == task_list.DETAIL_TYPE:
            return task_list.read_list(raw, settings.tasks)
        if isinstance(detail_type, str) and detail_type not in DETAIL_TYPES:
            if raw.get("source") == "aws.ecs":
                return Reading(ignored=(f'event: "{shown(detail_type)}" says nothing of a task',))
            known = ", ".join(f'"{each}"' for each in _KNOWN)
            reason = f'"{shown(detail_type)}" is no known shape; known are {known}'
            raise InvalidInput.single("event", "detail-type", reason)
    return Reading((_ordered(parse_event(raw)),))


def _ordered(event: HealthEvent) -> HealthEvent:
    """`event`, with the moment that orders it where its source counts by instance."""
    if not event.source.startswith(ecs_task.SOURCES):
        return event
    if event.full:
        reason = f'"{shown(event.source)}" counts by task, so a list of it has no index; send Instance or Removed'
        raise InvalidInput.single("event", "Source", reason)
    if (moment := moment_of(event.time)) is None:
        reason = (
            f'is required with the source "{shown(event.source)}", which counts by task (RFC 3339, in the envelope)'
        )
        raise InvalidInput.single("event", "time", reason)
    return event._replace(moment=moment)
