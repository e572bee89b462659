"""What `make build` makes: run as Lambda would where it is for this machine, checked by its tags where it is not."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from tests.adapter.rest import NODE
from tests.aws.built import WHEELS, build
from tests.aws.harness import Aws, sqs_event, url_event
from tests.aws.http_ends import RuntimeApi, aws_over_http, runtime_api
from tests.aws.mesh import active, s2
from tests.aws.template import REGION
from tests.fleet.process import REPOSITORY

pytestmark = pytest.mark.skipif(sys.version_info < (3, 13), reason="the functions run on Python 3.13")

# What the runtime has by itself, beside Python.
RUNTIME = ("awslambdaric", "boto3", "botocore", "dateutil", "jmespath", "s3transfer", "simplejson", "urllib3")
RUNTIME_FILES = ("runtime_client*.so", "six.py", "snapshot_restore_py.py")

_ELF_MACHINES = {"arm64": 0xB7, "x86_64": 0x3E}


@pytest.mark.parametrize("arch", ["arm64", "x86_64"])
def test_the_deployable_layer_fits_the_runtime_and_has_nothing_in_it_that_no_function_runs(
    tmp_path: Path, arch: str
) -> None:
    wheels = build.fetch(arch, build.wheels_in(WHEELS, arch))
    machine = build.MACHINES[arch]
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(34, 16, -1)] + [f"manylinux2014_{machine}"]
    runs = {*cpython_tags((3, 13), platforms=platforms), *compatible_tags((3, 13), "cp313", platforms)}
    for wheel in wheels:
        assert runs & parse_wheel_filename(wheel.name)[3], wheel.name

    layer, *functions = build.build(wheels, tmp_path)
    assert layer.stat().st_size < build.LARGEST_LAYER
    folders = sorted(path.parent.name for path in (REPOSITORY / "functions").glob("*/handler.py"))
    assert [path.name for path in functions] == [f"{name}.zip" for name in folders]
    with zipfile.ZipFile(layer) as archive:
        names = archive.namelist()
        for name in names:
            if name.endswith(".so"):
                head = archive.read(name)[:20]
                assert (head[:4], head[18]) == (b"\x7fELF", _ELF_MACHINES[arch]), name
    assert all(name.startswith("python/") for name in names)
    tops = {name.split("/")[1] for name in names}
    assert "pointsman" in tops
    assert not tops & {"boto3", "botocore", "grpc", "moto", "pytest", "click", "uvicorn", "starlette", "cli", "test"}
    assert not [name for name in names if name.startswith(build.NOT_SHIPPED) or "__pycache__" in name]
    rooms = {name.split("/")[2] for name in names if name.startswith("python/pointsman/")}
    assert not rooms & {"adapter", "cli"}
    assert rooms >= {"model", "chain", "failover", "xds", "store", "pipeline", "discovery"}


@pytest.fixture(scope="module")
def lambda_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what Lambda has: `opt` is the layer, `runtime` what it brings itself, and a folder per function."""
    root = tmp_path_factory.mktemp("lambda")
    layer, *functions = build.build(build.fetch("local", build.wheels_in(WHEELS, "local")), root / "built")
    with zipfile.ZipFile(layer) as archive:
        archive.extractall(root / "opt")
    for path in functions:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(root / path.stem)
    packages = Path(boto3.__file__).parents[1]
    (root / "runtime").mkdir()
    for name in RUNTIME:
        (root / "runtime" / name).symlink_to(packages / name)
    for pattern in RUNTIME_FILES:
        for file in packages.glob(pattern):
            shutil.copy(file, root / "runtime")
    return root


def test_the_same_sources_give_the_same_bytes(lambda_like: Path, tmp_path: Path) -> None:
    wheels = build.fetch("local", build.wheels_in(WHEELS, "local"))
    again = build.build(list(reversed(wheels)), tmp_path)
    assert [path.read_bytes() for path in again] == [(lambda_like / "built" / path.name).read_bytes() for path in again]


@pytest.fixture
def in_lambda(lambda_like: Path, mesh: Aws) -> "Iterator[InLambda]":
    with aws_over_http() as endpoint:
        yield InLambda(lambda_like, mesh, endpoint)


