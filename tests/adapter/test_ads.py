"""What ADS promises on the wire, in both protocols: over a real channel to a real server."""

import contextlib
import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest
from pointsman.adapter.ads.server import MAX_MESSAGE_BYTES, MAX_METADATA_BYTES, SERVICE, AdsServer
from pointsman.delivery.response import ResourceKind
from pointsman.discovery.identity import may_fetch
from pointsman.discovery.proxy import GatewayId, ProxyId, SidecarId
from pointsman.discovery.version import Version
from pointsman.model.era import Era
from pointsman.model.errors import InvalidInput, PointsmanError
from pointsman.serve.listen import Listen
from pointsman.serve.tls import TlsFiles

from tests.adapter.doubles import Remote
from tests.adapter.node import MANIFEST, NEW, OLD, S1, manifest
from tests.adapter.published import TRUST_DOMAIN, Publisher, content, sidecar_plan
from tests.adapter.streams import (
    CLUSTERS,
    ENDPOINTS,
    LISTENERS,
    Adapter,
    Spoken,
    asks,
    messages,
    names,
    node,
    serves,
    stream,
)
from tests.fleet.ca import CertificateAuthority
from tests.fleet.process import wait_until

both = pytest.mark.parametrize("delta", [True, False], ids=["delta", "state of the world"])


def named(delta: bool, wanted: list[str]) -> dict[str, Any]:
    """The fields of a request for these names."""
    return {"resource_names_subscribe" if delta else "resource_names": wanted}


@contextlib.contextmanager
def settled(
    address: str, delta: bool, version: tuple[int, int, int] | None = NEW
) -> Iterator[tuple[Spoken, list[str]]]:
    """A stream on which an Envoy has everything, and the names of its endpoints."""
    with stream(address, delta) as envoy:
        envoy.say(CLUSTERS, node=node(version))
        clusters = envoy.hear()
        envoy.accept(clusters)
        places = asks(clusters)
        envoy.say(ENDPOINTS, **named(delta, places))
        envoy.accept(envoy.hear(), **({} if delta else named(delta, places)))
        envoy.say(LISTENERS)
        envoy.accept(envoy.hear())
        yield envoy, places


@both
def test_an_envoy_gets_all_that_its_proxy_has_in_its_turn(store: Remote, published: Publisher, delta: bool) -> None:
    with Adapter(store) as adapter, stream(adapter.server.address, delta) as envoy:
        envoy.say(CLUSTERS, node=node(NEW))
        clusters = envoy.hear()
        assert names(clusters) == ["s2", "s3"]
        assert all(each.eds_cluster_config.eds_config.HasField("ads") for each in messages(clusters))
        envoy.accept(clusters)
        envoy.say(ENDPOINTS, **named(delta, asks(clusters)[:1]))
        endpoints = envoy.hear()
        assert [each.cluster_name for each in messages(endpoints)] == asks(clusters)[:1]
        envoy.accept(endpoints, **named(delta, asks(clusters)[delta:]))
        more = envoy.hear()
        assert [each.cluster_name for each in messages(more)] == asks(clusters)[1:]
        envoy.accept(more, **({} if delta else named(delta, asks(clusters))))
        envoy.say(LISTENERS)
        assert names(envoy.hear()) == ["s2", "s3"]


@both
@pytest.mark.parametrize(
    ("version", "kinds"), [(NEW, [ENDPOINTS]), (OLD, [CLUSTERS, ENDPOINTS]), (None, [CLUSTERS, ENDPOINTS])]
)
def test_a_failover_is_one_message_or_a_cluster_that_asks_anew(
    store: Remote, published: Publisher, delta: bool, version: tuple[int, int, int] | None, kinds: list[ResourceKind]
) -> None:
    with Adapter(store) as adapter, settled(adapter.server.address, delta, version) as (envoy, places):
        for serving in ("dc2", "dc3", "dc1"):
            published.head(sidecar_plan(), content([serving]))
            for kind in kinds:
                response = envoy.hear()
                assert ResourceKind(response.type_url) is kind
                if kind is CLUSTERS:
                    assert names(response) == (["s2"] if delta else ["s2", "s3"])
                    envoy.accept(response)
                    old, places = places, [asks(response)[0], places[1]]
                    if delta:
                        envoy.say(ENDPOINTS, resource_names_subscribe=places[:1], resource_names_unsubscribe=old[:1])
                    else:
                        envoy.accept(envoy.last[ENDPOINTS], **named(delta, places))
                else:
                    assert (names(response), [serves(each) for each in messages(response)]) == (["s2"], [serving])
                    envoy.accept(response, **({} if delta else named(delta, places)))


