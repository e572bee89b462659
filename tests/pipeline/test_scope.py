"""Scope: control planes for one datacenter each are together what one for all of them is."""

from contextlib import suppress
from typing import Any

import orjson
import pytest
from pointsman.model.errors import InvalidInput
from pointsman.model.events import HealthEvent
from pointsman.overview.reading import read_now
from pointsman.pipeline.configure import Batch as Accepted
from pointsman.pipeline.configure import configure, parse_documents, rollback
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.ingest import ingest
from pointsman.pipeline.reconcile import reconcile
from pointsman.pipeline.scope import EVERYWHERE, Scope, read_scope

from tests.pipeline.acts import Batch, Records, Rollback
from tests.pipeline.fresh import published
from tests.pipeline.memory import Connection, MemoryStore
from tests.pipeline.meshes import Document, engine_on, event, gateway, gateway_instance, instance, resolver, sidecar
from tests.pipeline.promises import Promises
from tests.pipeline.stories import BEGINNING, DATACENTERS, Teller

CONFIG: list[Document] = [
    {"Kind": "proxy-defaults", "Name": "global", "MeshGateway": {"Mode": "local"}},
    resolver("api", Failover={"*": {"Datacenters": ["dc1", "dc2"]}}),
    *(sidecar("web", "api", dc=dc) for dc in DATACENTERS),
    *(gateway(dc) for dc in DATACENTERS),
]
EVENTS = [
    each
    for number, dc in enumerate(DATACENTERS, start=1)
    for each in (event(None, 1, [gateway_instance(number)], dc=dc), event("api", 1, [instance("api", number)], dc=dc))
]


class Stack:
    """A store and the control plane on it."""

    def __init__(self, scope: Scope | None) -> None:
        self.store = MemoryStore()
        self.promises = Promises(self.store)
        self.told: list[str] = []
        self.engine = self.another(scope)

    def another(self, scope: Scope | None) -> Engine:
        """One more process on the same store."""
        return engine_on(
            Connection(self.store), lambda moved: self.told.extend(each.datacenter for each in moved), scope
        )

    def do(self, what: Any) -> None:
        """One verb; what is invalid is invalid for everybody."""
        if isinstance(what, HealthEvent):
            ingest(self.engine, what)
        elif isinstance(what, Records):
            for each in what.events:
                ingest(self.engine, each)
        elif isinstance(what, Batch):
            with suppress(InvalidInput):
                written = parse_documents(what.documents)
                batch = Accepted(written.entries, written.registrations, what.entries, what.registrations)
                configure(self.engine, batch)
        elif isinstance(what, Rollback):
            with suppress(InvalidInput):
                rollback(self.engine, max(1, self.engine.refresh().generation - what.back))
        elif what == "reconcile":
            reconcile(self.engine)

    def heads(self) -> dict[str, tuple[int, bool]]:
        """Version of every head, and whether it is retired."""
        found = {key: orjson.loads(stored.data) for key, stored in self.store.under("snapshots/").items()}
        return {key: (body["version"], body["retired"]) for key, body in found.items()}

    def works(self) -> set[str]:
        """The datacenters of all that was ever published here."""
        found = [*self.store.under("snapshots/"), *self.store.under("manifests/"), *self.store.under("history/")]
        return {key.split("/")[1] for key in found}


@pytest.mark.parametrize("seed", range(30))
def test_stacks_for_one_datacenter_each_publish_together_what_one_for_all_does(seed: int) -> None:
    teller = Teller(seed)
    story = [teller.act() for _ in range(12)]
    whole, parts = Stack(EVERYWHERE), [Stack(Scope([dc])) for dc in DATACENTERS]
    for what in [BEGINNING, *(act.what for act in story), "reconcile"]:
        for stack in [whole, *parts]:
            stack.do(what)
    assert {key: each for part in parts for key, each in published(part.store).items()} == published(whole.store)
    assert {key: each for part in parts for key, each in part.heads().items()} == whole.heads()
    assert sum(len(published(part.store)) for part in parts) == len(published(whole.store)), "nothing twice"
    for dc, part in zip(DATACENTERS, parts, strict=True):
        assert part.works() <= {dc}
        assert set(part.told) <= {dc}
        assert part.promises.broken == []
        catalogs = [each.store.under("catalog/").keys() for each in (part, whole)]
        assert catalogs[0] == catalogs[1], "all that is heard is kept"


