"""What if: the answer is what happens when it is done."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from threading import Thread
from typing import Any

import pytest
from pointsman.failover.down import Down, read_down
from pointsman.model.differing import differing
from pointsman.model.errors import InvalidInput
from pointsman.model.names import ServiceName
from pointsman.model.orders import Subject, Verb, Wish
from pointsman.model.owner import AGENTS
from pointsman.pipeline import what_if_report
from pointsman.pipeline.configure import Batch, configure, parse_documents, planned
from pointsman.pipeline.difference import Difference, between, changes_in
from pointsman.pipeline.give import end, give
from pointsman.pipeline.lapses import lapse
from pointsman.pipeline.scope import Scope
from pointsman.pipeline.what_if import ONE_AT_A_TIME, Supposition, what_if
from pointsman.pipeline.what_if_report import what_if_json
from pointsman.store import keys

from tests.pipeline.meshes import (
    BEGINNING,
    Document,
    defaults,
    engine_on,
    event,
    gateway,
    gateway_instance,
    instance,
    intentions,
    policy,
    proxy_defaults,
    resolver,
    sidecar,
    splitter,
)
from tests.pipeline.place import Place

DATACENTERS = ("dc1", "dc2", "dc3")
WEB, API = ServiceName("default", "web"), ServiceName("default", "api")
EVERYWHERE: Document = {"*": {"Datacenters": list(DATACENTERS)}}


class Mesh(Place):
    """The sidecars of two services in dc1 and of one in dc2 use web, api and db.

    web is in all datacenters, with one more instance in each: two in dc2, three in dc3; api is in dc1 and dc2, and
    fails over to web; db is in dc1 alone. Everything is well.
    """

    def __init__(self, mode: str = "remote") -> None:
        super().__init__()
        self.index = 0
        self.configure(
            proxy_defaults(mode=mode),
            resolver("web", Failover=EVERYWHERE, Subsets={"v2": {"Filter": 'Service.Meta.version == "v2"'}}),
            resolver("api", Failover={"*": {"Targets": [{"Datacenter": "dc2"}, {"Service": "web"}]}}),
            sidecar("client", "web", "api", "db"),
            sidecar("other", "web"),
            sidecar("client", "web", "api", {"DestinationName": "db", "Datacenter": "dc1"}, dc="dc2"),
            *(gateway(dc) for dc in DATACENTERS),
        )
        self.running: dict[tuple[str | None, str], list[Document]] = {}
        for number, dc in enumerate(DATACENTERS, 1):
            self.run("web", dc, number)
            self.run(None, dc, 1)
        self.run("api", "dc1", 2)
        self.run("api", "dc2", 1)
        self.run("db", "dc1", 2)

    def run(self, service: str | None, dc: str, count: int, status: str = "passing", **more: Any) -> None:
        """A service (None: the gateways) has so many instances in a datacenter, in this state,."""
        self.index += 1
        numbers = range(1, count + 1)
        if service is None:
            instances = [gateway_instance(each, status) for each in numbers]
        else:
            instances = [instance(service, each, status, address=f"10.{dc[-1]}.0.{each}") for each in numbers]
        self.running[service, dc] = instances
        self.ingest(event(service, self.index, instances, dc=dc, **more))

    def fell(self, *down: str) -> None:
        """What is down really falls."""
        for text in down:
            for (service, dc), instances in list(self.running.items()):
                named = Down(dc, ServiceName("default", service)) if service else Down(dc)
                if read_down(text) in (Down(dc), named):
                    self.run(service, dc, len(instances), "critical")

    def give(self, subject: Subject) -> None:
        """An order is really given."""
        until = datetime.fromisoformat(self.engine.now()) + timedelta(hours=2)
        wish = Wish(subject, until.isoformat(timespec="milliseconds").replace("+00:00", "Z"), "why", "alice")
        give(self.engine, wish, force=True)

    def serving(self) -> dict[str, tuple[str, int]]:
        """By plan, the target that serves the sidecars, and how many of its instances are healthy."""
        heads = {key: self.head(key) for key in self._plans()}
        return {
            key: (head.content.active, next(t.healthy for t in head.content.targets if t.id == head.content.active))
            for key, head in heads.items()
            if not head.retired
        }

    def _plans(self) -> Iterable[str]:
        found = [each.removeprefix(keys.SNAPSHOTS) for each in self.objects.objects if each.startswith(keys.SNAPSHOTS)]
        return [key for key in found if "/sidecar/" in key]


def down(*texts: str) -> Callable[[Mesh], Supposition]:
    return lambda mesh: Supposition(down=tuple(map(read_down, texts)))


def ordered(*subjects: Subject) -> Callable[[Mesh], Supposition]:
    return lambda mesh: Supposition(subjects=subjects)


def written(*documents: Document, delete: Iterable[tuple[str, str, str]] = ()) -> Callable[[Mesh], Supposition]:
    batch = parse_documents(documents)
    batch = Batch(batch.entries, batch.registrations, list(delete))
    return lambda mesh: Supposition(planned(mesh.engine, batch))


def together(*parts: Callable[[Mesh], Supposition]) -> Callable[[Mesh], Supposition]:
    def suppose(mesh: Mesh) -> Supposition:
        found = [part(mesh) for part in parts]
        return Supposition(
            next((each.difference for each in found if each.difference), None),
            tuple(each for one in found for each in one.down),
            tuple(each for one in found for each in one.subjects),
        )

    return suppose


def after(before: Callable[[Mesh], None], then: Callable[[Mesh], Supposition]) -> Callable[[Mesh], Supposition]:
    def suppose(mesh: Mesh) -> Supposition:
        before(mesh)
        return then(mesh)

    return suppose


def dc1_has_just_recovered(mesh: Mesh) -> None:
    mesh.configure(policy("web", FailbackAfter="1h"))
    now = int(datetime.fromisoformat(mesh.engine.now()).timestamp()) - BEGINNING
    mesh.run("web", "dc1", 1, "critical", at=now)
    mesh.run("web", "dc1", 1, at=now + 1)
    assert mesh.serving()["dc1/sidecar/web.default.dc1"][0] == "web.default.dc2"


def dc1_has_failed(mesh: Mesh) -> None:
    mesh.run("web", "dc1", 1, "critical")


def dc1_is_drained(mesh: Mesh) -> None:
    mesh.give(DRAIN)


def dc1_is_silent(mesh: Mesh) -> None:
    mesh.run("web", "dc1", 0)
    mesh.run("web", "dc1", 1, source="agent", lease="30s")
    lapse(mesh.engine, {keys.lease("dc1", "agent"): (0, mesh.index)})
    assert mesh.serving()["dc1/sidecar/web.default.dc1"][0] == "web.default.dc2"


def the_gateway_of_dc2_is_ill(mesh: Mesh) -> None:
    mesh.run(None, "dc2", 1, "critical")


def do(mesh: Mesh, supposition: Supposition) -> None:
    """What is supposed really happens."""
    if supposition.difference is not None:
        pairs = supposition.difference.entries
        batch = Batch(
            [new for _, new in pairs.values() if new],
            [new for _, new in supposition.difference.registrations.values() if new],
            [key for key, (_, new) in pairs.items() if new is None],
            [key for key, (_, new) in supposition.difference.registrations.items() if new is None],
        )
        configure(mesh.engine, batch)
    mesh.fell(*map(str, supposition.down))
    for subject in supposition.subjects:
        mesh.give(subject)


DRAIN = Subject(Verb.DRAIN, "dc1")
DRAIN_2 = Subject(Verb.DRAIN, "dc2")
SITUATIONS = {
    "a datacenter is down": down("dc1"),
    "another one is down": down("dc2"),
    "two are down": down("dc1", "dc2"),
    "a service is down in one": down("dc1/web"),
    "a service is down wherever it is": down("dc1/api", "dc2/api", "dc1/web"),
    "what nobody depends on is down": down("dc3/db"),
    "a datacenter is drained": ordered(DRAIN),
    "a service is pinned": ordered(Subject(Verb.PIN, "dc3", WEB)),
    "it is pinned for some callers, and drained": ordered(Subject(Verb.PIN, "dc3", WEB, "dc2"), DRAIN),
    "everything is frozen": ordered(Subject(Verb.FREEZE)),
    "who waits until it returns is needed at once": after(dc1_has_just_recovered, down("dc2")),
    "who waits does not wait any more": after(dc1_has_just_recovered, written(policy("web"))),
    "what serves instead fails too": after(dc1_has_failed, down("dc2")),
    "who fails over is frozen": after(dc1_has_failed, ordered(Subject(Verb.FREEZE))),
    "what nobody hears of is better than nothing": after(dc1_is_silent, down("dc2/web", "dc3/web")),
    "what nobody hears of is pinned": after(dc1_is_silent, ordered(Subject(Verb.PIN, "dc1", WEB))),
    "where one is drained, another is pinned": after(dc1_is_drained, ordered(Subject(Verb.PIN, "dc3", WEB, "dc1"))),
    "the way of a policy leads elsewhere": after(
        the_gateway_of_dc2_is_ill, together(written(policy("web", Gateways="require")), down("dc1/web"))
    ),
    "a datacenter is down while another is drained": together(down("dc1"), ordered(DRAIN_2)),
    "a failover ends": written(resolver("web")),
    "a resolver is deleted": written(delete=[("service-resolver", "default", "api")]),
    "a redirect to what runs": written(resolver("db", Redirect={"Service": "api"})),
    "a redirect to what does not run": written(resolver("db", Redirect={"Service": "nothing"})),
    "a default subset without instances": written(
        resolver("web", DefaultSubset="v2", Subsets={"v2": {"Filter": 'Service.Meta.version == "v2"'}})
    ),
    "a policy that asks for more": written(policy("web", HealthyThreshold=2)),
    "a split": written(
        proxy_defaults("http", "remote"), splitter("web", {"Weight": 50}, {"Weight": 50, "Service": "api"})
    ),
    "another protocol": written(defaults("db", Protocol="grpc")),
    "no gateways": written(proxy_defaults(mode="none")),
    "an upstream comes and one goes": written(sidecar("client", "web", "api"), sidecar("new", "db")),
    "an upstream comes that does not run": written(sidecar("other", "web", "nothing")),
    "another config, a datacenter down and one drained": together(
        written(policy("web", HealthyThreshold=2), resolver("db", Failover=EVERYWHERE)), down("dc1"), ordered(DRAIN_2)
    ),
}


@pytest.mark.parametrize("mode", ["local", "none"])
@pytest.mark.parametrize("suppose", SITUATIONS.values(), ids=SITUATIONS.keys())
def test_what_would_happen_is_what_happens(suppose: Callable[[Mesh], Supposition], mode: str) -> None:
    mesh = Mesh(mode)
    supposition = suppose(mesh)
    before, generation = mesh.serving(), mesh.engine.root.generation
    mesh.forget_the_past()
    answer = what_if(mesh.engine, supposition)
    assert (mesh.writes(), answer.generation) == ([], generation), "nothing is written"

    do(mesh, supposition)
    after = mesh.serving()
    differ = {key for key in before.keys() | after.keys() if before.get(key, ("",))[0] != after.get(key, ("",))[0]}
    told = {each.effect.plan_key: each for each in answer.fates}
    assert {key for key, each in told.items() if each.effect.moves} == differ
    nothing = ("", 0)
    for key, each in told.items():
        effect = each.effect
        assert (effect.before, effect.weight_before) == before.get(key, nothing)
        assert (effect.after, effect.weight_after) == after.get(key, nothing)
    fell = {each.datacenter for each in supposition.down if each.service is None}
    assert {each.effect.plan_key for each in answer.stranded if not each.effect.objection} == {
        key
        for key, (_, healthy) in after.items()
        if not healthy and before.get(key, ("", 1))[1] and key.partition("/")[0] not in fell
    }
    for receiver in answer.receivers:
        serves = [
            key for key, (target, _) in after.items() if target == receiver.target and key.partition("/")[0] not in fell
        ]
        assert receiver.clusters_after == len(serves)
        assert receiver.clusters_before == sum(target == receiver.target for target, _ in before.values())


def test_what_is_told_of_it() -> None:
    mesh = Mesh()
    answer = what_if(mesh.engine, together(down("dc1/db", "dc2"), ordered(Subject(Verb.PIN, "dc2", WEB)))(mesh))
    body = what_if_json(answer)
    assert (body["schema"], body["result"], body["down"]) == (1, "nowhere", ["dc1/db", "dc2"])
    assert body["orders"] == ["pin web to dc2"]
    told = {(each["cluster"], each["datacenter"]): each for each in body["clusters"]}
    db = told["db.default.dc1", "dc1"]
    assert (db["change"], db["stranded"], db["registrations"]) == ("stays", "its target is not healthy", 1)
    web = told["web.default.dc1", "dc1"]
    assert (web["change"], web["registrations"]) == ("stays", 2)
    assert web["stranded"] == "web.default.dc2: it has no healthy instance", "for what the order is refused"
    assert {each["change"] for key, each in told.items() if key[1] == "dc2"} == {"falls"}, "they go down with it"
    assert told["db.default.dc1", "dc2"]["stranded"] == ""
    assert body["clusters"][0]["stranded"]


def test_who_receives_is_told_what_it_serves_besides() -> None:
    mesh = Mesh()
    body = what_if_json(what_if(mesh.engine, down("dc1/api", "dc1/web")(mesh)))
    web = {
        "target": "web.default.dc2",
        "weight_before": 2,
        "weight_after": 2,
        "clusters_before": 1,
        "clusters_after": 2,
        "registrations_before": 1,
        "registrations_after": 3,
    }
    assert web in body["receivers"]
    assert body["counts"]["moves"] == len(body["clusters"]) == 2


def test_a_change_of_config_is_told_whether_it_is_written_or_not() -> None:
    mesh = Mesh()
    generation = mesh.engine.config(mesh.engine.root)
    documents = [
        resolver("web", Failover={"*": {"Datacenters": ["dc3"]}}, ConnectTimeout="1s"),
        sidecar("client", "api", "web", "new"),
        policy(HealthyThreshold=2),
    ]
    plan = planned(mesh.engine, parse_documents(documents))
    told = what_if_json(what_if(mesh.engine, Supposition(plan)))
    assert [(each["thing"], each["what"]) for each in told["documents"]] == [
        ('failover-policy "global"', "new"),
        ('service-resolver "web"', "changed"),
        ("registration dc1/sidecar/default/client", "changed"),
    ]
    entry = told["documents"][1]
    assert [(each.path, each.before, each.after) for each in differing(entry["before"], entry["after"])] == [
        ("Subsets", {"v2": {"Filter": 'Service.Meta.version == "v2"'}}, None),
        ('Failover["*"].Datacenters', list(DATACENTERS), ["dc3"]),
        ("ConnectTimeout", None, 1_000_000_000),
    ]
    plans = {(each["cluster"], each["datacenter"], each["of"]): each for each in told["plans"]}
    assert plans["v2.web.default.dc1", "dc1", "gateways"]["what"] == "gone"
    changed = plans["web.default.dc1", "dc1", "sidecars"]
    assert changed["what"] == "changed"
    assert [each.path for each in differing(changed["before"], changed["after"])] == [
        "connect_timeout_ms",
        "targets",
        'server_names["web.default.dc2"]',
        'gateways["web.default.dc2"]',
        "policy",
    ]
    mesh.configure(*documents)
    assert between(generation, mesh.engine.config(mesh.engine.root)).plans == plan.plans


def test_who_may_call_no_longer_or_from_then_on_is_told() -> None:
    mesh = Mesh()
    mesh.configure(intentions("db", ("client", "allow"), ("*", "deny")))
    suppose = written(
        intentions("*", ("other", "deny")),
        intentions("api", ("client", "deny")),
        intentions("db", ("other", "allow"), ("*", "deny")),
        sidecar("other", "web", "db"),
    )
    body = what_if_json(what_if(mesh.engine, suppose(mesh)))
    told = [tuple(each[name] for name in ("caller", "service", "before", "after", "by")) for each in body["calls"]]
    assert told == [
        ("default/client", "default/api", "allowed", "denied", 'service-intentions "api"'),
        ("default/client", "default/db", "allowed", "denied", 'service-intentions "db"'),
        ("default/other", "default/db", "denied", "allowed", 'service-intentions "db"'),
        ("default/other", "default/web", "allowed", "denied", 'service-intentions "*"'),
    ]
    assert (body["counts"]["calls"], body["result"]) == (4, "changes")
    gone = written(delete=[("service-intentions", "default", "db")])
    assert what_if_json(what_if(mesh.engine, gone(mesh)))["calls"] == [], "client might call before, too"


def test_an_answer_has_so_much_and_counts_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = Mesh()
    monkeypatch.setattr(what_if_report, "MOST_TOLD", 1)
    suppose = written(
        resolver("web", Failover=EVERYWHERE, ConnectTimeout="1s"),
        policy("other", HealthyThreshold=2),
        intentions("*", ("*", "deny")),
    )
    body = what_if_json(what_if(mesh.engine, together(suppose, down("dc1/web", "dc1/api"))(mesh)))
    for name in ("documents", "plans", "clusters", "receivers", "calls"):
        assert len(body[name]) == 1 < body["counts"][name]


def test_a_plan_of_what_a_new_service_uses_strands_nobody() -> None:
    mesh = Mesh()
    answer = what_if(mesh.engine, written(sidecar("new", "nothing"))(mesh))
    assert ([each.change for each in answer.fates], answer.stranded, answer.changes) == (["comes"], [], True)
    assert not what_if(mesh.engine, Supposition(Difference(mesh.engine.config(mesh.engine.root)))).changes


@pytest.mark.parametrize(
    ("suppose", "reason"),
    [
        (down("dc9"), 'what is down: dc9: no entry, registration or health event names "dc9"; known are: dc1'),
        (down("dc1/nothing"), 'what is down: no entry, registration or health event names "nothing"'),
        (ordered(Subject(Verb.DRAIN, "dc9")), "drain dc9: no registered sidecar has a cluster that this is about"),
        (lambda mesh: Supposition(ended=("d-9",)), "order d-9: is not in force; these are: none"),
    ],
)
def test_a_typing_error_is_no_answer(suppose: Callable[[Mesh], Supposition], reason: str) -> None:
    mesh = Mesh()
    with pytest.raises(InvalidInput) as refused:
        what_if(mesh.engine, suppose(mesh))
    assert str(refused.value).startswith(reason)


def test_an_order_that_is_supposed_to_be_over_is_no_reason() -> None:
    mesh = Mesh()
    mesh.give(DRAIN)
    before = mesh.serving()
    answer = what_if(mesh.engine, Supposition(ended=("d-1",)))
    end(mesh.engine, "d-1", "bob")
    after = mesh.serving()
    assert (
        {each.effect.plan_key for each in answer.fates} == {key for key in after if before[key] != after[key]} != set()
    )


def test_what_a_control_plane_does_not_compute_for_is_not_told() -> None:
    mesh = Mesh()
    other = Place(mesh.objects)
    other.engine = engine_on(mesh.connection, scope=Scope(["dc2"]))
    answer = what_if(other.engine, Supposition(down=(Down("dc1"),)))
    assert {each.effect.datacenter for each in answer.fates} == {"dc2"}


def test_only_what_its_owner_applied_is_pruned_and_never_what_agents_registered() -> None:
    place = Place()
    place.configure(resolver("web"), resolver("api"), sidecar("client", "web"))
    configure(place.engine, parse_documents([resolver("a"), resolver("b")], owner="team"))
    configure(place.engine, parse_documents([sidecar("other", "web")], owner=AGENTS))

    def left() -> set[str]:
        config = place.engine.config(place.engine.root)
        return {each.name for each in config.entries} | set(config.registrations)

    def prune(*documents: Document, owner: str = "", **more: Any) -> list[str]:
        batch = parse_documents(documents, owner=owner)
        gone = planned(place.engine, batch, prune=True)
        configure(place.engine, batch, prune=True, **more)
        return [each.thing for each in changes_in(gone.entries, gone.registrations) if each.after is None]

    agents, client = "dc1/sidecar/default/other", "dc1/sidecar/default/client"
    assert prune(resolver("web"), sidecar("client", "web")) == ['service-resolver "api"']
    assert left() == {"web", "a", "b", client, agents}
    assert prune(resolver("a"), owner="team") == ['service-resolver "b"']
    assert prune(resolver("c"), owner="new") == []
    assert left() == {"web", "a", "c", client, agents}
    with pytest.raises(InvalidInput, match='"agent" is whom agents write as'):
        prune(owner=AGENTS)
    generation = place.engine.root.generation
    with pytest.raises(InvalidInput, match=f"is generation {generation} by now, not {generation - 1}: look again"):
        prune(resolver("web"), generation=generation - 1)
    prune(resolver("web"), generation=generation)
    assert left() == {"web", "a", "c", agents}


def test_what_ifs_take_turns() -> None:
    place = Place()
    place.configure(resolver("web"), sidecar("client", "web"))
    asking = Thread(target=lambda: what_if(place.engine, Supposition()), daemon=True)
    with ONE_AT_A_TIME:
        asking.start()
        asking.join(0.2)
        assert asking.is_alive(), "it did not wait"
    asking.join(60)
    assert not asking.is_alive()
