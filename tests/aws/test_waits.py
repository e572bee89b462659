"""Without a process that runs all the time, a wake in the queue of events returns traffic to a target that waits."""

from datetime import UTC, datetime, timedelta
from hashlib import md5
from typing import Any

import orjson
import pytest
from pointsman.aws.delays import LATE_SECONDS, LONGEST_DELAY_SECONDS
from pointsman.aws.wait_wakes import arm, woken
from pointsman.model.sources.wake import wait_moment
from pointsman.pipeline.engine import Engine
from pointsman.store import keys
from pointsman.store.protocol import Stored, StoreUnavailable

from tests.aws.harness import Aws, sqs_event
from tests.aws.mesh import CONFIG, active, health
from tests.aws.test_policies import refused
from tests.pipeline.meshes import gateway_instance, instance, policy
from tests.pipeline.place import Writer
from tests.pipeline.test_calm import HEAD, Mesh


class Functions:
    """Each event and each wake is taken by a function that has just started.

    `sent` has the wakes: when each comes, after how many seconds, and its moment.
    """

    def __init__(self, mesh: Mesh) -> None:
        self.mesh, self.sent = mesh, list[tuple[float, int, int]]()
        self.is_away = False

    def new(self) -> Writer:
        """A function, which wakes itself for what it notes."""
        writer = self.mesh.another()

        def wake_later() -> None:
            arm(writer.engine, self.send)

        writer.engine.noted = wake_later
        return writer

    def send(self, body: str, delay: int) -> None:
        """Take a wake, if the queue is not away."""
        if self.is_away:
            raise StoreUnavailable("the queue is away")
        moment = wait_moment(orjson.loads(body))
        assert moment is not None
        self.sent.append((self.mesh.second + delay, delay, moment))

    def hear(self, status: str, dc: str = "dc1") -> None:
        """An instance changes its health."""
        self.mesh.hear(status, dc, writer=self.new())

    def reconcile(self) -> bool:
        """What the function does besides reconciling. Returns whether it sent a wake."""
        return arm(self.new().engine, self.send)

    def pass_time(self, seconds: int, *, times: int = 1, late: int = 0) -> None:
        """Time passes; the wakes come, so many times and so late."""
        for _ in range(seconds):
            self.mesh.second += 1
            for each in [each for each in self.sent if each[0] + late <= self.mesh.second]:
                self.sent.remove(each)
                for _ in range(times):
                    woken(self.new().engine, self.send, each[2])


@pytest.mark.parametrize("times", [1, 2])
def test_an_instance_that_flaps_for_a_minute_moves_traffic_away_once_and_back_once(times: int) -> None:
    mesh = Mesh()
    functions = Functions(mesh)
    sent = 0
    for number in range(20):
        functions.hear("passing" if number % 2 else "critical")
        assert len(functions.sent) <= 1, "none is sent while an earlier one stands"
        sent += len(functions.sent)
        functions.pass_time(3, times=times)
    last = mesh.second - 3
    functions.pass_time(30, times=times)
    (_, first), (away, second), (back, third) = mesh.served
    assert (first, second, third) == ("dc1", "dc2", "dc1")
    assert away == 0
    assert last + 10 <= back <= last + 12
    assert (functions.sent, mesh.waits) == ([], {})
    assert mesh.promises.broken == []


def test_a_wake_that_is_late_returns_traffic_then_and_one_that_is_lost_is_sent_by_reconcile() -> None:
    mesh = Mesh()
    functions = Functions(mesh)
    functions.hear("critical")
    functions.hear("passing")
    functions.pass_time(20, late=5)
    assert mesh.served[1:] == [(0, "dc2"), (15, "dc1")]
    functions.hear("critical")
    functions.hear("passing")
    functions.sent.clear()
    functions.pass_time(60)
    assert not functions.reconcile(), "it may still come"
    functions.pass_time(LATE_SECONDS)
    assert functions.reconcile()
    functions.pass_time(1)
    assert mesh.serves == "dc1"


def test_a_recovery_costs_four_small_writes_and_one_message() -> None:
    mesh = Mesh()
    functions = Functions(mesh)
    functions.hear("critical")
    written: list[int] = []

    def note(old: Stored | None, new: Stored) -> None:
        written.extend([len(new.data)] if new.key == keys.WAITS else [])

    mesh.objects.watchers.append(note)
    functions.hear("passing")
    assert len(functions.sent) == 1
    functions.pass_time(60)
    assert functions.sent == []
    assert mesh.serves == "dc1"
    assert len(written) == 4
    assert max(written) < 200


def test_an_event_is_not_acknowledged_without_its_wake() -> None:
    mesh = Mesh()
    functions = Functions(mesh)
    functions.hear("critical")
    functions.is_away = True
    said = mesh.says("passing")
    with pytest.raises(StoreUnavailable):
        functions.new().ingest(said)
    functions.is_away = False
    functions.new().ingest(said)
    assert len(functions.sent) == 1
    functions.pass_time(10)
    assert mesh.serves == "dc1"


