"""Whether a role's policies allow a call, by the template."""

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.aws.template import ACCOUNT, REGION, Stack


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an AWS API, made in a function's name."""

    function: str
    service: str
    operation: str
    parameters: Mapping[str, Any]


def _object(parameters: Mapping[str, Any]) -> str:
    return f"arn:aws:s3:::{parameters['Bucket']}/{parameters['Key']}"


def _bucket(parameters: Mapping[str, Any]) -> str:
    return f"arn:aws:s3:::{parameters['Bucket']}"


def _queue(parameters: Mapping[str, Any]) -> str:
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{parameters['QueueUrl'].rpartition('/')[2]}"


def _named(parameters: Mapping[str, Any]) -> str:
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{parameters['QueueName']}"


def _topic(parameters: Mapping[str, Any]) -> str:
    return str(parameters["TopicArn"])


def _cluster(name: str) -> str:
    return f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/{name}"


def _bus(name: str) -> str:
    return f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{name}"


def _everything(parameters: Mapping[str, Any]) -> str:
    return "*"


# https://docs.aws.amazon.com/service-authorization/latest/reference/: which permission an operation needs, on what.
_NEEDS: Mapping[tuple[str, str], tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    ("s3", "GetObject"): ("s3:GetObject", _object),
    ("s3", "HeadObject"): ("s3:GetObject", _object),
    ("s3", "PutObject"): ("s3:PutObject", _object),
    ("s3", "ListObjectsV2"): ("s3:ListBucket", _bucket),
    ("s3", "HeadBucket"): ("s3:ListBucket", _bucket),
    ("s3", "DeleteObject"): ("s3:DeleteObject", _object),
    ("sqs", "SendMessage"): ("sqs:SendMessage", _queue),
    ("sqs", "ReceiveMessage"): ("sqs:ReceiveMessage", _queue),
    ("sqs", "DeleteMessage"): ("sqs:DeleteMessage", _queue),
    ("sqs", "DeleteMessageBatch"): ("sqs:DeleteMessage", _queue),
    ("sqs", "CreateQueue"): ("sqs:CreateQueue", _named),
    ("sqs", "DeleteQueue"): ("sqs:DeleteQueue", _queue),
    ("sqs", "GetQueueAttributes"): ("sqs:GetQueueAttributes", _queue),
    ("sqs", "GetQueueUrl"): ("sqs:GetQueueUrl", _named),
    ("sqs", "ListQueues"): ("sqs:ListQueues", _everything),
    ("sqs", "SetQueueAttributes"): ("sqs:SetQueueAttributes", _queue),
    ("ecs", "ListTasks"): ("ecs:ListTasks", _everything),
    ("ecs", "DescribeClusters"): ("ecs:DescribeClusters", lambda parameters: _cluster(parameters["clusters"][0])),
    ("events", "PutEvents"): ("events:PutEvents", lambda parameters: _bus(parameters["Entries"][0]["EventBusName"])),
    ("ecs", "DescribeTasks"): ("ecs:DescribeTasks", lambda parameters: str(parameters["tasks"][0])),
    ("sns", "ListSubscriptionsByTopic"): ("sns:ListSubscriptionsByTopic", _topic),
    ("sns", "PublishBatch"): ("sns:Publish", _topic),
    ("sns", "Subscribe"): ("sns:Subscribe", _topic),
    ("sns", "Unsubscribe"): ("sns:Unsubscribe", _everything),
}


def needs(call: Call) -> tuple[str, str]:
    """The permission that a call needs, and on which resource."""
    try:
        action, resource = _NEEDS[call.service, call.operation]
    except KeyError:
        raise AssertionError(f"{call.service}:{call.operation}: say in tests/aws/policy.py what it needs") from None
    return action, resource(call.parameters)


def statements(stack: Stack, function: str) -> list[dict[str, Any]]:
    """What the role of a function may do, as the template says; of `Adapter` and `Operator`, what the policies for them
    say."""
    if function in ("Adapter", "Operator"):
        policy: dict[str, Any] = stack.value(stack.resources[f"{function}Policy"]["Properties"]["PolicyDocument"])
        return [*policy["Statement"]]
    role = stack.resources[function]["Properties"]["Role"]["Fn::GetAtt"][0]
    properties = stack.resources[role]["Properties"]
    assert not properties.get("ManagedPolicyArns"), "a managed policy allows more than the function needs"
    return [
        statement
        for policy in stack.value(properties["Policies"])
        for statement in policy["PolicyDocument"]["Statement"]
    ]


def allows(stack: Stack, function: str, action: str, resource: str) -> bool:
    """Whether the function's role allows the action on the resource."""
    return any(
        _matches(statement["Action"], action) and _matches(statement["Resource"], resource)
        for statement in statements(stack, function)
        if statement["Effect"] == "Allow"
    )


def _matches(patterns: str | list[str], text: str) -> bool:
    listed = [patterns] if isinstance(patterns, str) else patterns
    return any(fnmatch.fnmatchcase(text, pattern) for pattern in listed)
