"""What one Envoy gets for itself: as its node says, and kept within a bound."""

from typing import Any

import pytest
from pointsman.delivery import own
from pointsman.delivery.deliverable import check_manifest
from pointsman.delivery.endpoint_source import over_ads
from pointsman.delivery.own import MOST_OWN, NOTHING, OwnOf
from pointsman.discovery import node
from pointsman.discovery.node import MOST_HOSTS, read_node
from pointsman.model.errors import InvalidInput
from pointsman.xds.content import InconsistentContent
from pointsman.xds.inbound import LONGEST_PATH, ExposedPath, Host, Inbound, IpPort
from pointsman.xds.manifest import SidecarManifest, manifest_json, read_manifest

HOST = Host(IpPort("10.0.0.5", 21000), IpPort("127.0.0.1", 8080))


def asking(**metadata: Any) -> dict[str, Any]:
    return {"cluster": "web", "id": "web-1", "metadata": {"datacenter": "dc1", **metadata}}


def test_a_node_says_where_its_envoy_listens_or_nothing_of_it() -> None:
    assert read_node(asking()).host is None
    assert read_node(asking(public="10.0.0.5:21000", app="127.0.0.1:8080")).host == HOST


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        (
            {"public": "10.0.0.5:21000"},
            "metadata.app: null is not IP:PORT; `pointsman bootstrap` writes a",
        ),
        ({"public": "web:1", "app": "127.0.0.1:8080"}, 'metadata.public: "web:1" is not IP:PORT'),
        ({"public": ["10.0.0.5:1"], "app": "127.0.0.1:8080"}, "metadata.public: null is not IP:PORT"),
        ({"public": "1" * (LONGEST_PATH + 1), "app": "127.0.0.1:8080"}, "metadata.public: null is not IP:PORT"),
        ({"access_log": "in.log"}, 'metadata.access_log: "in.log" is not an absolute path'),
        ({"access_log": "/" * (LONGEST_PATH + 1)}, f"of {LONGEST_PATH} characters at most"),
    ],
)
def test_a_node_that_is_wrong_is_refused_with_the_field_and_the_reason(metadata: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_node(asking(**metadata))
    assert said in str(refused.value)


def test_without_a_host_there_is_nothing_and_equal_hosts_share() -> None:
    made = OwnOf(Inbound("mesh.example"), over_ads())
    assert made.of(None) is OwnOf(None, over_ads()).of(HOST) is NOTHING
    assert made.of(HOST) is OwnOf(Inbound("mesh.example"), over_ads()).of(Host(*[HOST.public, HOST.app]))
    assert [each.name for each in made.of(HOST).clusters] == ["local_app"]
    assert [each.name for each in made.of(HOST).listeners] == ["public_listener:10.0.0.5:21000"]


def test_of_any_number_of_hosts_so_many_are_kept() -> None:
    made = OwnOf(Inbound("mesh.example"), over_ads())
    for number in range(MOST_OWN + 2):
        made.of(Host(IpPort("10.0.0.5", 1 + number), HOST.app))
    assert own._own.cache_info().currsize == MOST_OWN
    for number in range(MOST_HOSTS + 2):
        read_node(asking(public=f"10.0.0.5:{1 + number}", app="127.0.0.1:8080"))
    assert node._known_host.cache_info().currsize == MOST_HOSTS


@pytest.mark.parametrize(
    "inbound",
    [
        Inbound("Mesh!"),
        Inbound("mesh", filters=(b"\xff",)),
        Inbound("mesh", "http", (b"",)),
        Inbound("mesh", connect_timeout_ms=0),
        Inbound("mesh", max_connections=2**32),
        Inbound("mesh", exposed=(ExposedPath("x", 1, 1),)),
        Inbound("mesh", exposed=(ExposedPath("/x", 0, 1),)),
        Inbound("mesh", registered=Host(IpPort("web", 1), HOST.app)),
        Inbound("mesh", registered=Host(HOST.public, HOST.app, "in.log")),
    ],
)
def test_what_no_envoy_may_get_is_not_delivered(inbound: Inbound) -> None:
    manifest = read_manifest(manifest_json(SidecarManifest(1, (), (), inbound=inbound)))
    assert isinstance(manifest, SidecarManifest)
    assert manifest.inbound == inbound
    with pytest.raises(InconsistentContent):
        check_manifest(manifest)
    check_manifest(SidecarManifest(1, (), (), inbound=Inbound("mesh", registered=HOST)))


def test_a_manifest_of_an_older_writer_has_none() -> None:
    body = manifest_json(SidecarManifest(1, (), ()))
    assert "inbound" not in body
    manifest = read_manifest(body)
    assert isinstance(manifest, SidecarManifest)
    assert manifest.inbound is None
