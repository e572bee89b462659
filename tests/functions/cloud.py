"""A mocked AWS around one function: the queue that feeds it, the queue of dead letters, the bucket it publishes to."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import boto3
import orjson
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from pointsman.pipeline.engine import Engine
from pointsman.store import keys
from pointsman.store.open import open_store
from pointsman.store.protocol import Store
from pointsman.xds.snapshot import read_snapshot

BUCKET = "pointsman-test"
STORE = f"s3://{BUCKET}/mesh"

CONTEXT = SimpleNamespace(
    function_name="ingest",
    memory_limit_in_mb=512,
    invoked_function_arn="arn:aws:lambda:eu-central-1:000000000000:function:ingest",
    aws_request_id="4f1e6c1e-58a1-4b4e-9c3f-6b7f3f3d2b10",
    get_remaining_time_in_millis=lambda: 30_000,
)


@dataclass(frozen=True, slots=True)
class Published:
    """A snapshot head as it stands in the bucket, reduced to what a test looks at."""

    version: int
    active: str
    sni: str
    endpoints: frozenset[tuple[str, int, bool]]


@dataclass
class Cloud:
    """The bucket, the queues, and the function between them."""

    sqs: Any
    queue: str
    dead_letters: str
    function: ModuleType
    log: io.StringIO

    def send(self, *bodies: str | Mapping[str, Any]) -> None:
        """Put messages into the queue, a body each: text as it is, anything else as JSON."""
        for body in bodies:
            text = body if isinstance(body, str) else json.dumps(body)
            self.sqs.send_message(QueueUrl=self.queue, MessageBody=text)

    def deliver(self, attributes: Mapping[str, str] | None = None) -> list[str]:
        """Invoke the function with one batch of what waits in the queue, as Lambda's event source mapping does.

        `attributes` are other values of attributes that SQS gives every record. What it reports as failed is seen by
        the next call again, the rest is deleted. The bodies of the failed.
        """
        received = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10, AttributeNames=["All"])
        messages = received.get("Messages", [])
        for message in messages:
            message["Attributes"] |= attributes or {}
        failed = self.failures({"Records": [_record(message) for message in messages]})
        for message in messages:
            handle = {"QueueUrl": self.queue, "ReceiptHandle": message["ReceiptHandle"]}
            if message["MessageId"] in failed:
                self.sqs.change_message_visibility(**handle, VisibilityTimeout=0)
            else:
                self.sqs.delete_message(**handle)
        return [message["Body"] for message in messages if message["MessageId"] in failed]

    def failures(self, event: Mapping[str, Any]) -> set[str]:
        """Invoke the function with an SQS event; the ids of the messages that it reports as failed."""
        answer = self.function.handler(dict(event), CONTEXT)
        return {item["itemIdentifier"] for item in answer["batchItemFailures"]}

    def waiting(self) -> int:
        """How many messages the queue still has."""
        attributes = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["All"])["Attributes"]
        return int(attributes["ApproximateNumberOfMessages"]) + int(attributes["ApproximateNumberOfMessagesNotVisible"])

    def dead(self) -> list[dict[str, Any]]:
        """The dead letters: their bodies and their attributes."""
        received = self.sqs.receive_message(
            QueueUrl=self.dead_letters, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        )
        return [
            {"body": message["Body"]}
            | {name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items()}
            for message in received.get("Messages", [])
        ]

    def lines(self, message: str) -> list[dict[str, Any]]:
        """The log lines with this message, and nothing but JSON is ever logged."""
        lines = [orjson.loads(line) for line in self.log.getvalue().splitlines()]
        return [line for line in lines if line["message"] == message]

    def engine(self) -> Engine:
        """Another writer to the same bucket."""
        return Engine(open_store(STORE))

    def published(self, plan_key: str) -> Published:
        """The head of a plan, read from the bucket."""
        return published(open_store(STORE), plan_key)


def published(store: Store, plan_key: str) -> Published:
    """The head of a plan in `store`."""
    stored = store.get(keys.snapshot(plan_key))
    assert stored is not None, f"{plan_key} is not published"
    snapshot = read_snapshot(orjson.loads(stored.data))
    tls = UpstreamTlsContext()
    Cluster.FromString(snapshot.content.cluster).transport_socket.typed_config.Unpack(tls)
    assignment = ClusterLoadAssignment.FromString(snapshot.content.assignment)
    endpoints = frozenset(
        (
            each.endpoint.address.socket_address.address,
            each.endpoint.address.socket_address.port_value,
            each.health_status == 1,
        )
        for group in assignment.endpoints
        for each in group.lb_endpoints
    )
    return Published(snapshot.version, snapshot.content.active, tls.sni, endpoints)


def aws_client(service: str) -> Any:
    """A client for what a test does beside the function."""
    return boto3.client(service)  # type: ignore[call-overload]


def _record(message: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": {},
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-central-1:000000000000:ingest",
        "awsRegion": "eu-central-1",
    }
