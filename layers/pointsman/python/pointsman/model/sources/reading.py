"""The result of reading what a producer sent."""

from dataclasses import dataclass
from typing import NamedTuple

from pointsman.model.events import HealthEvent
from pointsman.model.sources.pointer import Pointer
from pointsman.model.sources.task_tags import TaskTags


@dataclass(frozen=True, slots=True)
class TaskList:
    """A list of tasks of Amazon ECS, of one cluster, which is the `source`.

    `looked_at` is when the look at the cluster began (milliseconds since 1970). `ids` are all tasks whose ids are
    greater than `after` and not greater than `up_to`; "" for no bound. `lease_ms` is the lease that it renews, None for
    none.
    """

    source: str
    looked_at: int
    after: str
    up_to: str
    ids: frozenset[str]
    lease_ms: int | None

    def lacks(self, id_: str) -> bool:
        """Whether the list covers the task with that id and does not have it."""
        return id_ > self.after and (not self.up_to or id_ <= self.up_to) and id_ not in self.ids


class Reading(NamedTuple):
    """The health events in what was sent, in order.

    `ignored` has a line for each part that says nothing here, which is no mistake: a task that is mapped to no service,
    a watch of instances that cannot get traffic. `missing` is what has to be fetched first: fill it in and read again.
    `task_list` is a list by which something is gone: `pipeline.task_lists.expanded` finds what.
    """

    events: tuple[HealthEvent, ...] = ()
    ignored: tuple[str, ...] = ()
    missing: Pointer | TaskTags | None = None
    task_list: TaskList | None = None