@both
def test_an_outdated_answer_says_nothing_and_the_next_one_counts(
    store: Remote, published: Publisher, delta: bool
) -> None:
    with Adapter(store) as adapter, settled(adapter.server.address, delta) as (envoy, places):
        published.head(sidecar_plan(), content(["dc2"]))
        first = envoy.hear()
        published.head(sidecar_plan(), content(["dc3"]))
        second = envoy.hear()
        assert first.nonce != second.nonce
        # The answer to the first, with names that would otherwise be asked for; then one that we never sent.
        if not delta:
            envoy.accept(first, **named(delta, []))
        envoy.say(ENDPOINTS, response_nonce="never sent")
        envoy.accept(second, **({} if delta else named(delta, places)))
        published.head(sidecar_plan(), content(["dc2"]))
        assert [serves(each) for each in messages(envoy.hear())] == ["dc2"]


@both
def test_a_rejection_is_kept_in_the_envoys_words_until_it_takes_something_better(
    store: Remote, published: Publisher, delta: bool
) -> None:
    fields: Callable[[list[str]], dict[str, Any]] = lambda places: {} if delta else named(delta, places)  # noqa: E731
    with Adapter(store) as adapter, settled(adapter.server.address, delta) as (envoy, places):
        published.head(sidecar_plan(), content(["dc2"]))
        envoy.reject(envoy.hear(), "malformed IP address: nowhere", **fields(places))
        (rejection,) = wait_until(adapter.adapter.rejections, "the rejection")
        assert (rejection.proxy, rejection.node, rejection.kind) == (S1, "s1-1", "endpoints")
        assert (rejection.name, rejection.reason) == (places[0], "malformed IP address: nowhere")
        assert b'pointsman_rejected_total{kind="endpoints",way="ads"} 1.0' in adapter.metrics.text()
        # What was rejected is not sent again by itself.
        published.head(sidecar_plan(service="s3"), content(["dc2"], service="s3"))
        other = envoy.hear()
        assert names(other) == ["s3"]
        envoy.accept(other, **fields(places))
        published.head(sidecar_plan(), content(["dc3"]))
        better = envoy.hear()
        assert (names(better), adapter.adapter.rejections()) == (["s2"], [rejection])
        envoy.accept(better, **fields(places))
        wait_until(lambda: adapter.adapter.rejections() == [], "the rejection to be over")


@both
def test_one_bad_assignment_among_many_keeps_no_other_back(store: Remote, published: Publisher, delta: bool) -> None:
    with Adapter(store) as adapter, stream(adapter.server.address, delta) as envoy:
        envoy.say(CLUSTERS, node=node(NEW))
        clusters = envoy.hear()
        envoy.accept(clusters)
        fields = {} if delta else named(delta, asks(clusters))
        envoy.say(ENDPOINTS, **named(delta, asks(clusters)))
        together = envoy.hear()
        assert names(together) == ["s2", "s3"]
        envoy.reject(together, "no", **fields)
        apart = [envoy.hear(), envoy.hear()]
        assert [names(each) for each in apart] == [["s2"], ["s3"]]
        envoy.reject(apart[0], "no", **fields)
        envoy.accept(apart[1], **fields)
        (rejection,) = wait_until(adapter.adapter.rejections, "the rejection")
        assert rejection.name.startswith("s2.")


