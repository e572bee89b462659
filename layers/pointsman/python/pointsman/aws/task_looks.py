"""Looks at the tasks that run in clusters of Amazon ECS (docs/sources.md, "A look at what runs")."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from botocore.exceptions import BotoCoreError, ClientError

from pointsman.model.errors import PointsmanError
from pointsman.model.sources.task_list import Look, told_of

SOURCE: Final = "pointsman"
"""The source of these events on a bus."""

AT_ONCE: Final = 100
"""Tasks in one answer of ECS, which is ECS's own limit."""

MOST_TASKS: Final = 10_000
"""Tasks of one cluster that a look finds."""

LARGEST_EVENT_BYTES: Final = 200_000
"""Bytes of the tasks in one event: EventBridge takes 256 KB."""


class NotLooked(PointsmanError):
    """A cluster could not be looked at. What is known of its tasks stays, and its lease is not renewed."""


def look(client: Any, cluster: str, lease: str) -> list[dict[str, Any]]:
    """The events that say which tasks run in `cluster`, by its name or ARN: `client` is one of ECS, in its region.

    Together they cover all ids. A task that starts meanwhile may be missing: who takes them in knows how long ago the
    look began. Raises NotLooked.
    """
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    try:
        arns = _listed(client, cluster)
        arn = _arn(client, cluster)
        tasks = {each: {"taskArn": each} for each in arns}
        for start in range(0, len(arns), AT_ONCE):
            some = arns[start : start + AT_ONCE]
            for each in client.describe_tasks(cluster=cluster, tasks=some, include=["TAGS"])["tasks"]:
                tasks[each["taskArn"]] = told_of(each)
    except (BotoCoreError, ClientError) as error:
        raise NotLooked(f'cluster "{cluster}" of ECS cannot be looked at: {error}') from error
    return parts(Look(arn, at, lease), sorted(tasks.values(), key=_id))


def _listed(client: Any, cluster: str) -> list[str]:
    """The ARNs of the tasks that ECS wants to run, those that are starting among them."""
    arns: list[str] = []
    more: dict[str, str] = {}
    while True:
        page = client.list_tasks(cluster=cluster, desiredStatus="RUNNING", maxResults=AT_ONCE, **more)
        arns += page["taskArns"]
        if len(arns) > MOST_TASKS:
            raise NotLooked(f'cluster "{cluster}" of ECS has more than {MOST_TASKS} tasks, so it is not looked at')
        if not page.get("nextToken"):
            return arns
        more = {"nextToken": page["nextToken"]}


def _arn(client: Any, cluster: str) -> str:
    """The ARN of the cluster. Raises NotLooked if there is none."""
    found = client.describe_clusters(clusters=[cluster])["clusters"]
    if not found:
        raise NotLooked(f'cluster "{cluster}" of ECS does not exist in this account and region')
    return str(found[0]["clusterArn"])


def _id(task: dict[str, Any]) -> str:
    return str(task["taskArn"]).rpartition("/")[2]


def parts(look: Look, tasks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events of `look`, which found `tasks`, ordered by their ids: each of at most LARGEST_EVENT_BYTES, with all
    tasks between two ids."""
    events: list[dict[str, Any]] = []
    after, some, size = "", list[dict[str, Any]](), 0
    for task in tasks:
        length = len(orjson.dumps(task)) + 1
        if some and size + length > LARGEST_EVENT_BYTES:
            events.append(look.event(after, _id(some[-1]), some))
            after, some, size = _id(some[-1]), [], 0
        some.append(task)
        size += length
    return [*events, look.event(after, "", some)]


def put(client: Any, bus: str, event: dict[str, Any]) -> None:
    """Put an event of a look on the event bus with this name: `client` is one of EventBridge. Raises NotLooked."""
    # AWS keeps sources that begin with "aws." to itself.
    entry = {
        "EventBusName": bus,
        "Source": SOURCE,
        "DetailType": event["detail-type"],
        "Detail": orjson.dumps(event["detail"]).decode(),
    }
    try:
        answer = client.put_events(Entries=[entry])
    except (BotoCoreError, ClientError) as error:
        raise NotLooked(f"which tasks run cannot be put on the bus {bus}: {error}") from error
    if answer["FailedEntryCount"]:
        raise NotLooked(f"which tasks run was not taken by the bus {bus}: {answer['Entries'][0].get('ErrorMessage')}")
