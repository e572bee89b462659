"""Tasks of Amazon ECS: the event `ECS Task State Change`.

The detail is the task as DescribeTasks returns it, without its tags and mostly without its health. Events come more
than once and in any order; `detail.version` grows with every change of the task, so it is the index.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_task_events.html
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from ipaddress import ip_address
from typing import Annotated, Any, Required, TypeVar, cast

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic takes the one of `typing` from Python 3.12 on only

from pointsman.model.errors import InvalidInput
from pointsman.model.events import DETAIL_TYPES, HealthEvent, Statement, parse_event
from pointsman.model.moments import moment_of
from pointsman.model.reported import FIRST_FAULT, MOST_ENTRIES, InstancePart, LongText, Name, Port, Text, checks_of
from pointsman.model.sources.reading import Reading
from pointsman.model.sources.refusal import retold, shape_refusal, shown
from pointsman.model.sources.task_claim import Claim, TaskSettings, claim_of, pairs
from pointsman.model.sources.task_tags import TaskTags

DETAIL_TYPE = "ECS Task State Change"

SOURCES = "ecs/"
"""Prefix of the sources that count their indexes by instance: those of ECS, ecs/<region>/<account>/<cluster>."""

# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
_NOT_YET = ("PROVISIONING", "PENDING", "ACTIVATING")
_GOING = ("DEACTIVATING", "STOPPING", "DEPROVISIONING")
_GONE = ("STOPPED", "DELETED")

_TASK_ARN = re.compile(r"arn:[a-z0-9-]+:ecs:([a-z0-9-]+):([0-9]+):task/(?:[A-Za-z0-9_-]+/)?([A-Za-z0-9-]{1,128})\Z")
_CLUSTER_ARN = re.compile(r"arn:[a-z0-9-]+:ecs:([a-z0-9-]+):([0-9]+):cluster/([A-Za-z0-9_-]{1,255})\Z")
ADDRESS = "privateIPv4Address"
"""The detail of an attachment that has a task's address."""
ADDRESSES = ("privateIpv4Address", "ipv6Address")
"""The fields of a container's network interface that have it."""
_INTERFACES = ("eni", "ElasticNetworkInterface")
_STATUS_OF_HEALTH = {"HEALTHY": "passing", "UNHEALTHY": "critical"}
"""Statuses by ECS's health. UNKNOWN is left out: no health check is defined, or none ran yet."""

_Item = TypeVar("_Item")
_Several = Annotated[list[_Item], FIRST_FAULT, Field(max_length=MOST_ENTRIES)]


class _Pair(TypedDict, total=False):
    key: Text | None
    name: Text | None
    value: LongText | None


class _Attachment(TypedDict, total=False):
    type: Text | None
    status: Text | None
    details: _Several[_Pair] | None


class _Interface(TypedDict, total=False):
    privateIpv4Address: Text | None
    ipv6Address: Text | None


class _Binding(TypedDict, total=False):
    bindIP: Text | None
    containerPort: Port | None
    hostPort: Port | None


class _Container(TypedDict, total=False):
    name: Text | None
    lastStatus: Text | None
    healthStatus: Text | None
    exitCode: Any
    networkInterfaces: _Several[_Interface] | None
    networkBindings: _Several[_Binding] | None


class _ContainerOverride(TypedDict, total=False):
    environment: _Several[_Pair] | None


class _Overrides(TypedDict, total=False):
    containerOverrides: _Several[_ContainerOverride] | None


class _Task(TypedDict, total=False):
    taskArn: Required[Name]
    clusterArn: Required[Name]
    lastStatus: Required[Name]
    version: Required[Annotated[int, Field(strict=True, ge=0, le=2**63 - 1)]]
    updatedAt: Text | None
    desiredStatus: Text | None
    healthStatus: Text | None
    group: Text | None
    availabilityZone: Text | None
    taskDefinitionArn: Text | None
    attachments: _Several[_Attachment] | None
    containers: _Several[_Container] | None
    overrides: _Overrides | None
    tags: _Several[_Pair] | None


@cache
def _task() -> TypeAdapter[_Task]:
    return TypeAdapter(_Task)


Cluster = tuple[str, str, str]
"""A cluster by its region, account and name."""


