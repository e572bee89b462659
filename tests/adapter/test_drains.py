"""`OnSwitch: drain`, in every way to fetch: first the new endpoints, then the listener that ends old connections; and
after a restart nothing that is the same."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from pointsman.adapter.ads.ahead import Ahead
from pointsman.adapter.ads.conversation import RESOLVE_S
from pointsman.adapter.ads.delta import DeltaConversation
from pointsman.adapter.ads.resources import Resources
from pointsman.adapter.ads.shelf import Shelf
from pointsman.adapter.files.writes import SETTLE_S
from pointsman.adapter.follow.follower import Follower
from pointsman.adapter.rest.book import AnswerBook
from pointsman.delivery.endpoint_source import over_rest
from pointsman.delivery.response import ResourceKind
from pointsman.discovery.answers import Answer, Answers
from pointsman.discovery.request import read_request
from pointsman.discovery.stateless import Discovery
from pointsman.discovery.version import Standing, Version
from pointsman.xds.drain_metadata import DRAIN_METADATA
from pointsman.xds.manifest import SidecarManifest

from tests.adapter.doubles import Clock, Remote
from tests.adapter.node import MANIFEST, NEW, S1, WHERE, Node, listener, resources, serving
from tests.adapter.published import Publisher, content, sidecar_plan
from tests.adapter.rest import NODE, Adapter, Envoy

CLUSTER = "s2.default.dc1"
POLLED_S = 2.0
REST = over_rest("pointsman", 1000, 60_000)


@pytest.fixture
def switch(publisher: Publisher) -> Callable[[str], None]:
    """Has another datacenter serve s2. It is dc1 at first, and a switch ends connections of s2 and none of s3."""
    drains = Listener.FromString(listener("s2"))
    drains.filter_chains.add().metadata.filter_metadata[DRAIN_METADATA][CLUSTER] = ""
    listeners = drains.SerializeToString(), listener("s3")
    publisher.head(sidecar_plan(service="s3"), content(service="s3"))
    publisher.manifest(MANIFEST, SidecarManifest(1, (CLUSTER, "s3.default.dc1"), listeners))

    def switch(datacenter: str) -> None:
        publisher.head(sidecar_plan(), content([datacenter]))

    switch("dc1")
    return switch


def drained_to(listeners: list[bytes]) -> str:
    """The target that the listener of s2 tells."""
    (found,) = (each for each in map(Listener.FromString, listeners) if each.name == "s2")
    return str(found.filter_chains[0].metadata.filter_metadata[DRAIN_METADATA][CLUSTER])


def test_over_files_the_listener_follows_the_endpoints_a_second_later(
    store: Remote, root: Path, clock: Clock, switch: Callable[[str], None]
) -> None:
    node, lds = Node(store, root, clock), root / WHERE / "lds.pb"
    # An Envoy that has nothing waits for nothing.
    assert node.turn() == ["write s2", "write s3", "write cds.pb", "write lds.pb"]
    assert drained_to(resources(lds)) == "s2.default.dc1"
    switch("dc2")
    assert node.turn() == ["write s2"]
    assert (serving(root / WHERE), drained_to(resources(lds))) == ("dc2", "s2.default.dc1")
    assert node.turn(after=SETTLE_S / 2) == []
    assert node.turn(after=SETTLE_S) == ["write lds.pb"]
    assert drained_to(resources(lds)) == "s2.default.dc2"
    # A new adapter writes nothing; one that comes after a switch it did not see, in the same order.
    node = Node(store, root, clock)
    assert node.turn() == []
    switch("dc3")
    node = Node(store, root, clock)
    assert node.turn() == ["write s2"]
    assert node.turn(after=SETTLE_S) == ["write lds.pb"]


def test_where_the_new_target_s_gateway_has_a_host_name_the_listener_waits_for_dns(
    store: Remote, root: Path, clock: Clock, publisher: Publisher, switch: Callable[[str], None]
) -> None:
    node = Node(store, root, clock)
    node.turn()
    follower = Follower(store, [S1], clock=clock)
    follower.refresh()
    talking = Talking(follower, {})
    while talking.hear():
        pass
    publisher.head(sidecar_plan(), content(["dc2"], named=["dc2"]))
    assert node.turn() == ["write cds.pb"]
    assert node.turn(after=SETTLE_S) == ["write lds.pb"]
    follower.refresh()
    assert talking.hear() == [("clusters", ["s2"])]
    talking.now += RESOLVE_S
    assert talking.hear() == [("listeners", ["s2"])]


def test_over_http_the_listener_follows_when_every_envoy_has_polled(
    store: Remote, clock: Clock, switch: Callable[[str], None]
) -> None:
    follower = Follower(store, [S1], clock=clock)
    follower.refresh()

    def told(book: AnswerBook) -> Answers:
        found = book.answers(S1, NEW)
        assert found is not None
        return found

    book = AnswerBook(follower, REST, clock=clock, settle=1.5, polled=POLLED_S)
    first = told(book)
    switch("dc2")
    follower.refresh()
    now = told(book)
    assert now.endpoints.keys() == first.endpoints.keys()
    assert [each for each in now.endpoints if now.endpoints[each] is not first.endpoints[each]] == [
        now.parts[f"{CLUSTER}.internal.mesh.example"].of.place
    ]
    assert now.listeners is first.listeners
    clock.now += 1.5 + POLLED_S - 0.1
    assert told(book).listeners is first.listeners
    clock.now += 0.1
    last = told(book)
    assert _drained(last.listeners) == "s2.default.dc2"
    assert last.listeners.stands(first.listeners.version) is Standing.NEWER
    assert not book.unsettled
    # For another adapter it is the same, whatever became of it.
    again = told(AnswerBook(follower, REST, clock=clock))
    assert again.listeners.stands(last.listeners.version) is Standing.SAME


def test_an_adapter_over_http_that_did_not_see_the_switch_waits_until_every_envoy_has_polled(
    store: Remote, tmp_path: Path, switch: Callable[[str], None]
) -> None:
    at, options = f"unix:{tmp_path / 'sock'}", {"settle": 0.5, "refresh_delay_ms": 250}
    envoy = Envoy(tmp_path / "sock")
    with Adapter(store, at, **options):
        before = envoy.ask("listeners")
    switch("dc2")
    began = time.perf_counter()
    with Adapter(store, at, **options):
        # What has nothing to end waits for nothing: an Envoy that starts, and other kinds.
        waiting = envoy.asking("listeners", before.version)
        assert envoy.ask("clusters").status == 200
        assert envoy.ask("listeners").json != before.json
        after = waiting()
        assert after.status == 200
        assert after.json["version_info"] != before.version
        assert time.perf_counter() - began >= 0.5 + 2 * 0.25


class Talking:
    """An Envoy's stream at an adapter that follows the store with `follower`. `versions` are what the Envoy has."""

    def __init__(self, follower: Follower, versions: dict[ResourceKind, dict[str, str]]) -> None:
        self.follower, self.versions, self.now = follower, versions, 0.0
        self.conversation = DeltaConversation(0.0)
        self._shelf = Shelf(follower)
        for kind in ResourceKind:
            names = self._made.of[kind] if kind is ResourceKind.ENDPOINTS else ()
            request = DeltaDiscoveryRequest(type_url=kind.value, resource_names_subscribe=names)
            request.initial_resource_versions.update(versions.get(kind, {}))
            self.conversation.receive(request, 0.0)

    @property
    def _made(self) -> Resources:
        made = self._shelf.resources(S1, NEW)
        assert made is not None
        return made

    def hear(self) -> list[tuple[str, list[str]]]:
        """What is sent now: the kind of each response, and the services in it. All is accepted."""
        out = []
        for each in self.conversation.advance(self._made, self.now):
            response = DeltaDiscoveryResponse.FromString(each.data)
            out.append((each.kind.label, [one.name.partition(".")[0] for one in response.resources]))
            self.versions.setdefault(each.kind, {}).update({one.name: one.version for one in response.resources})
            accepted = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
            self.conversation.receive(accepted, 0.0)
        return out

    def look_in_the_store(self) -> list[tuple[str, list[str]]]:
        """Have the adapter read what its Envoy is ahead of: what is sent then."""
        ahead = Ahead(self.follower, S1, "s1-1", lambda: None)
        assert not ahead.see_to(self.conversation, self._made)
        self.follower.confirm(lambda changed: None)
        heard = self.hear()
        # What the store has is what the Envoy has: nothing goes back.
        assert not ahead.see_to(self.conversation, self._made)
        return heard


