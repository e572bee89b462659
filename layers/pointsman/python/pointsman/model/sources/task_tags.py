"""Tags of a task, which AWS leaves out of its events (docs/sources.md, "Amazon ECS")."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TaskTags:
    """A task whose tags have to be fetched: `ecs:DescribeTasks` of `task` in `cluster`, both ARNs, with TAGS.

    ECS answers that only to the task's own `account`, in its own `region`.
    """

    account: str
    region: str
    cluster: str
    task: str
    event: Mapping[str, Any]

    def filled(self, tags: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """The event with the tags in it, as DescribeTasks has them ({"key": …, "value": …}), to be read again."""
        return {**self.event, "detail": {**self.event["detail"], "tags": [*tags]}}
