"""The AWS engine on moto, wired from infra/template.yaml: what the template does not say does not happen."""

import contextlib
import gc
import importlib.util
import json
import os
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import boto3
import botocore.client
from moto import mock_aws
from moto.core.botocore_stubber import BotocoreStubber

from tests.aws.aws_wire import AwsWire
from tests.aws.policy import Call
from tests.aws.template import ACCOUNT, REGION, Stack, source
from tests.fleet.process import REPOSITORY

Json = dict[str, Any]

_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_SESSION_TOKEN": "testing",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
}


@dataclass(frozen=True)
class Context:
    """What Lambda tells a handler of the invocation."""

    function_name: str
    invoked_function_arn: str
    memory_limit_in_mb: int = 1024
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def get_remaining_time_in_millis(self) -> int:
        return 30_000


Handler = Callable[[Json], Any]
"""A function as AWS invokes it: an event in, the answer out."""


class Aws:
    """A stack that stands, for as long as the `with` block lasts."""

    def __init__(self, **parameters: str) -> None:
        self.stack = Stack(parameters)
        self.wire = AwsWire()
        self.variables: Json = {}  # of every function, in place of what the template says
        self.calls: list[Call] = []
        self._running = ""
        self._owners: dict[int, str] = {}
        self._kept: list[Any] = []
        self._warm: dict[str, Handler] = {}
        self._held = contextlib.ExitStack()

    def __enter__(self) -> "Aws":
        with contextlib.ExitStack() as held:
            held.enter_context(patch.dict(os.environ, _CREDENTIALS))
            held.enter_context(mock_aws(config={"core": {"passthrough": {"urls": [r"http://127\.0\.0\.1:"]}}}))
            held.enter_context(self._wired())
            self.s3: Any = boto3.client("s3")
            self.sqs: Any = boto3.client("sqs")
            self.sns: Any = boto3.client("sns")
            self.events: Any = boto3.client("events")
            self._make()
            self._held = held.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    # Making what the template names.

    def _wired(self) -> contextlib.ExitStack:
        held = contextlib.ExitStack()
        pass_on, make_call = BotocoreStubber.process_request, botocore.client.BaseClient._make_api_call
        held.enter_context(
            patch.object(
                BotocoreStubber,
                "process_request",
                lambda stubber, request: self.wire(lambda it: pass_on(stubber, it), request),
            )
        )

        def noted(client: Any, operation: str, parameters: Json) -> Any:
            if who := self._owners.get(id(client), self._running):
                service = client.meta.service_model.service_name
                self.calls.append(Call(who, service, operation, parameters))
            return make_call(client, operation, parameters)

        held.enter_context(patch.object(botocore.client.BaseClient, "_make_api_call", noted))
        return held

    def _make(self) -> None:
        stack = self.stack
        for name, _ in stack.of("AWS::S3::Bucket"):
            self._made(name, name.lower(), Arn=f"arn:aws:s3:::{name.lower()}")
        makers = (
            ("AWS::SNS::Topic", self._make_topic),
            ("AWS::Events::EventBus", self._make_bus),
            ("AWS::Lambda::Function", self._make_function),
            ("AWS::Events::Rule", self._make_rule),
            ("AWS::S3::Bucket", self._make_bucket),
        )
        for kind in ("Application", "ConfigurationProfile", "HostedConfigurationVersion"):
            for name, _ in stack.of(f"AWS::AppConfig::{kind}"):
                self._made(name, "1")
        for name, _ in stack.of("AWS::Lambda::LayerVersion"):
            self._made(name, f"arn:aws:lambda:{REGION}:{ACCOUNT}:layer:{name}:1")
        for name, _ in stack.of("AWS::Lambda::Version"):
            self._made(name, name, Version="1")
        for name, _ in stack.of("AWS::IAM::Role"):
            self._made(name, name, Arn=f"arn:aws:iam::{ACCOUNT}:role/{name}")
        for name, _ in stack.of("AWS::Logs::LogGroup"):
            self._made(name, name, Arn=f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{name}")
        for name, properties in self._queues():
            self._make_queue(name, properties)
        for kind, make in makers:
            for name, properties in stack.of(kind):
                make(name, properties)

    def _queues(self) -> Sequence[tuple[str, Json]]:
        # A queue refers to its dead-letter queue: whatever refers to nothing comes first.
        return sorted(self.stack.of("AWS::SQS::Queue"), key=lambda each: "RedrivePolicy" in each[1])

    def _made(self, name: str, ref: str, **attributes: str) -> None:
        self.stack.refs[name] = ref
        self.stack.attributes |= {(name, key): value for key, value in attributes.items()}

    def _make_bucket(self, name: str, properties: Json) -> None:
        bucket = self.stack.refs[name]
        self.s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        queues = [
            {
                "QueueArn": each["Queue"],
                "Events": [each["Event"]],
                "Filter": {"Key": {"FilterRules": each["Filter"]["S3Key"]["Rules"]}},
            }
            for each in self.stack.value(properties["NotificationConfiguration"])["QueueConfigurations"]
        ]
        self.s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"QueueConfigurations": queues}
        )

    def _make_queue(self, name: str, properties: Json) -> None:
        attributes = {key: each if isinstance(each, str) else json.dumps(each) for key, each in self._of(properties)}
        url = self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        self._made(name, url, Arn=f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}", QueueName=name)

    def _make_topic(self, name: str, properties: Json) -> None:
        arn = self.sns.create_topic(Name=self.stack.value(properties["TopicName"]))["TopicArn"]
        self._made(name, arn, TopicName=arn.rpartition(":")[2])

    def _make_bus(self, name: str, properties: Json) -> None:
        bus = self.stack.value(properties["Name"])
        self._made(name, bus, Arn=self.events.create_event_bus(Name=bus)["EventBusArn"])

    def _make_rule(self, name: str, properties: Json) -> None:
        found = dict(self._of(properties))
        if "EventPattern" in found:
            pattern = {"EventPattern": json.dumps(found["EventPattern"])}
        else:
            pattern = {"ScheduleExpression": found["ScheduleExpression"]}
        bus = {"EventBusName": found["EventBusName"]} if "EventBusName" in found else {}
        arn = self.events.put_rule(Name=name, **pattern, **bus)["RuleArn"]
        self._made(name, name, Arn=arn)
        targets = [{key: target[key] for key in ("Id", "Arn")} for target in found["Targets"]]
        if "EventPattern" in found:
            self.events.put_targets(Rule=name, Targets=targets, **bus)

    def _make_function(self, name: str, properties: Json) -> None:
        arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.stack.value(properties['FunctionName'])}"
        self._made(name, arn.rpartition(":")[2], Arn=arn)
        for alias, each in self.stack.of("AWS::Lambda::Alias"):
            if each["FunctionName"] == {"Ref": name}:
                self._made(alias, f"{arn}:{each['Name']}")

    def _of(self, properties: Json) -> Iterator[tuple[str, Any]]:
        for key, each in self.stack.value(properties).items():
            yield key, str(each) if isinstance(each, int) else ("true" if each is True else each)

    # What happens on its own in AWS happens here when a test says so.

    def function_of(self, target: Any) -> str:
        """The function that a trigger invokes: it has to name the alias, since SnapStart is on published versions."""
        alias = self.stack.resources[target["Ref"]]
        assert alias["Type"] == "AWS::Lambda::Alias", f"{target} is not an alias"
        name: str = alias["Properties"]["FunctionName"]["Ref"]
        return name

    def cold(self, function: str) -> Handler:
        """The handler of a new execution environment: the module loaded with the function's environment variables."""
        properties = self.stack.resources[function]["Properties"]
        module, _, attribute = properties["Handler"].rpartition(".")
        folder = Path(source()["Resources"][function]["Properties"]["CodeUri"]).stem
        path = REPOSITORY / "functions" / folder / f"{module}.py"
        environment = self.stack.value(properties["Environment"]["Variables"]) | self.variables
        spec = importlib.util.spec_from_file_location(f"{folder}_{module}", path)
        assert spec is not None
        assert spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        with patch.dict(os.environ, {key: str(value) for key, value in environment.items()}), _young():
            spec.loader.exec_module(loaded)
        handle = getattr(loaded, attribute)
        context = Context(self.stack.refs[function], self.stack.attributes[function, "Arn"])

        def run(event: Json) -> Any:
            before, self._running = self._running, function
            try:
                return handle(json.loads(json.dumps(event)), context)
            finally:
                self._running = before

        return run

    def handler(self, function: str) -> Handler:
        """The handler of an execution environment that is kept warm."""
        if function not in self._warm:
            self._warm[function] = self.cold(function)
        return self._warm[function]

    def crash(self) -> None:
        """All execution environments are gone: what they had in memory is lost."""
        self._warm.clear()

    def client(self, service: str, owner: str) -> Any:
        """A client of a service, whose calls are counted for `owner`: `Adapter` is the holder of AdapterPolicy."""
        made: Any = boto3.client(service)  # type: ignore[call-overload]
        self._owners[id(made)] = owner
        self._kept.append(made)  # its id is nobody else's for as long as it is there
        return made

    @contextlib.contextmanager
    def acting(self, owner: str) -> Iterator[None]:
        """Calls in here are counted for `owner`: `Operator` is the holder of OperatorPolicy."""
        before, self._running = self._running, owner
        try:
            yield
        finally:
            self._running = before

    def objects(self) -> dict[str, bytes]:
        """Everything in the bucket."""
        bucket = self.stack.refs["Bucket"]
        listed = self.s3.list_objects_v2(Bucket=bucket).get("Contents", [])
        return {each["Key"]: self.s3.get_object(Bucket=bucket, Key=each["Key"])["Body"].read() for each in listed}

    def restore(self, objects: Mapping[str, bytes]) -> None:
        """Everything is as it was when the bucket held `objects` and nothing was under way."""
        self.crash()
        self.wire.reset()
        bucket = self.stack.refs["Bucket"]
        for key, data in self.objects().items():
            if objects.get(key) != data:
                self.s3.delete_object(Bucket=bucket, Key=key)
        for key in objects.keys() - self.objects().keys():
            self.s3.put_object(Bucket=bucket, Key=key, Body=objects[key])
        for queue, properties in self._queues():
            self.sqs.delete_queue(QueueUrl=self.stack.refs[queue])
            self._make_queue(queue, properties)
        for each in self.sns.list_subscriptions()["Subscriptions"]:
            self.sns.unsubscribe(SubscriptionArn=each["SubscriptionArn"])

    def put_event(self, event: Mapping[str, Any], bus: str | None = None) -> None:
        """Put an event on the mesh's bus, or on another one."""
        entry = {
            "Source": event.get("source", "mesh.health"),
            "DetailType": event["detail-type"],
            "Detail": json.dumps(event["detail"]),
            "EventBusName": bus or self.stack.refs["Bus"],
        }
        assert self.events.put_events(Entries=[entry])["FailedEntryCount"] == 0

    def pump(self, rounds: int = 10) -> int:
        """Let every event source mapping work until its queue is empty; how many records were given back.

        A record that was given back is delivered again in the next round, for as many as `rounds`.
        """
        given_back = 0
        for _, properties in self.stack.of("AWS::Lambda::EventSourceMapping"):
            for _ in range(rounds):
                received = self._receive(properties)
                if not received:
                    break
                given_back += self._deliver(properties, received)
        return given_back

    def _receive(self, mapping: Json) -> Sequence[Json]:
        found = self.sqs.receive_message(
            QueueUrl=self._queue_of(mapping),
            MaxNumberOfMessages=min(10, mapping["BatchSize"]),
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
            WaitTimeSeconds=0,
        )
        messages: Sequence[Json] = found.get("Messages", [])
        return messages

    def _queue_of(self, mapping: Json) -> str:
        return str(self.stack.refs[mapping["EventSourceArn"]["Fn::GetAtt"][0]])

    def _deliver(self, mapping: Json, messages: Sequence[Json]) -> int:
        event = sqs_event(messages, self.stack.value(mapping["EventSourceArn"]))
        try:
            answer = self.handler(self.function_of(mapping["FunctionName"]))(event)
            failed = {each["itemIdentifier"] for each in answer["batchItemFailures"]}
            # Without the response type Lambda takes an answer as it is for success of the whole batch.
            if "ReportBatchItemFailures" not in mapping.get("FunctionResponseTypes", []):
                failed = set()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | AssertionError):
                raise
            failed = {message["MessageId"] for message in messages}
        for message in messages:
            where = {"QueueUrl": self._queue_of(mapping), "ReceiptHandle": message["ReceiptHandle"]}
            if message["MessageId"] in failed:
                self.sqs.change_message_visibility(**where, VisibilityTimeout=0)
            else:
                self.sqs.delete_message(**where)
        return len(failed)

    def tick(self) -> Any:
        """The schedule fires: the answer of the function that it invokes."""
        ((_, properties),) = ((name, each) for name, each in self.stack.of("AWS::Events::Rule") if _is_timer(each))
        (target,) = properties["Targets"]
        event = {"id": str(uuid.uuid4()), "detail-type": "Scheduled Event", "source": "aws.events", "detail": {}}
        return self.handler(self.function_of(target["Arn"]))(event)

    def request(self, function: str, method: str, path: str, body: Any = None, **query: str) -> tuple[int, Any]:
        """A signed request to the URL of a function: the status and the parsed answer, None if it is empty."""
        ((_, url),) = (
            (name, each)
            for name, each in self.stack.of("AWS::Lambda::Url")
            if self.function_of(each["TargetFunctionArn"]) == function
        )
        assert url["AuthType"] == "AWS_IAM", "a function URL without authentication is open to the world"
        event = url_event(method, path, body, query)
        answer = self.handler(function)(event)
        return answer["statusCode"], json.loads(answer["body"] or "null")

    # What a test looks at.

    def depth(self, queue: str) -> int:
        """How many messages are in a queue, seen or not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.stack.refs.get(queue, queue), AttributeNames=names)
        return sum(int(found["Attributes"][name]) for name in names)

    def messages(self, queue: str) -> Sequence[Json]:
        """What can be received from a queue now."""
        found = self.sqs.receive_message(
            QueueUrl=self.stack.refs.get(queue, queue),
            MaxNumberOfMessages=10,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        messages: Sequence[Json] = found.get("Messages", [])
        return messages

    def move(self, source: str, destination: str) -> None:
        """What `aws sqs start-message-move-task` does, which the mock does not know; queues by the outputs' ARNs."""
        urls = {self.stack.attributes[name, "Arn"]: self.stack.refs[name] for name, _ in self._queues()}
        there, here = (urls[self.stack.value(self.stack.outputs[output]["Value"])] for output in (source, destination))
        for message in self.messages(there):
            attributes = message.get("MessageAttributes", {})
            self.sqs.send_message(QueueUrl=here, MessageBody=message["Body"], MessageAttributes=attributes)
            self.sqs.delete_message(QueueUrl=there, ReceiptHandle=message["ReceiptHandle"])

    def follow(self) -> str:
        """A new queue that hears the topic, as an adapter's does; its URL."""
        name = f"{self.stack.refs['MeshName']}-adapter-{uuid.uuid4().hex}"
        url = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
        attributes = {"RawMessageDelivery": "true"}
        self.sns.subscribe(TopicArn=self.stack.refs["Notices"], Protocol="sqs", Endpoint=arn, Attributes=attributes)
        return str(url)


