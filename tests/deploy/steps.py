"""What is done with the deployed stack, one thing a function. Each raises FleetError when it went otherwise."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.aws.mesh import health
from tests.aws.situation import Situation
from tests.deploy.deployed import Deployed
from tests.deploy.deployment import STACK
from tests.deploy.emulator import Emulator
from tests.deploy.progress import SOON_SECONDS, Progress, expect, expect_soon
from tests.deploy.users import User
from tests.fleet.control_plane import POINTSMAN
from tests.fleet.process import Child, wait_until

UPLOAD = b"""
Kind = "service-resolver"
Name = "uploaded"
Failover = { "*" = { Datacenters = ["dc2"] } }
"""


def upload(stack: Deployed, emulator: Emulator, say: Progress) -> None:
    """Config is put into the bucket, under deploy/."""
    stack.deployer.client("s3").put_object(Bucket=stack.bucket, Key="deploy/mesh.hcl", Body=UPLOAD)
    path = "/v1/config/service-resolver/uploaded"
    took = expect_soon("GET of what was uploaded", 200, lambda: stack.ask(stack.deployer, "GET", path)[0], emulator)
    say.note(f"config after {took:.1f} s, first start of two functions included")


def put(stack: Deployed, situation: Situation, say: Progress) -> None:
    """Config is written over HTTP, by who may."""
    deployer = stack.deployer
    others = {
        "unsigned": None,
        "signed with another secret": User("deployer", deployer.key, "a" * 40),
        "signed by an Envoy": stack.envoy,
        "signed by a producer": stack.producer,
    }
    for how, who in others.items():
        expect(f"PUT /v1/config {how}", 403, stack.ask(who, "PUT", "/v1/config", b"[]")[0])
    code, answer = stack.ask(deployer, "PUT", "/v1/config", b'[{"Kind": "service-resolver"}]')
    expect(f"PUT of an entry without a name, which answered {answer!r}", 400, code)
    situation.configure()
    say.note(f"403 when {', '.join(others)}; 400 without a name; 200 when signed by a deployer")


def events(stack: Deployed, situation: Situation, emulator: Emulator, say: Progress) -> None:
    """Events on the bus move snapshots."""
    expect_soon("status before anything fails", {"dc1"}, lambda: serving(stack), emulator)
    for status, wanted in (("critical", "dc2"), ("passing", "dc1")):
        situation.report("dc1", status)
        took = expect_soon(f"status after {status} in dc1", {wanted}, lambda: serving(stack), emulator)
        say.note(f"{status} in dc1: {wanted} serves after {took:.2f} s")
    refused = _refused(
        lambda: stack.producer.client("s3").put_object(Bucket=stack.bucket, Key="deploy/x.hcl", Body=b"")
    )
    expect("a producer's upload of config", "AccessDenied", refused)


def serving(stack: Deployed) -> set[str]:
    """Which datacenters serve s2 to the sidecars of dc1."""
    return stack.active() - {""}


def dead_letter(stack: Deployed, emulator: Emulator, say: Progress) -> None:
    """What is invalid ends among the dead letters, with the reason."""
    event = health("s2", [], "dc1")
    event["detail"]["Datacenter"] = "No such name"
    stack.send(event)
    (letter,) = wait_until(stack.letters, "a dead letter", children=[emulator], timeout=SOON_SECONDS)
    reason = letter["MessageAttributes"]["reason"]["StringValue"]
    expect(f"the reason {reason!r} names the field", True, "Datacenter" in reason)
    expect("what the dead letter is about", "No such name", json.loads(letter["Body"])["detail"]["Datacenter"])
    say.note(f"reason: {reason}")


def reconcile(stack: Deployed, emulator: Emulator, say: Progress) -> None:
    """With every event taken in there is nothing to repair."""
    expect_soon("messages in the queue", 0, stack.waiting, emulator)
    patient = Config(read_timeout=SOON_SECONDS, retries={"total_max_attempts": 1})
    functions: Any = boto3.client("lambda", config=patient)
    answer = functions.invoke(FunctionName=f"{STACK}-reconcile", Qualifier="live", Payload=b'{"id": "by hand"}')
    done = json.loads(answer["Payload"].read())
    repaired = {name: done.get(name) for name in ("moved", "manifests", "retired", "failed")}
    expect("what a reconcile repaired", {"moved": 0, "manifests": 0, "retired": 0, "failed": []}, repaired)
    expect("whether it checked anything", True, done["checked"] > 0)
    say.note(f"{done['checked']} objects checked, none repaired")


def adapter(stack: Deployed, situation: Situation, emulator: Emulator, directory: Path, say: Progress) -> None:
    """`pointsman adapter` follows the bucket by notices, over a queue of its own that it removes."""
    files, sns = directory / "files", stack.outputs["NoticesArn"]
    words: list[str | Path] = [POINTSMAN, "adapter", "files", "--store", stack.store, "--notices", sns]
    words += ["--files", files, "--envoy-version", "1.40", "--proxy", "dc1/sidecar/default/s1", "--ops", "127.0.0.1:0"]
    with Child("adapter", words, directory, {**emulator.access, **stack.adapter.credentials}) as process:
        ready = json.loads(wait_until(process.out.read_bytes, "the adapter", children=[process], timeout=SOON_SECONDS))
        wait_until(
            (files / "dc1/sidecar/default/s1/lds.pb").exists, "the files", children=[process], timeout=SOON_SECONDS
        )

        def heard() -> bool:
            with urlopen(f"{ready['ops']}/metrics", timeout=10) as answer:
                return b"\npointsman_notices_heard 1.0\n" in answer.read()

        expect_soon("pointsman_notices_heard of the adapter", True, heard, process, emulator)
        expect("the adapters' queues", 1, len(queues()))
        for status in ("critical", "passing"):
            before = _contents(files)
            situation.report("dc1", status)
            took = expect_soon("other files", True, partial(_differ, files, before), process, emulator)
            say.note(f"{status} in dc1: files after {took:.2f} s")
    expect("what the adapter said on stderr", "", process.err.read_text())
    expect("the adapters' queues after it ended", [], queues())
    found = boto3.client("sns").list_subscriptions_by_topic(TopicArn=sns)["Subscriptions"]
    expect("the topic's subscriptions after it ended", [], found)


def parameters(stack: Deployed, number: str, emulator: Emulator, say: Progress) -> None:
    """The status says which parameters are in force."""
    took = expect_soon("the number of the parameters in the status", number, stack.parameters, emulator)
    say.note(
        f"parameters {stack.outputs['Parameters']} before, {number} now, by the status {took:.1f} s after SAM ended"
    )


def queues() -> list[str]:
    """The names of the adapters' queues."""
    found = boto3.client("sqs").list_queues(QueueNamePrefix="pointsman-adapter-").get("QueueUrls", [])
    return [url.rpartition("/")[2] for url in found]


def _differ(files: Path, before: dict[Path, bytes]) -> bool:
    return _contents(files) != before


def _contents(files: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in files.rglob("*.pb")}


def _refused(ask: Callable[[], object]) -> str:
    """With what AWS refuses."""
    try:
        ask()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "allowed"
