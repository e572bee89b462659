"""Sources: of what each tells, and what remains when one is forgotten."""

import pytest
from pointsman.model.errors import InvalidInput
from pointsman.model.stored import LARGEST
from pointsman.pipeline.sources import find_source, forget, known_sources, moved

from tests.pipeline.meshes import alive, event, gateway_instance, instance
from tests.pipeline.test_leases import HEAD, Mesh


def test_each_source_is_known_with_what_it_tells_of() -> None:
    mesh = Mesh()
    mesh.ingest(event("web", 1, [instance("web", 2)], dc="dc2", source="consul"))
    found = {(each.datacenter, each.source): each for each in known_sources(mesh.engine)}
    assert set(found) == {("dc1", "agent-dc1"), ("dc2", "agent-dc2"), ("dc2", "consul"), ("dc3", "agent-dc3")}
    agent = found["dc2", "agent-dc2"]
    assert agent.catalogs == {"dc2/gateways": 1, "dc2/service/default/web": 1}
    assert agent.lease is not None
    assert found["dc2", "consul"].lease is None
    assert [each.source for each in known_sources(mesh.engine, "dc2")] == ["agent-dc2", "consul"]


def test_what_only_a_forgotten_source_told_of_is_gone_and_its_lease_with_it() -> None:
    mesh = Mesh()
    mesh.pass_time(32, "dc1", "dc3")
    assert mesh.serves == "dc3"
    silent = find_source(mesh.engine, "agent-dc2", "")
    assert silent.lease is not None
    assert silent.lease.silent_since
    assert moved(forget(mesh.engine, silent)) != []
    assert mesh.head(HEAD).content.sentence.startswith("dc2: no instances; dc3: first with a healthy instance")
    assert [each.source for each in known_sources(mesh.engine)] == ["agent-dc1", "agent-dc3"]
    mesh.pass_time(100, "dc1", "dc3")
    assert mesh.promises.broken == []


def test_who_was_forgotten_and_is_alive_speaks_again() -> None:
    mesh = Mesh()
    forget(mesh.engine, find_source(mesh.engine, "agent-dc2", "dc2"))
    assert mesh.serves == "dc3"
    mesh.ingest(event("web", 50, [instance("web")], dc="dc2", source="agent-dc2", lease="30s"))
    assert mesh.serves == "dc2"


def test_an_index_that_is_the_greatest_of_all_can_be_forgotten_too() -> None:
    mesh = Mesh()
    mesh.ingest(event(None, LARGEST, [gateway_instance()], dc="dc2", source="wrong"))
    mesh.ingest(alive(LARGEST, dc="dc2", source="wrong"))
    forget(mesh.engine, find_source(mesh.engine, "wrong", ""))
    assert "wrong" not in {each.source for each in known_sources(mesh.engine)}


def test_a_source_that_is_none_or_several_is_refused() -> None:
    mesh = Mesh()
    with pytest.raises(InvalidInput, match="tells of nothing"):
        find_source(mesh.engine, "agent-dc9", "")
    with pytest.raises(InvalidInput, match="tells of nothing in dc1"):
        find_source(mesh.engine, "agent-dc2", "dc1")
    mesh.ingest(event("web", 1, [instance("web", 2)], dc="dc3", source="agent-dc2"))
    with pytest.raises(InvalidInput, match="dc: is required: it tells of dc2, dc3"):
        find_source(mesh.engine, "agent-dc2", "")