def test_an_envoy_that_comes_back_gets_only_what_it_does_not_have(store: Remote, published: Publisher) -> None:
    with Adapter(store) as adapter, stream(adapter.server.address) as envoy:
        envoy.say(CLUSTERS, node=node(NEW))
        clusters = envoy.hear()
        envoy.say(ENDPOINTS, **named(True, asks(clusters)))
        had = {
            kind: {each.name: each.version for each in response.resources}
            for kind, response in ((CLUSTERS, clusters), (ENDPOINTS, envoy.hear()))
        }
    published.head(sidecar_plan(), content(["dc2"]))
    with Adapter(store) as adapter, stream(adapter.server.address) as envoy:
        envoy.say(CLUSTERS, node=node(NEW), initial_resource_versions=had[CLUSTERS])
        envoy.say(ENDPOINTS, **named(True, [*had[ENDPOINTS]]), initial_resource_versions=had[ENDPOINTS])
        # Nothing of clusters, which have not changed, and of endpoints what has.
        response = envoy.hear()
        assert (ResourceKind(response.type_url), names(response)) == (ENDPOINTS, ["s2"])


@both
def test_what_an_envoy_has_that_is_newer_stays_until_the_store_has_said_what_is_right(
    store: Remote, published: Publisher, delta: bool
) -> None:
    with Adapter(store) as adapter, stream(adapter.server.address, delta) as envoy:
        # As another adapter wrote it that knows more of s2's endpoints: by resource, or of all of them.
        theirs = str(Version((2, 1, 0) if delta else (1, 0, 9), "0" * 16, Era("", 1)))
        envoy.say(CLUSTERS, node=node(NEW))
        places = asks(envoy.hear())
        store.leave()
        if delta:
            envoy.say(ENDPOINTS, **named(delta, places), initial_resource_versions={places[0]: theirs})
            assert names(envoy.hear()) == ["s3"]
        else:
            envoy.say(ENDPOINTS, **named(delta, places), version_info=theirs)
        wait_until(lambda: b'ahead_total{kind="endpoints",way="ads"} 1.0' in adapter.metrics.text(), "it to be told")
        (ahead,) = wait_until(lambda: adapter.follower.ahead, "the Envoy to wait for the store")
        assert ahead == "s1-1 (dc1/sidecar/default/s1) has newer endpoints than are here"
        for serving in ("dc2", "dc3"):
            published.head(sidecar_plan(), content([serving]))
        store.come_back()
        response = envoy.hear()
        assert "s2" in names(response)
        (ours,) = (each for each in messages(response) if each.cluster_name == places[0])
        assert serves(ours) == "dc3"
        wait_until(lambda: not adapter.follower.ahead, "the meeting to be over")


@both
def test_a_store_that_went_back_takes_every_stream_along_and_whoever_comes_with_one_reading_for_all(
    store: Remote, published: Publisher, delta: bool
) -> None:
    saved = store.backup()

    def served(response: Any) -> str:
        (found,) = (serves(each) for each in messages(response) if each.cluster_name.startswith("s2."))
        return found

    with Adapter(store) as adapter, settled(adapter.server.address, delta) as (envoy, places):
        for datacenter in ("dc2", "dc3", "dc2"):
            published.head(sidecar_plan(), content([datacenter]))
            assert served(envoy.hear()) == datacenter
        newest = envoy.last[ENDPOINTS]
        theirs = newest.version_info if not delta else {each.name: each.version for each in newest.resources}
        store.restore(saved)
        assert served(envoy.hear()) == "dc1"
        told = {"initial_resource_versions": theirs} if delta else {"version_info": theirs}
        store.confirmed.clear()
        with contextlib.ExitStack() as held:
            others = [held.enter_context(stream(adapter.server.address, delta)) for _ in range(10)]
            for other in others:
                other.say(ENDPOINTS, node=node(NEW), **named(delta, places[:1]), **told)
            assert [served(other.hear()) for other in others] == ["dc1"] * 10
        # Those that came after the reading had begun took one more.
        assert len(store.confirmed) <= 3
        assert adapter.follower.resets.total == 2


@both
@pytest.mark.parametrize(
    ("asker", "status", "reason"),
    [
        (node(NEW, "s9"), grpc.StatusCode.NOT_FOUND, "the sidecar of default/s9 in dc1 is not registered"),
        (node(NEW, "S9"), grpc.StatusCode.INVALID_ARGUMENT, "cluster: 'S9' is not a lower-case DNS label"),
    ],
)
def test_who_is_not_known_is_told_so_after_a_pause_and_gets_nothing(
    store: Remote, published: Publisher, delta: bool, asker: Any, status: grpc.StatusCode, reason: str
) -> None:
    with Adapter(store, hold=0.2) as adapter, stream(adapter.server.address, delta) as envoy:
        envoy.say(CLUSTERS, node=asker)
        with pytest.raises(grpc.RpcError) as refused:
            envoy.hear()
        assert refused.value.code() is status
        assert reason in refused.value.details()


