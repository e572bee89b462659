"""An adapter that follows by notices has what moved without asking for it, and never less than by asking."""

import json
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from pointsman.aws import notices
from pointsman.aws.queue import NoticeQueue, QueueError
from pointsman.aws.topic import read_topic
from pointsman.cli.main import run
from pointsman.discovery.proxy import GatewayId, SidecarId
from pointsman.model.seen import Seen
from pointsman.pipeline.seen import write_seen

from tests.adapter.rest import Envoy
from tests.aws.adapter import S1, Adapter, following, queues, subscriptions
from tests.aws.harness import Aws
from tests.aws.mesh import health, s2
from tests.aws.policy import allows, needs
from tests.fleet.process import wait_until
from tests.pipeline.meshes import instance, resolver, sidecar

KEY = "snapshots/dc1/sidecar/s2.default.dc1"


def head(aws: Aws, key: str = KEY) -> dict[str, Any]:
    """The object under a key."""
    found: dict[str, Any] = json.loads(aws.s3.get_object(Bucket=aws.stack.refs["Bucket"], Key=key)["Body"].read())
    return found


def happens(aws: Aws, event: dict[str, Any]) -> None:
    aws.put_event(event)
    assert aws.pump() == 0


def test_a_failover_reaches_the_adapter_and_the_bucket_is_not_asked(mesh: Aws) -> None:
    with following(mesh) as adapter:
        assert adapter.active() == {"s2": "dc1"}
        for status, serving in (("critical", "dc2"), ("passing", "dc1")):
            happens(mesh, s2(status))
            assert adapter.changed("the failover") == {S1}
            assert adapter.active() == {"s2": serving}
        assert adapter.reads() == []
        # What came by notice is known to be what the bucket has: when it is read again, nothing is sent.
        adapter.clock.now += 61
        mesh.wire.statuses.clear()
        assert adapter.follower.refresh() == set()
        assert sorted(adapter.reads()) == ["manifests/dc1/sidecar/default/s1", KEY]
        assert mesh.wire.statuses == [("GET", 304), ("GET", 304)]
        assert adapter.follower.refresh() == set()
        assert adapter.reads() == []


def test_a_change_of_config_reaches_the_adapter_by_notice(mesh: Aws) -> None:
    happens(mesh, health("s3", [instance("s3")]))
    with following(mesh) as adapter:
        code, _ = mesh.request("Configure", "PUT", "/v1/config", [resolver("s3"), sidecar("s1", "s2", "s3")])
        assert code == 200
        assert adapter.changed("the new upstream") == {S1}
        assert adapter.active() == {"s2": "dc1", "s3": "dc1"}
        # A head that was not followed before is read, the manifest that names it is not.
        assert adapter.reads() == ["snapshots/dc1/sidecar/s3.default.dc1"]
        happens(mesh, health("s3", [instance("s3", 7)]))
        assert adapter.changed("another instance") == {S1}
        mesh.request("Configure", "DELETE", "/v1/config/registration/s1", dc="dc1")
        assert adapter.changed("the end") == {S1}
        assert adapter.follower.view(S1) is None
        assert adapter.reads() == []


def test_a_gateway_s_adapter_hears_of_a_service_that_appears(mesh: Aws) -> None:
    gateway = GatewayId("dc1", "gw")
    with following(mesh, gateway) as adapter:
        happens(mesh, health("s4", [instance("s4")]))
        assert adapter.changed("the new service") == {gateway}
        assert "s4" in adapter.active(gateway)
        assert adapter.reads() == ["snapshots/dc1/gateway/s4.default.dc1"]


