"""On AWS orders end in time: a wake in the queue of events comes when the next one is due, and `reconcile` beneath."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from hashlib import md5

import pytest
from pointsman.aws.delays import LATE_SECONDS, LONGEST_DELAY_SECONDS
from pointsman.aws.order_wakes import arm, woken
from pointsman.cli.main import run
from pointsman.model.orders import Subject, Verb
from pointsman.model.sources.wake import order_moment

from tests.aws.harness import Aws, sqs_event
from tests.aws.mesh import active, s2
from tests.aws.policy import allows, needs
from tests.aws.test_commands import told
from tests.pipeline.test_orders import DRAIN, WEB_NAME, Mesh


class Queue:
    """The wakes that were sent, each with the time that passes until it is delivered."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh, self.sent = mesh, list[tuple[int, int]]()

    def arm(self) -> bool:
        """What a reconcile does."""
        return arm(self.mesh.another().engine, self._send)

    def deliver(self) -> list[str]:
        """The oldest wake comes, when its delay is over: the orders that it ends."""
        moment, delay = self.sent.pop(0)
        while datetime.fromisoformat(self.mesh.engine.now()).timestamp() < moment / 1000:
            pass  # a second passes with each look at the clock
        assert delay <= LONGEST_DELAY_SECONDS
        return self.come(moment)

    def come(self, moment: int) -> list[str]:
        """A wake comes."""
        return [each.id for each in woken(self.mesh.another().engine, self._send, moment).orders]

    def _send(self, body: str, delay: int) -> None:
        moment = order_moment(json.loads(body))
        assert moment is not None
        self.sent.append((moment, delay))


def test_a_wake_is_sent_for_the_next_order_that_ends_and_again_where_that_is_far_away() -> None:
    mesh = Mesh()
    queue = Queue(mesh)
    assert not queue.arm(), "no order is in force"
    mesh.give(DRAIN, hours=0.6)
    assert queue.arm()
    assert not queue.arm(), "one stands"
    assert [delay for _, delay in queue.sent] == [LONGEST_DELAY_SECONDS]
    assert queue.deliver() == []
    mesh.give(Subject(Verb.DRAIN, "dc3", WEB_NAME), hours=0.1)
    assert queue.arm(), "another one ends before"
    moments = sorted(queue.sent)
    queue.sent = moments
    assert queue.deliver() == ["d-2"]
    while queue.sent and mesh.in_force:
        queue.deliver()
    assert mesh.serves() == "dc1"
    assert not queue.arm()
    assert mesh.promises.broken == []


def test_a_wake_that_was_lost_is_sent_again_by_a_reconcile_and_one_that_comes_twice_does_nothing() -> None:
    mesh = Mesh()
    queue = Queue(mesh)
    mesh.give(DRAIN, hours=0.6)
    assert queue.arm()
    moment, _ = queue.sent.pop()
    while not queue.arm():
        pass
    assert datetime.fromisoformat(mesh.engine.now()).timestamp() > moment / 1000 + LATE_SECONDS
    assert queue.come(moment) == []
    assert len(queue.sent) == 1, "the one that stands is enough"
    while mesh.in_force:
        queue.deliver()
    assert queue.come(moment) == []
    assert queue.sent == []
    assert order_moment({"detail-type": "Pointsman Wake", "detail": {"Number": 1}}) is None


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
            time.sleep(0.05)
        assert time.monotonic() - began > 3, "it ended before its time"
        assert "snapshots/dc1/sidecar/s2.default.dc1" in told(mesh, queue)
        assert ingest(records) == {"batchItemFailures": []}, "it comes twice"
        mesh.tick()
        wanted = {(call.function, *needs(call)) for call in mesh.calls}
        assert sorted(each for each in wanted if not allows(mesh.stack, *each)) == []


def test_without_its_wake_an_order_is_ended_by_a_reconcile(mesh: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    with drained(mesh, capsys, 2):
        deadline = time.monotonic() + 60
        while active(mesh) == "dc2":
            assert time.monotonic() < deadline
            time.sleep(0.05)
            mesh.tick()


def test_an_order_that_is_given_over_http_has_its_wake_at_once(mesh: Aws) -> None:
    order = {"verb": "drain", "datacenter": "dc1", "for": "10m", "reason": "new kernel"}
    mesh.calls.clear()
    code, given = mesh.request("Configure", "POST", "/v1/orders", order)
    assert (code, given["moved"], active(mesh)) == (200, 1, "dc2")
    (wake,) = (call.parameters for call in mesh.calls if call.operation == "SendMessage")
    assert wake["QueueUrl"] == mesh.stack.refs["Queue"]
    assert 590 <= wake["DelaySeconds"] <= 600
    assert order_moment(json.loads(wake["MessageBody"]))
    code, ended = mesh.request("Configure", "POST", f"/v1/orders/{given['order']['id']}/end")
    assert (code, ended["ended"], active(mesh)) == (200, True, "dc1")
