"""On AWS orders end in time: a wake in the queue of events comes when the next one is due, and `reconcile` beneath."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import md5

import pytest
from pointsman.aws.order_wakes import LONGEST_DELAY_SECONDS, send_order_wake
from pointsman.cli.main import run
from pointsman.model.sources.wake import is_order_wake, wake_number
from pointsman.pipeline.give import end_orders_due

from tests.aws.harness import Aws, sqs_event
from tests.aws.mesh import active, s2
from tests.aws.policy import allows, needs
from tests.aws.test_commands import told
from tests.pipeline.test_orders import DRAIN, Mesh


def test_a_wake_is_sent_for_the_next_order_that_ends_soon() -> None:
    mesh, sent = Mesh(), list[tuple[str, int]]()

    def send(body: str, delay: int) -> None:
        sent.append((body, delay))

    assert not send_order_wake(mesh.engine, send), "no order is in force"
    mesh.give(DRAIN, hours=1)
    assert not send_order_wake(mesh.engine, send), "a later reconcile does"
    mesh.give(DRAIN, hours=LONGEST_DELAY_SECONDS / 3600)
    assert send_order_wake(mesh.engine, send)
    ((body, delay),) = sent
    assert 0 < delay <= LONGEST_DELAY_SECONDS
    assert is_order_wake(json.loads(body))
    assert wake_number(json.loads(body)) is None
    assert not is_order_wake({"detail-type": "Pointsman Wake", "detail": {"Number": 1}})
    while not end_orders_due(mesh.engine).orders:
        pass
    assert mesh.serves() == "dc1"
    assert not send_order_wake(mesh.engine, send)


@contextmanager
def drained(aws: Aws, capsys: pytest.CaptureFixture[str], seconds: int) -> Iterator[None]:
    """The operator has drained dc1 for so many seconds."""
    for dc in ("dc1", "dc2"):
        aws.put_event(s2(dc=dc))
    assert aws.pump() == 0
    assert active(aws) == "dc1"
    with aws.acting("Operator"):
        arguments = ["drain", "dc1", "--store", f"s3://{aws.stack.refs['Bucket']}", "--for", f"{seconds}s"]
        assert run([*arguments, "--reason", "a try"]) == 0
    capsys.readouterr()
    assert active(aws) == "dc2"
    yield


def test_on_the_stack_of_the_template_an_order_ends_by_its_wake(mesh: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    queue = mesh.follow()
    began = time.monotonic()
    with drained(mesh, capsys, 4):
        mesh.calls.clear()
        mesh.tick()
        sent = [call.parameters for call in mesh.calls if call.operation == "SendMessage"]
        (wake,) = [each for each in sent if "DelaySeconds" in each]
        assert 1 <= wake["DelaySeconds"] <= 4
        # moto keeps a message back for its delay by the wall clock, so it is handed over here.
        body = wake["MessageBody"]
        message = {
            "MessageId": "wake",
            "ReceiptHandle": "",
            "Body": body,
            "MD5OfBody": md5(body.encode()).hexdigest(),
            "Attributes": {},
        }
        ingest = mesh.handler("Ingest")
        records = sqs_event([message], mesh.stack.attributes["Queue", "Arn"])
        while active(mesh) == "dc2":
            told(mesh, queue)
            assert ingest(records) == {"batchItemFailures": []}
            assert time.monotonic() - began < 60, "it does not end"
        assert time.monotonic() - began > 3, "it ended before its time"
        assert "snapshots/dc1/sidecar/s2.default.dc1" in told(mesh, queue)
        assert ingest(records) == {"batchItemFailures": []}, "it comes twice"
        wanted = {(call.function, *needs(call)) for call in mesh.calls}
        assert sorted(each for each in wanted if not allows(mesh.stack, *each)) == []


def test_without_its_wake_an_order_is_ended_by_a_reconcile(mesh: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    with drained(mesh, capsys, 2):
        deadline = time.monotonic() + 60
        while active(mesh) == "dc2":
            assert time.monotonic() < deadline
            mesh.tick()
