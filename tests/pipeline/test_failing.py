"""A plan that cannot be computed delays nothing else, is reported, and is repaired when it can be computed."""

from collections.abc import Iterator

import pytest
from pointsman.pipeline.reconcile import reconcile
from pointsman.store import keys
from pointsman.store.protocol import StoreError
from pointsman.xds.content import InconsistentContent
from pointsman.xds.manifest import SidecarManifest

from tests.pipeline.fresh import config_in, published, rebuilt
from tests.pipeline.memory import MemoryStore
from tests.pipeline.meshes import event, gateway, gateway_instance, instance, proxy_defaults, resolver, sidecar
from tests.pipeline.place import Place

API_DC2 = "catalog/dc2/service/default/api"


class Damage:
    """An object that was edited by hand, and that can be restored."""

    def __init__(self, store: MemoryStore, key: str, good: bytes, bad: bytes) -> None:
        self._store, self._key, self._before = store, key, store.objects[key].data
        assert good in self._before
        store.damage(key, self._before.replace(good, bad))

    def mend(self) -> None:
        """As it was."""
        self._store.damage(self._key, self._before)


@pytest.fixture
def place() -> Iterator[Place]:
    """api of dc1 fails over to dc2; both have events."""
    place = Place()
    place.configure(
        proxy_defaults(mode="local"),
        resolver("api", Failover={"*": {"Datacenters": ["dc2"]}}),
        sidecar("web", "api"),
        gateway("dc1"),
    )
    place.ingest(event(None, 1, [gateway_instance()]))
    for dc in ("dc1", "dc2"):
        place.ingest(event("api", 1, [instance("api")], dc=dc))
    yield place
    assert published(place.objects) == rebuilt(place.objects)
    assert place.promises.broken == []


SICK = event("api", 2, [instance("api", 1, "critical")])
SIDECARS, GATEWAYS = "dc1/sidecar/api.default.dc1", "dc1/gateway/api.default.dc1"


def test_a_catalog_that_cannot_be_read_stops_the_plans_that_read_it_and_no_other(place: Place) -> None:
    damage = Damage(place.objects, API_DC2, b"{", b"?")
    before = place.head(SIDECARS)
    done = place.ingest(SICK)
    assert [each.plan_key for each in done.moved] == [GATEWAYS]
    assert isinstance(done.failed[SIDECARS], StoreError)
    assert API_DC2 in str(done.failed[SIDECARS])
    assert place.head(SIDECARS) == before, "the last known good stays"

    again = reconcile(place.another().engine)
    assert [line.partition(":")[0] for line in again.failed] == [SIDECARS]
    assert again.repaired == 0
    damage.mend()
    assert reconcile(place.another().engine).moved == 1
    assert place.head(SIDECARS).content.active == "api.default.dc2"


def test_what_no_envoy_may_get_is_not_published_and_stops_nothing_else(place: Place) -> None:
    damage = Damage(place.objects, "catalog/dc1/gateways", b"10.9.0.1", b"no name")
    done = place.ingest(SICK)
    assert [each.plan_key for each in done.moved] == [GATEWAYS]
    assert isinstance(done.failed[SIDECARS], InconsistentContent)
    damage.mend()
    assert reconcile(place.another().engine).failed == ()


def test_a_manifest_does_not_name_what_was_never_published(place: Place) -> None:
    damage = Damage(place.objects, API_DC2, b"{", b"?")
    done = place.configure(sidecar("new", {"DestinationName": "api", "Datacenter": "dc2"}), sidecar("shop", "db"))
    assert list(done.settled.failed) == ["dc1/sidecar/api.default.dc2"]
    assert isinstance(place.manifest("dc1/sidecar/default/shop"), SidecarManifest)
    assert "manifests/dc1/sidecar/default/new" not in place.objects.objects
    assert reconcile(place.another().engine).manifests == 0
    damage.mend()
    assert reconcile(place.another().engine).manifests == 1
    assert isinstance(place.manifest("dc1/sidecar/default/new"), SidecarManifest)


def test_the_gateways_are_not_told_of_what_was_never_published(place: Place) -> None:
    place.ingest(event(None, 1, [gateway_instance(2)], dc="dc2"))
    damage = Damage(place.objects, "catalog/dc2/gateways", b"203.0.113.2", b"no name")
    done = place.configure(gateway("dc3"))
    assert list(done.settled.failed) == ["dc3/gateway/dc2"]
    assert place.roster("dc3").datacenters == ("dc1",)
    assert reconcile(place.another().engine).repaired == 0
    damage.mend()
    reconcile(place.another().engine)
    assert place.roster("dc3").datacenters == ("dc1", "dc2")


def test_a_config_object_that_is_not_what_its_name_promises_is_not_read(place: Place) -> None:
    name = keys.config_object(config_in(place.objects).root.digest)
    damage = Damage(place.objects, name, b'"generation":1', b'"generation":9')
    before = place.head(SIDECARS)
    with pytest.raises(StoreError, match=f"{name.rpartition('/')[2]} does not have the content that its name promises"):
        place.another().ingest(SICK)
    assert place.head(SIDECARS) == before
    damage.mend()
    assert place.another().ingest(SICK).moved
