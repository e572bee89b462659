"""What an Envoy is answered over REST, on a real socket, and when."""

import contextlib
import http.client
import socket
import sys
import threading
import time
import tracemalloc
from dataclasses import replace
from typing import Any

import orjson
import pytest
from pointsman.adapter.rest.rejections import Rejections
from pointsman.delivery.response import ResourceKind
from pointsman.discovery.request import Asker, DiscoveryRequest
from pointsman.store import keys
from pointsman.xds.content import compute
from pointsman.xds.manifest import GatewayManifest, GatewaysManifest

from tests.adapter.doubles import Remote
from tests.adapter.node import MANIFEST, S1, manifest
from tests.adapter.published import (
    DATACENTERS,
    TRUST_DOMAIN,
    Publisher,
    content,
    gateway_plans,
    instances,
    sidecar_plan,
)
from tests.adapter.rest import NODE, OLD_NODE, Adapter, Envoy
from tests.fleet.process import wait_until

KINDS = ("clusters", "listeners", "endpoints")
QUICK = 5.0
"""Seconds in which an answer that is not held is there, on a busy machine. Held ones take 30 unless a test says so."""


def places(envoy: Envoy) -> dict[str, str]:
    """By service, the names under which its clusters ask for their endpoints."""
    found = envoy.ask("clusters").resources
    return {each["name"].partition(".")[0]: each["eds_cluster_config"]["service_name"] for each in found}


