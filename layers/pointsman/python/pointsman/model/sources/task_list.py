"""Lists of the tasks that run in a cluster of Amazon ECS, made by a look at it (aws/task_looks.py).

A list repairs what the event bus lost, and is how often the source of a cluster is heard: it renews a lease. It says
nothing that an event of ECS does not say better: each task in it is at the version that ECS calls it, and of what ECS
said at the same version or a later one the list changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Final, Required

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic takes the one of `typing` from Python 3.12 on only

from pointsman.model.errors import InvalidInput
from pointsman.model.events import HealthEvent, lease_of
from pointsman.model.moments import moment_of
from pointsman.model.reported import Text
from pointsman.model.sources import ecs_task
from pointsman.model.sources.reading import Reading, TaskList
from pointsman.model.sources.refusal import shape_refusal, shown
from pointsman.model.sources.task_claim import TAG, VARIABLE, TaskSettings
from pointsman.model.words import counted

DETAIL_TYPE = "ECS Task List"

MOST_LISTED: Final = 10_000
"""Tasks in one event."""

_KEPT = ("taskArn", "lastStatus", "version", "desiredStatus", "group", "availabilityZone")
_DEFINITION = "taskDefinitionArn"


class _List(TypedDict, total=False):
    clusterArn: Required[Text]
    lookedAt: Required[Text]
    after: Text | None
    upTo: Text | None
    lease: Any
    tasks: Required[Annotated[list[dict[str, Any]], Field(max_length=MOST_LISTED)]]


@cache
def _list() -> TypeAdapter[_List]:
    return TypeAdapter(_List)


@dataclass(frozen=True, slots=True)
class Look:
    """A look at one cluster: its ARN, when it began (RFC 3339), and the lease that it renews, as a duration."""

    cluster: str
    at: str
    lease: str

    def event(self, after: str, up_to: str, tasks: list[dict[str, Any]]) -> dict[str, Any]:
        """The event by which `tasks` (see `told_of`) are all that there are with ids beyond `after`, up to `up_to`;
        "" for no bound."""
        detail = {
            "clusterArn": self.cluster,
            "lookedAt": self.at,
            "lease": self.lease,
            "after": after,
            "upTo": up_to,
            "tasks": tasks,
        }
        return {"detail-type": DETAIL_TYPE, "time": self.at, "detail": detail}


def told_of(task: Mapping[str, Any]) -> dict[str, Any]:
    """What a list has of a task as DescribeTasks returns it: what decides whose instance it is, where, and in which
    state.

    Of its tags and variables those of Pointsman alone, because others are nobody's business. Its health is left out:
    ECS changes that without another version, so a list could not be told from an older or a newer event.
    """
    out = {name: task[name] for name in (*_KEPT, _DEFINITION) if name in task}
    out["tags"] = [each for each in task.get("tags") or () if str(each.get("key", "")).startswith(TAG)]
    out["attachments"] = [
        {"type": each.get("type"), "details": addresses}
        for each in task.get("attachments") or ()
        if (addresses := [one for one in each.get("details") or () if one.get("name") == ecs_task.ADDRESS])
    ]
    out["containers"] = [
        _filled(
            _only(each, "name", "lastStatus", "exitCode", "networkBindings")
            | {"networkInterfaces": [_only(one, *ecs_task.ADDRESSES) for one in each.get("networkInterfaces") or ()]}
        )
        for each in task.get("containers") or ()
    ]
    overrides = (task.get("overrides") or {}).get("containerOverrides") or ()
    variables = [
        {"environment": [one for one in each.get("environment") or () if str(one.get("name", "")).startswith(VARIABLE)]}
        for each in overrides
    ]
    if told := [each for each in variables if each["environment"]]:
        out["overrides"] = {"containerOverrides": told}
    return _filled(out)


def _filled(part: Mapping[str, Any]) -> dict[str, Any]:
    """`part` without empty lists."""
    return {name: value for name, value in part.items() if value != []}


def _only(part: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: part[name] for name in names if name in part}


def read_list(envelope: Mapping[str, Any], settings: TaskSettings) -> Reading:
    """The events of a list of tasks, and the list, by which tasks that it does not have are gone.

    A task in it that cannot be read, or is nobody's, is counted and named in `ignored`: its own event said so already.
    Raises InvalidInput for a shape that is not a list's.
    """
    try:
        detail = _list().validate_python(envelope.get("detail"))
    except ValidationError as error:
        raise shape_refusal(error, DETAIL_TYPE, "detail") from None
    cluster, looked_at = ecs_task.cluster_of(detail["clusterArn"]), moment_of(detail["lookedAt"])
    if cluster is None:
        reason = f'"{shown(detail["clusterArn"])}" is not the ARN of one'
        raise InvalidInput.single(DETAIL_TYPE, "detail.clusterArn", reason)
    if looked_at is None:
        raise InvalidInput.single(DETAIL_TYPE, "detail.lookedAt", "is not RFC 3339 with an offset")
    lease_ms = lease_of(detail.get("lease"), DETAIL_TYPE)
    events: list[HealthEvent] = []
    ids: set[str] = set()
    nobodys: list[str] = []
    for each in detail["tasks"]:
        id_ = ecs_task.id_of(each.get("taskArn"), cluster)
        if id_ is None:
            reason = f'"{shown(str(each.get("taskArn")))}" is not the ARN of a task of this cluster'
            raise InvalidInput.single(DETAIL_TYPE, "detail.tasks", reason)
        ids.add(id_)
        if "lastStatus" not in each:
            continue  # ECS listed it, and could not describe it
        task = {**each, "clusterArn": detail["clusterArn"], "tags": each.get("tags") or []}
        try:
            reading = ecs_task.read_task({"time": detail["lookedAt"], "detail": task}, settings)
        except InvalidInput as error:
            nobodys.append(str(error))
            continue
        events += (event._replace(listed=True, lease_ms=lease_ms) for event in reading.events)
        nobodys += reading.ignored
    found = TaskList(
        ecs_task.source_of(cluster),
        looked_at,
        detail.get("after") or "",
        detail.get("upTo") or "",
        frozenset(ids),
        lease_ms,
    )
    ignored = (
        (f"{counted(len(nobodys), 'task')} of {len(detail['tasks'])} listed, the first: {nobodys[0]}",)
        if nobodys
        else ()
    )
    return Reading(tuple(events), ignored, task_list=found)