@both
def test_who_is_registered_while_it_waits_is_served(store: Remote, publisher: Publisher, delta: bool) -> None:
    with Adapter(store) as adapter, stream(adapter.server.address, delta) as envoy:
        envoy.say(CLUSTERS, node=node(NEW))
        publisher.manifest(MANIFEST, manifest("s2"))
        wait_until(lambda: S1 in adapter.follower.proxies, "the proxy to be followed")
        # Its view is not complete without this one: nothing is not what it has.
        publisher.head(sidecar_plan(), content())
        assert names(envoy.hear()) == ["s2"]


@both
def test_a_proxy_without_upstreams_is_told_that_there_are_none(
    store: Remote, publisher: Publisher, delta: bool
) -> None:
    publisher.manifest(MANIFEST, manifest())
    with Adapter(store) as adapter, stream(adapter.server.address, delta) as envoy:
        for kind in (CLUSTERS, LISTENERS):
            envoy.say(kind, node=node(NEW))
            response = envoy.hear()
            assert (ResourceKind(response.type_url), list(response.resources)) == (kind, [])
            envoy.accept(response)


@both
def test_while_the_store_is_away_everything_is_served_on(store: Remote, published: Publisher, delta: bool) -> None:
    with Adapter(store) as adapter, settled(adapter.server.address, delta):
        store.leave()
        wait_until(lambda: adapter.follower.unreachable, "the store to be missed")
        with settled(adapter.server.address, delta) as (_, places):
            assert len(places) == 2


def test_an_adapter_that_ends_says_so_on_every_stream(store: Remote, published: Publisher) -> None:
    with contextlib.ExitStack() as held:
        adapter = held.enter_context(Adapter(store))
        envoy, _ = held.enter_context(settled(adapter.server.address, True))
        adapter.server.stop()
        with pytest.raises(grpc.RpcError) as ended:
            envoy.hear()
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "the adapter is ending" in ended.value.details()


def test_a_client_fetches_only_what_its_certificate_names(store: Remote, published: Publisher, tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path, TRUST_DOMAIN)
    server, own, other = (authority.issue(service, "dc1") for service in ("adapter", "s1", "s2"))
    tls = TlsFiles(server.certificate, server.private_key, server.ca)
    strangers = CertificateAuthority(tmp_path / "strangers", TRUST_DOMAIN).issue("s1", "dc1")

    def channel(identity: Any) -> grpc.ChannelCredentials:
        key, chain = identity.private_key.read_bytes(), identity.certificate.read_bytes()
        return grpc.ssl_channel_credentials(server.ca.read_bytes(), key, chain)

    # gRPC's own client goes by the name in the certificate, where Envoy goes by the SPIFFE id.
    with Adapter(store, tls=tls, hold=0.2) as adapter:
        for identity, status in (
            (own, None),
            (other, grpc.StatusCode.PERMISSION_DENIED),
            (strangers, grpc.StatusCode.UNAVAILABLE),
        ):
            with stream(adapter.server.address, True, channel(identity)) as envoy:
                envoy.say(CLUSTERS, node=node(NEW))
                if status is None:
                    assert names(envoy.hear()) == ["s2", "s3"]
                else:
                    with pytest.raises(grpc.RpcError) as refused:
                        envoy.hear()
                    assert refused.value.code() is status


