"""Answers from the store alone, on a store that goes back: always what it has now, and never anything else."""

from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest
from pointsman.delivery.endpoint_source import over_rest
from pointsman.delivery.response import ResourceKind
from pointsman.discovery.memory import GAP_S
from pointsman.discovery.request import read_request
from pointsman.discovery.stateless import Discovery, Outcome
from pointsman.store import keys
from pointsman.store.protocol import Changes

from tests.adapter.doubles import Clock, Remote
from tests.adapter.node import MANIFEST, manifest
from tests.adapter.published import DATACENTERS, Publisher, content, sidecar_plan
from tests.adapter.rest import NODE

PLACE = "s2.default.dc1.internal.mesh.example"
HEAD = keys.snapshot(sidecar_plan().key)


class Function:
    """One process of the discovery function."""

    def __init__(self, store: Remote, clock: Clock) -> None:
        self._discovery = Discovery(store, over_rest("pointsman", 1000, 1000), settle=0.0, seconds=clock)

    def ask(self, kind: ResourceKind, version: str = "", name: str = "") -> Outcome:
        """What an Envoy is answered that has this version."""
        names = {"resource_names": [name]} if name else {}
        body = orjson.dumps({"node": {**NODE, "extensions": []}, "version_info": version, **names})
        return self._discovery.answer(read_request(kind, body))

    def endpoints(self, version: str = "") -> Outcome:
        """Those of s2."""
        (found,) = (
            each["eds_cluster_config"]["service_name"]
            for each in body(self.ask(ResourceKind.CLUSTERS))["resources"]
            if each["name"] == PLACE
        )
        return self.ask(ResourceKind.ENDPOINTS, version, found)


def body(outcome: Outcome) -> dict[str, list[dict[str, dict[str, str]]]]:
    """What is answered."""
    assert outcome.answer is not None
    found: dict[str, list[dict[str, dict[str, str]]]] = orjson.loads(outcome.answer.body)
    return found


def serves(outcome: Outcome) -> str:
    """The datacenter that endpoints send to; "" if there is no answer."""
    if outcome.answer is None:
        return ""
    text = outcome.answer.body
    return next(dc for dc, ip in DATACENTERS.items() if f'"address":"{ip}"'.encode() in text.replace(b" ", b""))


def version(outcome: Outcome) -> str:
    """What the Envoy says then that it has."""
    assert outcome.answer is not None
    return outcome.answer.text


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> Remote:
    """What publishes s2 and s3 for s1."""
    store = Remote(tmp_path / "store.db")
    publisher = Publisher(store)
    for service in ("s2", "s3"):
        publisher.head(sidecar_plan(service=service), content(service=service))
    publisher.manifest(MANIFEST, manifest("s2", "s3"))
    return store


@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize("kind", [ResourceKind.CLUSTERS, ResourceKind.LISTENERS, ResourceKind.ENDPOINTS])
def test_an_envoy_that_is_ahead_of_a_restored_store_gets_what_that_has(
    store: Remote, clock: Clock, kind: ResourceKind, warm: bool
) -> None:
    saved, publisher, function = store.backup(), Publisher(store), Function(store, clock)
    name = PLACE if kind is ResourceKind.ENDPOINTS else ""
    if name:
        name = body(function.ask(ResourceKind.CLUSTERS))["resources"][0]["eds_cluster_config"]["service_name"]
    before = function.ask(kind, name=name)
    for datacenter in ("dc2", "dc3", "dc2"):
        publisher.head(sidecar_plan(), content([datacenter]))
    publisher.head(sidecar_plan(service="s4"), content(service="s4"))
    publisher.manifest(MANIFEST, manifest("s2", "s4", generation=2))
    ahead = version(function.ask(kind, name=name))
    store.restore(saved)
    function = function if warm else Function(store, clock)
    found = function.ask(kind, ahead, name)
    assert body(found) == body(before)
    assert found.resets
    assert (found.ahead, found.unreachable) == (False, "")
    # From there on it goes as ever, also under numbers that were used before.
    assert function.ask(kind, version(found), name) == Outcome(None)
    publisher.head(sidecar_plan(), content(["dc3"]))
    if kind is ResourceKind.ENDPOINTS:
        assert serves(function.ask(kind, version(found), name)) == "dc3"


def test_however_many_are_ahead_a_key_is_read_past_its_etag_once_a_second(store: Remote, clock: Clock) -> None:
    saved, publisher, function = store.backup(), Publisher(store), Function(store, clock)
    publisher.head(sidecar_plan(), content(["dc2"]))
    ahead = version(function.endpoints())
    store.restore(saved)
    assert [serves(function.endpoints(ahead)) for _ in range(50)] == ["dc1"] * 50
    assert [each for each in store.confirmed if HEAD in each] == [{HEAD}]
    clock.now += GAP_S
    assert serves(function.endpoints(ahead)) == "dc1"
    assert len(store.confirmed) == 2


def test_what_somebody_took_away_is_answered_as_it_was_and_logged_once(
    store: Remote, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    function = Function(store, clock)
    before = function.endpoints()
    store.lost = {HEAD}
    assert [serves(function.endpoints()) for _ in range(3)] == [serves(before)] * 3
    assert function.endpoints(version(before)).answer is None
    assert [each.getMessage() for each in caplog.records] == [
        f"{HEAD} is not in the store any more; what was there before stays (1)"
    ]
    store.lost = set()
    Publisher(store).head(sidecar_plan(), content(["dc2"]))
    assert serves(function.endpoints()) == "dc2"


@pytest.mark.parametrize("kind", ["missing", "unfit", "away"])
def test_what_the_store_does_not_say_takes_nothing_back(store: Remote, clock: Clock, kind: str) -> None:
    function, behind = Function(store, clock), Function(store, clock)
    behind.endpoints()
    publisher = Publisher(store)
    publisher.head(sidecar_plan(), content(["dc2"]))
    name = body(function.ask(ResourceKind.CLUSTERS))["resources"][0]["eds_cluster_config"]["service_name"]
    ahead = version(function.endpoints())
    if kind == "missing":
        store.lost = {HEAD}
    elif kind == "unfit":
        publisher.garbage(HEAD, b"{}")
    else:
        store.leave()
    found = behind.ask(ResourceKind.ENDPOINTS, ahead, name)
    assert (found.answer, found.ahead, found.resets) == (None, True, ())
    assert bool(found.unreachable) is (kind == "away")


def test_an_etag_that_names_other_bytes_is_not_believed_where_an_envoy_knows_better(
    store: Remote, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, publisher, function = store.backup(), Publisher(store), Function(store, clock)
    publisher.head(sidecar_plan(), content(["dc2"]))
    assert serves(function.endpoints()) == "dc2"
    store.restore(saved)
    publisher.head(sidecar_plan(), content(["dc3"]))
    theirs = Function(store, clock).endpoints()
    before = store.changes

    def repeated(known: Mapping[str, str | None], cursor: str = "") -> Changes:
        found = before(known, cursor)
        return Changes([each for each in found.objects if known[each.key] is None], found.cursor)

    monkeypatch.setattr(store, "changes", repeated)
    # It has what the store has: no change, and from now on others get it as well.
    assert function.endpoints(version(theirs)).answer is None
    assert serves(function.endpoints()) == "dc3"
