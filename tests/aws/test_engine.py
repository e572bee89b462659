"""What the AWS engine promises, on moto wired from infra/template.yaml."""

import copy
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from pointsman.adapter.follow.follower import Follower
from pointsman.discovery.proxy import SidecarId
from pointsman.store.s3 import S3Store

from tests.aws.harness import Aws
from tests.aws.mesh import CONFIG, RESOLVER, active, s2
from tests.fleet.process import REPOSITORY
from tests.pipeline.meshes import instance, resolver
from tests.store.wire import refusal

SAMPLES = {path.stem: json.loads(path.read_text()) for path in sorted((REPOSITORY / "events").glob("*.json"))}
S1 = SidecarId("dc1", "default", "s1")


class Died(BaseException):
    """The execution environment is gone."""


def follower(aws: Aws) -> Follower:
    """What an adapter beside the sidecar of s1 follows."""
    return Follower(S3Store(aws.s3, aws.stack.refs["Bucket"]), [S1])


def test_an_event_on_the_bus_ends_as_a_snapshot_that_the_adapter_delivers(mesh: Aws) -> None:
    following = follower(mesh)
    assert following.refresh() == {S1}
    assert active(mesh) == "dc1"

    mesh.put_event(s2("critical"))
    assert mesh.pump() == 0
    assert active(mesh) == "dc2"
    assert following.refresh() == {S1}
    view = following.view(S1)
    assert view is not None
    (snapshot,) = view.snapshots.values()
    assert snapshot.content.active.endswith("dc2")
    assert (mesh.depth("Queue"), mesh.depth("DeadLetters")) == (0, 0)


def test_every_kind_of_event_that_has_a_sample_gets_from_a_bus_to_the_queue(mesh: Aws) -> None:
    samples = {name: copy.deepcopy(each) for name, each in SAMPLES.items() if "detail-type" in each}
    del samples["reconcile-schedule"]  # it goes from the rule to its function
    assert {each["detail-type"] for each in samples.values()} > {"ECS Task State Change", "Consul Watch"}
    for name, event in samples.items():
        mesh.put_event(event, bus="default" if event["source"].startswith("aws.") else None)
        (message,) = mesh.messages("Queue")
        assert json.loads(message["Body"])["detail"] == event["detail"], name


def test_what_has_a_sample_as_a_function_is_invoked_with_is_taken_as_it_stands(aws: Aws) -> None:
    answer = aws.handler("Configure")(SAMPLES["configure-request"])
    assert (answer["statusCode"], json.loads(answer["body"])["generation"]) == (200, 1)
    assert aws.handler("Ingest")(SAMPLES["sqs-ingest"]) == {"batchItemFailures": []}
    assert aws.depth("DeadLetters") == 0
    # Nothing is left to mend, and the config and both catalogs are there.
    done = aws.handler("Reconcile")(SAMPLES["reconcile-schedule"])
    assert (done["moved"], done["manifests"], done["retired"]) == (0, 0, 0)
    assert {key.partition("/")[0] for key in aws.objects()} >= {"config", "catalog"}


def test_an_upload_under_deploy_gets_to_the_queue(mesh: Aws) -> None:
    mesh.s3.put_object(Bucket=mesh.stack.refs["Bucket"], Key="deploy/mesh/s2.hcl", Body=b'Kind = "service-resolver"')
    (message,) = mesh.messages("Queue")
    assert json.loads(message["Body"])["Records"][0]["s3"]["object"]["key"] == "deploy%2Fmesh%2Fs2.hcl"


def test_what_is_no_health_event_never_reaches_the_queue(mesh: Aws) -> None:
    mesh.put_event({"detail-type": "Order Placed", "detail": {}})
    mesh.put_event(s2("critical"), bus="default")
    mesh.s3.put_object(Bucket=mesh.stack.refs["Bucket"], Key="elsewhere/s2.hcl", Body=b"")
    assert mesh.depth("Queue") == 0


@pytest.mark.parametrize(
    "body", ["no JSON", "{}", '{"detail-type": "Service Health Changed", "detail": {"Index": -1}}']
)
def test_a_poisoned_record_fails_alone_and_ends_among_the_dead_letters_with_the_reason(mesh: Aws, body: str) -> None:
    mesh.sqs.send_message(QueueUrl=mesh.stack.refs["Queue"], MessageBody=body)
    mesh.put_event(s2("critical"))
    assert mesh.pump() == 0
    assert active(mesh) == "dc2"
    assert mesh.depth("Queue") == 0
    (dead,) = mesh.messages("DeadLetters")
    assert dead["Body"] == body
    assert "event" in dead["MessageAttributes"]["reason"]["StringValue"]