def test_an_object_that_is_too_large_for_a_notice_is_read_and_nothing_else_is(
    mesh: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    with following(mesh) as adapter:
        monkeypatch.setattr(notices, "LARGEST_BYTES", 10)
        happens(mesh, s2("critical"))
        assert adapter.changed("the failover") == {S1}
        assert adapter.active() == {"s2": "dc2"}
        assert adapter.reads() == [KEY]


def test_old_news_double_news_and_nonsense_change_nothing(mesh: Aws) -> None:
    with following(mesh) as adapter:
        old = {"key": KEY, "version": head(mesh)["version"], "head": head(mesh)}
        happens(mesh, s2("critical"))
        adapter.changed("the failover")
        new = old | {"version": head(mesh)["version"], "head": head(mesh)}
        newer = new | {"head": head(mesh) | {"serial": head(mesh)["serial"] + 1, "version": new["version"] + 1}}
        unfit = newer | {"head": newer["head"] | {"assignment": "none"}}
        elsewhere = old | {"key": "snapshots/dc1/sidecar/../../config/head"}
        # The newer of two counts, whichever comes first.
        adapter.send("", "no JSON", "{}", *map(json.dumps, (old, new, newer, old, new, elsewhere)))
        assert adapter.changed("the newer one") == {S1}
        assert adapter.follower.view(S1).snapshots["s2.default.dc1"].version == newer["head"]["version"]  # type: ignore[union-attr]
        assert adapter.follower.problems(S1) == ()
        adapter.send(*map(json.dumps, (old, new, newer)))
        assert adapter.follower.refresh() == set()
        assert adapter.follower.problems(S1) == ()
        # What must not reach an Envoy does not, whoever says it.
        unfit["head"]["serial"] += 1
        adapter.send(json.dumps(unfit))
        assert adapter.follower.refresh() == set()
        (problem,) = adapter.follower.problems(S1)
        assert "is not fit for use" in problem
        assert adapter.reads() == []


def test_a_queue_that_is_deleted_costs_no_news_and_is_made_again(mesh: Aws, caplog: pytest.LogCaptureFixture) -> None:
    with following(mesh) as adapter:
        first = adapter.made[0].name
        mesh.sqs.delete_queue(QueueUrl=adapter.url())
        happens(mesh, s2("critical"))
        assert adapter.changed("the failover, which nobody told") == {S1}
        wait_until(lambda: len(adapter.made) == 2 and adapter.store.hearing, "another queue")
        adapter.follower.refresh()
        adapter.reads()
        happens(mesh, s2())
        assert adapter.changed("the way back, by notice") == {S1}
        assert adapter.reads() == []
        assert queues(mesh) == [adapter.made[1].name]
        said = [each.getMessage() for each in caplog.records if each.name.endswith("listener")]
        assert [line.partition(":")[0].split(",")[0] for line in said] == [
            "no notices arrive",
            "notices arrive again",
        ]
        assert f"the queue {first} is gone" in said[0]


def test_without_a_topic_nothing_is_left_behind_it_is_said_once_and_the_bucket_is_asked(
    mesh: Aws, caplog: pytest.LogCaptureFixture
) -> None:
    adapter = Adapter(mesh)
    right, adapter.topic = adapter.topic, adapter.topic.replace("pointsman-", "pointsman-x-")
    try:
        adapter.store.start()
        wait_until(lambda: adapter.tries > 2, "some tries")
        assert adapter.follower.refresh() == {S1}
        happens(mesh, s2("critical"))
        assert adapter.follower.refresh() == {S1}
        assert "there is no topic" in adapter.store.deaf_because
        (said,) = (each.getMessage() for each in caplog.records if each.name.endswith("listener"))
        assert "name the stack's output NoticesArn" in said
        adapter.topic = right
        wait_until(lambda: adapter.store.hearing, "notices to be heard")
        assert queues(mesh) == [adapter.made[-1].name]
        assert adapter.store.deaf_because == ""
    finally:
        adapter.store.close()
    assert queues(mesh) == subscriptions(mesh) == []


def test_an_adapter_hears_of_its_own_datacenter_and_asks_for_the_others(mesh: Aws) -> None:
    s9 = SidecarId("dc2", "default", "s9")
    assert mesh.request("Configure", "PUT", "/v1/config", [sidecar("s9", "s2", dc="dc2")])[0] == 200
    with following(mesh, S1, s9, datacenters=["dc1"]) as adapter:
        assert mesh.request("Configure", "PUT", "/v1/config", [resolver("s2", ConnectTimeout="9s")])[0] == 200
        changed = set(adapter.follower.refresh())
        wait_until(lambda: changed.update(adapter.follower.refresh()) or changed == {S1, s9}, "both")
        heard = {json.loads(body)["key"].split("/")[1] for body in adapter.made[0].bodies}
        assert heard == {"dc1"}
        assert {key.split("/")[1] for key in adapter.reads()} == {"dc2"}


def test_a_topic_that_takes_no_more_filters_is_heard_whole(mesh: Aws) -> None:
    class Full:
        """SNS, where the topic has all the filter policies that it may have."""

        def subscribe(self, **asked: Any) -> Any:
            if "FilterPolicy" in asked["Attributes"]:
                raise ClientError({"Error": {"Code": "FilterPolicyLimitExceeded", "Message": "200"}}, "Subscribe")
            return mesh.sns.subscribe(**asked)

        def unsubscribe(self, **asked: Any) -> Any:
            return mesh.sns.unsubscribe(**asked)

    topic = read_topic(mesh.stack.refs["Notices"], "--notices")
    queue = NoticeQueue(mesh.sqs, Full(), topic, datacenters=["dc1"])
    assert subscriptions(mesh) == [queue.name]
    assert queue.renew()
    queue.remove()
    assert queues(mesh) == subscriptions(mesh) == []


def test_the_queue_is_closed_to_all_but_the_topic_and_kept_alive(mesh: Aws) -> None:
    with following(mesh) as adapter:
        found = mesh.sqs.get_queue_attributes(QueueUrl=adapter.url(), AttributeNames=["All"])["Attributes"]
        allowed, denied = json.loads(found["Policy"])["Statement"]
        assert allowed["Principal"] == {"Service": "sns.amazonaws.com"}
        assert allowed["Condition"] == {"ArnEquals": {"aws:SourceArn": mesh.stack.refs["Notices"]}}
        assert allowed["Action"] == "sqs:SendMessage"
        assert allowed["Resource"] == denied["Resource"] == found["QueueArn"]
        assert (denied["Effect"], denied["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
        assert found["SqsManagedSseEnabled"] == "true"
        assert int(found["MessageRetentionPeriod"]) <= 3600
        # Somebody ends the subscription. The next renewal shows life, and finds it missing.
        (subscription,) = mesh.sns.list_subscriptions()["Subscriptions"]
        mesh.sns.unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])
        happens(mesh, s2("critical"))
        mesh.calls.clear()
        adapter.clock.now += 600
        adapter.send("wakes who polls")
        wait_until(lambda: subscriptions(mesh) == [adapter.made[0].name], "the subscription")
        assert "SetQueueAttributes" in [call.operation for call in mesh.calls if call.function == "Adapter"]
        # What went unheard meanwhile is read.
        assert adapter.changed("the failover") == {S1}


def test_an_adapter_makes_no_call_that_its_policy_does_not_allow(mesh: Aws) -> None:
    mesh.calls.clear()
    with following(mesh, S1, datacenters=["dc1"]) as adapter:
        adapter.clock.now += 600
        happens(mesh, s2("critical"))
        adapter.changed("the failover")
        wait_until(lambda: any(call.operation == "SetQueueAttributes" for call in mesh.calls), "a renewal")
        assert mesh.depth(adapter.url()) == 2, "what was heard is deleted many at a time"
        adapter.clock.now += 60
        adapter.send("wakes who polls")
        wait_until(lambda: mesh.depth(adapter.url()) == 0, "messages to be deleted")
        etag = write_seen(adapter.store, "one", Seen("host", "2026-01-01T00:00:00Z", ()), "n", None)
        assert write_seen(adapter.store, "one", Seen("host", "2026-01-01T00:01:00Z", ()), "m", etag)
    mine = [call for call in mesh.calls if call.function == "Adapter"]
    assert [call for call in mine if not allows(mesh.stack, "Adapter", *needs(call))] == []
    made = {call.operation for call in mine}
    assert made >= {
        "CreateQueue",
        "Subscribe",
        "ReceiveMessage",
        "DeleteMessageBatch",
        "Unsubscribe",
        "DeleteQueue",
        "PutObject",
    }
    # It writes what it saw, and nothing else.
    (put, *_) = (needs(call)[1] for call in mine if call.operation == "PutObject")
    assert not allows(mesh.stack, "Adapter", "s3:PutObject", put.replace("seen/", "snapshots/"))
    # A queue that is made with tags needs this beside CreateQueue.
    (create,) = (call for call in mine if call.operation == "CreateQueue")
    assert allows(mesh.stack, "Adapter", "sqs:TagQueue", needs(create)[1])
    other = needs(create)[1].replace("pointsman-adapter-", "pointsman-")
    assert not allows(mesh.stack, "Adapter", "sqs:DeleteQueue", other)


@pytest.fixture
def signals() -> Iterator[None]:
    """The command takes signals over for as long as a process lives, which a test does not."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    level = logging.getLogger().level
    yield
    logging.getLogger().setLevel(level)
    for number, handler in before.items():
        signal.signal(number, handler)


def running(aws: Aws, arguments: Sequence[str | Path], look: Callable[[], object], how: signal.Signals) -> None:
    """Run the adapter command on the stack; once it hears, `look`, then end it with a signal."""
    failed: list[BaseException] = []

    def watch() -> None:
        try:
            wait_until(lambda: subscriptions(aws) != [], "the subscription")
            assert queues(aws) == subscriptions(aws)
            look()
        except BaseException as error:
            failed.append(error)
        finally:
            os.kill(os.getpid(), how)

    watching = threading.Thread(target=watch)
    watching.start()
    where = ["--store", f"s3://{aws.stack.refs['Bucket']}", "--notices", aws.stack.refs["Notices"]]
    ended = run(["adapter", *map(str, arguments), *where, "--proxy", "dc1/sidecar/default/s1"])
    watching.join()
    assert failed == []
    assert ended == 0


def test_the_files_command_has_a_queue_for_as_long_as_it_runs(mesh: Aws, tmp_path: Path, signals: None) -> None:
    written = tmp_path / "dc1/sidecar/default/s1/cds.pb"
    running(mesh, ["files", "--files", tmp_path], lambda: wait_until(written.exists, "the files"), signal.SIGTERM)
    assert queues(mesh) == subscriptions(mesh) == []


def test_an_envoy_that_waits_at_the_http_command_is_told(mesh: Aws, tmp_path: Path, signals: None) -> None:
    path = tmp_path / "xds.sock"

    def look() -> None:
        wait_until(path.exists, "the socket")
        envoy = Envoy(path)
        wait_until(lambda: b"pointsman_notices_heard 1.0" in envoy.post("/metrics", b"", method="GET").body, "a gauge")
        (cluster,) = envoy.ask("clusters").resources
        name = cluster["eds_cluster_config"]["service_name"]
        held = envoy.asking("endpoints", envoy.ask("endpoints", name=name).version, name)
        happens(mesh, s2("critical"))
        assert held().status == 200

    running(mesh, ["http", "--unix", path], look, signal.SIGINT)
    assert queues(mesh) == subscriptions(mesh) == []


def test_a_start_that_fails_half_way_leaves_no_queue(mesh: Aws, signals: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = ["--store", f"s3://{mesh.stack.refs['Bucket']}", "--notices", mesh.stack.refs["Notices"]]
        assert run(["adapter", "http", *where, "--listen", f"127.0.0.1:{taken.getsockname()[1]}"]) == 1
    assert queues(mesh) == subscriptions(mesh) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--notices", "pointsman-notices"], '"pointsman-notices" is not the ARN of a mesh\'s topic'),
        (["--notices", "arn:aws:sns:eu-central-1:111122223333:alarms"], "the stack's output NoticesArn"),
        (["--notices", "arn:aws:sns:eu-central-1:111122223333:m-notices"], "--notices needs a bucket"),
        (["--dc", "DC 1"], '"DC 1" is not the name of a datacenter'),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(
    arguments: list[str], said: str, tmp_path: Path, signals: None, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ["--store", str(tmp_path / "store.db"), "--files", str(tmp_path)]
    assert run(["adapter", "files", *store, *arguments]) != 0
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_queue_that_cannot_be_made_says_what_to_allow() -> None:
    class Denied:
        """SQS that allows nothing."""

        def create_queue(self, **asked: Any) -> Any:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "not you"}}, "CreateQueue")

    topic = read_topic("arn:aws:sns:eu-central-1:111122223333:m-notices", "--notices")
    with pytest.raises(QueueError, match="cannot be made: AccessDenied: attach the stack's AdapterPolicyArn"):
        NoticeQueue(Denied(), Denied(), topic)  # type: ignore[arg-type]