def test_what_waits_for_hours_is_woken_every_quarter_of_an_hour() -> None:
    mesh = Mesh(failback_after="30m")
    functions = Functions(mesh)
    functions.hear("critical")
    functions.hear("passing")
    delays = []
    while mesh.serves == "dc2":
        ((_, delay, _),) = functions.sent
        delays.append(delay)
        functions.pass_time(delay)
    assert delays == [LONGEST_DELAY_SECONDS] * 2
    assert mesh.second == 1800
    assert mesh.waits == {}


def test_an_earlier_moment_gets_a_wake_of_its_own() -> None:
    mesh = Mesh(failback_after="60s")
    functions = Functions(mesh)
    functions.hear("critical")
    functions.hear("passing")
    mesh.configure(policy(FailbackAfter="20s"))
    functions.pass_time(1)
    functions.hear("passing")
    assert mesh.waits == {HEAD: 20}
    assert sorted(second for second, _, _ in functions.sent) == [20, 60]
    functions.pass_time(100)
    assert mesh.served[1:] == [(0, "dc2"), (20, "dc1")]


def test_on_the_stack_of_the_template_an_instance_that_flaps_moves_traffic_away_once_and_back_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    began = datetime.now(UTC)
    passed = 0.0
    clock = {"clock": lambda: began + timedelta(seconds=passed)}
    monkeypatch.setattr(Engine.__init__, "__kwdefaults__", {**(Engine.__init__.__kwdefaults__ or {}), **clock})
    with Aws() as aws:
        code, answer = aws.request("Configure", "PUT", "/v1/config", [*CONFIG, policy(FailbackAfter="10s")])
        assert code == 200, answer
        taken, indexes = iter(range(10_000)), iter(range(1, 1000))

        def take(body: dict[str, Any]) -> None:
            text = orjson.dumps(body).decode()
            message = {
                "MessageId": str(next(taken)),
                "ReceiptHandle": "",
                "Body": text,
                "MD5OfBody": md5(text.encode()).hexdigest(),
                "Attributes": {},
            }
            event = sqs_event([message], aws.stack.attributes["Queue", "Arn"])
            assert aws.handler("Ingest")(event) == {"batchItemFailures": []}

        def say(status: str, dc: str = "dc1") -> None:
            now = (began + timedelta(seconds=passed)).isoformat()
            take(health("s2", [instance("s2", 1, status)], dc, index=next(indexes)) | {"time": now})

        def wakes() -> list[tuple[int, str]]:
            sent = [call.parameters for call in aws.calls if call.operation == "SendMessage"]
            return [(each["DelaySeconds"], each["MessageBody"]) for each in sent if "DelaySeconds" in each]

        for dc in ("dc1", "dc2"):
            take(health(None, [gateway_instance()], dc))
            say("passing", dc)
        served, due, seen = [(0.0, active(aws))], list[tuple[float, str]](), 0
        for second in range(80):
            passed = float(second)
            if second < 60 and second % 3 == 0:
                say("passing" if second % 2 else "critical")
            for each in [each for each in due if each[0] <= passed]:
                due.remove(each)
                take(orjson.loads(each[1]))
            due += [(passed + delay, body) for delay, body in wakes()[seen:]]
            seen = len(wakes())
            if (now := active(aws)) != served[-1][1]:
                served.append((passed, now))
        (_, first), (away, second_), (back, third) = served
        assert (first, second_, third) == ("dc1", "dc2", "dc1")
        assert away == 0
        assert 57 + 10 <= back <= 57 + 12
        assert seen <= 60 // 10 + 1
        aws.tick()
        assert refused(aws) == []


def test_a_policy_that_is_written_over_http_has_its_wake_at_once(aws: Aws) -> None:
    now = datetime.now(UTC)

    def say(event: dict[str, Any], ago: float) -> None:
        told = event | {"time": (now - timedelta(seconds=ago)).isoformat()}
        assert aws.request("Configure", "POST", "/v1/events", told)[0] == 200

    assert aws.request("Configure", "PUT", "/v1/config", [*CONFIG, policy(FailbackAfter="10h")])[0] == 200
    for dc in ("dc1", "dc2"):
        say(health(None, [gateway_instance()], dc), 3600)
        say(health("s2", [instance("s2")], dc), 3600)
    say(health("s2", [instance("s2", 1, "critical")]), 20)
    say(health("s2", [instance("s2")]), 10)
    assert active(aws) == "dc2", "dc1 is well, and waits"
    aws.calls.clear()
    assert aws.request("Configure", "PUT", "/v1/config", [policy(FailbackAfter="5m")])[0] == 200
    (wake,) = (call.parameters for call in aws.calls if (call.function, call.operation) == ("Configure", "SendMessage"))
    assert 200 < wake["DelaySeconds"] <= 300