def test_a_handler_that_dies_between_catalog_and_snapshot_loses_nothing(mesh: Aws) -> None:
    def die(method: str, path: str) -> None:
        if method == "PUT" and "/snapshots/" in path:
            raise Died

    mesh.wire.before = die
    mesh.put_event(s2("critical"))
    assert mesh.pump(rounds=1) == 1
    assert active(mesh) == "dc1", "it died before it published"
    mesh.crash()
    mesh.wire.before = lambda method, path: None
    assert mesh.pump() == 0
    assert active(mesh) == "dc2"


def test_a_store_that_is_away_makes_no_dead_letters(mesh: Aws) -> None:
    mesh.wire.will("GET", *[refusal(503, "SlowDown")] * 20)
    mesh.put_event(s2("critical"))
    assert mesh.pump(rounds=1) == 1, "given back, to be delivered again"
    mesh.wire.faults.clear()
    assert mesh.pump() == 0
    assert active(mesh) == "dc2"
    assert mesh.depth("DeadLetters") == 0


def test_throttled_writes_and_those_that_met_another_are_made_again(mesh: Aws) -> None:
    mesh.wire.will("PUT", refusal(503, "SlowDown"), refusal(409, "OperationAborted"))
    mesh.put_event(s2("critical"))
    assert mesh.pump() == 0
    assert active(mesh) == "dc2"


def test_two_that_ingest_one_service_at_a_time_both_count(mesh: Aws) -> None:
    ways = ["Queue", "Queue"]
    handlers = [mesh.cold("Ingest") for _ in ways]
    start = threading.Barrier(2)

    def ingest(number: int) -> object:
        detail = {"Source": f"nomad-{number}", "Index": 1, "Datacenter": "dc1", "Service": "s2"}
        event = {
            "detail-type": "Instance Health Changed",
            "detail": {**detail, "Instance": instance("s2", 10 + number)},
        }
        record = {"messageId": str(number), "body": json.dumps(event), "eventSource": "aws:sqs", "attributes": {}}
        start.wait(10)
        return handlers[number]({"Records": [record]})

    with mesh.wire.slow(0.005), ThreadPoolExecutor(2) as pool:
        assert list(pool.map(ingest, range(2))) == [{"batchItemFailures": []}] * 2
    following = follower(mesh)
    following.refresh()
    view = following.view(S1)
    assert view is not None
    (snapshot,) = view.snapshots.values()
    assert [target.total for target in snapshot.content.targets if target.id.endswith("dc1")] == [5]