@contextlib.contextmanager
def _young() -> Iterator[None]:
    """A handler collects garbage when it is loaded, which is quick in its own process and slow beside all tests."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _is_timer(rule: Json) -> bool:
    return "ScheduleExpression" in rule


def sqs_event(messages: Sequence[Mapping[str, Any]], queue_arn: str) -> Json:
    """The event with which Lambda hands over received messages."""
    return {
        "Records": [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": dict(message.get("Attributes", {})),
                "messageAttributes": {},
                "md5OfBody": message["MD5OfBody"],
                "eventSource": "aws:sqs",
                "eventSourceARN": queue_arn,
                "awsRegion": REGION,
            }
            for message in messages
        ]
    }


def url_event(method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None) -> Json:
    """The event of a request to a function URL: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html."""
    text = body if isinstance(body, str) else b64encode(body).decode() if isinstance(body, bytes) else json.dumps(body)
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "&".join(f"{key}={value}" for key, value in (query or {}).items()),
        "headers": {"content-type": "application/hcl" if isinstance(body, str) else "application/json"},
        "queryStringParameters": dict(query or {}),
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": "url",
            "authorizer": {"iam": {"userArn": f"arn:aws:iam::{ACCOUNT}:user/deployer"}},
            "domainName": f"url.lambda-url.{REGION}.on.aws",
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": ""},
            "requestId": str(uuid.uuid4()),
            "routeKey": "$default",
            "stage": "$default",
            "time": "12/Mar/2026:19:03:58 +0000",
            "timeEpoch": 1583348638390,
        },
        "body": None if body is None else text,
        "isBase64Encoded": isinstance(body, bytes),
    }