def test_over_grpc_the_listener_follows_on_the_same_stream(
    store: Remote, clock: Clock, switch: Callable[[str], None]
) -> None:
    followers = [Follower(store, [S1], clock=clock) for _ in range(3)]
    for each in followers:
        each.refresh()
    first, behind, other = followers
    talking = Talking(first, {})
    while talking.hear():
        pass
    before = Version.read(talking.versions[ResourceKind.LISTENERS]["s2"])
    switch("dc2")
    first.refresh()
    assert talking.hear() == [("endpoints", ["s2"]), ("listeners", ["s2"])]
    after = Version.read(talking.versions[ResourceKind.LISTENERS]["s2"])
    assert before is not None
    assert after is not None
    assert after.order > before.order
    # Another adapter, to which the Envoy tells what it has, has nothing to say.
    other.refresh()
    again = Talking(other, talking.versions)
    assert (again.hear(), again.conversation.ahead) == ([], {})
    # One that did not notice the switch takes nothing back: it reads that cluster from the store.
    stale = Talking(behind, {ResourceKind.LISTENERS: talking.versions[ResourceKind.LISTENERS]})
    assert [kind for kind, _ in stale.hear()] == ["clusters", "endpoints"]
    assert stale.hear() == []
    assert stale.conversation.ahead == {ResourceKind.LISTENERS: {"s2"}}
    assert stale.look_in_the_store() == [("endpoints", ["s2"])]
    assert stale.versions[ResourceKind.LISTENERS] == talking.versions[ResourceKind.LISTENERS]


def _drained(answer: Answer) -> str:
    return drained_to([each.serialized for each in answer.resources])


def test_the_function_holds_the_listener_back_until_every_envoy_has_polled(
    store: Remote, clock: Clock, publisher: Publisher, switch: Callable[[str], None]
) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)

    def ask(version: str = "", at: float = 0.0) -> Answer | None:
        function = Discovery(
            store, REST, settle=3.5, seconds=clock, clock=lambda: datetime.fromtimestamp(moment.timestamp() + at, UTC)
        )
        body = orjson.dumps({"node": {**NODE, "extensions": []}, "version_info": version})
        return function.answer(read_request(ResourceKind.LISTENERS, body)).answer

    first = ask()
    assert first is not None
    switch("dc2")  # published at this moment, as all that is published by hand
    assert ask(first.text, at=3.0) is None
    # An Envoy that starts has nothing to end.
    starting = ask(at=0.0)
    assert starting is not None
    assert _drained(starting) == "s2.default.dc2"
    later = ask(first.text, at=4.0)
    assert later is not None
    assert _drained(later) == "s2.default.dc2"
    assert ask(later.text, at=4.0) is None
    # Other endpoints of the target that serves change nothing.
    publisher.head(sidecar_plan(), replace(content(["dc2", "dc3"]), sentence="the same"))
    assert ask(later.text, at=10.0) is None