@pytest.mark.parametrize(
    ("proxy", "uris", "allowed"),
    [
        (S1, ["spiffe://td/ns/default/dc/dc1/svc/s1"], True),
        (S1, ["spiffe://td/ns/default/dc/dc1/svc/s1", "https://s1.example"], False),
        (S1, ["spiffe://td/ns/default/dc/dc1/svc/s1", "spiffe://td/ns/default/dc/dc1/svc/s2"], False),
        (S1, ["spiffe://elsewhere/ns/default/dc/dc1/svc/s1"], False),
        (S1, ["spiffe://td/ns/default/dc/dc2/svc/s1"], False),
        (S1, ["spiffe://td/ns/team/dc/dc1/svc/s1"], False),
        (S1, ["spiffe://td/ns/default/dc/dc1/svc/s1/more"], False),
        (S1, ["https://td/ns/default/dc/dc1/svc/s1"], False),
        (S1, [], False),
        (GatewayId("dc1", "gw"), ["spiffe://td/gateway/gw/dc/dc1"], True),
        (GatewayId("dc1", "gw"), ["spiffe://td/gateway/mesh/dc/dc1"], True),
        (GatewayId("dc1", "gw"), ["spiffe://td/gateway/other/dc/dc1"], False),
        (GatewayId("dc1", "gw"), ["spiffe://td/ns/default/dc/dc1/svc/gw"], False),
        (SidecarId("dc1", "default", "mesh"), ["spiffe://td/gateway/mesh/dc/dc1"], False),
    ],
)
def test_a_certificate_names_a_service_or_a_gateway_and_nobody_else(
    proxy: ProxyId, uris: list[str], allowed: bool
) -> None:
    assert may_fetch(proxy, uris, "td") is allowed


def test_it_listens_beyond_this_machine_only_with_certificates_and_never_where_another_one_does(
    store: Remote, tmp_path: Path
) -> None:
    with Adapter(store, f"unix:{tmp_path}/ads.sock") as adapter:
        with pytest.raises(InvalidInput, match=r"not a loopback address.*--tls-cert"):
            AdsServer(adapter.adapter, Listen.read("0.0.0.0:0", "--grpc"))
        for place in (f"unix:{tmp_path}/ads.sock", _port_of(adapter, store)):
            with pytest.raises(PointsmanError, match="is another adapter running"):
                AdsServer(adapter.adapter, Listen.read(place, "--grpc")).start()


def _port_of(adapter: Adapter, store: Remote) -> str:
    """Where a second server of the same adapter listens, until the adapter ends."""
    server = AdsServer(adapter.adapter, Listen.read("127.0.0.1:0", "--grpc"))
    server.start()
    return server.address


GARBAGE = [b"\xff", b"\x0a\xff\xff\xff\xff\x7f", b"\x12\x02\xff\xfe", bytes(range(256)), b"\x0a\x04\x0a\x02\xff\xfe"]


@pytest.mark.parametrize("method", ["DeltaAggregatedResources", "StreamAggregatedResources"])
def test_what_is_no_request_ends_its_stream_with_the_reason_and_no_traceback(
    method: str, store: Remote, published: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    good = DeltaDiscoveryRequest(node=node((1, 40, 0)), type_url=CLUSTERS.value).SerializeToString()
    with Adapter(store, hold=0.01) as adapter, grpc.insecure_channel(adapter.server.address) as channel:
        call = channel.stream_stream(f"/{SERVICE}/{method}")
        for garbage in GARBAGE:
            with pytest.raises(grpc.RpcError) as refused:
                next(call(iter([garbage]), timeout=60))
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        if method.startswith("Delta"):
            later: queue.SimpleQueue[bytes] = queue.SimpleQueue()
            later.put(good)
            answers = call(iter(later.get, None), timeout=60)
            next(answers)
            later.put(GARBAGE[0])
            with pytest.raises(grpc.RpcError) as refused:
                list(answers)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            later.put(None)  # type: ignore[arg-type]
    assert [record for record in caplog.records if record.exc_info] == []


def test_a_stream_on_which_nothing_is_asked_ends(
    store: Remote, published: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointsman.adapter.ads.ads_adapter.FIRST_REQUEST_SECONDS", 0.1)
    with Adapter(store) as adapter, stream(adapter.server.address) as silent:
        with pytest.raises(grpc.RpcError) as ended:
            silent.hear()
        assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "no request came" in ended.value.details()


def test_a_request_or_metadata_that_is_too_large_is_refused(store: Remote, published: Publisher) -> None:
    with Adapter(store) as adapter, grpc.insecure_channel(adapter.server.address) as channel:
        call = channel.stream_stream(f"/{SERVICE}/DeltaAggregatedResources")
        for body, metadata in ((bytes(MAX_MESSAGE_BYTES + 1), ()), (b"", (("x", "x" * 5 * MAX_METADATA_BYTES),))):
            with pytest.raises(grpc.RpcError) as refused:
                next(call(iter([body]), timeout=60, metadata=metadata))
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
