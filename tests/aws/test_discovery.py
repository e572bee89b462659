"""What Envoys are answered at the URL of the discovery function, on moto wired from the template."""

import json
from base64 import b64decode, b64encode
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from pointsman.delivery.endpoint_source import over_rest
from pointsman.delivery.response import ResourceKind
from pointsman.discovery.memory import Memory
from pointsman.discovery.names import cluster_ids_in
from pointsman.discovery.request import read_request
from pointsman.discovery.stateless import Discovery
from pointsman.store.keys import snapshot as snapshot_key
from pointsman.store.s3 import S3Store
from pointsman.store.sqlite import SQLiteStore

from tests.adapter.node import manifest
from tests.adapter.published import Publisher, content, sidecar_plan
from tests.adapter.rest import NODE, OLD_NODE, Adapter, Envoy
from tests.aws.aws_wire import one_after_another
from tests.aws.harness import Aws, Handler, url_event
from tests.aws.mesh import s2
from tests.aws.test_path import SLOW
from tests.functions.mesh import DOCUMENTS as SAMPLE_MESH
from tests.functions.mesh import sample
from tests.pipeline.meshes import resolver, sidecar
from tests.store.wire import refusal

GATEWAY = {**NODE, "id": "gw", "cluster": "mesh-gateway"}
NODES = {"1.40": NODE, "1.39": OLD_NODE, "gateway": GATEWAY}
KINDS = ("clusters", "endpoints", "listeners")
HEAD = "snapshots/dc1/sidecar/s2.default.dc1"

Answer = tuple[int, Any]


def ask(
    of: Aws | Handler, kind: str, version: str = "", name: str = "", node: dict[str, Any] = NODE, path: str = ""
) -> Answer:
    """What the function (a warm one, or this one) answers a request as Envoy writes it: the status and the body."""
    run = of.handler("Discovery") if isinstance(of, Aws) else of
    body = {"version_info": version, "node": node, **({"resource_names": [name]} if name else {})}
    answer = run(url_event("POST", path or f"/v3/discovery:{kind}", {key: each for key, each in body.items() if each}))
    return answer["statusCode"], json.loads(answer["body"] or "null")


def place(of: Aws | Handler, node: dict[str, Any] = NODE) -> str:
    """The name under which the one cluster of s1 asks for its endpoints."""
    (cluster,) = ask(of, "clusters", node=node)[1]["resources"]
    name: str = cluster["eds_cluster_config"]["service_name"]
    return name


def sni(answer: Answer) -> str:
    """The SNI that goes with the first of the endpoints in an answer."""
    return str(answer[1]["resources"][0]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["hostname"])


@pytest.mark.parametrize("node", NODES.values(), ids=NODES.keys())
def test_it_answers_exactly_as_an_adapter_does(mesh: Aws, node: dict[str, Any]) -> None:
    store = S3Store(mesh.s3, mesh.stack.refs["Bucket"])
    with Adapter(store, hold=0.1, source=over_rest("pointsman", 5000, 15_000)) as adapter:
        envoy = Envoy(adapter, node)
        for change in ("passing", "critical"):
            mesh.put_event(s2(change))
            assert mesh.pump() == 0
            adapter.adapter.on_change(adapter.follower.refresh())
            clusters = envoy.ask("clusters").json["resources"]
            names = [each["eds_cluster_config"].get("service_name", each["name"]) for each in clusters]
            assert names
            asked = [("clusters", ""), ("listeners", ""), *(("endpoints", name) for name in names)]
            for kind, name in asked:
                theirs = envoy.ask(kind, name=name)
                assert ask(mesh, kind, name=name, node=node) == (200, theirs.json)
                # Who has one's answer has the other's.
                assert ask(mesh, kind, theirs.version, name, node) == (304, None)


def test_a_failover_of_a_newer_envoy_is_new_endpoints_and_nothing_else(mesh: Aws) -> None:
    name = place(mesh)
    had = {kind: ask(mesh, kind, name=name if kind == "endpoints" else "")[1]["version_info"] for kind in KINDS}
    mesh.put_event(s2("critical"))
    mesh.pump()
    moved = ask(mesh, "endpoints", had["endpoints"], name)
    assert sni(moved).split(".")[2] == "dc2"
    assert ask(mesh, "clusters", had["clusters"])[0] == 304
    assert ask(mesh, "listeners", had["listeners"])[0] == 304