class InLambda:
    """Runs built functions as Lambda runs them."""

    def __init__(self, root: Path, aws: Aws, endpoint: str) -> None:
        self._root, self._aws, self._endpoint = root, aws, endpoint

    def invoke(self, function: str, event: dict[str, object]) -> object:
        """What the built function answers, in a process with nothing on its path but what Lambda has."""
        properties = self._aws.stack.resources[function]["Properties"]
        task = self._root / function.lower()
        with runtime_api(self._aws.stack.refs[function]) as api:
            environment = {
                **{key: os.environ[key] for key in ("PATH", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")},
                **{
                    key: str(each)
                    for key, each in self._aws.stack.value(properties["Environment"]["Variables"]).items()
                },
                "AWS_LAMBDA_RUNTIME_API": api.address,
                "AWS_LAMBDA_FUNCTION_NAME": self._aws.stack.refs[function],
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
                "AWS_REGION": REGION,
                "AWS_DEFAULT_REGION": REGION,
                "AWS_ENDPOINT_URL": self._endpoint,
                "LAMBDA_TASK_ROOT": str(task),
                "PYTHONPATH": f"{task}:{self._root / 'opt/python'}:{self._root / 'runtime'}",
            }
            command = [sys.executable, "-S", "-s", "-m", "awslambdaric", properties["Handler"]]
            process = subprocess.Popen(
                command, env=environment, cwd=task, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            try:
                kind, answer = self._answered(api, event, process)
            finally:
                process.kill()
                said = process.communicate()[0].decode()
        assert kind == "response", f"{answer}\n{said}"
        return answer

    def _answered(
        self, api: RuntimeApi, event: dict[str, object], process: "subprocess.Popen[bytes]"
    ) -> tuple[str, object]:
        while not api.ready.wait(0.1):
            if process.poll() is not None or not api.answers.empty():
                return "init", None if api.answers.empty() else api.answers.get()
        return api.invoke(event)


def test_the_built_functions_do_what_the_sources_do(in_lambda: InLambda, mesh: Aws) -> None:
    mesh.put_event(s2("critical"))
    (message,) = mesh.messages("Queue")
    records = sqs_event([message], mesh.stack.attributes["Queue", "Arn"])
    assert in_lambda.invoke("Ingest", records) == {"batchItemFailures": []}
    assert active(mesh) == "dc2"

    hcl = 'Kind = "service-resolver"\nName = "s2"\nConnectTimeout = "9s"\n'
    answer = in_lambda.invoke("Configure", url_event("PUT", "/v1/config", hcl))
    assert isinstance(answer, dict)
    assert (answer["statusCode"], json.loads(answer["body"])["generation"]) == (200, 2)
    assert active(mesh) == "dc1", "without a failover it stays where it is"

    answer = in_lambda.invoke("Configure", url_event("GET", "/v1/status"))
    assert isinstance(answer, dict)
    in_force = json.loads(answer["body"])["deployed"]
    assert re.fullmatch(r"[0-9.]+-[0-9a-f]{12}", in_force["build"])
    assert in_force["memory_mb"] == 1024

    request = url_event("POST", "/v3/discovery:clusters", {"node": NODE})
    answer = in_lambda.invoke("Discovery", request)
    assert isinstance(answer, dict)
    assert answer == mesh.handler("Discovery")(request)
    assert [each["name"] for each in json.loads(answer["body"])["resources"]] == ["s2.default.dc1.internal.pointsman"]

    done = in_lambda.invoke("Reconcile", {"detail-type": "Scheduled Event", "detail": {}})
    assert isinstance(done, dict)
    assert (done["moved"], done["manifests"], done["retired"]) == (0, 0, 0)


def test_every_module_of_the_layer_imports_with_nothing_beside_it(lambda_like: Path) -> None:
    script = """
import importlib, pkgutil, sys
import pointsman
for module in pkgutil.walk_packages(pointsman.__path__, "pointsman."):
    importlib.import_module(module.name)
    print(module.name)
import re2, yaml
"""
    path = f"{lambda_like / 'opt/python'}:{lambda_like / 'runtime'}"
    done = subprocess.run(
        [sys.executable, "-S", "-s", "-c", script],
        env={"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "pointsman.pipeline.ingest" in done.stdout.split()
