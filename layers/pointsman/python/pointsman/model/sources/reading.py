"""The result of reading what a producer sent."""

from dataclasses import dataclass

from pointsman.model.events import HealthEvent
from pointsman.model.sources.pointer import Pointer
from pointsman.model.sources.task_tags import TaskTags


@dataclass(frozen=True, slots=True)
class Reading:
    """The health events in what was sent, in order.

    `ignored` has a line for each part that says nothing here, which is no mistake: a task that is mapped to no service,
    a watch of instances that cannot get traffic. `missing` is what has to be fetched first: fill it in and read again.
    """

    events: tuple[HealthEvent, ...] = ()
    ignored: tuple[str, ...] = ()
    missing: Pointer | TaskTags | None = None
