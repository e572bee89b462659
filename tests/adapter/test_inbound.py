"""Each Envoy gets listeners for its own host, whatever it shares with the others of its service."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from envoy.config.core.v3.base_pb2 import Node
from pointsman.adapter.report.fetcher import Fetcher
from pointsman.delivery.endpoint_source import over_rest
from pointsman.delivery.response import ResourceKind
from pointsman.discovery.request import read_request
from pointsman.discovery.stateless import Discovery
from pointsman.machine.seeing import Sight
from pointsman.model.keys import sidecar_key
from pointsman.model.names import ServiceName
from pointsman.model.seen import Why
from pointsman.pipeline import build, config
from pointsman.pipeline import configure as configuring
from pointsman.pipeline.configure import configure, parse_documents
from pointsman.store import bears, keys
from pointsman.store.sqlite import SQLiteStore

from tests.adapter import rest, streams
from tests.adapter.node import NEW
from tests.fleet.process import wait_until
from tests.pipeline.meshes import engine_on

DENIED = {"Kind": "service-intentions", "Name": "s1", "Sources": [{"Name": "batch", "Action": "deny"}]}
REGISTERED = {
    "Datacenter": "dc1",
    "Service": {"Kind": "connect-proxy", "Proxy": {"DestinationServiceName": "s1", "LocalServicePort": 80}},
}
STATIC = "its public listener is static: intentions do not reach it"
HERE, THERE = "10.0.0.5:21000", "10.0.0.6:21000"


@pytest.fixture
def store(tmp_path: Path) -> SQLiteStore:
    made = SQLiteStore(tmp_path / "store.db")
    apply(made, REGISTERED)
    return made


def apply(store: SQLiteStore, *documents: dict[str, Any]) -> None:
    configure(engine_on(store), parse_documents(documents), trust_domain="mesh.example")


def named(public: str) -> list[str]:
    return [f"public_listener:{public}"] if public else []


def static(fetchers: list[Fetcher]) -> list[str]:
    """The nodes that intentions do not reach."""
    return sorted(each.node for each in fetchers if each.static.startswith(STATIC))


def asking(public: str) -> dict[str, Any]:
    metadata = rest.NODE["metadata"] | ({"public": public, "app": "127.0.0.1:80"} if public else {})
    return {**rest.NODE, "id": f"on {public}", "metadata": metadata}


def node(public: str) -> Node:
    made = streams.node(NEW)
    made.id = f"on {public}"
    if public:
        made.metadata["public"], made.metadata["app"] = public, "127.0.0.1:80"
    return made


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "state of the world"])
def test_over_a_stream_each_gets_its_own_and_what_changes(delta: bool, store: SQLiteStore) -> None:
    with streams.Adapter(store) as adapter:
        address = adapter.server.address
        for public in (HERE, THERE, ""):
            with streams.stream(address, delta) as envoy:
                envoy.say(streams.CLUSTERS, node=node(public))
                clusters = envoy.hear()
                assert streams.names(clusters) == (["local_app"] if public else [])
                envoy.accept(clusters)
                envoy.say(streams.LISTENERS)
                listeners = envoy.hear()
                assert [each.name for each in streams.messages(listeners)] == named(public)
                envoy.accept(listeners)
                assert static(adapter.adapter.fetchers()) == []
                apply(store, DENIED)
                if public:
                    (changed,) = streams.messages(envoy.hear())
                    assert changed.name == f"public_listener:{public}"
                    assert changed.filter_chains[0].filters[0].name == "envoy.filters.network.rbac"
                else:
                    # It has none that could be changed, which people are told of.
                    wait_until(lambda: static(adapter.adapter.fetchers()) == ["on "], "it to be told")
                    seen = Sight("here").look([(adapter.follower, adapter.adapter.fetchers)])
                    assert [lack.why for each in seen.proxies for one in each.envoys for lack in one.lacks] == [
                        Why.STATIC
                    ]
                apply(store, {**DENIED, "Sources": [{"Name": "batch", "Action": "allow"}]})


def test_over_rest_each_gets_its_own_and_what_changes(store: SQLiteStore) -> None:
    with rest.Adapter(store) as adapter:
        envoys = {public: rest.Envoy(adapter, asking(public)) for public in (HERE, THERE, "")}
        had = {}
        for public, envoy in envoys.items():
            assert envoy.ask("clusters").names == (["local_app"] if public else [])
            had[public] = envoy.ask("listeners")
            assert had[public].names == named(public)
        # One may be behind an adapter of another host of the service: who is ahead does not depend on the host.
        assert len({each.version for each in had.values()}) == 1
        waiting = {public: envoy.asking("listeners", had[public].version) for public, envoy in envoys.items()}
        apply(store, DENIED)
        for public, answer in waiting.items():
            assert answer().names == named(public)
        assert static(adapter.adapter.fetchers()) == ["on "]


def test_the_function_answers_as_an_adapter_does(store: SQLiteStore) -> None:
    function = Discovery(store, over_rest("pointsman", 1000, 15_000), settle=0.0)

    def ask(kind: ResourceKind, public: str) -> Any:
        request = read_request(kind, orjson.dumps({"node": asking(public)}))
        answer = function.answer(request).answer
        assert answer is not None
        return orjson.loads(answer.body_for(request.asker.host)), answer.unreached(request.asker.host)

    with rest.Adapter(store, source=over_rest("pointsman", 1000, 15_000)) as adapter:
        for public in (HERE, THERE, ""):
            for kind in (ResourceKind.CLUSTERS, ResourceKind.LISTENERS):
                assert ask(kind, public) == (rest.Envoy(adapter, asking(public)).ask(kind.label).json, "")
    apply(store, DENIED)
    assert ask(ResourceKind.LISTENERS, "")[1].startswith(STATIC)
    assert ask(ResourceKind.LISTENERS, HERE)[1] == ""


def test_a_service_without_upstreams_follows_its_entries(store: SQLiteStore) -> None:
    key = keys.manifest(sidecar_key("dc1", ServiceName("default", "s1")))

    def protocol() -> str:
        stored = store.get(key)
        assert stored is not None
        found: str = orjson.loads(stored.data)["inbound"]["protocol"]
        return found

    assert protocol() == "tcp"
    apply(store, {"Kind": "service-defaults", "Name": "s1", "Protocol": "http"})
    assert protocol() == "http"
    apply(store, {"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "grpc"}})
    assert protocol() == "http"


def test_what_a_writer_of_before_left_out_comes_with_the_same_documents_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SQLiteStore(tmp_path / "store.db")
    with monkeypatch.context() as before:
        for module in (build, configuring, bears, config):
            before.setattr(module, "WRITER", bears.WRITER - 1)
        before.setattr(build, "inbound_of", lambda *_: None)
        before.setattr(build, "_destinations", lambda registration: set())
        apply(store, REGISTERED)
    key = keys.manifest(sidecar_key("dc1", ServiceName("default", "s1")))

    def inbound() -> Any:
        stored = store.get(key)
        assert stored is not None
        return orjson.loads(stored.data).get("inbound")

    assert inbound() is None
    apply(store, REGISTERED)
    assert inbound()["protocol"] == "tcp"
    # It is among those who read the entries of its service, too.
    apply(store, {"Kind": "service-defaults", "Name": "s1", "Protocol": "http"})
    assert inbound()["protocol"] == "http"