def test_the_schedule_repairs_a_damaged_head_and_finds_nothing_the_next_time(mesh: Aws) -> None:
    bucket = mesh.stack.refs["Bucket"]
    (key,) = (
        each["Key"] for each in mesh.s3.list_objects_v2(Bucket=bucket, Prefix="snapshots/dc1/sidecar/")["Contents"]
    )
    good = json.loads(mesh.s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    mesh.s3.put_object(Bucket=bucket, Key=key, Body=b"damaged by hand")
    queue = mesh.follow()
    assert mesh.tick()["moved"] == 1
    mended = json.loads(mesh.s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    assert mended["version"] > good["version"], "no Envoy is asked to go back"
    volatile = ("version", "serial", "nonce", "published", "since", "cause", "switch")
    assert {k: v for k, v in mended.items() if k not in volatile} == {
        k: v for k, v in good.items() if k not in volatile
    }
    (notice,) = mesh.messages(queue)
    assert json.loads(notice["Body"]) == {"key": key, "version": mended["version"], "head": mended}
    done = mesh.tick()
    assert (done["moved"], done["manifests"], done["retired"]) == (0, 0, 0)


def test_a_head_that_cannot_be_computed_stops_no_other_and_no_queue_and_is_told_of_until_it_can(
    mesh: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    def counted(service: str) -> list[float]:
        said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return [line["HeadsFailed"][0] for line in said if line["service"] == service and "HeadsFailed" in line]

    bucket, key = mesh.stack.refs["Bucket"], "catalog/dc2/service/default/s2"
    good = mesh.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    mesh.s3.put_object(Bucket=bucket, Key=key, Body=b"damaged by hand")
    queue = mesh.follow()
    mesh.put_event(s2("critical"))
    assert mesh.pump(rounds=1) == 0, "to deliver it again would not help"
    assert (mesh.depth("Queue"), mesh.depth("DeadLetters")) == (0, 0)
    assert active(mesh) == "dc1", "the last known good"
    assert ["/gateway/" in each["Body"] for each in mesh.messages(queue)] == [True]
    assert counted("ingest") == [1]
    # The gateways of dc2 pass s2 on as well.
    assert [line.partition(":")[0] for line in mesh.tick()["failed"]] == [
        "dc1/sidecar/s2.default.dc1",
        "dc2/gateway/s2.default.dc2",
    ]
    assert counted("reconcile") == [2]
    mesh.s3.put_object(Bucket=bucket, Key=key, Body=good)
    assert (mesh.tick()["failed"], counted("reconcile")) == ((), [0])
    assert active(mesh) == "dc2"


def test_a_dead_letter_that_an_operator_sends_again_is_taken_in(mesh: Aws) -> None:
    bucket, deploy = mesh.stack.refs["Bucket"], "deploy/s2.json"
    mesh.s3.put_object(Bucket=bucket, Key=deploy, Body=b'{"Kind": "service-resolver", "Name": "S2"}')
    assert mesh.pump() == 0
    assert (mesh.depth("Queue"), mesh.depth("DeadLetters")) == (0, 1)
    mesh.s3.put_object(Bucket=bucket, Key=deploy, Body=json.dumps(resolver("s2", ConnectTimeout="9s")).encode())
    for told in mesh.messages("Queue"):
        # What S3 tells of the correction, which would apply it by itself.
        mesh.sqs.delete_message(QueueUrl=mesh.stack.refs["Queue"], ReceiptHandle=told["ReceiptHandle"])
    mesh.move("DeadLettersArn", "QueueArn")
    assert mesh.pump() == 0
    assert (mesh.depth("Queue"), mesh.depth("DeadLetters")) == (0, 0)
    assert mesh.request("Configure", "GET", "/v1/config/service-resolver/s2")[1]["ConnectTimeout"] == 9_000_000_000


def test_the_notice_carries_the_head_as_it_stands_and_the_datacenter_alone(mesh: Aws) -> None:
    queue = mesh.follow()
    code, done = mesh.request("Configure", "PUT", "/v1/config", [resolver("s2", ConnectTimeout="9s")])
    assert (code, done["changed"]) == (200, True)
    notices = mesh.messages(queue)
    assert len(notices) == 1
    body = json.loads(notices[0]["Body"])
    there = mesh.s3.get_object(Bucket=mesh.stack.refs["Bucket"], Key=body["key"])["Body"].read()
    assert body == {"key": body["key"], "version": json.loads(there)["version"], "head": json.loads(there)}
    assert done["published"] == [f"{body['key'].removeprefix('snapshots/')} v{body['version']}"]
    attributes = {name: each["StringValue"] for name, each in notices[0]["MessageAttributes"].items()}
    assert attributes == {"datacenter": "dc1"}


def test_a_health_event_s_notice_carries_the_head_that_moved(mesh: Aws) -> None:
    queue = mesh.follow()
    mesh.put_event(s2("critical"))
    assert mesh.pump() == 0
    told = {json.loads(each["Body"])["key"]: each for each in mesh.messages(queue)}
    assert {key.split("/")[2] for key in told} == {"sidecar", "gateway"}
    for key, message in told.items():
        head = json.loads(mesh.s3.get_object(Bucket=mesh.stack.refs["Bucket"], Key=key)["Body"].read())
        assert json.loads(message["Body"]) == {"key": key, "version": head["version"], "head": head}
        attributes = {name: each["StringValue"] for name, each in message["MessageAttributes"].items()}
        assert attributes == {"datacenter": "dc1"}
    (sidecar,) = (json.loads(told[key]["Body"])["head"] for key in told if "/sidecar/" in key)
    assert sidecar["active"].endswith("dc2")


def test_the_dashboard_shows_what_ingest_counts(mesh: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    mesh.put_event(s2("critical"))
    assert mesh.pump() == 0
    counted: dict[str, float] = {}
    for line in capsys.readouterr().out.splitlines():
        said = json.loads(line)
        for directive in said["_aws"]["CloudWatchMetrics"]:
            for metric in directive["Metrics"]:
                assert directive["Dimensions"] == [["service"]]
                counted[f"{directive['Namespace']} {metric['Name']} {said['service']}"] = said[metric["Name"]][0]
    name = mesh.stack.refs["MeshName"]
    ((_, dashboard),) = mesh.stack.of("AWS::CloudWatch::Dashboard")
    body = mesh.stack.value(dashboard["DashboardBody"])
    for metric, value in {"EventsIngested": 1, "ResolversRecomputed": 2, "SnapshotsPublished": 2}.items():
        assert f'"{metric}"' in body
        assert counted[f"Pointsman/{name} {metric} ingest"] == value
    assert f'["Pointsman/{name}", "PublishLag", "service", "ingest"' in body
    assert 0 <= counted[f"Pointsman/{name} PublishLag ingest"] < 60_000
    assert '"TargetsSwitched"' in body
    assert counted[f"Pointsman/{name} TargetsSwitched ingest"] == 1, "the gateways' cluster goes where it went"


def test_config_over_http_is_all_or_nothing_and_says_everything_that_is_wrong(aws: Aws) -> None:
    wrong = [
        {"Kind": "service-resolver", "Name": "S 2", "ConnectTimeout": "soon"},
        {"Kind": "no-such-kind", "Name": "x"},
    ]
    code, answer = aws.request("Configure", "POST", "/v1/config", [*CONFIG, *wrong])
    assert code == 400
    assert len(answer["problems"]) == 2
    assert aws.request("Configure", "GET", "/v1/config") == (200, [])

    code, answer = aws.request("Configure", "PUT", "/v1/config", CONFIG, dry_run="1")
    assert (code, answer["generation"], answer["changed"]) == (200, 0, True)
    code, answer = aws.request("Configure", "PUT", "/v1/config", CONFIG)
    assert (code, answer["generation"]) == (200, 1)
    code, all_of_it = aws.request("Configure", "GET", "/v1/config")
    assert (code, len(all_of_it)) == (200, len(CONFIG))
    assert aws.request("Configure", "PUT", "/v1/config", all_of_it)[1] == {
        "generation": 1,
        "changed": False,
        "published": [],
        "manifests": [],
    }
    assert aws.request("Configure", "GET", "/v1/config", kind="service-resolver")[1] == [
        aws.request("Configure", "GET", "/v1/config/service-resolver/s2")[1]
    ]
    assert aws.request("Configure", "GET", "/v1/config/registration/s1", dc="dc1")[0] == 200
    assert aws.request("Configure", "GET", "/v1/config/registration/gateway/gw", dc="dc1")[0] == 200
    assert aws.request("Configure", "GET", "/v1/config/service-resolver/s9")[0] == 404
    assert aws.request("Configure", "GET", "/v1/config/registration/s1")[0] == 400
    assert aws.request("Configure", "GET", "/v1/config", kind="resolver")[0] == 400

    assert aws.request("Configure", "DELETE", "/v1/config/service-resolver/s9")[0] == 404
    assert aws.request("Configure", "DELETE", "/v1/config/service-resolver/s2")[1]["generation"] == 2
    assert aws.request("Configure", "DELETE", "/v1/config/registration/gateway/gw", dc="dc2")[1]["generation"] == 3
    assert aws.request("Configure", "POST", "/v1/rollback/1")[1]["generation"] == 4
    assert aws.request("Configure", "GET", "/v1/config") == (200, all_of_it)


def test_config_over_http_may_be_hcl_and_errors_name_the_line(aws: Aws) -> None:
    text = 'Kind = "service-resolver"\nName = "s2"\nConnectTimeout = "9s"\n'
    assert aws.request("Configure", "PUT", "/v1/config", text)[1]["generation"] == 1
    assert aws.request("Configure", "GET", "/v1/config/service-resolver/s2")[1]["ConnectTimeout"] == 9_000_000_000
    code, answer = aws.request("Configure", "PUT", "/v1/config", 'Kind = "service-resolver"\nName = [')
    assert code == 400
    assert "the body" in answer["error"]


def test_config_over_http_waits_for_a_store_that_is_away(mesh: Aws) -> None:
    mesh.wire.will("GET", *[refusal(503, "SlowDown")] * 5)
    code, answer = mesh.request("Configure", "PUT", "/v1/config", [RESOLVER])
    assert code == 503
    assert "try again" in answer["error"]
    assert mesh.request("Configure", "PUT", "/v1/config", [RESOLVER])[0] == 200
