"""Orders: what an operator says counts from the write that begins it to the write that ends it."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial

import pytest
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from pointsman.model.errors import InvalidInput
from pointsman.model.names import ServiceName
from pointsman.model.orders import Subject, Verb, Wish
from pointsman.pipeline import give as giving
from pointsman.pipeline.give import Given, Refused, end, end_orders_due, give
from pointsman.pipeline.orders import read_orders_object
from pointsman.pipeline.reconcile import reconcile
from pointsman.pipeline.retention import SLACK, Keep, Retention
from pointsman.store import keys
from pointsman.store.protocol import StoreUnavailable
from pointsman.xds.snapshot import Snapshot

from tests.pipeline.memory import Crash
from tests.pipeline.meshes import (
    BEGINNING,
    event,
    gateway,
    gateway_instance,
    instance,
    proxy_defaults,
    resolver,
    sidecar,
)
from tests.pipeline.place import Place, Writer

DATACENTERS = ("dc1", "dc2", "dc3")
WEB = "dc1/sidecar/web.default.dc1"
API = "dc1/sidecar/api.default.dc1"
WEB_NAME, API_NAME = ServiceName("default", "web"), ServiceName("default", "api")
DRAIN = Subject(Verb.DRAIN, "dc1")


class Mesh(Place):
    """The sidecars of dc1 and dc2 use web and api, which serve where they are used, and fail over to the two other
    datacenters, through gateways; everything is well, except that api runs in dc1 and dc2 alone."""

    def __init__(self) -> None:
        super().__init__()
        failover = {"*": {"Datacenters": list(DATACENTERS)}}
        self.configure(
            proxy_defaults(mode="remote"),
            resolver("web", Failover=failover),
            resolver("api", Failover=failover),
            sidecar("client", "web", "api"),
            sidecar("client", "web", "api", dc="dc2"),
            *(gateway(dc) for dc in DATACENTERS),
        )
        self.index = 10
        for dc in DATACENTERS:
            self.say("web", dc)
            self.ingest(event(None, 1, [gateway_instance()], dc=dc))
        self.say("api", "dc1")
        self.say("api", "dc2")
        self.forget_the_past()

    def say(self, service: str, dc: str, status: str = "passing", writer: Writer | None = None) -> None:
        """A service has two instances in a datacenter, in this state."""
        self.index += 1
        places = [f"10.{dc[-1]}.0.{number}" for number in (1, 2)]
        running = [instance(service, number, status, address=place) for number, place in enumerate(places, 1)]
        (writer or self).ingest(event(service, self.index, running, dc=dc))

    def give(self, subject: Subject, hours: float = 2, *, force: bool = False, writer: Writer | None = None) -> Given:
        """Give an order that ends after so many hours."""
        return give((writer or self).engine, self.wish(subject, hours), force=force)

    def wish(self, subject: Subject, hours: float = 2) -> Wish:
        """An order of somebody."""
        return Wish(subject, self.later(hours), "maintenance", "alice@laptop")

    def later(self, hours: float) -> str:
        """The time in so many hours."""
        then = datetime.fromisoformat(self.engine.now()) + timedelta(hours=hours)
        return then.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    @property
    def in_force(self) -> list[str]:
        """The ids of the orders in force, as they began."""
        return [each.id for each in read_orders_object(self.objects.objects.get(keys.ORDERS)).orders]

    def serves(self, key: str = WEB) -> str:
        """The datacenter that the traffic of a cluster goes to."""
        return self.head(key).content.active.split(".")[2]


def test_a_drained_datacenter_is_left_at_once_and_taken_again_when_the_order_ends() -> None:
    mesh = Mesh()
    done = mesh.give(DRAIN)
    assert (mesh.serves(), mesh.serves(API)) == ("dc2", "dc2")
    assert mesh.serves("dc2/sidecar/web.default.dc2") == "dc2", "what does not lead there stays"
    assert done.order.id == "d-1"
    moved = {(each.cluster, each.datacenter, each.before, each.after) for each in done.evaluation.moves}
    assert moved == {
        ("web.default.dc1", "dc1", "web.default.dc1", "web.default.dc2"),
        ("api.default.dc1", "dc1", "api.default.dc1", "api.default.dc2"),
    }
    assert all((each.weight_before, each.weight_after) == (2, 2) for each in done.evaluation.moves)
    assert {key for key, _ in mesh.told} >= {WEB, API}, "notices went out before the command answers"
    text = mesh.head(WEB).content.sentence
    assert text.startswith("dc1: 2 of 2 healthy, but it is drained by order d-1 until 2023-11-1")
    assert "(maintenance); dc2: first with a healthy instance" in text

    mesh.say("web", "dc1")
    assert mesh.serves() == "dc2", "an event changes nothing of it"
    end(mesh.engine, "d-1", "bob@laptop")
    assert (mesh.serves(), mesh.serves(API), mesh.in_force) == ("dc1", "dc1", [])
    assert mesh.promises.broken == []


def test_a_drain_that_would_leave_somebody_without_a_healthy_target_is_refused_with_who_it_is() -> None:
    mesh = Mesh()
    mesh.say("api", "dc2", "critical")
    with pytest.raises(Refused) as refused:
        mesh.give(DRAIN)
    assert [str(each) for each in refused.value.problems] == [
        f"drain dc1: api.default.{dc} as {dc} sees it: no healthy target would be left that is not drained"
        for dc in ("dc1", "dc2")
    ]
    assert (mesh.serves(), mesh.in_force) == ("dc1", []), "nothing was changed"
    done = mesh.give(DRAIN, force=True)
    assert done.order.forced
    assert (mesh.serves(), mesh.serves(API)) == ("dc2", "dc1"), "what is healthy serves, drained or not"
    assert mesh.head(API).content.sentence == (
        f"dc1: 2 of 2 healthy, but it is drained by {done.order}; no healthy target is left that is not drained"
    )
    assert not mesh.give(Subject(Verb.DRAIN, "dc3"), force=True).order.forced, "nothing had to be forced"


def test_a_service_is_drained_in_one_datacenter_and_pinned_to_another_for_whom_the_order_says() -> None:
    mesh = Mesh()
    mesh.give(Subject(Verb.DRAIN, "dc1", WEB_NAME))
    assert (mesh.serves(), mesh.serves(API)) == ("dc2", "dc1")
    mesh.give(Subject(Verb.PIN, "dc3", WEB_NAME, "dc1"))
    assert (mesh.serves(), mesh.serves("dc2/sidecar/web.default.dc2")) == ("dc3", "dc2")
    assert "; dc3: pinned by order p-2 until" in mesh.head(WEB).content.sentence
    mesh.give(Subject(Verb.PIN, "dc3", WEB_NAME))
    assert mesh.serves("dc2/sidecar/web.default.dc2") == "dc3"
    mesh.say("web", "dc3", "critical")
    assert (mesh.serves(), mesh.serves("dc2/sidecar/web.default.dc2")) == ("dc2", "dc2"), "a pin is no reason to fail"
    assert "dc3: pinned by order p-3" in mesh.head(WEB).content.sentence
    mesh.say("web", "dc3")
    assert mesh.serves() == "dc3"


def test_of_several_pins_the_one_given_last_counts_and_where_it_ends_the_one_before() -> None:
    mesh = Mesh()
    mesh.give(Subject(Verb.PIN, "dc2", WEB_NAME))
    mesh.give(Subject(Verb.PIN, "dc3", WEB_NAME, "dc1"))
    assert mesh.serves() == "dc3"
    mesh.give(Subject(Verb.PIN, "dc2", WEB_NAME), hours=3)
    assert mesh.serves() == "dc2", "it was given again"
    assert mesh.in_force == ["p-2", "p-1"]
    end(mesh.engine, "p-1", "bob")
    assert mesh.serves() == "dc3"
    mesh.give(Subject(Verb.PIN, "dc2", WEB_NAME, "dc1"))
    assert (mesh.serves(), mesh.in_force) == ("dc2", ["p-5"]), "a pin takes the place of one to another datacenter"


@pytest.mark.parametrize(
    ("before", "subject", "reason"),
    [
        (
            [DRAIN],
            Subject(Verb.PIN, "dc1", WEB_NAME, "dc1"),
            "web.default.dc1 as dc1 sees it: web.default.dc1: it is drained by order d-1",
        ),
        ([], Subject(Verb.PIN, "dc3", API_NAME, "dc2"), "api.default.dc3: it has no healthy instance"),
        ([], Subject(Verb.PIN, "dc9", WEB_NAME), "web.default.dc2 as dc2 sees it: it has no target in dc9"),
        ([], Subject(Verb.DRAIN, "dc9"), "drain dc9: no registered sidecar has a cluster that this is about"),
        ([], Subject(Verb.FREEZE, service=ServiceName("default", "db")), "no registered sidecar has a cluster"),
        (
            [Subject(Verb.DRAIN, "dc2", API_NAME)],
            DRAIN,
            "api.default.dc1 as dc1 sees it: no healthy target would be left that is not drained; "
            "api.default.dc2 is drained by order d-1 until",
        ),
    ],
    ids=lambda each: str(each) if isinstance(each, Subject) else None,
)
def test_an_order_without_effect_is_refused_with_what_outranks_it(
    before: list[Subject], subject: Subject, reason: str
) -> None:
    mesh = Mesh()
    for each in before:
        mesh.give(each, force=True)
    with pytest.raises(Refused) as refused:
        mesh.give(subject)
    assert reason in str(refused.value)


def test_what_serves_when_a_freeze_begins_goes_on_serving_until_it_ends() -> None:
    mesh = Mesh()
    mesh.say("web", "dc1", "critical")
    mesh.give(Subject(Verb.FREEZE))
    mesh.say("web", "dc1")
    assert (mesh.serves(), mesh.serves(API)) == ("dc2", "dc1")
    assert "dc2: frozen by order f-1" in mesh.head(WEB).content.sentence
    mesh.say("api", "dc1", "critical")
    assert mesh.serves(API) == "dc2", "a freeze is no reason to fail"
    mesh.say("api", "dc1")
    assert mesh.serves(API) == "dc1"
    mesh.give(Subject(Verb.PIN, "dc3", WEB_NAME))
    assert mesh.serves() == "dc3", "what was ordered later counts"
    end(mesh.engine, "f-1", "bob")
    end(mesh.engine, "p-2", "bob")
    assert mesh.serves() == "dc1"
    assert mesh.promises.broken == []


def test_only_plans_that_an_order_is_about_get_another_provenance() -> None:
    mesh = Mesh()
    before = {key: mesh.head(key) for key in (WEB, API, "dc2/sidecar/web.default.dc2")}
    mesh.give(Subject(Verb.DRAIN, "dc3", API_NAME))
    mesh.give(Subject(Verb.PIN, "dc2", API_NAME, "dc2"))
    reconcile(mesh.engine)
    assert mesh.head(WEB) == before[WEB]
    assert mesh.head("dc2/sidecar/web.default.dc2") == before["dc2/sidecar/web.default.dc2"]
    after = orders_in(mesh.head(API))
    assert after == {"orders/drain/dc3/default/api": 1}
    assert mesh.head(API).version == before[API].version, "another provenance, the same version"
    end(mesh.engine, "d-1", "bob")
    assert orders_in(mesh.head(API)) == {"orders/drain/dc3/default/api": 3}


def orders_in(snapshot: Snapshot) -> Mapping[str, int]:
    """What the provenance of a snapshot has of orders."""
    return {key: each for key, each in snapshot.provenance.catalog.items() if key.startswith("orders/")}


def test_an_order_is_in_force_until_it_is_written_that_its_end_has_come() -> None:
    mesh = Mesh()
    mesh.give(DRAIN, hours=0.01)
    while not read_orders_object(mesh.objects.objects[keys.ORDERS]).orders.due(mesh.engine.now()):
        pass
    mesh.say("web", "dc1")
    assert mesh.serves() == "dc2", "nobody has written that it is over"
    late = mesh.another()
    done = end_orders_due(late.engine)
    assert [each.id for each in done.orders] == ["d-1"]
    assert (mesh.serves(), mesh.in_force) == ("dc1", [])
    assert {key for key, _ in late.told} >= {WEB, API}
    assert end_orders_due(late.engine).orders == ()


def test_a_reconcile_ends_what_is_due_before_it_computes_anything() -> None:
    mesh = Mesh()
    mesh.give(DRAIN, hours=0.01)
    while not read_orders_object(mesh.objects.objects[keys.ORDERS]).orders.due(mesh.engine.now()):
        pass
    writer = mesh.another()
    reconcile(writer.engine)
    assert writer.writes()[0] == keys.ORDERS
    assert (mesh.serves(), mesh.in_force) == ("dc1", [])


def test_who_dies_after_an_order_is_written_has_it_settled_by_the_next_reconcile() -> None:
    for what in ("begin", "end"):
        mesh = Mesh()
        if what == "end":
            mesh.give(DRAIN)
        writer = mesh.another()
        writer.crash("put", keys.ORDERS, "after")
        begin, finish = partial(mesh.give, DRAIN, writer=writer), partial(end, writer.engine, "d-1", "bob")
        with pytest.raises(Crash):
            (begin if what == "begin" else finish)()
        assert mesh.serves() == ("dc1" if what == "begin" else "dc2"), "nothing is settled yet"
        reconcile(mesh.another().engine)
        assert mesh.serves() == ("dc2" if what == "begin" else "dc1")
    assert mesh.promises.broken == []


def test_ending_an_order_again_settles_what_the_one_before_did_not() -> None:
    mesh = Mesh()
    mesh.give(DRAIN)
    writer = mesh.another()
    writer.crash("put", keys.ORDERS, "after")
    with pytest.raises(Crash):
        end(writer.engine, "d-1", "bob")
    assert end(mesh.another().engine, "d-1", "bob").orders == ()
    assert mesh.serves() == "dc1"
    with pytest.raises(InvalidInput, match="order d-9: is not there; in force: none"):
        end(mesh.engine, "d-9", "bob")


def test_an_order_is_weighed_again_where_another_one_was_faster() -> None:
    mesh = Mesh()
    writer = mesh.another()
    writer.once("put", keys.ORDERS, "before", lambda: mesh.give(Subject(Verb.DRAIN, "dc2", API_NAME)))
    with pytest.raises(Refused, match=r"api\.default\.dc2 is drained by order d-1"):
        mesh.give(DRAIN, writer=writer)
    assert mesh.in_force == ["d-1"]


def test_an_event_that_has_read_the_orders_before_one_begins_does_not_undo_it() -> None:
    mesh = Mesh()
    writer = mesh.another()
    writer.once("put", "snapshots/" + WEB, "before", lambda: mesh.give(DRAIN))
    mesh.say("web", "dc1", "warning", writer=writer)
    mesh.say("web", "dc3", "warning", writer=writer)
    assert mesh.serves() == "dc2"
    assert mesh.promises.broken == []


def test_orders_that_lie_damaged_count_as_lost_and_are_written_anew() -> None:
    mesh = Mesh()
    mesh.give(DRAIN)
    mesh.objects.damage(keys.ORDERS, b"no JSON")
    mesh.objects.watchers.clear()
    mesh.say("web", "dc2", "critical")
    assert mesh.serves() == "dc2", "who cannot read the orders changes nothing"
    done = reconcile(mesh.another().engine)
    assert done.failed == ()
    assert (mesh.serves(), mesh.in_force) == ("dc1", [])
    mesh.give(Subject(Verb.DRAIN, "dc2"), force=True)
    assert len(mesh.in_force) == 1


def test_a_dry_run_says_what_would_move_and_writes_nothing() -> None:
    mesh = Mesh()
    for subject in (DRAIN, Subject(Verb.FREEZE)):
        done = give(mesh.engine, mesh.wish(subject), dry_run=True)
        assert len(done.evaluation.moves) == (2 if subject is DRAIN else 0)
    assert mesh.writes() == []
    assert keys.ORDERS not in mesh.objects.objects


def test_a_refusal_names_so_many_and_counts_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(giving, "MOST_OBJECTIONS", 1)
    mesh = Mesh()
    mesh.say("web", "dc2", "critical")
    mesh.say("web", "dc3", "critical")
    mesh.say("api", "dc2", "critical")
    with pytest.raises(Refused) as refused:
        mesh.give(DRAIN)
    assert [each.reason for each in refused.value.problems] == [
        "no healthy target would be left that is not drained",
        "3 more clusters are like these",
    ]


def test_with_tiers_envoy_gets_the_drained_ones_last_and_the_pinned_one_first() -> None:
    mesh = Mesh()
    mesh.configure(proxy_defaults(mode="none"))
    mesh.give(Subject(Verb.DRAIN, "dc1", WEB_NAME))
    assert mesh.serves() == "dc2"
    assert tiers(mesh) == ["dc2", "dc3", "dc1"]
    mesh.give(Subject(Verb.PIN, "dc3", WEB_NAME))
    assert tiers(mesh) == ["dc3", "dc2", "dc1"]
    assert mesh.serves() == "dc3"


def tiers(mesh: Mesh) -> list[str]:
    """The datacenters of web's tiers, in the order in which Envoy uses them."""
    load = ClusterLoadAssignment.FromString(mesh.head(WEB).content.assignment)
    places = [group.lb_endpoints[0].endpoint.address.socket_address.address for group in load.endpoints]
    return [f"dc{place.split('.')[1]}" for place in places]


