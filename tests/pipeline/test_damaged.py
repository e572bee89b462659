"""Whatever stands in a store in place of one object, only what depends on it fails, and that is named."""

from collections.abc import Callable
from functools import cache
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pointsman.aws.notices import read_notice
from pointsman.discovery.proxy import GatewayId, SidecarId
from pointsman.discovery.reading import LastGood
from pointsman.model.era import LAST_EPOCH
from pointsman.model.errors import PointsmanError
from pointsman.pipeline.reconcile import reconcile
from pointsman.store import keys
from pointsman.store.protocol import StoreUnavailable

from tests.pipeline.fresh import delivered, published, rebuilt, rendered
from tests.pipeline.memory import Connection, MemoryStore, copied
from tests.pipeline.meshes import event, gateway, gateway_instance, instance, proxy_defaults, resolver, sidecar
from tests.pipeline.place import Place
from tests.share import share_of

BYSTANDER = "dc2/sidecar/web.default.dc2"
"""A head that has nothing to do with any object that is replaced, but for the config head."""


@cache
def _mesh() -> MemoryStore:
    place = Place()
    place.configure(
        proxy_defaults(mode="local"),
        resolver("api", Failover={"*": {"Datacenters": ["dc2"]}}),
        sidecar("web", "api"),
        sidecar("shop", "web", dc="dc2"),
        gateway("dc1"),
    )
    place.ingest(event(None, 1, [gateway_instance()]))
    for dc in ("dc1", "dc2"):
        place.ingest(event("api", 1, [instance("api")], dc=dc))
    place.ingest(event("web", 1, [instance("web")], dc="dc2"))
    return place.objects


def _replaceable() -> list[str]:
    apart = ("snapshots/" + BYSTANDER, "catalog/dc2/service/default/web", "manifests/dc2/sidecar/default/shop")
    return [key for key in _mesh().objects if not key.startswith(("history/", "config/")) and key not in apart]


NUMBERS = st.one_of(st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)


@st.composite
def damage(draw: st.DrawFn, good: bytes) -> bytes:
    """Other bytes, other JSON, or `good` with one field of it changed or gone, at whatever depth."""
    kind = draw(st.sampled_from(["bytes", "json", "field", "field", "field", "field"]))
    if kind == "bytes":
        return draw(st.binary(max_size=20))
    if kind == "json":
        return orjson.dumps(draw(JSON))
    body = orjson.loads(good)
    at: Any = body
    while True:
        place = draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        if not (isinstance(at[place], dict | list) and at[place] and draw(st.booleans())):
            break
        at = at[place]
    if isinstance(at, dict) and draw(st.booleans()):
        del at[place]
    else:
        at[place] = draw(JSON)
    return orjson.dumps(body)


def _store_with(key: str, data: bytes) -> MemoryStore:
    store = copied(Connection(_mesh()))
    store.sequence = _mesh().sequence
    store.restore(key, data)
    return store


@pytest.mark.parametrize("key", _replaceable())
@pytest.mark.parametrize("change", [{"schema": 2}, {"epoch": LAST_EPOCH}], ids=str)
def test_what_is_not_for_us_to_write_over_fails_alone(key: str, change: dict[str, int]) -> None:
    body = orjson.loads(_mesh().objects[key].data)
    if change.keys() <= body.keys():
        _goes_on(_store_with(key, orjson.dumps(body | change)), key)


@settings(deadline=None, max_examples=share_of(300))
@given(st.data())
def test_only_what_depends_on_a_damaged_object_fails(data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(_replaceable()))
    store = _store_with(key, data.draw(damage(_mesh().objects[key].data)))
    _goes_on(store, key)


HEAD = "snapshots/dc1/sidecar/api.default.dc1"


@pytest.mark.parametrize(
    "field", ["serial", "version", "epoch", "generation", "catalog", "targets", "retired", "store"]
)
@pytest.mark.parametrize("value", ["7", None, -1, 1.5, [], {}, True, 2**63], ids=str)
@pytest.mark.parametrize("key", [HEAD, "manifests/dc1/gateways", "catalog/dc1/service/default/api"])
def test_a_field_of_a_wrong_type_stops_nothing_else(key: str, field: str, value: Any) -> None:
    body = orjson.loads(_mesh().objects[key].data)
    if field in body:
        _goes_on(_store_with(key, orjson.dumps(body | {field: value})), key)