def test_a_failover_of_an_older_envoy_is_a_cluster_that_asks_for_other_endpoints(mesh: Aws) -> None:
    before = place(mesh, OLD_NODE)
    clusters = ask(mesh, "clusters", node=OLD_NODE)[1]["version_info"]
    had = ask(mesh, "endpoints", name=before, node=OLD_NODE)[1]["version_info"]
    mesh.put_event(s2("critical"))
    mesh.pump()
    assert ask(mesh, "clusters", clusters, node=OLD_NODE)[0] == 200
    after = place(mesh, OLD_NODE)
    assert after != before
    assert ask(mesh, "endpoints", name=after, node=OLD_NODE)[0] == 200
    # A selection that is no longer current: no change, never nothing and never another's, whoever asks.
    for version in (had, ""):
        assert ask(mesh, "endpoints", version, before, OLD_NODE) == (304, None)
        assert ask(mesh.cold("Discovery"), "endpoints", version, before, OLD_NODE) == (304, None)


@pytest.mark.parametrize(
    "name",
    [
        "s9.default.dc1.internal.pointsman",
        "s2.default.dc1.internal.pointsman",
        "s2",
        "../../config/head",
        "a" * 1_000,
    ],
)
def test_endpoints_that_nobody_is_to_ask_for_are_no_change(mesh: Aws, name: str) -> None:
    place(mesh)  # from then on it knows that the store bears it
    mesh.calls.clear()
    assert ask(mesh, "endpoints", name=name) == (304, None)
    asked = [call.parameters["Key"] for call in mesh.calls if call.operation == "GetObject"]
    assert all(key.startswith("snapshots/dc1/sidecar/s") for key in asked)


def test_an_answer_is_never_older_than_what_the_request_has(mesh: Aws) -> None:
    name, stale = place(mesh), mesh.cold("Discovery")
    assert ask(stale, "endpoints", name=name)[0] == 200
    mesh.put_event(s2("critical"))
    mesh.pump()
    newer = ask(mesh, "endpoints", name=name)[1]["version_info"]
    mesh.wire.will("GET", *[refusal(503, "SlowDown")] * 100)
    # It knows what was before, and no more.
    assert sni(ask(stale, "endpoints", name=name)).split(".")[2] == "dc1"
    assert ask(stale, "endpoints", newer, name) == (304, None)
    assert ask(stale, "endpoints", "another control plane's", name)[0] == 200


REFUSED: list[tuple[str, Any, int, str]] = [
    ("clusters", "{", 400, "is not JSON"),
    ("clusters", "\ud800", 400, "is not JSON"),
    ("clusters", {}, 400, "node: is missing"),
    ("clusters", {"node": {**NODE, "cluster": "S1"}}, 400, "cluster: 'S1' is not a lower-case DNS label"),
    ("endpoints", {"node": NODE}, 400, "resource_names: has 0 names"),
    ("clusters", {"node": NODE, "type_url": "type.googleapis.com/x"}, 400, "type_url"),
    ("clusters", " " * (1024 * 1024 + 1), 413, "larger than 1048576 bytes"),
    ("clusters", {"node": {**NODE, "cluster": "nobody"}}, 404, "nobody in dc1 is not registered; `pointsman apply`"),
    ("listeners", {"node": {**NODE, "cluster": "nobody"}}, 404, "nobody in dc1 is not registered"),
    ("clusters", {"node": {**GATEWAY, "id": "g9"}}, 404, "mesh gateway g9 in dc1 is not registered"),
]


@pytest.mark.parametrize(("kind", "body", "status", "said"), REFUSED)
def test_what_cannot_be_answered_is_refused_with_the_reason(
    mesh: Aws, kind: str, body: Any, status: int, said: str
) -> None:
    code, answer = mesh.request("Discovery", "POST", f"/v3/discovery:{kind}", body)
    assert code == status
    assert said in answer["error"]


def test_what_is_no_text_is_refused(mesh: Aws) -> None:
    event = url_event("POST", "/v3/discovery:clusters", "")
    binary = {**event, "body": b64encode(b"\xff\x00").decode(), "isBase64Encoded": True}
    answer = mesh.handler("Discovery")(binary)
    assert (answer["statusCode"], "is not JSON" in answer["body"]) == (400, True)