def test_what_a_freeze_keeps_is_there_until_it_ends_and_then_removed() -> None:
    mesh = Mesh()
    order = mesh.give(Subject(Verb.FREEZE)).order
    frozen = keys.config_object(order.frozen)
    keeper = Retention(mesh.engine, generations=Keep(1, 1, 0), clock=lambda: mesh.objects.now, pause=lambda _: None)

    def pass_days() -> None:
        mesh.objects.now += 86400 * 2
        for seconds in range(1, SLACK + 2):
            mesh.configure(resolver("db", ConnectTimeout=f"{seconds}s"))
        mesh.objects.now += 86400
        keeper.run()

    pass_days()
    assert frozen in mesh.objects.objects
    mesh.say("web", "dc1", "critical", writer=mesh.another())
    assert mesh.serves() == "dc2"
    end(mesh.engine, "f-1", "bob")
    pass_days()
    assert frozen not in mesh.objects.objects
    assert mesh.promises.broken == []


def test_a_store_that_is_away_while_a_freeze_is_read_is_no_failure_of_a_cluster() -> None:
    mesh = Mesh()
    order = mesh.give(Subject(Verb.FREEZE)).order
    writer = mesh.another()

    def away() -> None:
        raise StoreUnavailable("the store is away")

    writer.once("get", keys.config_object(order.frozen), "before", away)
    with pytest.raises(StoreUnavailable):
        mesh.say("web", "dc1", "critical", writer=writer)


