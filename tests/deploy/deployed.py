"""The deployed stack as those know it who use it: its outputs, and an access key for each of its policies."""

from collections.abc import Mapping
from typing import Any

import boto3
import orjson

from tests.deploy.emulator import Emulator
from tests.deploy.progress import expect
from tests.deploy.users import FunctionUrl, User, dismiss, user
from tests.fleet.process import FleetError
from tests.pipeline.meshes import Document

_POLICIES = {
    "producer": "ProducerPolicyArn",
    "deployer": "DeployerPolicyArn",
    "envoy": "EnvoyPolicyArn",
    "adapter": "AdapterPolicyArn",
}


class Deployed:
    """`producer`, `deployer`, `envoy` and `adapter` are users of whom each has the policy of that name alone."""

    def __init__(self, outputs: Mapping[str, str], emulator: Emulator) -> None:
        self.outputs, self._emulator = outputs, emulator
        self.store = outputs["StoreURL"]
        self.bucket = self.store.removeprefix("s3://")
        self.configure_url = self.url("ConfigureURL")
        made = {name: user(name, outputs[policy]) for name, policy in _POLICIES.items()}
        self.producer, self.deployer, self.envoy, self.adapter = (made[name] for name in _POLICIES)

    def url(self, output: str) -> FunctionUrl:
        """A function's URL."""
        return FunctionUrl(self.outputs[output], self._emulator.port, self._emulator.ca)

    def configure(self, documents: list[Document]) -> None:
        """Write config with a signed PUT."""
        code, answer = self.ask(self.deployer, "PUT", "/v1/config", orjson.dumps(documents))
        expect(f"PUT /v1/config, which answered {answer!r}", 200, code)

    def ask(self, who: User | None, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
        """What configure answers."""
        return self.configure_url.ask(who, method, path, body)

    def send(self, event: Mapping[str, Any]) -> None:
        """Put an event on the bus, as the producer."""
        entry = {
            "EventBusName": self.outputs["BusName"],
            "Source": "mesh.health",
            "DetailType": event["detail-type"],
            "Detail": orjson.dumps(event["detail"]).decode(),
        }
        answer = self.producer.client("events").put_events(Entries=[entry])
        if answer["FailedEntryCount"]:
            raise FleetError(f"an event was not taken: {answer['Entries']!r}")

    def active(self) -> set[str]:
        """Which datacenters serve the resolvers, as the status says."""
        return {str(each["active"]).rpartition(".")[2] for each in self._status()["resolvers"]}

    def parameters(self) -> str:
        """The number of the parameters in force, as the status says."""
        return str(self._status()["deployed"]["parameters"])

    def _status(self) -> Any:
        code, status = self.ask(self.deployer, "GET", "/v1/status")
        expect(f"GET /v1/status, which answered {status!r}", 200, code)
        return status

    def letters(self) -> list[dict[str, Any]]:
        """The dead letters, which are taken away."""
        sqs: Any = boto3.client("sqs")
        url = self.outputs["DeadLettersURL"]
        found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
        for each in found.get("Messages", []):
            sqs.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
        return list(found.get("Messages", []))

    def waiting(self) -> int:
        """How many messages are in the queue, those that are being taken in among them."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        sqs: Any = boto3.client("sqs")
        found = sqs.get_queue_attributes(QueueUrl=self.outputs["QueueURL"], AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    def dismiss(self) -> None:
        """Nobody has the stack's policies any more, which they must not when it is deleted."""
        for name, policy in _POLICIES.items():
            dismiss(name, self.outputs[policy])
