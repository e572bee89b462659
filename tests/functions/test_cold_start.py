"""What a function imports before its first event, and what happens around a SnapStart snapshot."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from pointsman.store.protocol import StoreError
from pointsman.store.session import new_client, new_session

from tests.aws.harness import url_event
from tests.fleet.process import REPOSITORY

pytestmark = pytest.mark.skipif(sys.version_info < (3, 13), reason="the functions run on Python 3.13")

FUNCTIONS = sorted(path.parent.name for path in (REPOSITORY / "functions").glob("*/handler.py"))

# boto3 costs as much again as the botocore that it stands on, X-Ray's recorder patches what it finds; the rest is for
# people, for tests, and for texts that only who configures sends.
NEVER = [
    *("boto3", "s3transfer", "aws_xray_sdk", "sqlite3", "grpc"),
    *("click", "starlette", "uvicorn", "moto", "pointsman.adapter", "pointsman.cli", "pointsman.machine"),
    *("lark", "yaml", "re2"),
]
COMPILING = [
    "pointsman.model.entries",
    "pointsman.model.registration",
    "pointsman.chain.compiler",
    "pointsman.pipeline.build",
]


def run(function: str, script: str, **more: str) -> str:
    """What `script` prints after the handler of `function` was imported, in a Python that has nothing else."""
    environment = {
        "PYTHONPATH": str(REPOSITORY / "functions" / function),
        "AWS_DEFAULT_REGION": "eu-central-1",
        "POINTSMAN_STORE": "s3://none",
        "POINTSMAN_NOTICES": "arn:aws:sns:eu-central-1:000000000000:none-notices",
        "POWERTOOLS_TRACE_DISABLED": "true",
        "PATH": os.environ["PATH"],
        **more,
    }
    command = [sys.executable, "-c", f"import gc, random, sys, handler\n{script}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_cold_start_imports_nothing_that_the_first_event_does_not_need(function: str) -> None:
    unwanted = [*NEVER, *COMPILING]
    assert run(function, f"print([name for name in {unwanted} if name in sys.modules], gc.isenabled())") == "[] True"


def test_a_first_client_looks_into_no_other_services_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: seen.append(str(path)) or real(path))
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    client = new_client(new_session(), "sqs", region="eu-central-1")
    assert client.meta.service_model.service_name == "sqs"
    assert {Path(each).name for each in seen if "botocore" in each} <= {"data", "sqs"}
    with pytest.raises(StoreError, match="nothing-like-it"):
        new_client(new_session(), "nothing-like-it", region="eu-central-1")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_snapshot_has_what_few_events_need_and_each_environment_draws_its_own_luck(function: str) -> None:
    script = """
import snapshot_restore_py
for hook, arguments, named in reversed(snapshot_restore_py.get_before_snapshot()):
    hook(*arguments, **named)
snapshot = random.getstate()
drawn = set()
for restored in range(2):
    random.setstate(snapshot)
    for hook, arguments, named in snapshot_restore_py.get_after_restore():
        hook(*arguments, **named)
    drawn.add(random.random())
entries = sys.modules.get("pointsman.model.entries")
print(entries is not None and entries.ServiceDefaults.__pydantic_complete__, len(drawn))
"""
    assert run(function, script) == f"{function != 'discovery'} 2", "discovery never reads an entry"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_is_traced_only_if_it_is_switched_on(function: str) -> None:
    script = "print('aws_xray_sdk' in sys.modules)"
    assert run(function, script) == "False"
    assert run(function, script, POWERTOOLS_TRACE_DISABLED="") == "False"
    assert run(function, script, POWERTOOLS_TRACE_DISABLED="false", LAMBDA_TASK_ROOT="/var/task") == "True"


def test_a_trace_tells_of_the_invocation_and_not_what_it_answered() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.bind(("127.0.0.1", 0))
        daemon.settimeout(10)
        host, port = daemon.getsockname()
        script = f"""
from types import SimpleNamespace
context = SimpleNamespace(function_name="configure", memory_limit_in_mb=1, invoked_function_arn="", aws_request_id="1")
print(handler.handler({url_event("GET", "/nowhere")!r}, context)["statusCode"])
"""
        switched_on = {
            "POWERTOOLS_TRACE_DISABLED": "false",
            "LAMBDA_TASK_ROOT": "/var/task",
            "AWS_XRAY_DAEMON_ADDRESS": f"{host}:{port}",
            "_X_AMZN_TRACE_ID": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
        }
        assert run("configure", script, **switched_on).splitlines()[-1] == "404"
        told = json.loads(daemon.recv(65536).decode().splitlines()[1])
    assert (told["name"], told["trace_id"]) == ("## handler", "1-5759e988-bd862e3fe1be46a994272793")
    assert told["annotations"] == {"ColdStart": True, "Service": "configure"}
    assert "metadata" not in told