def test_what_serves_while_another_target_waits_is_what_an_order_is_weighed_with() -> None:
    mesh = Mesh()
    mesh.configure({"Kind": "failover-policy", "Name": "web", "FailbackAfter": "24h"})
    now = int(datetime.fromisoformat(mesh.engine.now()).timestamp()) - BEGINNING
    for index, status in enumerate(("critical", "passing"), 100):
        mesh.ingest(event("web", index, [instance("web", 1, status, address="10.1.0.1")], at=now))
    assert mesh.serves() == "dc2", "dc1 has to be well for longer first"
    mesh.give(Subject(Verb.FREEZE, service=WEB_NAME), hours=2)
    assert mesh.serves() == "dc2"
    end(mesh.engine, "f-1", "bob")
    (effect,) = mesh.give(Subject(Verb.DRAIN, "dc2", WEB_NAME)).evaluation.moves[:1]
    assert (effect.datacenter, effect.before, effect.after) == ("dc1", "web.default.dc2", "web.default.dc3")
    assert mesh.serves() == "dc3"


def test_orders_of_a_copy_that_is_put_back_are_in_force_again_and_can_be_ended() -> None:
    mesh = Mesh()
    mesh.give(DRAIN)
    copy = mesh.objects.objects[keys.ORDERS].data
    end(mesh.engine, "d-1", "bob")
    mesh.give(Subject(Verb.PIN, "dc3", WEB_NAME))
    mesh.objects.watchers.clear()
    mesh.objects.restore(keys.ORDERS, copy)
    done = reconcile(mesh.another().engine)
    assert done.failed == ()
    assert "the store went back" in done.warnings[0]
    assert (mesh.serves(), mesh.in_force) == ("dc2", ["d-1"])
    end(mesh.another().engine, "d-1", "bob")
    assert mesh.serves() == "dc1"
