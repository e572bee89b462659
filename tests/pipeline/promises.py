"""What must hold at every moment of a store, whichever writers write and wherever they crash."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from pointsman.model.catalog import Catalog, read_catalog
from pointsman.model.lease import Place, Silence, read_lease, read_silence
from pointsman.model.orders import NO_ORDERS, read_orders
from pointsman.pipeline.orders import read_orders_object
from pointsman.store import keys
from pointsman.store.protocol import Stored
from pointsman.xds.content import Content
from pointsman.xds.manifest import GatewayManifest, GatewaysManifest, Manifest, read_manifest
from pointsman.xds.snapshot import Relation, Snapshot, read_snapshot

from tests.pipeline.memory import MemoryStore


def named_heads(key: str, manifest: Manifest) -> set[str]:
    """The keys of the heads that the manifest under the store key `key` names."""
    if manifest.retired or isinstance(manifest, GatewayManifest):
        return set()
    kind = "gateway" if isinstance(manifest, GatewaysManifest) else "sidecar"
    datacenter = key.split("/")[1]
    return {f"snapshots/{datacenter}/{kind}/{cluster}" for cluster in manifest.clusters}


class Promises:
    """Watches a store; `broken` has every promise that was broken, in words.

    Of the superseded versions of one cluster `least_kept` are never removed.
    """

    def __init__(self, store: MemoryStore, least_kept: int = 0) -> None:
        self.broken: list[str] = []
        self.most_events = 1
        """How many events of one catalog one write of it may ingest."""
        self.heard_again: dict[tuple[str, str], tuple[int, Place]] = {}
        """By source and datacenter, the revision of the silence in which it was heard again, and the place of the last
        event before: only a later one revives it."""
        self._ended_leases: set[str] = set()
        self._store = store
        self._superseded: dict[str, Content] = {}
        self._least_kept = least_kept
        store.watchers.append(self._written)
        store.removal_watchers.append(self._removed)

    def missing_history(self) -> list[str]:
        """Superseded versions that the history lacks or has otherwise, unless an interruption fell just between."""
        missing = []
        for key, content in sorted(self._superseded.items()):
            stored = self._store.objects.get(key)
            if stored is None and key not in self._store.not_copied | self._store.removed:
                missing.append(f"{key} is missing")
            elif stored is not None and not read_snapshot(orjson.loads(stored.data)).content.same_version(content):
                missing.append(f"{key} is not what was published")
        return missing

    def _written(self, old: Stored | None, new: Stored) -> None:
        if new.key.startswith(("config/objects/", "history/")):
            self._promise(old is None, f"{new.key} was written over")
            return
        before: Mapping[str, Any] | None = orjson.loads(old.data) if old else None
        after = orjson.loads(new.data)
        self._promise(after["serial"] == (before["serial"] if before else 0) + 1, f"{new.key}: serial")
        room = new.key.split("/")[0]
        if room in ("wake", "waits", "trouble"):
            return
        if room == "leases":
            look = self._silence if keys.is_silence(new.key) else self._lease
        else:
            rooms = {
                "config": self._config,
                "catalog": self._catalog,
                "snapshots": self._snapshot,
                "orders": self._orders,
            }
            look = rooms.get(room, self._manifest)
        look(new.key, before, after)

    def _promise(self, kept: bool, text: str) -> None:
        if not kept:
            self.broken.append(text)

    def _config(self, key: str, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> None:
        was = before or {"generation": 0, "root": "", "propagated": 0}
        moved = after["root"] != was["root"]
        self._promise(after["generation"] == was["generation"] + moved, f"{key}: generation")
        self._promise(was["propagated"] <= after["propagated"] <= after["generation"], f"{key}: propagated")
        root = f"config/objects/{after['root']}"
        self._promise(root in self._store.objects, f"{key}: names a root not written yet")
        if moved and root in self._store.objects:
            self._is_whole(root)

    def _is_whole(self, root: str) -> Mapping[str, Any]:
        """Promise that everything which the root under this key reaches is there; its content."""
        body: Mapping[str, Any] = orjson.loads(self._store.objects[root].data)
        for shards in body["maps"].values():
            for name in shards["buckets"].values():
                self._promise(f"config/objects/{name}" in self._store.objects, f"{root}: reaches {name}, which is gone")
        return body

    def _removed(self, names: Sequence[str]) -> None:
        """Only what is not needed: no part of a config that is kept, no cluster's newest versions, and of leases those
        that their sources ended."""
        for key in names:
            is_past = key.startswith(("config/objects/", "history/")) or key in self._ended_leases
            self._promise(is_past, f"{key}: was removed, though it can change")
        for order in read_orders_object(self._store.objects.get(keys.ORDERS)).orders:
            frozen = keys.config_object(order.frozen)
            self._promise(not order.frozen or frozen in self._store.objects, f"{frozen}: {order} needs it")
        for plan in {key.rpartition("/")[0].rpartition("/")[0] for key in names if key.startswith("history/")}:
            left = self._store.under(f"{plan}/")
            gone = [key for key in names if key.startswith(f"{plan}/")]
            self._promise(len(left) >= self._least_kept, f"{plan}: of {len(left) + len(gone)} {len(gone)} were removed")
            self._promise(
                not left or max(gone) < min(left), f"{plan}: {max(gone)} was removed before {min(left, default='')}"
            )
        head = orjson.loads(self._store.objects["config/head"].data)
        digest = head["root"]
        while digest and any(key.startswith("config/objects/") for key in names):
            root = f"config/objects/{digest}"
            self._promise(root in self._store.objects, f"{root}: is needed and was removed")
            if root not in self._store.objects:
                return
            body = self._is_whole(root)
            digest = body["previous"]["root"] if body["previous"] and body["generation"] > head["oldest"] else ""

    def _catalog(self, key: str, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> None:
        was, now = read_catalog(before) if before else Catalog(0, {}), read_catalog(after)
        changed = list(was.seen()) != list(now.seen())
        grown = now.revision - was.revision
        # Of several events one may take back what another one said.
        kept = grown == changed if self.most_events == 1 else changed <= grown <= self.most_events
        self._promise(kept, f"{key}: revision {was.revision} to {now.revision}")

    def _lease(self, key: str, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> None:
        was, now = read_lease(before) if before else None, read_lease(after)
        self._promise(was is None or was.heard <= now.heard, f"{key}: heard at {now.heard}, after {was and was.heard}")
        (self._ended_leases.discard if now.lease_ms else self._ended_leases.add)(key)

    def _silence(self, key: str, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> None:
        was, now = read_silence(before) if before else Silence(), read_silence(after)
        changed = {each for each in was.sources if was.has(each)} != {each for each in now.sources if now.has(each)}
        self._promise(
            was.revision + changed <= now.revision <= was.revision + 1,
            f"{key}: revision {was.revision} to {now.revision}",
        )
        for source, silent in was.sources.items():
            if now.has(source) or not was.has(source):
                continue
            self.heard_again[source, keys.datacenter_of(key)] = now.revision, silent.place
            stored = self._store.objects[keys.lease(keys.datacenter_of(key), source)]
            lease = read_lease(orjson.loads(stored.data))
            self._promise(
                lease.heard > silent.place or not lease.lease_ms,
                f"{key}: {source} is silent no more, though nothing was heard of it since {silent.place}",
            )

    def _orders(self, key: str, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> None:
        was, now = read_orders(before) if before else NO_ORDERS, read_orders(after)
        # One write may end what is due and begin an order; a wake that is sent changes no order.
        grown = now.revision - was.revision
        expected = (1, 2) if now.wake == was.wake else (0,)
        self._promise(grown in expected, f"{key}: revision {was.revision} to {now.revision}")
        for scope in was.in_force.keys() | now.in_force.keys():
            old, new = was.in_force.get(scope), now.in_force.get(scope)
            moved = was.revisions([scope]) != now.revisions([scope])
            self._promise((old != new) == moved, f"{key}: {scope}: {old} became {new}, and its revision grew: {moved}")
        for each in set(now.ended) - set(was.ended):
            self._promise(bool(each.by) or each.at >= each.order.until, f"{key}: nobody ended {each} before its time")

    def _snapshot(self, key: str, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> None:
        now = read_snapshot(after)
        was = read_snapshot(before) if before else None
        if was is None:
            self._promise(now.version == 1 and not now.retired, f"{key}: begins with version {now.version}")
        else:
            self._moved(key, was, now)
        if now.retired:
            for name, stored in self._store.under("manifests/").items():
                if name in self._store.damaged:
                    continue
                manifest = read_manifest(orjson.loads(stored.data))
                self._promise(key not in named_heads(name, manifest), f"{key}: retired while {name} names it")

    def _moved(self, key: str, was: Snapshot, now: Snapshot) -> None:
        relation = now.provenance.relation_to(was.provenance)
        self._promise(
            relation in (Relation.EQUAL, Relation.NEWER),
            f"{key}: from {was.provenance} to {now.provenance}, {relation}",
        )
        if now.version == was.version:
            self._promise(now.content.same_version(was.content), f"{key}: another content under version {now.version}")
            self._promise(now.retired or not was.retired, f"{key}: version {now.version} came back from retirement")
        else:
            self._promise(now.version == was.version + 1, f"{key}: version {was.version} to {now.version}")
            self._promise(not now.retired, f"{key}: version {now.version} was retired before it was published")
            self._superseded[keys.history(keys.plan_of(key), was.era, was.version)] = was.content

    def _manifest(self, key: str, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> None:
        now = read_manifest(after)
        if before is not None:
            self._promise(before["generation"] <= now.generation, f"{key}: back to generation {now.generation}")
        for head in named_heads(key, now):
            stored = self._store.objects.get(head)
            self._promise(stored is not None, f"{key}: names {head}, which was never published")
            if stored is not None and head not in self._store.damaged:
                self._promise(not orjson.loads(stored.data)["retired"], f"{key}: names {head}, which is retired")
