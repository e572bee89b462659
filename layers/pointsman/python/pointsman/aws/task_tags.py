"""Asks Amazon ECS for the tags of a task, which AWS leaves out of its events."""

from functools import cache
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from pointsman.model.sources.task_tags import TaskTags
from pointsman.store.protocol import StoreUnavailable
from pointsman.store.session import new_client

if TYPE_CHECKING:
    from botocore.session import Session


class TagsUnavailable(StoreUnavailable):
    """ECS does not say now which tags a task has. The event may be sent again."""


class TagsOfTasks:
    """Fetches tags with the credentials of `session`, which has to be of the tasks' account."""

    def __init__(self, session: "Session") -> None:
        self._client = cache(lambda region: new_client(session, "ecs", region=region))

    def filled(self, missing: TaskTags) -> dict[str, Any]:
        """The event of the task with its tags, none if ECS does not know the task any more. Raises TagsUnavailable."""
        ask = {"cluster": missing.cluster, "tasks": [missing.task], "include": ["TAGS"]}
        try:
            tasks = self._client(missing.region).describe_tasks(**ask)["tasks"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ClusterNotFoundException":
                raise TagsUnavailable(f"the tags of {missing.task} cannot be fetched: {error}") from error
            tasks = []
        except BotoCoreError as error:
            raise TagsUnavailable(f"the tags of {missing.task} cannot be fetched: {error}") from error
        return missing.filled([tag for task in tasks for tag in task.get("tags", ())])

    def prepare(self, region: str) -> None:
        """Make the client for a region, before it is needed."""
        self._client(region)
