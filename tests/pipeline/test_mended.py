"""Damaged objects of the store are repaired, and followers accept the replacements."""

from pathlib import Path
from typing import Any

import pytest
from pointsman.adapter.follow.follower import Follower
from pointsman.discovery.proxy import GatewayId, ProxyId, SidecarId
from pointsman.pipeline.configure import Batch, configure, parse_documents
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.reconcile import reconcile
from pointsman.store.protocol import Write
from pointsman.store.sqlite import SQLiteStore

GATEWAY: dict[str, Any] = {
    "Datacenter": "dc1",
    "Address": "127.0.0.1",
    "Service": {"Kind": "mesh-gateway", "ID": "gw", "Port": 8443},
}


def sidecar(*upstreams: str) -> dict[str, Any]:
    bound = [{"DestinationName": name, "LocalBindPort": 5000 + i} for i, name in enumerate(upstreams)]
    proxy = {"DestinationServiceName": "shop", "Upstreams": bound}
    return {"Datacenter": "dc1", "Service": {"Kind": "connect-proxy", "ID": "shop", "Proxy": proxy}}


@pytest.mark.parametrize(
    ("key", "proxy"),
    [
        ("manifests/dc1/sidecar/default/shop", SidecarId("dc1", "default", "shop")),
        ("manifests/dc1/gateways", GatewayId("dc1", "gw")),
        ("snapshots/dc1/sidecar/web.default.dc1", SidecarId("dc1", "default", "shop")),
    ],
)
def test_a_damaged_object_is_replaced_by_one_that_followers_take(tmp_path: Path, key: str, proxy: ProxyId) -> None:
    store = SQLiteStore(tmp_path / "store.db")
    engine = Engine(store)
    # Several writes, so that the damaged object's serial is not the first.
    for upstreams in (["web"], ["web", "api"], ["web"]):
        configure(engine, parse_documents([GATEWAY, sidecar(*upstreams)]))
    follower = Follower(store, [proxy])
    follower.refresh()
    before = follower.view(proxy)
    assert before is not None

    good = store.get(key)
    assert good is not None
    assert store.put(Write(key, b"\x00 not what was written", good.etag)).etag is not None
    follower.refresh()
    assert follower.view(proxy) is before
    assert follower.problems(proxy) != ()

    assert reconcile(engine).repaired > 0
    follower.refresh()
    assert follower.problems(proxy) == ()
    assert reconcile(engine).repaired == 0
    store.close()


@pytest.mark.parametrize(
    ("key", "proxy"),
    [
        ("dc1/sidecar/default/shop", SidecarId("dc1", "default", "shop")),
        ("dc1/gateway/gw", GatewayId("dc1", "gw")),
    ],
)
def test_who_follows_a_registration_that_is_gone_ends_though_its_manifest_is_damaged(
    tmp_path: Path, key: str, proxy: ProxyId
) -> None:
    store = SQLiteStore(tmp_path / "store.db")
    engine = Engine(store)
    another = {**GATEWAY, "Service": {**GATEWAY["Service"], "ID": "gw2"}}
    configure(engine, parse_documents([GATEWAY, another, sidecar("web")]))
    follower = Follower(store, [proxy])
    follower.refresh()
    assert follower.view(proxy) is not None
    configure(engine, Batch(delete_registrations=[key]))
    ended = store.get(f"manifests/{key}")
    assert ended is not None
    assert store.put(Write(ended.key, b"damaged before anybody read it", ended.etag)).etag is not None
    follower.refresh()
    assert follower.view(proxy) is not None, "it may be registered, for all that can be read"

    assert reconcile(engine).manifests == 1
    follower.refresh()
    assert follower.view(proxy) is None
    assert reconcile(engine).repaired == 0
    store.close()
