"""infra/examples/ecs.yaml: what its containers run is run here, with real commands and Envoys on the mocked AWS."""

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pointsman.cli.main import run

from tests.aws.harness import Aws
from tests.aws.http_ends import aws_over_http
from tests.aws.policy import allows, needs
from tests.aws.template import CloudFormationLoader
from tests.fleet.process import REPOSITORY, Child, Ports, wait_until

TEMPLATE = yaml.load((REPOSITORY / "infra/examples/ecs.yaml").read_text(), CloudFormationLoader)
PAGE = (REPOSITORY / "docs/ecs.md").read_text()
RESOURCES = TEMPLATE["Resources"]
TASKS = [name for name, each in RESOURCES.items() if each["Type"] == "AWS::ECS::TaskDefinition"]
PROXIES = {
    task: TEMPLATE["Parameters"][parameter]["Default"]
    for task, parameter in (("ServiceTask", "Service"), ("GatewayTask", "Gateway"))
}
(REGISTRATIONS,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def containers(task: str) -> dict[str, dict[str, Any]]:
    """The containers of a task, by their names."""
    return {each["Name"]: each for each in RESOURCES[task]["Properties"]["ContainerDefinitions"]}


class Host:
    """Runs what containers run, with a folder of the test as their volume and free ports instead of theirs."""

    def __init__(self, folder: Path, aws: Aws, endpoint: str, ports: Ports) -> None:
        self.folder = folder
        self._swaps = {
            "/mesh/": f"{folder}/",
            "127.0.0.1:8423": f"127.0.0.1:{ports.take('127.0.0.1')}",
            "127.0.0.1/19000": f"127.0.0.1/{(admin := ports.take('127.0.0.1'))}",
            "--elsewhere": f"--elsewhere --admin 127.0.0.1:{admin}",
            # Several Envoys run on this machine, and nobody waits for this one to drain.
            "envoy -c": "envoy --disable-hot-restart -c",
            "sleep 25": "sleep 0.1",
        }
        refs = {
            **aws.stack.refs,
            "StoreURL": f"s3://{aws.stack.refs['Bucket']}",
            "NoticesArn": aws.stack.refs["Notices"],
        }
        self._values = refs | {"Datacenter": "dc1", "Port": ports.take("0.0.0.0"), "TrustDomain": "pointsman"}
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        role = {key: os.environ[key] for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")}
        self._environment = {"AWS_ENDPOINT_URL": endpoint, "PATH": path, "HOME": str(folder), **role}

    def command(
        self, container: Mapping[str, Any], proxy: str, secrets: Mapping[str, str]
    ) -> tuple[list[str], dict[str, str]]:
        """The command line of a container, and its environment."""
        values = self._values | {"Service": proxy, "Gateway": proxy}
        environment = {each["Name"]: str(values[each["Value"]["Ref"]]) for each in container.get("Environment", ())} | {
            each["Name"]: secrets[each["Name"]] for each in container.get("Secrets", ())
        }
        return self.adapted([*container["EntryPoint"], *container["Command"]]), self._environment | environment

    def adapted(self, command: list[str]) -> list[str]:
        """The command with this machine's places in it."""
        out = command
        for there, here in self._swaps.items():
            out = [part.replace(there, here) for part in out]
        return out

    def healthy(self, container: Mapping[str, Any]) -> bool:
        """Whether its health check says so."""
        _, *check = container["HealthCheck"]["Command"]
        path = {"PATH": self._environment["PATH"]}
        return subprocess.run(self.adapted(check), env=path, capture_output=True, check=False).returncode == 0


@pytest.mark.envoy
@pytest.mark.parametrize(
    "task", [pytest.param(each, marks=pytest.mark.soak) if each == "GatewayTask" else each for each in TASKS]
)
def test_the_containers_of_a_task_start_one_after_another_and_end_in_peace(aws: Aws, tmp_path: Path, task: str) -> None:
    folder = tmp_path / "mesh"
    folder.mkdir()
    there, proxy = containers(task), PROXIES[task]
    (line,) = re.findall(r"^openssl req -x509 [^\n]*\\\n[^\n]*$", PAGE, re.MULTILINE)
    subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, check=True)
    secrets = {"CA_CERTIFICATE": (tmp_path / "ca.pem").read_text(), "CA_KEY": (tmp_path / "ca.key").read_text()}
    with aws_over_http() as endpoint, Ports() as ports:
        host = Host(folder, aws, endpoint, ports)
        mine = REGISTRATIONS.replace("8443", str(ports.take("0.0.0.0")))
        assert aws.request("Configure", "PUT", "/v1/config", yaml.safe_load(mine))[0] == 200
        command, environment = host.command(there["prepare"], proxy, secrets)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads((folder / "envoy.json").read_text())["node"]["metadata"]["datacenter"] == "dc1"

        command, environment = host.command(there["adapter"], proxy, {})
        with Child("adapter", command, tmp_path, environment) as adapter:
            wait_until(lambda: host.healthy(there["adapter"]), "the adapter to be ready", children=[adapter])
            command, environment = host.command(there["envoy"], proxy, {})
            with Child("envoy", command, tmp_path, environment) as envoy:
                wait_until(lambda: host.healthy(there["envoy"]), "Envoy to be live", children=[envoy])
                envoy.terminate()
                assert envoy.wait() == 0, envoy.tail()


@pytest.mark.parametrize("task", TASKS)
def test_who_starts_after_whom_ends_before(task: str) -> None:
    """ECS starts a container after those that it depends on, and stops it before them."""
    after = {
        name: {each["ContainerName"]: each["Condition"] for each in container.get("DependsOn", ())}
        for name, container in containers(task).items()
    }
    assert after["adapter"] == {"prepare": "SUCCESS"}
    assert after["envoy"] == {name: "HEALTHY" for name in after if name not in ("prepare", "envoy")}
    for name in itertools.chain(*after.values()):
        wanted = name != "prepare"
        assert ("HealthCheck" in containers(task)[name]) == wanted, name
    essential = {name for name, each in containers(task).items() if each["Essential"]}
    assert essential == set(after) - {"prepare", "adapter"}, "what may end without the task"


def test_only_the_container_that_issues_a_certificate_sees_the_authority() -> None:
    for task in TASKS:
        for name, container in containers(task).items():
            assert ("Secrets" in container) == ((task, name) == ("ServiceTask", "prepare"))
            assert name != "application" or "MountPoints" not in container


def test_a_task_needs_the_adapter_s_policy_and_no_more(aws: Aws) -> None:
    aws.request("Configure", "PUT", "/v1/config", yaml.safe_load(REGISTRATIONS))
    aws.calls.clear()
    store = f"s3://{aws.stack.refs['Bucket']}"
    with aws.acting("Adapter"):
        for proxy in PROXIES.values():
            about = "--dc dc1 --grpc unix:/s --sds /c --elsewhere" + " --public 0.0.0.0:21000" * (proxy == "web")
            assert run(["bootstrap", proxy, "--store", store, *shlex.split(about)]) == 0
    calls = [call for call in aws.calls if call.function == "Adapter"]
    assert calls
    assert sorted({needs(call) for call in calls if not allows(aws.stack, "Adapter", *needs(call))}) == []
