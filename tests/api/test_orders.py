"""Orders and sources over the API, as each server that has it answers."""

from dataclasses import replace

import pytest
from pointsman.api.request import Api
from pointsman.model.grants import EVERYTHING, Grant, Role
from pointsman.model.wishes import MOST_BYTES

from tests.api.test_config import ask
from tests.pipeline.meshes import event, instance, resolver, sidecar
from tests.pipeline.place import Place

DRAIN = {"verb": "drain", "datacenter": "dc1", "for": "2h", "reason": "new kernel"}


@pytest.fixture
def place() -> Place:
    """s1 calls s2, which is well in dc1 and dc2."""
    place = Place()
    place.configure(resolver("s2", Failover={"*": {"Datacenters": ["dc2"]}}), sidecar("s1", "s2"))
    for dc in ("dc1", "dc2"):
        place.ingest(event("s2", 1, [instance("s2")], dc=dc, source=f"agent/{dc}"))
    return place


def test_an_order_is_given_tried_refused_and_ended(place: Place) -> None:
    woken: list[int] = []
    api = Api(place.engine, ordered=lambda: woken.append(1))
    ops = replace(EVERYTHING, who='the token "ops"', name="ops")
    tried = ask(api, "POST", "/v1/orders?dry_run=1&by=ann", DRAIN)
    assert (tried.status, tried.body["order"]["by"], tried.body["moved"]) == (200, "ann", 0)
    assert [(each["before"], each["after"]) for each in tried.body["effects"]] == [("s2.default.dc1", "s2.default.dc2")]
    assert (ask(api, "GET", "/v1/orders").body["in_force"], woken) == ([], [])

    given = ask(api, "POST", "/v1/orders?by=ann", DRAIN, ops)
    assert (given.body["order"]["by"], given.body["moved"], woken) == ("ops", 1, [1])
    assert ask(api, "GET", "/v1/orders").body["in_force"] == [given.body["order"]]
    everywhere = {**DRAIN, "datacenter": "dc2"}
    refused = ask(api, "POST", "/v1/orders", everywhere)
    assert (refused.status, len(refused.body["problems"]), len(refused.body["effects"])) == (409, 1, 1)
    assert ask(api, "POST", "/v1/orders?force=1", everywhere).body["order"]["forced"]

    id_ = given.body["order"]["id"]
    assert ask(api, "POST", f"/v1/orders/{id_}/end", None, ops).body == {
        "id": id_,
        "ended": True,
        "moved": 0,
        "failed": [],
    }
    assert not ask(api, "POST", f"/v1/orders/{id_}/end").body["ended"], "it had ended before"
    assert ask(api, "POST", "/v1/orders/d-99/end").status == 404
    assert ask(api, "GET", "/v1/orders").body["ended"][0]["ended_by"] == "ops"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"verb": "stop"}, 'verb: "stop" is none of drain, pin, freeze'),
        ({"datacenter": None}, "datacenter: is required to drain"),
        ({"datacenter": 5}, "datacenter: 5 is not a text"),
        ({"datacenter": "DC1"}, '"DC1" is not a lower-case DNS label'),
        ({"service": "a/b/c"}, "is neither NAME nor NAMESPACE/NAME"),
        ({"caller": "dc2"}, "caller: has no meaning to drain"),
        ({"verb": "pin"}, "service: is required to pin"),
        ({"verb": "freeze"}, "datacenter: has no meaning to freeze"),
        ({"for": None}, "give an end"),
        ({"until": "2026-11-27T14:00:00Z"}, "give an end"),
        ({"for": None, "until": "2026-11-27T14:00:00"}, "has no time zone"),
        ({"for": None, "until": "soon"}, "is not a time"),
        ({"for": "31d"}, "for: "),
        ({"for": "9999h"}, "is more than 30 days away"),
        ({"reason": ""}, "reason: is required"),
        ({"reasons": "x"}, '"reasons": is no field of an order'),
    ],
)
def test_what_is_no_order_is_refused_with_the_field(place: Place, change: dict[str, object], said: str) -> None:
    refused = ask(Api(place.engine), "POST", "/v1/orders", {**DRAIN, **change})
    assert refused.status == 400
    assert said in refused.body["error"]


def test_an_order_has_a_size_and_is_an_object(place: Place) -> None:
    api = Api(place.engine)
    assert ask(api, "POST", "/v1/orders", [DRAIN]).status == 400
    assert ask(api, "POST", "/v1/orders", b" " * MOST_BYTES + b"{}").status == 413
    assert ask(api, "POST", "/v1/orders", b"{}" + b" " * (MOST_BYTES - 2)).status == 400


def test_sources_are_shown_and_forgotten(place: Place) -> None:
    api = Api(place.engine)
    shown = ask(api, "GET", "/v1/sources?dc=dc1").body
    assert [(each["source"], each["instances"]) for each in shown] == [("agent/dc1", 1)]
    tried = ask(api, "DELETE", "/v1/sources/agent/dc1?dry_run=1").body
    assert (tried["catalogs"], tried["dry_run"], tried["moved"]) == ({"dc1/service/default/s2": 1}, True, [])
    assert ask(api, "GET", "/v1/sources?dc=dc1").body == shown
    assert ask(api, "DELETE", "/v1/sources/agent/dc1").body["moved"] == ["dc1/sidecar/s2.default.dc1"]
    assert ask(api, "DELETE", "/v1/sources/agent/dc1").status == 404
    place.ingest(event("s2", 2, [instance("s2")], dc="dc1", source="agent/dc2"))
    refused = ask(api, "DELETE", "/v1/sources/agent/dc2")
    assert (refused.status, "dc: is required: it tells of dc1, dc2" in refused.body["error"]) == (400, True)


def test_each_role_opens_its_routes_alone(place: Place) -> None:
    api = Api(place.engine)
    asked = {
        Role.READ: ("GET", "/v1/orders", None),
        Role.REPORT: ("POST", "/v1/events", {"Source": "x", "Index": 1, "Datacenter": "dc9", "Instances": []}),
        Role.REGISTER: ("PUT", "/v1/config?dry_run=1&owner=agent", [sidecar("s3")]),
        Role.ORDER: ("POST", "/v1/orders?dry_run=1", DRAIN),
        Role.CONFIGURE: ("DELETE", "/v1/sources/agent/dc1?dry_run=1", None),
    }
    for mine in Role:
        grant = Grant(frozenset((mine,)), 'the token "t"', "t")
        for role, (method, url, body) in asked.items():
            opens = role is mine or (role, mine) == (Role.REGISTER, Role.CONFIGURE)
            done = ask(api, method, url, body, grant)
            assert (done.status == 403) is not opens, (mine, role, done)
