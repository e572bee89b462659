"""The schedule removes what adapters that are gone left behind, and nothing of one that lives."""

import json
import time
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError
from moto.sqs.models import sqs_backends
from pointsman.aws.sweep import ALIVE_S, Life, Sweep, Swept, is_orphan
from pointsman.aws.topic import read_topic

from tests.aws.adapter import following, queues, subscriptions
from tests.aws.harness import Aws
from tests.aws.mesh import s2
from tests.aws.template import ACCOUNT, REGION

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("life", "orphan"),
    [
        (Life(NOW, 0), False),
        (Life(NOW - ALIVE_S + 1, 0), False),
        (Life(NOW - ALIVE_S - 1, 0), True),
        # It cannot renew, but it reads.
        (Life(NOW - 10 * ALIVE_S, 1), False),
        # The clock of the function is behind.
        (Life(NOW + ALIVE_S, 0), False),
    ],
)
def test_who_shows_no_life_for_an_hour_is_gone(life: Life, orphan: bool) -> None:
    assert is_orphan(life, NOW) is orphan


def left(aws: Aws, name: str = "", *, age: float = 2 * ALIVE_S) -> str:
    """A queue that was last renewed so long ago, subscribed; its name."""
    topic = read_topic(aws.stack.refs["Notices"], "")
    name = name or topic.queue_name(uuid4().hex)
    aws.sqs.create_queue(QueueName=name)
    aws.sns.subscribe(TopicArn=topic.arn, Protocol="sqs", Endpoint=topic.queue_arn(name))
    sqs_backends[ACCOUNT][REGION].queues[name].last_modified_timestamp = time.time() - age
    return name


def swept(out: str) -> float:
    """QueuesSwept of the last invocation, from what it wrote."""
    counted = [json.loads(line) for line in out.splitlines() if '"QueuesSwept"' in line]
    (value,) = counted[-1]["QueuesSwept"]
    return float(value)


def test_the_schedule_sweeps_what_nobody_reads_and_nothing_else(mesh: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    with following(mesh) as adapter:
        orphan, young = left(mesh), left(mesh, age=ALIVE_S / 2)
        others = [left(mesh, name) for name in ("pointsman-adapter-mine", f"other-adapter-{uuid4().hex}")]
        mesh.tick()
        assert swept(capsys.readouterr().out) == 1
        assert orphan not in queues(mesh) + subscriptions(mesh)
        living = {adapter.made[0].name, young, *others}
        assert living == set(subscriptions(mesh))
        assert living - {others[1]} == set(queues(mesh))
        # And the living one goes on hearing.
        mesh.put_event(s2("critical"))
        assert mesh.pump() == 0
        adapter.changed("the failover")
        assert adapter.reads() == []
        mesh.tick()
        assert swept(capsys.readouterr().out) == 0
        for name in (young, *others):
            mesh.sqs.delete_queue(QueueUrl=mesh.sqs.get_queue_url(QueueName=name)["QueueUrl"])


def test_an_adapter_whose_queue_was_swept_makes_another(mesh: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    with following(mesh) as adapter:
        first = adapter.made[0].name
        # As if it had been cut off from SQS for hours.
        sqs_backends[ACCOUNT][REGION].queues[first].last_modified_timestamp = 0
        mesh.tick()
        assert swept(capsys.readouterr().out) == 1
        mesh.put_event(s2("critical"))
        assert mesh.pump() == 0
        adapter.changed("the failover")
    assert len(adapter.made) == 2


def test_a_subscription_whose_queue_is_gone_is_ended(mesh: Aws) -> None:
    name = left(mesh)
    mesh.sqs.delete_queue(QueueUrl=mesh.sqs.get_queue_url(QueueName=name)["QueueUrl"])
    assert subscriptions(mesh) == [name]
    mesh.tick()
    assert subscriptions(mesh) == []


def test_one_sweep_looks_at_so_many_and_others_at_the_rest(mesh: Aws) -> None:
    names = {left(mesh) for _ in range(7)}
    sweep = Sweep(mesh.sqs, mesh.sns, read_topic(mesh.stack.refs["Notices"], ""), looked_at=3)
    assert [sweep() for _ in range(4)] == [Swept(7, 3, 0), Swept(4, 3, 0), Swept(1, 1, 0), Swept(0, 0, 0)]
    assert not names & {*queues(mesh), *subscriptions(mesh)}


def test_what_cannot_be_swept_now_keeps_nothing_else_from_being_done(
    mesh: Aws, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(self: Sweep) -> Swept:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "not you"}}, "ListQueues")

    monkeypatch.setattr(Sweep, "__call__", denied)
    assert mesh.tick()["checked"] > 0
    out = capsys.readouterr().out
    assert "not swept, to be tried again the next time" in caplog.messages
    assert "ObjectsChecked" in out
    assert "QueuesSwept" not in out