def _place(store: MemoryStore) -> Place:
    """Without watchers: their promises from one write to the next do not hold if one of the writes is damage."""
    place = Place(store)
    store.watchers.clear()
    return place


def _goes_on(store: MemoryStore, key: str) -> None:
    place = _place(store)
    before = place.head(BYSTANDER)
    place.configure()  # as `up` starts
    # What has nothing to do with it goes on.
    moved = place.ingest(event("web", 2, [instance("web", 1, "critical")], dc="dc2")).moved
    assert BYSTANDER in [head.plan_key for head in moved]
    assert place.head(BYSTANDER).version == before.version + 1
    done = reconcile(place.engine)
    if not done.failed:
        assert published(store) == rebuilt(store)
        assert delivered(store) == rendered(store)
    else:
        # Catalogs cannot be made anew of anything else. What a newer Pointsman wrote, or what is of the last epoch that
        # there can be, is not written over.
        if not key.startswith("catalog/"):
            name, kept = key.removeprefix(keys.SNAPSHOTS), ("upgrade Pointsman", "cannot grow beyond")
            assert all(name in line and any(why in line for why in kept) for line in done.failed)
        assert all("dc2/sidecar/web" not in line for line in done.failed)
    again = reconcile(place.another().engine)
    assert (again.repaired, again.failed) == (0, done.failed)
    # What is about it is taken in, or refused by name.
    why = _refused(lambda: place.ingest(event("api", 2, [instance("api", 1, "critical")])))
    assert not why or (key in why and key.startswith("catalog/"))


def _refused(verb: Callable[[], object]) -> str:
    """Why the project itself refuses to do `verb`, which is not to be tried again; "" if it does not."""
    try:
        verb()
    except StoreUnavailable:
        raise
    except PointsmanError as error:
        return str(error)
    return ""


@settings(deadline=None, max_examples=share_of(150))
@given(st.data())
def test_a_damaged_config_head_is_refused_by_every_verb_in_one_line(data: st.DataObject) -> None:
    bad = data.draw(damage(_mesh().objects[keys.CONFIG_HEAD].data))
    store = _store_with(keys.CONFIG_HEAD, bad)
    place = _place(store)
    verbs: list[Callable[[], object]] = [
        lambda: place.ingest(event("web", 2, [], dc="dc2")),
        lambda: place.configure(sidecar("x", "api")),
        lambda: reconcile(place.engine),
    ]
    for verb in verbs:
        assert "\n" not in _refused(verb)


@settings(deadline=None, max_examples=share_of(300))
@given(st.data())
def test_an_adapter_takes_or_refuses_whatever_stands_there(data: st.DataObject) -> None:
    sidecar_id, gateway_id = SidecarId("dc1", "default", "web"), GatewayId("dc1", "gw")
    key = data.draw(st.sampled_from([HEAD, *sidecar_id.manifest_keys, *gateway_id.manifest_keys]))
    good = _mesh().objects[key]
    held = LastGood()
    held.take(good)
    value = held.value
    assert value is not None
    store = _store_with(key, data.draw(damage(good.data)))
    held.take(store.objects[key])
    assert held.value is not None
    assert held.value == value or not held.problem


@settings(deadline=None)
@given(st.one_of(JSON.map(orjson.dumps), st.binary(max_size=30)))
@example(b'{"key":"snapshots/x","version":1,"head":' + b"[" * 300 + b"]" * 300 + b"}")
@example(b'{"key":"snapshots/x","version":1,"head":{"a":' + b"[" * 300 + b"]" * 300 + b"}}")
@example(b'{"key":"manifests/x","generation":true,"manifest":{}}')
def test_a_notice_is_read_or_says_nothing(data: bytes) -> None:
    read_notice(data.decode("utf-8", "surrogateescape"))
