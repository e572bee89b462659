"""The key layout: no two things share a key, and no key lies under another."""

from collections.abc import Iterable
from itertools import product

from hypothesis import given
from hypothesis import strategies as st
from pointsman.discovery.proxy import GatewayId, SidecarId, proxy_of
from pointsman.model.era import Era
from pointsman.model.keys import gateway_plan_key, gateways_key, service_in, service_key, sidecar_plan_key
from pointsman.model.names import ServiceName, Target
from pointsman.pipeline.reconcile import reconcile
from pointsman.store import keys

from tests.pipeline.meshes import event, gateway, gateway_instance, instance, namespace, proxy_defaults, sidecar
from tests.pipeline.place import Place

# Names that look like what stands beside them in keys, and any others.
WORDS = ("gateways", "gateway", "service", "sidecar", "default", "head", "objects", "dc1", "catalog", "history")
LABELS = st.one_of(st.sampled_from(WORDS), st.from_regex(r"[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True))
IDS = st.one_of(LABELS, st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_:@-]{0,6}[A-Za-z0-9_])?", fullmatch=True))


def lies_under_another(found: Iterable[str]) -> list[str]:
    """The keys of the form `a/b` for which `a` is a key too."""
    there = set(found)
    return [key for key in there if any(key[:at] in there for at, each in enumerate(key) if each == "/")]


@given(st.lists(LABELS, min_size=1, max_size=4, unique=True), st.lists(IDS, min_size=1, max_size=3, unique=True))
def test_no_two_things_share_a_key_and_none_lies_under_another(labels: list[str], ids: list[str]) -> None:
    services = [ServiceName(*each) for each in product(labels, labels)]
    clusters = {Target(each.name, subset, each.namespace, "dc1").id for each in services for subset in ("", labels[0])}
    eras = [Era("0" * 16, 1), Era("0" * 16, 9_999_999_999), Era("f" * 16, 1)]
    things = [keys.CONFIG_HEAD, *(keys.config_object(each) for each in labels)]
    for dc in labels:
        things += [keys.catalog(service_key(dc, each)) for each in services] + [keys.catalog(gateways_key(dc))]
        things += [keys.sidecar_manifest(dc, each) for each in services] + [keys.gateways_manifest(dc)]
        things += [keys.gateway_manifest(dc, each) for each in ids]
        plans = [make(dc, each) for make in (sidecar_plan_key, gateway_plan_key) for each in (*clusters, *labels)]
        things += [keys.snapshot(each) for each in set(plans)]
        things += [keys.history(plan, era, version) for plan in set(plans) for era in eras for version in (1, 10**10)]
    assert len(things) == len(set(things))
    assert lies_under_another(things) == []


@given(LABELS, LABELS, LABELS, IDS)
def test_what_a_key_names_is_read_back_from_it(dc: str, namespace: str, name: str, gateway_id: str) -> None:
    service = ServiceName(namespace, name)
    assert proxy_of(keys.sidecar_manifest(dc, service)) == SidecarId(dc, namespace, name)
    assert proxy_of(keys.gateway_manifest(dc, gateway_id)) == GatewayId(dc, gateway_id)
    assert proxy_of(keys.gateways_manifest(dc)) is None
    assert service_in(keys.source_of(keys.catalog(service_key(dc, service)))) == service
    assert keys.version_of(keys.history(sidecar_plan_key(dc, name), Era("0" * 16, 1), 7)) == 7


def test_so_it_is_with_all_that_a_mesh_writes() -> None:
    place = Place()
    ids = ("gw", "gateways", "gateway")
    place.configure(
        proxy_defaults(mode="local"),
        namespace("gateways"),
        sidecar("gw", "web", namespace="gateways"),
        sidecar("web", "gw"),
        *(gateway(dc, each) for dc in ("dc1", "dc2") for each in ids),
    )
    for dc in ("dc1", "dc2"):
        place.ingest(event(None, 1, [gateway_instance()], dc=dc))
        place.ingest(event("gw", 1, [instance("gw")], dc=dc, namespace="gateways"))
        for index, status in enumerate(("passing", "critical", "passing"), start=1):
            place.ingest(event("web", index, [instance("web", 1, status)], dc=dc))
    reconcile(place.engine)
    found = place.objects.objects
    assert lies_under_another(found) == []
    assert {key.split("/")[0] for key in found} == {"catalog", "config", "history", "manifests", "snapshots"}
    own = [each for key in found if (each := proxy_of(key))]
    assert len(own) == len({each.directory for each in own}) == 8