def cluster_of(arn: str) -> Cluster | None:
    """The cluster with this ARN, None if it is not one of a cluster."""
    found = _CLUSTER_ARN.match(arn)
    return (found[1], found[2], found[3]) if found else None


def source_of(cluster: Cluster) -> str:
    """The name of the source of what is said of a cluster's tasks."""
    return f"{SOURCES}{'/'.join(cluster)}"


def id_of(arn: object, cluster: Cluster) -> str | None:
    """The id of the task with this ARN, None if it is not one of a task in the region and account of `cluster`."""
    found = _TASK_ARN.match(arn) if isinstance(arn, str) else None
    return found[3] if found and (found[1], found[2]) == cluster[:2] else None


def read_task(envelope: Mapping[str, Any], settings: TaskSettings) -> Reading:
    """The health event of a task's state.

    A running task is an instance with its checks, a stopping one is unhealthy, a stopped one is gone. A task that is
    not running yet, or is mapped to no service, is ignored. Raises InvalidInput for a shape that is not ECS's, and for
    a mapped task without a usable endpoint.
    """
    try:
        task = _task().validate_python(envelope.get("detail"))
    except ValidationError as error:
        raise shape_refusal(error, DETAIL_TYPE, "detail") from None
    arn, cluster = _TASK_ARN.match(task["taskArn"]), cluster_of(task["clusterArn"])
    if not (arn and cluster):
        field, value = ("clusterArn", task["clusterArn"]) if arn else ("taskArn", task["taskArn"])
        raise InvalidInput.single(DETAIL_TYPE, f"detail.{field}", f'"{shown(value)}" is not the ARN of one')
    region, account, id_ = arn.groups()
    thing = f"task {id_}"
    status = task["lastStatus"]
    if status in _NOT_YET or status not in ("RUNNING", *_GOING, *_GONE):
        return Reading(ignored=(f"{thing}: is {shown(status)}, which makes no instance",))
    group = task.get("group") or ""
    claim = claim_of(
        settings,
        group=group,
        region=region,
        tags=pairs(task.get("tags"), "key"),
        environment=_environment(task),
        task=thing,
    )
    if claim is None:
        if settings.tags and task.get("tags") is None:
            return Reading(missing=TaskTags(account, region, task["clusterArn"], task["taskArn"], envelope))
        unmapped = f'its group "{shown(group)}" is not mapped to a service (set POINTSMAN_ECS_TASKS)'
        unsaid = 'it has no tag "pointsman:service" and no POINTSMAN_SERVICE in its overrides'
        return Reading(ignored=(f"{thing}: {unmapped}, and {unsaid}",))
    source = source_of((region, account, cluster[2]))
    try:
        event = _event(envelope, task, claim, id_=id_, source=source, envoy=settings.envoy)
    except InvalidInput as error:
        if not claim.by_name:
            raise retold(error, thing, lambda field: field if field in ("id", "time") else "") from None
        return Reading(ignored=tuple(f"{thing}: {problem.reason}" for problem in error.problems))
    return Reading((event._replace(moment=_moment(task, envelope)),))


def _moment(task: _Task, envelope: Mapping[str, Any]) -> int:
    """When the task reached this state, according to ECS: its version orders the events of one task only."""
    return moment_of(task.get("updatedAt")) or moment_of(envelope.get("time")) or 0


def _event(envelope: Mapping[str, Any], task: _Task, claim: Claim, *, id_: str, source: str, envoy: str) -> HealthEvent:
    status = task["lastStatus"]
    body: dict[str, Any] = {
        "Source": source,
        "Index": task["version"],
        "Datacenter": claim.datacenter,
        "Kind": "service" if claim.service else "mesh-gateway",
    }
    if claim.service:
        body |= {"Namespace": claim.service.namespace, "Service": claim.service.name}
    about = {name: envelope.get(name) for name in ("id", "time")} | {"detail-type": DETAIL_TYPES[1]}
    removed = parse_event({**about, "detail": {**body, "Removed": {"Node": id_, "ID": id_}}})
    if status in _GONE:
        return removed
    checks = [*_checks(task, id_, envoy)]
    if status in _GOING or task.get("desiredStatus") == "STOPPED":
        # Its address does not matter any more, and its interface may be gone already.
        statement = Statement(id_, id_, None, checks_of(cast(InstancePart, {"Checks": checks})))
        return removed._replace(checks_only=True, statements=(statement,))
    instance = {**_description(task, claim, id_), "Checks": checks}
    return parse_event({**about, "detail": {**body, "Instance": instance}})


