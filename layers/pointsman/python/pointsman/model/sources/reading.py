"""What became of something that a producer sent."""

from dataclasses import dataclass

from pointsman.model.events import HealthEvent
from pointsman.model.sources.pointer import Pointer
from pointsman.model.sources.task_tags import TaskTags


@dataclass(frozen=True, slots=True)
class Reading:
    """The health events in what was sent, in order.

    `ignored` says, a line each, why something of it says nothing here, which is no mistake: a task that is nobody's
    instance, a watch whose instances cannot be sent traffic. `missing` is what has to be fetched before there are
    events: fill it in and read again.
    """

    events: tuple[HealthEvent, ...] = ()
    ignored: tuple[str, ...] = ()
    missing: Pointer | TaskTags | None = None
