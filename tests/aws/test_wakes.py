"""Without a process that runs all the time, wakes in the queue of events look at the leases of sources."""

from hashlib import md5
from typing import Any

import orjson
import pytest
from pointsman.aws.delays import LONGEST_DELAY_SECONDS
from pointsman.aws.wakes import LOOKS, Wakes
from pointsman.model.sources.wake import wake_number
from pointsman.store import keys
from pointsman.store.protocol import StoreUnavailable

from tests.aws.harness import Aws, sqs_event
from tests.aws.mesh import CONFIG, active, health
from tests.pipeline.meshes import alive, gateway_instance, instance
from tests.pipeline.place import Place
from tests.pipeline.test_leases import DATACENTERS, Mesh


class Queue:
    """The wakes that were sent, and the time that passes until each is delivered."""

    def __init__(self, mesh: Place) -> None:
        self.mesh, self.sent = mesh, list[tuple[int, int]]()
        self.wakes = self.another(mesh)

    def another(self, mesh: Place) -> Wakes:
        """The wakes of a process with nothing in its memory."""
        return Wakes(mesh.another().engine, self._send)

    def _send(self, body: str, delay: int) -> None:
        number = wake_number(orjson.loads(body))
        assert number is not None
        self.sent.append((number, delay))

    def deliver(self) -> int:
        """The wake that is waiting; returns after how many seconds it came. Each is taken by a process that has just
        started."""
        number, delay = self.sent.pop()
        self.another(self.mesh).wake(number)
        return delay


def dark(mesh: Mesh, queue: Queue, *alive: str) -> int:
    """For how many seconds the wakes come until dc2 is left, while these speak every ten seconds."""
    passed = spoke = 0
    while mesh.serves == "dc2":
        passed += queue.deliver()
        assert passed < 100, "dc2 is never left"
        if passed - spoke >= 10:
            spoke = passed
            mesh.hear(*alive)
    return passed


def test_wakes_find_a_dark_datacenter_within_its_lease_and_a_sixth_of_it() -> None:
    mesh = Mesh()
    queue = Queue(mesh)
    assert queue.wakes.ensure()
    assert not queue.wakes.ensure(), "one is under way"
    passed = dark(mesh, queue, "dc1", "dc3")
    assert 30 <= passed <= 30 + 2 * 30 / LOOKS
    assert mesh.serves == "dc3"
    mesh.hear("dc2")
    assert mesh.serves == "dc2"
    assert mesh.promises.broken == []


def test_total_silence_moves_nothing_and_the_wakes_go_on() -> None:
    mesh = Mesh()
    queue = Queue(mesh)
    queue.wakes.ensure()
    for _ in range(200):
        queue.deliver()
    assert mesh.serves == "dc2"
    assert len(queue.sent) == 1


def test_a_wake_that_comes_twice_or_too_late_does_nothing() -> None:
    mesh = Mesh()
    queue = Queue(mesh)
    queue.wakes.ensure()
    first = queue.sent[0]
    queue.deliver()
    mesh.forget_the_past()
    for number in (first[0], 0, 99):
        assert queue.wakes.wake(number) is None
    assert len(queue.sent) == 1


def test_a_wake_whose_function_dies_comes_again_and_one_that_was_lost_is_sent_by_reconcile() -> None:
    mesh = Mesh()
    queue = Queue(mesh)
    queue.wakes.ensure()
    number, _ = queue.sent[-1]

    def fails(body: str, delay: int) -> None:
        raise StoreUnavailable("the queue is away")

    with pytest.raises(StoreUnavailable):
        Wakes(mesh.another().engine, fails).wake(number)
    queue.deliver()
    queue.sent.clear()
    for _ in range(200):
        mesh.engine.now()  # a second passes with each look at the clock
    assert queue.another(mesh).ensure()
    assert 25 <= dark(mesh, queue, "dc1", "dc3") <= 45, "what was seen before counts"


def test_the_wakes_end_with_the_last_lease_and_begin_again_with_the_next() -> None:
    mesh = Mesh()
    queue = Queue(mesh)
    assert not Wakes(Place().engine, queue._send).ensure(), "nobody has a lease"
    queue.wakes.ensure()
    for dc in DATACENTERS:
        mesh.ingest(alive(99, dc=dc, source=f"agent-{dc}", lease="0s"))
    queue.deliver()
    assert queue.sent == []
    mesh.ingest(alive(100, dc="dc1", source="agent-dc1", lease="24h"))
    assert queue.wakes.ensure()
    ((_, delay),) = queue.sent
    assert delay == LONGEST_DELAY_SECONDS


def test_what_lies_damaged_is_begun_anew() -> None:
    for damage in (b"no JSON", b'{"kind":"wake","schema":1,"number":1,"delay":1,"at":"","seen":{},"serial":7}'):
        mesh = Mesh()
        queue = Queue(mesh)
        queue.wakes.ensure()
        mesh.objects.damage(keys.WAKE, damage)
        mesh.objects.watchers.clear()
        assert queue.another(mesh).ensure()
        assert dark(mesh, queue, "dc1", "dc3") >= 30


def test_on_the_stack_of_the_template_a_dark_datacenter_is_left() -> None:
    with Aws() as aws:
        code, answer = aws.request("Configure", "PUT", "/v1/config", CONFIG)
        assert code == 200, answer
        indexes = iter(range(1, 1000))

        def says(dc: str, event: dict[str, Any]) -> None:
            event["detail"] |= {"Source": f"agent-{dc}", "Index": next(indexes), "Lease": "8s"}
            aws.put_event(event)
            assert aws.pump() == 0

        def renew(dc: str) -> None:
            says(dc, {"detail-type": "Source Alive", "detail": {"Datacenter": dc}})

        for dc in ("dc1", "dc2"):
            says(dc, health(None, [gateway_instance()], dc))
            says(dc, health("s2", [instance("s2")], dc))
        assert active(aws) == "dc1"
        aws.tick()
        looks = 0
        while active(aws) == "dc1":
            # moto keeps a message back for its delay by the wall clock, so what was sent is handed over here.
            sent = [call.parameters for call in aws.calls if call.operation == "SendMessage"]
            wakes = [each for each in sent if "DelaySeconds" in each]
            assert wakes[-1]["DelaySeconds"] == 1
            body = wakes[-1]["MessageBody"]
            message = {
                "MessageId": str(looks),
                "ReceiptHandle": "",
                "Body": body,
                "MD5OfBody": md5(body.encode()).hexdigest(),
                "Attributes": {},
            }
            assert aws.handler("Ingest")(sqs_event([message], aws.stack.attributes["Queue", "Arn"])) == {
                "batchItemFailures": []
            }
            looks += 1
            assert looks < 30, "dc1 is never left"
            if looks % 2 == 0:
                renew("dc2")
        assert 8 <= looks <= 12
        renew("dc1")
        assert active(aws) == "dc1"
