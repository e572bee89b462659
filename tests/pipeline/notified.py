"""A follower that learns of a store by notices alone must learn of everything that moved, once all is settled."""

from collections.abc import Collection, Iterable, Sequence

import orjson
from pointsman.pipeline.moved import Moved, MovedManifest
from pointsman.pipeline.scope import Scope
from pointsman.store import keys
from pointsman.store.protocol import Stored
from pointsman.xds.manifest import read_manifest

from tests.pipeline.interleaving import Interleaving, Task
from tests.pipeline.memory import MemoryStore
from tests.pipeline.promises import named_heads

_NEWS = {keys.SNAPSHOTS: ("version",), keys.MANIFESTS: ("generation", "retired", "clusters", "listeners")}
"""The part of an object that followers must learn of, by the prefix of its key."""


class Notified:
    """Compares notices with writes. A follower that is notified of a manifest reads the heads that are new in it.
    Writes of a failed writer that is not called again may remain without a notice: followers find them at their next
    full read."""

    def __init__(self, store: MemoryStore, interleaving: Interleaving) -> None:
        self._interleaving = interleaving
        self._store = store
        self._named: dict[str, set[str]] = {}
        self._told: dict[str, int] = {}
        self._moved: dict[str, tuple[int, Task | None]] = {}
        self._excused: set[Task | None] = set()
        store.watchers.append(self._written)

    def hear(self, moved: Sequence[Moved | MovedManifest]) -> None:
        """Take notices."""
        for each in moved:
            body = orjson.loads(each.data)
            if body["serial"] <= self._told.get(each.key, 0):
                continue
            self._told[each.key] = body["serial"]
            if isinstance(each, MovedManifest):
                names = named_heads(each.key, read_manifest(body))
                for head in names - self._named.get(each.key, set()):
                    if head not in self._store.damaged:
                        self._told[head] = orjson.loads(self._store.objects[head].data)["serial"]
                self._named[each.key] = names

    def excuse(self, task: Task) -> None:
        """What this one moved need not be told."""
        self._excused.add(task)

    def excuse_keys(self, names: Iterable[str]) -> None:
        """What stands under these keys now need not be told: who knew of it is gone."""
        for key in names:
            self._moved.pop(key, None)

    def missing(self, scopes: Sequence[Scope], gateways: Collection[str]) -> list[str]:
        """What moved and was never told, of what each of `scopes` has: what a store is for no more stays as it is. Of
        the rosters, those of the datacenters with `gateways`: elsewhere nobody reads one."""
        return [
            f"{key}: nobody was told of what moved with serial {serial}"
            for key, (serial, task) in sorted(self._moved.items())
            if self._told.get(key, 0) < serial and task not in self._excused
            if all(scope.has(keys.datacenter_of(key)) for scope in scopes)
            if key != keys.gateways_manifest(keys.datacenter_of(key)) or keys.datacenter_of(key) in gateways
        ]

    def _written(self, old: Stored | None, new: Stored) -> None:
        news = _NEWS.get(new.key.split("/")[0] + "/")
        if news is None:
            return
        before, after = orjson.loads(old.data) if old else {}, orjson.loads(new.data)
        if new.key.startswith(keys.SNAPSHOTS) and after["retired"]:
            self._moved.pop(new.key, None)
        elif before.get("retired") and after["retired"]:
            pass  # it has ended, in whichever generation
        elif any(before.get(name) != after.get(name) for name in news):
            self._moved[new.key] = after["serial"], self._interleaving.current
