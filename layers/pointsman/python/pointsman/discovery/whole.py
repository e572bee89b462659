"""Reads everything that one proxy should have from a store, once."""

from pointsman.discovery.memory import Memory
from pointsman.discovery.proxy import ProxyId
from pointsman.discovery.view import View, are_retired, cluster_ids, make_view, manifests_of
from pointsman.model.errors import PointsmanError
from pointsman.store.protocol import Store
from pointsman.xds.snapshot import Snapshot


def read_view(store: Store, proxy: ProxyId) -> View:
    """The view of `proxy`. Raises PointsmanError if it is not registered, or something of it is not there."""
    memory = Memory(store)
    manifests = manifests_of(_values(memory, proxy.manifest_keys))
    if manifests is None or are_retired(manifests):
        _complain(memory, proxy.manifest_keys)
        raise PointsmanError(f"{proxy} is not registered; `pointsman apply` does that")
    keys = {each: proxy.snapshot_key(each) for each in cluster_ids(manifests)}
    found = dict(zip(keys, _values(memory, tuple(keys.values())), strict=True))
    snapshots = {name: each for name, each in found.items() if isinstance(each, Snapshot)}
    if missing := [key for name, key in keys.items() if name not in snapshots]:
        _complain(memory, missing)
        raise PointsmanError(f"{proxy} has no complete view: {missing[0]} is not there; `pointsman reconcile` makes it")
    return make_view(1, manifests, snapshots)


def _values(memory: Memory, keys: tuple[str, ...]) -> list[object]:
    if keys:
        memory.read(keys)
    return [memory.value(key) for key in keys]


def _complain(memory: Memory, keys: "list[str] | tuple[str, ...]") -> None:
    """Raise PointsmanError if the store could not be read, or one of these is not fit for use."""
    if memory.unreachable:
        raise PointsmanError(f"the store cannot be read: {memory.unreachable}")
    for key in keys:
        if problem := memory.problem(key):
            raise PointsmanError(problem)
