"""Everything from a build to a deleted stack."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import boto3

from tests.aws.situation import TRUST_DOMAIN, Situation
from tests.deploy import steps
from tests.deploy.deployed import Deployed
from tests.deploy.deployment import ARCHITECTURE, SAM, STACK, Deployment
from tests.deploy.differences import ADDED, NOT_SHOWN, STRIPPED
from tests.deploy.emulator import ENVIRONMENT, Emulator, version
from tests.deploy.progress import Progress, expect
from tests.deploy.traffic import Traffic
from tests.fleet.process import Ports

MOST_EXECUTIONS = 4
"""Of each function at a time."""


def check(directory: Path, say: Progress) -> None:
    """Build, deploy, use and delete a stack, with all files in `directory`. Raises FleetError when anything of it goes
    otherwise than on AWS."""
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        emulator = Emulator(directory, ports)
        held.enter_context(_as_root(emulator))
        deployment = Deployment(directory / "deployment", emulator.root)

        say.step(f"build for {ARCHITECTURE}")
        say.note(f"{deployment.build() / 1e6:.1f} MB")

        say.step(f"ministack {version(ENVIRONMENT, 'ministack')} on {emulator.url}, with TLS and IAM")
        held.enter_context(emulator)
        for stripped in STRIPPED:
            say.note(f"stripped from the template: {stripped.where} ({stripped.why})")
        for added in ADDED:
            say.note(f"added to policies: {added.action} beside {added.beside} ({added.why})")
        for what in NOT_SHOWN:
            say.note(f"not shown here: {what}")

        say.step(f"sam deploy, SAM {version(SAM, 'aws-sam-cli')}")
        parameters = {"TrustDomain": TRUST_DOMAIN, "RefreshDelay": "2"}
        deployment.deploy(**parameters)
        say.note(f"{len(deployment.resources())} resources")
        limit_processes()
        stack = Deployed(deployment.outputs, emulator)
        situation = Situation(stack, directory, ports)

        say.step("config uploaded to the bucket")
        steps.upload(stack, emulator, say)
        say.step("config written with a signed PUT")
        steps.put(stack, situation, say)
        say.step("health events on the bus")
        steps.events(stack, situation, emulator, say)
        say.step("an invalid event")
        steps.dead_letter(stack, emulator, say)
        say.step("a reconcile")
        steps.reconcile(stack, emulator, say)
        say.step("an adapter, by notices")
        steps.adapter(stack, situation, emulator, directory, say)

        say.step("Envoys 1.40 and 1.39 at the discovery function")
        with Traffic(stack, situation, emulator) as traffic:
            traffic.fails_over(say)
            say.step("sam deploy with another RefreshDelay")
            versions = live()
            deployment.deploy(**parameters | {"RefreshDelay": "3"})
            steps.parameters(stack, deployment.outputs["Parameters"], emulator, say)
            say.note(f"versions of live: {versions} before, {live()} now")
            say.note(f"an Envoy has the other delay {traffic.refresh_delay('3s'):.1f} s after that")
            traffic.fails_over(say)
            say.step("sam delete")
            stack.dismiss()
            deployment.delete()
            say.note(f"{traffic.goes_on('all this')} requests through Envoys by now, none failed")
        gone(stack)
        say.step("done: nothing is left but the bucket")


def limit_processes() -> None:
    """Without this the emulator starts a process for every request that finds none idle."""
    functions: Any = boto3.client("lambda")
    for each in functions.list_functions()["Functions"]:
        functions.put_function_concurrency(
            FunctionName=each["FunctionName"], ReservedConcurrentExecutions=MOST_EXECUTIONS
        )


def live() -> dict[str, str]:
    """The versions that the functions' alias `live` stands for."""
    functions = [each["FunctionName"] for each in boto3.client("lambda").list_functions()["Functions"]]
    return {
        name.removeprefix(f"{STACK}-"): boto3.client("lambda").get_alias(FunctionName=name, Name="live")[
            "FunctionVersion"
        ]
        for name in functions
    }


def gone(stack: Deployed) -> None:
    """What the stack made is deleted, all but the bucket."""
    expect("functions", [], boto3.client("lambda").list_functions()["Functions"])
    expect("queues", [], boto3.client("sqs").list_queues().get("QueueUrls", []))
    expect("topics", [], boto3.client("sns").list_topics()["Topics"])
    expect("buses", ["default"], [each["Name"] for each in boto3.client("events").list_event_buses()["EventBuses"]])
    expect("logs", [], boto3.client("logs").describe_log_groups()["logGroups"])
    head = boto3.client("s3").get_object(Bucket=stack.bucket, Key="config/head")
    expect("the bucket's config head", 200, head["ResponseMetadata"]["HTTPStatusCode"])


@contextlib.contextmanager
def _as_root(emulator: Emulator) -> Iterator[None]:
    """This process takes the emulator for AWS, as the account's owner, whatever its own account is."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with patch.dict(os.environ, own | emulator.root, clear=True):
        yield
