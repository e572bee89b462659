"""What `make build` builds and `sam deploy` deploys, without what the emulator does not know."""

import json
import platform
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

from tests.aws.built import WHEELS, build
from tests.aws.template import REGION, source
from tests.deploy.differences import adapted
from tests.fleet.process import REPOSITORY, Child, FleetError

STACK = "pointsman"
SAM = Path(sys.prefix, "sam")
"""Where SAM's command line is installed (the Makefile puts it there)."""
ARCHITECTURE = {"x86_64": "x86_64", "aarch64": "arm64"}[platform.machine()]
"""The processor of this machine, in Lambda's words: the functions run here."""

SAM_SECONDS = 300


class Deployment:
    """The stack, deployed from a copy of what SAM reads, in `directory`; `access` is the environment of the account."""

    def __init__(self, directory: Path, access: Mapping[str, str]) -> None:
        self._directory, self._infra, self._access, self._runs = directory, directory / "infra", access, 0
        self.outputs: dict[str, str] = {}

    def build(self) -> int:
        """Build the layer and the functions, for this machine; how many bytes they have together."""
        self._infra.mkdir(parents=True)
        (self._infra / "template.yaml").write_text(json.dumps(adapted(source()), indent=1))
        shutil.copy(REPOSITORY / "infra/samconfig.toml", self._infra)
        wheels = build.fetch(ARCHITECTURE, build.wheels_in(WHEELS, ARCHITECTURE))
        return sum(path.stat().st_size for path in build.build(wheels, self._directory / "build"))

    def deploy(self, **parameters: str) -> None:
        """Create the stack, or change it, and read its outputs."""
        named = [f"{name}={value}" for name, value in {"Architecture": ARCHITECTURE, **parameters}.items()]
        self._sam("deploy", "--no-confirm-changeset", "--parameter-overrides", *named)
        (stack,) = boto3.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
        self.outputs = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}

    def delete(self) -> None:
        """Delete the stack."""
        self._sam("delete", "--no-prompts")

    def resources(self) -> dict[str, str]:
        """The types of the stack's resources, by their physical ids."""
        pages: Any = boto3.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=STACK)
        found = [each for page in pages for each in page["StackResourceSummaries"]]
        return {each["PhysicalResourceId"]: each["ResourceType"] for each in found}

    def _sam(self, command: str, *arguments: str) -> None:
        self._runs += 1
        words = [SAM / "bin/python", "-m", "samcli", command, "--region", REGION, *arguments]
        environment = {**self._access, "SAM_CLI_TELEMETRY": "0"}
        name = f"sam-{self._runs}-{command}"
        with Child(name, words, self._directory, environment, working_directory=self._infra) as sam:
            if code := sam.wait(SAM_SECONDS):
                why = "\n".join([*_failures(), sam.tail()])
                raise FleetError(f"sam {command} {' '.join(arguments)}: exit code {code}, 0 was expected\n{why}")


def _failures() -> list[str]:
    """What of the stack failed, and why, by its events."""
    try:
        events = boto3.client("cloudformation").describe_stack_events(StackName=STACK)["StackEvents"]
    except ClientError as error:  # there is none, or not yet
        return [str(error)]
    failed = [each for each in events if each["ResourceStatus"].endswith("FAILED")]
    return [f"{each['LogicalResourceId']}: {each.get('ResourceStatusReason', 'no reason')}" for each in failed]