def test_a_stack_that_computes_for_more_fills_in_what_it_lacks_at_its_next_reconcile() -> None:
    stack, whole = Stack(Scope(["dc1"])), Stack(EVERYWHERE)
    for each in (stack, whole):
        configure(each.engine, parse_documents(CONFIG))
        for said in EVENTS:
            ingest(each.engine, said)
    assert stack.works() == {"dc1"}
    stack.engine = stack.another(Scope(["dc1", "dc2", "dc3"]))
    assert reconcile(stack.engine).moved > 0
    assert published(stack.store) == published(whole.store)
    assert reconcile(stack.engine).repaired == 0


def test_what_a_stack_computes_for_no_more_stays_as_it_is_until_it_does_again() -> None:
    stack = Stack(EVERYWHERE)
    configure(stack.engine, parse_documents(CONFIG))
    for said in EVENTS:
        ingest(stack.engine, said)

    def of_dc2() -> dict[str, bytes]:
        return {key: each.data for key, each in stack.store.objects.items() if key.split("/")[1] == "dc2"}

    before = {key: data for key, data in of_dc2().items() if not key.startswith("catalog/")}
    stack.engine = stack.another(Scope(["dc1"]))
    ingest(stack.engine, event("api", 2, [instance("api", 2, "critical")], dc="dc2"))
    stack.do(Batch([resolver("api")], registrations=["dc2/sidecar/default/web"]))
    reconcile(stack.engine)
    assert {key: data for key, data in of_dc2().items() if not key.startswith("catalog/")} == before
    found = read_now(stack.engine)
    assert ({each.datacenter for each in found.resolvers}, found.datacenters) == ({"dc1"}, ("dc1",))

    stack.engine = stack.another(EVERYWHERE)
    reconcile(stack.engine)
    whole = Stack(EVERYWHERE)
    configure(whole.engine, parse_documents([*CONFIG[:1], resolver("api"), *CONFIG[2:]]))
    whole.do(Batch([], registrations=["dc2/sidecar/default/web"]))
    for said in [*EVENTS, event("api", 2, [instance("api", 2, "critical")], dc="dc2")]:
        ingest(whole.engine, said)
    assert published(stack.store) == published(whole.store)
    assert stack.promises.broken == []


def test_who_is_not_told_for_whom_to_compute_does_as_the_store_was_told_last() -> None:
    stack = Stack(Scope(["dc1"]))
    configure(stack.engine, parse_documents(CONFIG))
    configure(stack.another(None), parse_documents([resolver("api", ConnectTimeout="9s")]))
    assert stack.works() == {"dc1"}
    reconcile(stack.another(Scope(["dc2"])))
    configure(stack.another(None), parse_documents([resolver("api", ConnectTimeout="8s")]))
    assert stack.works() == {"dc1", "dc2"}
    assert read_now(stack.another(None)).datacenters == ("dc2",)


@pytest.mark.parametrize(
    ("text", "datacenters"), [("", ()), (" ", ()), ("dc1", ("dc1",)), ("dc2, dc1,dc2", ("dc1", "dc2"))]
)
def test_datacenters_are_named_with_commas_between_them(text: str, datacenters: tuple[str, ...]) -> None:
    assert read_scope(text, "--datacenters").datacenters == datacenters


@pytest.mark.parametrize("text", ["DC1", "dc1,", "dc1 dc2", "dc1,../dc2"])
def test_what_is_no_name_of_a_datacenter_is_refused(text: str) -> None:
    with pytest.raises(
        InvalidInput, match=r'--datacenters: ".*" is not a lower-case DNS label; name datacenters as dc1,'
    ):
        read_scope(text, "--datacenters")
