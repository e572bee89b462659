"""The command line on a stack's bucket: what it writes is told to the stack's topic, as what the functions write."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pointsman.cli.main import run

from tests.aws.harness import Aws
from tests.aws.mesh import CONFIG, s2
from tests.aws.policy import allows, needs
from tests.pipeline.meshes import resolver

Said = tuple[int, str, str]
Command = Callable[..., Said]
"""A command on a stack's bucket: its exit code, and what it prints on stdout and stderr."""

ANOTHER = [resolver("s2", ConnectTimeout="9s")]


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    def said(aws: Aws, name: str, *arguments: str, given: object = None) -> Said:
        last = []
        if given is not None:
            (file := tmp_path / "given.json").write_text(json.dumps(given))
            last = [str(file)]
        with aws.acting("Operator"):
            code = run([name, "--store", f"s3://{aws.stack.refs['Bucket']}", *arguments, *last])
        return code, *capsys.readouterr()

    return said


def told(aws: Aws, queue: str) -> set[str]:
    """The keys of the objects of which notices are in the queue, and no longer after this."""
    found = set()
    while messages := aws.messages(queue):
        for each in messages:
            found.add(json.loads(each["Body"])["key"])
            aws.sqs.delete_message(QueueUrl=queue, ReceiptHandle=each["ReceiptHandle"])
    return found


def test_what_a_command_writes_on_a_bucket_is_told_to_the_topic_that_the_store_names(
    mesh: Aws, command: Command
) -> None:
    queue, head = mesh.follow(), "snapshots/dc1/sidecar/s2.default.dc1"
    assert f"notices to {mesh.stack.refs['Notices']}" in command(mesh, "status")[1]

    assert command(mesh, "apply", given=ANOTHER)[0] == 0
    assert head in told(mesh, queue)
    assert command(mesh, "rollback", "1")[0] == 0
    assert head in told(mesh, queue)
    assert command(mesh, "emit", given={"source": "mesh.health", "id": "1", **s2("critical")})[0] == 0
    assert head in told(mesh, queue)
    assert command(mesh, "delete", "--dc", "dc1", "registration", "s1")[0] == 0
    assert "manifests/dc1/sidecar/default/s1" in told(mesh, queue)

    assert command(mesh, "rollback", "--notices", "none", "1")[0] == 0
    assert told(mesh, queue) == set()


def test_an_operator_needs_its_policy_and_nothing_else(aws: Aws, command: Command) -> None:
    aws.calls.clear()
    assert command(aws, "apply", given=CONFIG)[0] == 0
    aws.tick()
    for name, *arguments in (["rollback", "1"], ["delete", "--dc", "dc1", "registration", "s1"], ["recover"]):
        assert command(aws, name, *arguments)[0] == 0
    assert command(aws, "emit", given={"source": "mesh.health", "id": "1", **s2("critical")})[0] == 0
    for name in ("status", "list"):
        assert command(aws, name)[0] == 0
    calls = [call for call in aws.calls if call.function == "Operator"]
    assert sorted({needs(call) for call in calls if not allows(aws.stack, "Operator", *needs(call))}) == []
    assert {"HeadBucket", "DeleteObject", "PutObject", "PublishBatch"} <= {call.operation for call in calls}
    head = f"arn:aws:s3:::{aws.stack.refs['Bucket']}/config/head"
    assert not allows(aws.stack, "Operator", "s3:DeleteObject", head), "nobody deletes what is current"


def test_a_store_that_a_command_began_names_the_topic_after_the_first_reconcile(aws: Aws, command: Command) -> None:
    assert command(aws, "apply", given=CONFIG)[0] == 0
    assert "notices to" not in command(aws, "status")[1]
    aws.tick()
    queue = aws.follow()
    assert command(aws, "apply", given=ANOTHER)[0] == 0
    assert "notices to" in command(aws, "status")[1]
    assert told(aws, queue)


def test_a_topic_that_takes_nothing_stops_no_command_and_is_said(
    mesh: Aws, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = mesh.stack.refs["Notices"].replace("pointsman-notices", "gone-notices")
    monkeypatch.setenv("POINTSMAN_NOTICES", elsewhere)
    code, out, err = command(mesh, "apply", given=ANOTHER)
    assert (code, "generation 2" in out) == (0, True)
    assert err.count(f"notices {elsewhere}: SNS did not take them") == 1
    assert "followers find it" in err


def test_what_is_no_topic_is_refused_before_anything_is_written(mesh: Aws, command: Command) -> None:
    before = mesh.objects()
    code, _, err = command(mesh, "apply", "--notices", "topic", given=ANOTHER)
    assert (code, mesh.objects()) == (1, before)
    assert '--notices: "topic" is not the ARN' in err