def test_what_changes_something_is_counted_and_what_does_not_leaves_no_trace(
    mesh: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    def counted() -> set[str]:
        """The metrics since the last look."""
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
        assert {line["service"] for line in lines} <= {"discovery"}
        metrics = (line["_aws"]["CloudWatchMetrics"][0]["Metrics"] for line in lines)
        return {metric["Name"] for each in metrics for metric in each}

    name = place(mesh)
    had = ask(mesh, "endpoints", name=name)[1]["version_info"]
    assert counted() == {"DiscoveryAnswered"}
    assert ask(mesh, "endpoints", had, name)[0] == 304
    assert capsys.readouterr().out == "", "each line would cost more than the request"
    mesh.put_event(s2("critical"))
    mesh.pump()
    capsys.readouterr()
    newer = ask(mesh, "endpoints", had, name)[1]["version_info"]
    assert counted() == {"DiscoveryAnswered", "DeliveryLag"}
    store, _, rest = newer.partition("-")[0].partition(".")
    epoch, _, order = rest.partition(".")
    ahead = f"{store}.{epoch}.9{order}-{'0' * 16}"
    assert ask(mesh, "endpoints", ahead, name)[1]["version_info"] == newer
    assert counted() == {"DiscoveryAnswered", "DiscoveryReset", "DeliveryLag"}
    assert ask(mesh, "clusters", node={**NODE, "cluster": "nobody"})[0] == 404
    assert counted() == {"DiscoveryRefused"}
    mesh.wire.will("GET", *[refusal(503, "SlowDown")] * 100)
    assert ask(mesh, "endpoints", newer, name)[0] == 304
    assert counted() == {"DiscoveryStale"}
    assert ask(mesh.cold("Discovery"), "endpoints", newer, name)[0] == 503
    assert counted() == {"DiscoveryFailed"}


def test_an_answer_that_is_too_large_for_a_function_is_refused_with_the_way_out(mesh: Aws) -> None:
    cluster = Cluster.FromString(b64decode(json.loads(mesh.objects()[HEAD])["cluster"]))
    cluster.alt_stat_name = "x" * 6_000_000
    head = {**json.loads(mesh.objects()[HEAD]), "cluster": b64encode(cluster.SerializeToString()).decode()}
    head |= {"version": head["version"] + 1, "serial": head["serial"] + 1}
    mesh.s3.put_object(Bucket=mesh.stack.refs["Bucket"], Key=HEAD, Body=orjson.dumps(head))
    code, body = ask(mesh, "clusters")
    assert (code, "`pointsman adapter grpc`" in body["error"]) == (503, True)
    assert ask(mesh, "listeners")[0] == 200


def test_it_tells_that_it_is_alive_and_has_nothing_else(mesh: Aws) -> None:
    assert mesh.request("Discovery", "GET", "/healthz") == (200, {"alive": True})
    assert ask(mesh, "", path="/v3/discovery:secrets")[0] == 404
    assert mesh.request("Discovery", "GET", "/v3/discovery:clusters")[0] == 404


def test_the_sample_is_answered_as_it_stands(aws: Aws) -> None:
    assert aws.request("Configure", "PUT", "/v1/config", SAMPLE_MESH)[0] == 200
    for name in ("gateway-health-changed", "service-health-changed"):
        aws.put_event(sample(name))
    assert aws.pump() == 0
    event = sample("discovery-request")
    answer = aws.handler("Discovery")(event)
    (cluster,) = json.loads(answer["body"])["resources"]
    assert (answer["statusCode"], cluster["name"]) == (200, "api.default.dc1.internal.pointsman")
    encoded = {**event, "body": b64encode(event["body"].encode()).decode(), "isBase64Encoded": True}
    assert aws.handler("Discovery")(encoded) == answer


def test_while_the_store_is_away_what_is_known_is_served_and_whoever_is_new_is_told(mesh: Aws) -> None:
    name, new = place(mesh), mesh.cold("Discovery")
    before = {kind: ask(mesh, kind, name=name if kind == "endpoints" else "") for kind in KINDS}
    mesh.wire.will("GET", *[refusal(503, "SlowDown")] * 1000)
    for kind, known in before.items():
        asked = name if kind == "endpoints" else ""
        assert ask(mesh, kind, name=asked) == known
        assert ask(mesh, kind, known[1]["version_info"], asked) == (304, None)
        code, body = ask(new, kind, known[1]["version_info"], asked)
        assert (code, "the store cannot be read" in body["error"]) == (503, True)
    mesh.wire.faults.clear()
    assert ask(new, "clusters") == before["clusters"]


def test_a_damaged_head_or_a_missing_one_never_reaches_an_envoy(mesh: Aws) -> None:
    bucket, name = mesh.stack.refs["Bucket"], place(mesh)
    before = {kind: ask(mesh, kind, name=name if kind == "endpoints" else "") for kind in KINDS}
    head = mesh.objects()[HEAD]
    old = mesh.cold("Discovery")
    ask(old, "listeners")
    harm = {**json.loads(head), "assignment": "", "serial": 99}
    for damage in (b"{}", b"no JSON", orjson.dumps(harm)):
        mesh.s3.put_object(Bucket=bucket, Key=HEAD, Body=damage)
        new = mesh.cold("Discovery")
        for kind, known in before.items():
            asked = name if kind == "endpoints" else ""
            assert ask(mesh, kind, name=asked) == known, "the last known good"
            code, body = ask(new, kind, name=asked)
            assert (code, f"{HEAD} is not fit for use" in body["error"]) == (503, True)
        assert ask(new, "listeners", before["listeners"][1]["version_info"]) == (304, None)
    mesh.s3.delete_object(Bucket=bucket, Key=HEAD)
    assert ask(mesh, "clusters") == before["clusters"]
    code, body = ask(mesh.cold("Discovery"), "clusters")
    assert (code, f"names what is not there, {HEAD}" in body["error"]) == (503, True)
    assert ask(mesh.cold("Discovery"), "endpoints", name=name) == (304, None)


def test_a_listener_is_not_given_before_all_clusters_can_be(mesh: Aws) -> None:
    listeners = ask(mesh, "listeners")[1]["version_info"]
    documents = [resolver("s3"), sidecar("s1", "s2", "s3")]
    assert mesh.request("Configure", "PUT", "/v1/config", documents)[0] == 200
    head = HEAD.replace("s2", "s3")
    there = mesh.objects()[head]
    mesh.s3.delete_object(Bucket=mesh.stack.refs["Bucket"], Key=head)
    assert ask(mesh, "listeners", listeners)[0] == 503
    mesh.s3.put_object(Bucket=mesh.stack.refs["Bucket"], Key=head, Body=there)
    assert ask(mesh, "listeners", listeners)[0] == 304, "the cluster comes first"
    code, answer = ask(mesh, "listeners")
    assert (code, len(answer["resources"])) == (200, 2)


def test_clusters_come_before_the_listeners_that_use_them_and_go_after(mesh: Aws) -> None:
    later = 0.0
    run = Discovery(
        S3Store(mesh.s3, mesh.stack.refs["Bucket"]),
        over_rest("pointsman", 1000, 1000),
        settle=1000.0,
        clock=lambda: datetime.now(UTC) + timedelta(seconds=later),
    )

    def names(kind: ResourceKind, version: str = "") -> tuple[set[str], str]:
        """The resources that an Envoy with this version gets, and its version afterwards."""
        request = orjson.dumps({"node": NODE, "version_info": version})
        found = run.answer(read_request(kind, request)).answer
        if found is None:
            return set(), version
        return {each["name"].partition(".")[0] for each in orjson.loads(found.body)["resources"]}, found.text

    _, clusters = names(ResourceKind.CLUSTERS)
    before, listeners = names(ResourceKind.LISTENERS)
    documents = [resolver("s3"), sidecar("s1", {"DestinationName": "s3", "LocalBindPort": 9191})]
    assert mesh.request("Configure", "PUT", "/v1/config", documents)[0] == 200
    assert (names(ResourceKind.CLUSTERS)[0], len(names(ResourceKind.LISTENERS)[0])) == ({"s3"}, 1), (
        "who starts has nothing old"
    )

    both, clusters = names(ResourceKind.CLUSTERS, clusters)
    assert both == {"s2", "s3"}
    assert names(ResourceKind.LISTENERS, listeners) == (set(), listeners)
    later = 500.0
    assert (names(ResourceKind.CLUSTERS, clusters)[0], names(ResourceKind.LISTENERS, listeners)[0]) == (set(), set())
    later = 1500.0
    after, listeners = names(ResourceKind.LISTENERS, listeners)
    assert (len(after), after & before) == (1, set())
    assert names(ResourceKind.CLUSTERS, clusters)[0] == set()
    later = 2500.0
    assert names(ResourceKind.CLUSTERS, clusters)[0] == {"s3"}

    # Only what needs it waits.
    documents = [resolver("s3", ConnectTimeout="9s"), sidecar("s1", {"DestinationName": "s3", "LocalBindPort": 9292})]
    assert mesh.request("Configure", "PUT", "/v1/config", documents)[0] == 200
    later = 1500.0
    assert len(names(ResourceKind.LISTENERS, listeners)[0]) == 1


def test_a_retired_registration_takes_nothing_away(mesh: Aws) -> None:
    name = place(mesh)
    had = {kind: ask(mesh, kind, name=name if kind == "endpoints" else "")[1]["version_info"] for kind in KINDS}
    assert mesh.request("Configure", "DELETE", "/v1/config/registration/s1", dc="dc1")[0] == 200
    for run in (mesh.handler("Discovery"), mesh.cold("Discovery")):
        for kind, version in had.items():
            assert ask(run, kind, version, name if kind == "endpoints" else "") == (304, None)
        assert "not registered any more" in ask(run, "clusters")[1]["error"]


def trips(aws: Aws, of: Handler, kind: str, version: str = "", name: str = "") -> tuple[int, Counter[str]]:
    """What one request costs: reads of the bucket one after another, and all of them by what they read."""
    with aws.wire.slow(SLOW):
        ask(of, kind, version, name)
    return one_after_another(aws.wire.trips), Counter(trip.path.split("/")[1] for trip in aws.wire.trips)


def test_a_poll_is_one_conditional_read_or_the_manifest_and_then_all_heads_together(mesh: Aws) -> None:
    services = [f"s{number}" for number in range(2, 10)]
    documents = [resolver(service, Failover={"*": {"Datacenters": ["dc2"]}}) for service in services]
    assert mesh.request("Configure", "PUT", "/v1/config", [*documents, sidecar("s1", *services)])[0] == 200
    warm = mesh.handler("Discovery")
    clusters = ask(warm, "clusters")[1]
    name = clusters["resources"][0]["eds_cluster_config"]["service_name"]
    version = ask(warm, "endpoints", name=name)[1]["version_info"]
    listeners = ask(warm, "listeners")[1]["version_info"]
    for run in (warm, mesh.cold("Discovery")):
        # The first request of a process looks whether the store bears it, at the same time.
        first = {"config": 1} if run is not warm else {}
        assert trips(mesh, run, "endpoints", version, name) == (1, {"snapshots": 1, **first})
        assert trips(mesh, run, "clusters", clusters["version_info"]) == (2, {"manifests": 1, "snapshots": 8})
        assert trips(mesh, run, "listeners", listeners) == (1, {"manifests": 1})
    mesh.calls.clear()
    ask(warm, "clusters", clusters["version_info"])
    conditions = [call.parameters.get("IfNoneMatch") for call in mesh.calls]
    assert len(conditions) == 9
    assert all(conditions), "what is known is not sent again"


def test_what_is_kept_is_bounded_and_what_went_is_read_again(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "store.db")
    publisher, services = Publisher(store), [f"r{number}" for number in range(40)]
    for service in services:
        publisher.head(sidecar_plan(service=service), content(service=service))
    keys = [snapshot_key(sidecar_plan(service=service).key) for service in services]
    size = max(len(stored.data) for stored in store.get_many(keys).values())
    kept = Memory(store, most_bytes=12 * size)
    for first in (0, 10, 20, 30, 0):
        kept.read(keys[first : first + 10])
        assert all(kept.value(key) for key in keys[first : first + 10])
        assert 10 <= sum(kept.value(key) is not None for key in keys) < 20

    # Even where nothing is kept beyond a request the answers are whole.
    publisher.manifest("manifests/dc1/sidecar/default/s1", manifest(*services))
    forgetful = Discovery(store, over_rest("pointsman", 1000, 1000), settle=1.0, most_bytes=0)
    body = orjson.dumps({"node": NODE})
    for kind in (ResourceKind.CLUSTERS, ResourceKind.LISTENERS, ResourceKind.CLUSTERS):
        found = forgetful.answer(read_request(kind, body)).answer
        assert found is not None
        assert len(found.resources) == 40
    store.close()


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("s2.default.dc1.internal.mesh.example", ["s2.default.dc1"]),
        ("v1.s2.default.dc1.internal.td@0123456789abcdef", ["v1.s2.default.dc1"]),
        ("68b862c7:s2.default.dc1.internal.td", ["68b862c7:s2.default.dc1"]),
        ("dc2.internal.td", ["dc2"]),
        # Anything may be called "internal".
        ("v1.internal.default.dc1.internal.td", ["v1", "v1.internal.default.dc1"]),
        ("s2.default.internal.internal.td", ["s2.default.internal"]),
        ("s2.default.dc1.internal.internal.td", ["s2.default.dc1", "s2.default.dc1.internal"]),
        (
            "internal.internal.internal.internal.internal.td",
            ["internal", "internal." * 2 + "internal", "internal." * 3 + "internal"],
        ),
        ("s2.default.dc1.internal", []),
        ("S2.default.dc1.internal.td", []),
        ("../x:s2.default.dc1.internal.td", []),
        ("s2.default.dc1/x.internal.td", []),
        ("", []),
    ],
)
def test_a_name_of_endpoints_leads_to_the_cluster(name: str, ids: list[str]) -> None:
    assert cluster_ids_in(name) == ids