def where(assignment: dict[str, Any]) -> str:
    """The address in an assignment of one endpoint."""
    return str(assignment["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]["address"])


@pytest.mark.parametrize("node", [NODE, OLD_NODE], ids=["1.40", "1.39"])
def test_a_first_request_is_never_held_and_never_answered_empty(
    node: dict[str, Any], store: Remote, published: Publisher
) -> None:
    with Adapter(store) as adapter:
        envoy = Envoy(adapter, node)
        names = places(envoy)
        assert set(names) == {"s2", "s3"}
        assert envoy.ask("listeners").names == ["s2", "s3"]
        for service, name in names.items():
            reply = envoy.ask("endpoints", name=name)
            assert (reply.status, reply.names) == (200, [name])
            assert where(reply.resources[0]) == DATACENTERS["dc1"]
            hostname = reply.resources[0]["endpoints"][0]["lb_endpoints"][0]["endpoint"].get("hostname")
            assert hostname == (f"{service}.default.dc1.internal.{TRUST_DOMAIN}" if node is NODE else None)
        assert all(envoy.ask(kind).seconds < QUICK for kind in ("clusters", "listeners"))


def test_an_answer_with_endpoints_has_exactly_the_one_resource_that_was_asked_for(
    store: Remote, published: Publisher
) -> None:
    with Adapter(store, hold=0.2) as adapter:
        envoy = Envoy(adapter)
        for name in places(envoy).values():
            first = envoy.ask("endpoints", name=name)
            assert first.names == [name]
            # What it has, what is older, what nobody knows: that one resource, or none.
            for version in (first.version, "1.0.0-0", "of another control plane"):
                reply = envoy.ask("endpoints", version, name)
                assert reply.status == 304 or reply.names == [name]
        assert envoy.ask("endpoints", name="nobody").status == 304


def test_requests_of_77_kb_are_taken_and_not_kept(store: Remote, published: Publisher) -> None:
    body = orjson.dumps({"node": NODE, "version_info": "{}"})
    assert len(body) > 77_000
    with Adapter(store) as adapter:
        version = Envoy(adapter).ask("clusters").version
        body = orjson.dumps({"node": NODE, "version_info": version})
        head = b"POST /v3/discovery:clusters HTTP/1.1\r\nhost: adapter\r\ncontent-length: %d\r\n\r\n" % len(body)
        count = 40
        tracemalloc.start()
        with contextlib.ExitStack() as held:
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(count):
                connection = held.enter_context(socket.create_connection(("127.0.0.1", adapter.port)))
                connection.sendall(head + body)
            wait_until(lambda: adapter.metric("pointsman_subscriptions") == count, "all to be held")
            after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (after - before) / count < 40_000


@pytest.mark.parametrize("kind", KINDS)
def test_who_has_what_there_is_waits_until_the_hold_time_is_over(
    kind: str, store: Remote, published: Publisher
) -> None:
    with Adapter(store, hold=0.5) as adapter:
        envoy = Envoy(adapter)
        name = places(envoy)["s2"] if kind == "endpoints" else ""
        version = envoy.ask(kind, name=name).version
        reply = envoy.ask(kind, version, name)
        assert (reply.status, reply.body) == (304, b"")
        assert 0.4 <= reply.seconds < 0.5 + QUICK


def test_a_failover_of_a_newer_envoy_is_one_answer_with_endpoints(store: Remote, published: Publisher) -> None:
    with Adapter(store, hold=1.0) as adapter:
        envoy = Envoy(adapter)
        names = places(envoy)
        versions = {service: envoy.ask("endpoints", name=name).version for service, name in names.items()}
        held = {service: envoy.asking("endpoints", versions[service], name) for service, name in names.items()}
        clusters = envoy.asking("clusters", envoy.ask("clusters").version)
        wait_until(lambda: adapter.metric("pointsman_subscriptions") == 3, "three to be held")
        published.head(sidecar_plan(), content(["dc2"]))
        moved = held["s2"]()
        assert (moved.status, moved.names, where(moved.resources[0])) == (200, [names["s2"]], "127.0.0.2")
        assert [held["s3"]().status, clusters().status] == [304, 304]
        assert adapter.metric('pointsman_publish_to_delivery_seconds_count{way="rest"}') == 1


def test_a_failover_of_an_older_envoy_is_a_cluster_that_asks_for_other_endpoints(
    store: Remote, published: Publisher
) -> None:
    with Adapter(store, hold=0.5) as adapter:
        envoy = Envoy(adapter, OLD_NODE)
        first = envoy.ask("clusters")
        before = places(envoy)["s2"]
        endpoints = envoy.ask("endpoints", name=before)
        clusters = envoy.asking("clusters", first.version)
        wait_until(lambda: adapter.metric("pointsman_subscriptions") == 1, "it to be held")
        published.head(sidecar_plan(), content(["dc2"]))
        assert clusters().names == first.names
        after = places(envoy)["s2"]
        assert after != before
        assert where(envoy.ask("endpoints", name=after).resources[0]) == "127.0.0.2"
        # A selection that is no longer current: no change, never nothing and never another's, whoever asks.
        assert envoy.ask("endpoints", endpoints.version, before).status == 304
        assert envoy.ask("endpoints", "", before).status == 304
        # It may become current again, which is told to who waits.
        waiting = envoy.asking("endpoints", "", before)
        wait_until(lambda: adapter.metric("pointsman_subscriptions") == 1, "it to be held")
        published.head(sidecar_plan(), content(["dc1"], service="s2"))
        assert where(waiting().resources[0]) == "127.0.0.1"


def test_an_answer_is_never_older_than_what_the_request_has(store: Remote, publisher: Publisher) -> None:
    behind, ahead = content(["dc1"]), content(["dc2"])
    publisher.head(sidecar_plan(), behind)
    publisher.manifest(MANIFEST, manifest("s2"))
    with Adapter(store, hold=0.4) as stale, Adapter(store, hold=0.4) as fresh:
        envoys = [Envoy(each, node) for each in (stale, fresh) for node in (NODE, OLD_NODE)]
        old = {id(envoy): envoy.ask("clusters").version for envoy in envoys}
        name = places(Envoy(stale))["s2"]
        first = Envoy(stale).ask("endpoints", name=name).version
        stale.stop_looking()
        publisher.head(sidecar_plan(), ahead)
        publisher.manifest(MANIFEST, manifest("s2", generation=2))
        wait_until(
            lambda: Envoy(fresh, OLD_NODE).ask("clusters").version != old[id(envoys[3])], "the fresh one to see it"
        )
        newer = Envoy(fresh).ask("endpoints", name=name).version
        assert newer != first
        assert Envoy(stale).ask("endpoints", newer, name).status == 304
        assert Envoy(stale, OLD_NODE).ask("clusters", Envoy(fresh, OLD_NODE).ask("clusters").version).status == 304
        assert stale.metric("pointsman_ahead_total") == 2
        # The other way round it is answered at once, and what covers the same is the same, whoever says so.
        assert Envoy(fresh).ask("endpoints", first, name).version == newer
        assert Envoy(fresh).ask("clusters", old[id(envoys[0])]).status == 304
        # Another control plane's version is none.
        assert Envoy(stale).ask("clusters", "v7").status == 200


def test_what_came_back_is_newer_than_what_lay_between_though_this_adapter_never_saw_that(
    store: Remote, publisher: Publisher
) -> None:
    publisher.head(sidecar_plan(), content(["dc1"]))
    publisher.manifest(MANIFEST, manifest("s2"))
    with Adapter(store, hold=5.0) as away, Adapter(store, hold=5.0) as here:
        first = Envoy(away, OLD_NODE).ask("clusters")
        away.stop_looking()
        publisher.head(sidecar_plan(), content(["dc2"]))
        wait_until(lambda: Envoy(here, OLD_NODE).ask("clusters").body != first.body, "the other one to see it")
        between = Envoy(here, OLD_NODE).ask("clusters")
        publisher.head(sidecar_plan(), content(["dc1"]))
        held = Envoy(away, OLD_NODE).asking("clusters", between.version)
        wait_until(lambda: away.metric("pointsman_subscriptions") == 1, "it to be held: it is ahead")
        away.adapter.on_change(away.follower.refresh())
        last = held()
        assert (last.status, last.resources) == (200, first.resources)
        assert Envoy(away, OLD_NODE).ask("clusters", between.version).resources == first.resources


@pytest.mark.parametrize("node", [NODE, OLD_NODE], ids=["1.40", "1.39"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_store_that_went_back_takes_who_waits_and_who_comes_along(
    kind: str, node: dict[str, Any], store: Remote, published: Publisher
) -> None:
    saved = store.backup()

    def go_on(generation: int) -> None:
        published.head(sidecar_plan(), content(["dc2"]))
        published.head(sidecar_plan(service="s4"), content(service="s4"))
        published.manifest(MANIFEST, manifest("s2", "s4", generation=generation))

    with Adapter(store, settle=0.0) as adapter:
        envoy = Envoy(adapter, node)
        name = places(envoy)["s2"] if kind == "endpoints" else ""
        before = envoy.ask(kind, name=name)
        go_on(2)
        wait_until(lambda: set(places(envoy)) == {"s2", "s4"}, "it to go on")
        name = places(envoy)["s2"] if kind == "endpoints" else ""
        ahead = envoy.ask(kind, name=name)
        waiting = envoy.asking(kind, ahead.version, name)
        wait_until(lambda: adapter.metric("pointsman_subscriptions") == 1, "it to be held")
        store.restore(saved)
        if kind == "endpoints" and node is OLD_NODE:
            # It has to ask for the endpoints of another selection: its clusters tell it so.
            wait_until(lambda: places(envoy)["s2"] != name, "it to go back")
        else:
            assert waiting().json == before.json
        wait_until(lambda: set(places(envoy)) == {"s2", "s3"}, "it to go back")
        name = places(envoy)["s2"] if kind == "endpoints" else ""
        # Whoever comes from another adapter, or was away, is ahead, and is answered when the store was read once more.
        answers = [envoy.asking(kind, ahead.version, name) for _ in range(5)]
        store.confirmed.clear()
        assert all(answer().json == before.json for answer in answers)
        assert len(store.confirmed) <= 2
        assert adapter.follower.ahead == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_that_is_behind_confirms_and_gives_who_is_ahead_what_the_store_has(
    kind: str, store: Remote, published: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Adapter(store, settle=0.0) as stale, Adapter(store, settle=0.0) as fresh:
        name = places(Envoy(stale))["s2"] if kind == "endpoints" else ""
        Envoy(stale).ask(kind, name=name)
        monkeypatch.setattr(stale.follower, "refresh", set)
        for number in (2, 3):
            published.head(sidecar_plan(), content([f"dc{number}"]))
            published.head(sidecar_plan(service="s4"), content(service="s4"))
            published.manifest(MANIFEST, manifest("s2", "s4", generation=number))
        wait_until(lambda: "s4" in places(Envoy(fresh)), "the other one to see it")
        newest = Envoy(fresh).ask(kind, name=name)
        # It has what the store has: no change. It has what nobody has: what the store has.
        holding = Envoy(stale).asking(kind, newest.version, name)
        wait_until(lambda: "s4" in places(Envoy(stale)), "the stale one to have read the store")
        order, _, digest = newest.version.rpartition("-")
        identity, epoch, first, *rest = order.split(".")
        later = ".".join([identity, epoch, str(int(first) + 7), *rest])
        assert Envoy(stale).ask(kind, f"{later}-{digest[::-1]}", name).json == newest.json
        stale.adapter.drain()
        assert holding().status == 304


def test_while_the_store_is_away_whoever_is_ahead_keeps_what_it_has_and_that_is_told(
    store: Remote, published: Publisher
) -> None:
    with Adapter(store, hold=0.5) as adapter:
        envoy = Envoy(adapter)
        order, _, digest = envoy.ask("listeners").version.rpartition("-")
        identity, _, rest = order.partition(".")
        ahead = f"{identity}.9{rest}-{digest[::-1]}"
        store.leave()
        held = envoy.asking("listeners", ahead)
        wait_until(lambda: adapter.follower.ahead, "it to be told")
        assert adapter.follower.ahead == ["s1-1 (dc1/sidecar/default/s1) has newer listeners than are here"]
        assert held().status == 304
        assert adapter.follower.ahead == []
        store.come_back()
        wait_until(lambda: envoy.ask("listeners", ahead).status == 200, "the store to be read")


REFUSED: list[tuple[str, Any, int, str]] = [
    # what is asked for, the body, the answer and what it says
    ("clusters", b"{", 400, "is not JSON"),
    ("clusters", b"[]", 400, "is not a JSON object"),
    ("clusters", b"{}", 400, "node: is missing"),
    ("clusters", {"node": {**NODE, "cluster": "S1"}}, 400, "cluster: 'S1' is not a lower-case DNS label"),
    ("clusters", {"node": {**NODE, "metadata": {}}}, 400, "metadata.datacenter"),
    ("clusters", {"node": {**NODE, "cluster": "mesh-gateway", "id": "../g"}}, 400, "id: '../g'"),
    ("clusters", {"node": NODE, "version_info": 7}, 400, "version_info: is not a string"),
    ("clusters", {"node": NODE, "type_url": "type.googleapis.com/x"}, 400, "type_url"),
    ("endpoints", {"node": NODE}, 400, "resource_names: has 0 names"),
    ("endpoints", {"node": NODE, "resource_names": ["a", "b"]}, 400, "resource_names: has 2 names"),
    ("endpoints", {"node": NODE, "resource_names": "a"}, 400, "is not a list of strings"),
    ("clusters", b" " * (1024 * 1024 + 1), 413, "larger than 1048576 bytes"),
    ("clusters", {"node": {**NODE, "cluster": "nobody"}}, 404, "nobody in dc1 is not registered"),
    ("clusters", {"node": {**NODE, "cluster": "mesh-gateway", "id": "g9"}}, 404, "mesh gateway g9 in dc1"),
]


def test_what_cannot_be_answered_is_refused_with_the_reason_after_a_pause(store: Remote, published: Publisher) -> None:
    with Adapter(store, pause=0.05) as adapter:
        for number, (path, body, status, said) in enumerate(REFUSED, start=1):
            raw = body if isinstance(body, bytes) else orjson.dumps(body)
            reply = Envoy(adapter).post(f"/v3/discovery:{path}", raw)
            assert reply.status == status
            assert said in reply.json["error"]
            # Envoy knows no backoff over REST: whoever is refused at once is back at once.
            assert reply.seconds >= 0.05
            assert adapter.metric("pointsman_refused_total") == number
        assert Envoy(adapter).ask("clusters").status == 200


def test_who_is_of_another_datacenter_is_refused_so_that_its_envoy_asks_elsewhere(
    store: Remote, published: Publisher
) -> None:
    with Adapter(store, pause=0.05, datacenters=frozenset({"dc2", "dc3"})) as adapter:
        reply = Envoy(adapter).ask("clusters")
        said = "the sidecar of default/s1 in dc1 is not served here, only dc2, dc3; ask another control plane"
        assert (reply.status, reply.json["error"]) == (503, said)
        assert reply.seconds >= 0.05


def test_who_is_registered_while_it_asks_is_served(store: Remote, published: Publisher) -> None:
    with Adapter(store, pause=10.0) as adapter:
        asking = Envoy(adapter, {**NODE, "cluster": "s9"}).asking("clusters")
        wait_until(lambda: adapter.adapter._lookup._looking, "it to be looked for")
        published.manifest("manifests/dc1/sidecar/default/s9", manifest("s3"))
        assert asking().names == [f"s3.default.dc1.internal.{TRUST_DOMAIN}"]


def test_a_request_is_understood_however_it_is_written(store: Remote, published: Publisher) -> None:
    with Adapter(store, pause=0.0) as adapter:
        name = places(Envoy(adapter))["s2"]
        tail = {"type_url": "", "resource_names": [name], "error_detail": {"details": [{"value": [{}]}]}}
        for request in (
            {"node": NODE, "resource_names": [name]},
            {"resource_names": [name], "node": NODE},
            {"node": NODE, **tail},
            {"node": {"extensions": NODE["extensions"], **NODE}, **tail},
            {"node": {"metadata": {**NODE["metadata"], "extensions": [{"node": []}]}, **NODE}, **tail},
            {"node": {**NODE, "extensions": []}, "resourceNames": [name]},
        ):
            for option in (None, orjson.OPT_INDENT_2, orjson.OPT_SORT_KEYS):
                reply = Envoy(adapter).post("/v3/discovery:endpoints", orjson.dumps(request, option=option))
                assert reply.names == [name]
        hidden = {"error_detail": {"node": NODE}}
        assert Envoy(adapter).post("/v3/discovery:clusters", orjson.dumps(hidden)).status == 400


def test_while_the_store_is_away_what_is_known_is_served_and_who_is_not_known_is_told(
    store: Remote, published: Publisher
) -> None:
    with Adapter(store, hold=0.3) as adapter:
        envoy = Envoy(adapter)
        before = envoy.ask("clusters")
        store.leave()
        wait_until(lambda: adapter.follower.unreachable, "the store to be away")
        assert envoy.ask("clusters").body == before.body
        assert envoy.ask("clusters", before.version).status == 304
        assert adapter.metric("pointsman_store_unreachable") == 1
        store.come_back()
        published.manifest(MANIFEST, replace(manifest(generation=2), retired=True))
        wait_until(lambda: adapter.follower.view(S1) is None, "the manifest to be retired")
        # An Envoy may still be running on it; one that starts is told.
        assert envoy.ask("clusters", before.version).status == 304
        reply = envoy.ask("clusters")
        assert (reply.status, "was deleted" in reply.json["error"]) == (404, True)


def test_a_damaged_head_or_a_missing_one_never_reaches_an_envoy(store: Remote, published: Publisher) -> None:
    with Adapter(store, hold=0.3) as adapter:
        envoy = Envoy(adapter)
        before = envoy.ask("clusters").body, envoy.ask("endpoints", name=places(envoy)["s2"]).body
        published.garbage(keys.snapshot(sidecar_plan().key), b"{}")
        wait_until(lambda: adapter.follower.problems(S1), "it to be seen")
        published.manifest(MANIFEST, manifest("s2", "s3", "s4", generation=2))
        wait_until(lambda: len(adapter.follower.problems(S1)) == 2, "it to be seen")
        assert (envoy.ask("clusters").body, envoy.ask("endpoints", name=places(envoy)["s2"]).body) == before


def test_what_comes_comes_before_who_uses_it_and_what_goes_goes_after(store: Remote, published: Publisher) -> None:
    published.head(sidecar_plan(service="s4"), content(service="s4"))
    with Adapter(store, settle=0.4) as adapter:
        envoy = Envoy(adapter)
        versions = {kind: envoy.ask(kind).version for kind in ("clusters", "listeners")}
        asking = {kind: envoy.asking(kind, version) for kind, version in versions.items()}
        wait_until(lambda: adapter.metric("pointsman_subscriptions") == 2, "both to be held")
        published.manifest(MANIFEST, manifest("s3", "s4", generation=2))
        began = time.perf_counter()
        union = asking["clusters"]()
        assert [name.partition(".")[0] for name in union.names] == ["s2", "s3", "s4"]
        assert asking["listeners"]().names == ["s3", "s4"]
        relistened = time.perf_counter()
        assert relistened - began >= 0.4
        # Failovers do not wait meanwhile.
        name = places(envoy)["s3"]
        held = envoy.asking("endpoints", envoy.ask("endpoints", name=name).version, name)
        published.head(sidecar_plan(service="s3"), content(["dc2"], service="s3"))
        assert where(held().resources[0]) == "127.0.0.2"
        left = envoy.ask("clusters", union.version)
        assert [name.partition(".")[0] for name in left.names] == ["s3", "s4"]
        assert time.perf_counter() - relistened >= 0.2


def test_a_gateway_is_known_by_its_node_id(store: Remote, published: Publisher) -> None:
    plans = {plan.cluster_id: plan for plan in gateway_plans()}
    for plan in plans.values():
        published.head(plan, compute(plan, instances(DATACENTERS), TRUST_DOMAIN))
    shared = GatewaysManifest(1, TRUST_DOMAIN, tuple(sorted(plans)), ("default/s2",), ("dc2",))
    published.manifest(keys.gateways_manifest("dc1"), shared)
    published.manifest("manifests/dc1/gateway/g1", GatewayManifest(1, "127.0.0.1", 9000, 1500, ""))
    with Adapter(store) as adapter:
        envoy = Envoy(adapter, {**NODE, "id": "g1", "cluster": "mesh-gateway"})
        assert [each["connect_timeout"] for each in envoy.ask("clusters").resources] == ["1.500s", "1.500s"]
        assert len(envoy.ask("listeners").resources) == 1


def test_who_asks_again_with_what_it_had_has_rejected_it(store: Remote, published: Publisher) -> None:
    with Adapter(store, hold=0.3, pause=0.3) as adapter:
        envoy = Envoy(adapter, OLD_NODE)
        first = envoy.ask("clusters")
        assert envoy.ask("clusters", first.version).status == 304
        published.head(sidecar_plan(), content(["dc2"]))
        second = envoy.ask("clusters", first.version)
        again = envoy.ask("clusters", first.version)
        # It gets it once more, after a pause: the answer may just have been lost.
        assert (again.version, again.seconds >= 0.3) == (second.version, True)
        (rejection,) = adapter.adapter.rejections()
        assert (rejection.way, rejection.node, rejection.kind) == ("rest", "s1-1", "clusters")
        assert second.version in rejection.reason
        assert adapter.metric('pointsman_rejected_total{kind="clusters"') == 1
        assert envoy.ask("clusters", again.version).status == 304
        assert adapter.adapter.rejections() == []


def test_who_hangs_up_is_not_held_any_more(store: Remote, published: Publisher) -> None:
    with Adapter(store) as adapter:
        envoy = Envoy(adapter)
        body = orjson.dumps({"node": NODE, "version_info": envoy.ask("clusters").version})
        connection = http.client.HTTPConnection("127.0.0.1", adapter.port)
        connection.request("POST", "/v3/discovery:clusters", body)
        wait_until(lambda: adapter.metric("pointsman_subscriptions") == 1, "it to be held")
        connection.close()
        wait_until(lambda: adapter.metric("pointsman_subscriptions") == 0, "it to be let go")


def test_an_adapter_that_ends_answers_who_waits(store: Remote, published: Publisher) -> None:
    with Adapter(store) as adapter:
        envoy = Envoy(adapter)
        held = [envoy.asking("clusters", envoy.ask("clusters").version) for _ in range(5)]
        wait_until(lambda: adapter.metric("pointsman_subscriptions") == 5, "all to be held")
        began = time.perf_counter()
    assert time.perf_counter() - began < 3
    assert [each().status for each in held] == [304] * 5


def test_who_is_answered_that_nothing_changed_and_stays_costs_nothing(store: Remote, published: Publisher) -> None:
    def cost() -> float:
        before = time.process_time()
        time.sleep(1.0)
        return time.process_time() - before

    with Adapter(store, hold=0.2) as adapter:
        version = Envoy(adapter).ask("clusters").version
        connection = http.client.HTTPConnection("127.0.0.1", adapter.port)
        idle = cost()
        connection.request("POST", "/v3/discovery:clusters", orjson.dumps({"node": NODE, "version_info": version}))
        assert connection.getresponse().read() == b""
        # A loop that goes round and round takes all of a processor.
        assert cost() < idle + 0.2
        connection.close()


def test_what_seems_rejected_is_counted_while_others_ask_for_the_count() -> None:
    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    rejections, done, wrong = Rejections(), threading.Event(), []

    def ask() -> None:
        while not done.is_set():
            try:
                rejections.all(0.0, lambda *_: False)
            except Exception as error:
                wrong.append(error)
                return

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for number in range(5_000):
            request = DiscoveryRequest(Asker(S1, None, f"s1-{number}"), ResourceKind.CLUSTERS, "", "")
            rejections.sent(request, "1", 0.0)
            assert rejections.asked(request, 0.0)
    finally:
        done.set()
        asking.join()
        sys.setswitchinterval(switching)
    assert wrong == []
    assert len(rejections.all(0.0, lambda *_: False)) == 5_000
