"""What would happen, over the API."""

import pytest
from pointsman.api.request import Api
from pointsman.api.what_if import MOST_DOWN
from pointsman.model.grants import Grant, Role
from pointsman.model.orders import MOST_IN_FORCE

from tests.api.test_config import ask
from tests.pipeline.meshes import event, instance, resolver, sidecar
from tests.pipeline.place import Place


@pytest.fixture
def api() -> Api:
    """Of a store in which dc1 uses web, which runs in dc1 and dc2."""
    place = Place()
    place.configure(resolver("web", Failover={"*": {"Datacenters": ["dc2"]}}), sidecar("client", "web"))
    for index, dc in enumerate(("dc1", "dc2"), 1):
        place.ingest(event("web", index, [instance("web")], dc=dc))
    return Api(place.engine)


def test_who_may_read_may_ask_what_would_happen_and_nothing_happens(api: Api) -> None:
    reader = Grant(frozenset([Role.READ]), "the reader")
    found = ask(api, "GET", "/v1/whatif?down=dc1/web,dc2/web&orders=drain%20dc2", grant=reader)
    assert (found.status, found.body["result"]) == (200, "nowhere")
    assert (found.body["down"], found.body["orders"]) == (["dc1/web", "dc2/web"], ["drain dc2"])
    body = {"down": ["dc1/web"], "documents": [resolver("web")]}
    found = ask(api, "POST", "/v1/whatif?prune=1", body, grant=reader)
    assert (found.status, [each["what"] for each in found.body["documents"]]) == (200, ["changed", "gone"])
    assert ask(api, "GET", "/v1/config").body[0]["Failover"]
    assert ask(api, "POST", "/v1/whatif", body, grant=Grant(frozenset([Role.CONFIGURE]), "w")).status == 403


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "is nothing: say what is down, which order is given, or other config"),
        ([], "not an object with down, orders, documents"),
        ({"dwon": ["dc1"]}, '"dwon": is no field; there are down, orders, documents'),
        ({"down": "dc1"}, 'down: is "dc1", not a list of texts'),
        ({"documents": ["x"]}, "not a list of documents"),
        ({"down": ["a/b/c/d"]}, '"a/b/c/d" is no datacenter and no service in one'),
        ({"down": ["dc1"] * (MOST_DOWN + 1)}, f"has {MOST_DOWN + 1} names, {MOST_DOWN} are the most"),
        ({"orders": ["drain dc1"] * (MOST_IN_FORCE + 1)}, f"{MOST_IN_FORCE} are the most"),
        ({"orders": ["end"]}, '"end" is none; write one as "drain dc1"'),
        ({"orders": ["pin web to DC3"]}, '"DC3" is not a lower-case DNS label'),
        ({"documents": [{"Kind": "x"}]}, '"x" is not a kind'),
    ],
)
def test_what_cannot_be_supposed_is_refused(api: Api, body: object, reason: str) -> None:
    found = ask(api, "POST", "/v1/whatif", body)
    assert (found.status, reason in found.body["error"]) == (400, True), found.body


def test_a_prune_takes_the_right_to_configure_and_a_generation_that_is_gone_is_a_conflict(api: Api) -> None:
    registers = Grant(frozenset([Role.REGISTER]), "the agent")
    assert ask(api, "PUT", "/v1/config?prune=1", [sidecar("client", "web")], grant=registers).status == 403
    assert ask(api, "PUT", "/v1/config?generation=7", [resolver("web")]).status == 409
    assert ask(api, "PUT", "/v1/config?generation=x", [resolver("web")]).status == 400
    generation = api.engine.root.generation
    done = ask(api, "PUT", f"/v1/config?prune=1&generation={generation}", [resolver("web")])
    assert (done.status, done.body["generation"]) == (200, generation + 1)
    assert [each["Name"] for each in ask(api, "GET", "/v1/config").body] == ["web"]