def _description(task: _Task, claim: Claim, id_: str) -> dict[str, Any]:
    address, port = _endpoint(task, claim.port)
    cluster = task["clusterArn"].rpartition("/")[2]
    meta = {"availability_zone": task.get("availabilityZone"), "cluster": cluster}
    service: dict[str, Any] = {
        "ID": id_,
        "Kind": "connect-proxy" if claim.service else "mesh-gateway",
        "Service": f"{claim.service.name}-sidecar-proxy" if claim.service else "mesh-gateway",
        "Address": address,
        "Port": port,
        "Meta": {"task_definition": (task.get("taskDefinitionArn") or "").rpartition("/")[2]},
    }
    if claim.service:
        service["Proxy"] = {"DestinationServiceName": claim.service.name}
    return {
        # A task has a network interface of its own, so the task counts as the machine.
        "Node": {
            "Node": id_,
            "Address": address,
            "Datacenter": claim.datacenter,
            "Meta": {name: value for name, value in meta.items() if value},
        },
        "Service": service,
    }


def _endpoint(task: _Task, port: int) -> tuple[str, int]:
    """The address and port of the task."""
    for attachment in task.get("attachments") or ():
        details = pairs(attachment.get("details"), "name")
        if attachment.get("type") in _INTERFACES and (address := details.get(ADDRESS)):
            return address, port
    containers = task.get("containers") or ()
    interfaces = [each for container in containers for each in container.get("networkInterfaces") or ()]
    for interface in interfaces:
        if address := interface.get("privateIpv4Address"):
            return address, port
    for interface in interfaces:
        if address := interface.get("ipv6Address"):
            return address, port
    bindings = [each for container in containers for each in container.get("networkBindings") or ()]
    for binding in bindings:
        if binding.get("containerPort") == port and (address := _bound(binding.get("bindIP"))):
            return address, binding.get("hostPort") or port
    if bindings:
        reason = "has ports of its host, whose address is in no event; run it in the network mode awsvpc"
    else:
        reason = "is RUNNING without a network interface of its own; run it in the network mode awsvpc"
    raise InvalidInput.single(DETAIL_TYPE, "", reason)


def _bound(text: str | None) -> str:
    """The address that a port is bound to, "" if it is every address of the host, or a loopback one."""
    try:
        address = ip_address(text or "")
    except ValueError:
        return ""
    return "" if address.is_unspecified or address.is_loopback else str(address)


def _checks(task: _Task, id_: str, envoy: str) -> Iterator[dict[str, Any]]:
    """The task's own check, one per container whose health the event has, and one for the container `envoy` if it has
    exited: without its Envoy nobody reaches the task, whether ECS counts that container as essential or not."""
    health = task.get("healthStatus") or ""
    desired = task.get("desiredStatus") or "RUNNING"
    up = task["lastStatus"] == "RUNNING" and desired != "STOPPED" and health != "UNHEALTHY"
    about = {"Node": id_, "ServiceID": id_}
    output = f"{task['lastStatus']}, desired {desired}" + (f", {health}" if health else "")
    yield {
        **about,
        "CheckID": "ecs:task",
        "Name": "ECS task",
        "Status": "passing" if up else "critical",
        "Output": output,
    }
    for container in task.get("containers") or ():
        name, told = container.get("name") or "", container.get("healthStatus") or ""
        verdict = _STATUS_OF_HEALTH.get(told)
        if container.get("lastStatus") == "STOPPED":
            if name != envoy:
                continue
            code = container.get("exitCode")
            verdict, told = "critical", f"STOPPED, exit code {code}" if type(code) is int else "STOPPED"
        elif verdict is None:
            continue
        elif verdict == "critical" and health == "HEALTHY":
            verdict = "warning"  # ECS counts the essential containers alone, and they are well
        yield {
            **about,
            "CheckID": f"ecs:container:{name}",
            "Name": f"ECS container {name}",
            "Status": verdict,
            "Output": told,
        }


def _environment(task: _Task) -> dict[str, str]:
    """The variables that the task was started with over those of its definition."""
    out: dict[str, str] = {}
    for override in (task.get("overrides") or {}).get("containerOverrides") or ():
        out |= pairs(override.get("environment"), "name")
    return out
