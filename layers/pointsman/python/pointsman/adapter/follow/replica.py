"""The last known good of the objects that somebody here follows."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import orjson
from google.protobuf.message import DecodeError

from pointsman.model.errors import PointsmanError
from pointsman.store import keys
from pointsman.store.protocol import Store, Stored
from pointsman.xds.content import InconsistentContent
from pointsman.xds.deliverable import check_manifest, check_snapshot
from pointsman.xds.manifest import GatewayManifest, GatewaysManifest, Manifest, SidecarManifest, read_manifest
from pointsman.xds.snapshot import Snapshot, read_snapshot

_log = logging.getLogger(__name__)

Value = Snapshot | Manifest


@dataclass(slots=True)
class _Held:
    """`number` is the version of a snapshot, the generation of a manifest; neither it nor the serial goes back."""

    value: Value | None = None
    number: int = 0
    serial: int = 0
    problem: str = ""


class Replica:
    """Snapshots and manifests as they were last read, checked, and in order. Not safe for several threads.

    What cannot be read, must not reach an Envoy or is older than what is here already changes nothing: the value
    stays, and `problem` tells why.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: dict[str, _Held] = {}
        self._known: dict[str, str | None] = {}
        self._unread: set[str] = set()
        self.cursor = ""

    def follow(self, wanted: Iterable[str]) -> None:
        """Keep the objects under these keys as well. They are read by the next `read_new`."""
        for key in wanted:
            if key not in self._held:
                self._held[key] = _Held()
                self._unread.add(key)

    def forget(self, unwanted: Iterable[str]) -> None:
        """Follow these keys no longer."""
        for key in unwanted:
            self._held.pop(key, None)
            self._known.pop(key, None)
            self._unread.discard(key)

    def value(self, key: str) -> Value | None:
        """The last known good; None if there was none so far or nobody follows. The same object until it changes."""
        held = self._held.get(key)
        return held.value if held else None

    def problem(self, key: str) -> str:
        """Why what the store has under `key` was not taken; empty if it was, or if nothing is there."""
        held = self._held.get(key)
        return held.problem if held else ""

    def read_changed(self) -> set[str]:
        """Look for what was written since the last time: the keys whose values changed. Raises StoreError."""
        found = self._store.changes(self._known, self.cursor)
        self.cursor = found.cursor
        return self._take(found.objects)

    def read_new(self) -> set[str]:
        """Read what is followed and was never read: the keys that have a value now. Raises StoreError."""
        if not self._unread:
            return set()
        asked = dict.fromkeys(self._unread)
        # The cursor stays: it is older than this reading, so whatever is written from now on comes after it.
        found = self._store.changes(asked, "")
        self._known |= asked
        self._unread.clear()
        return self._take(found.objects)

    def _take(self, objects: Iterable[Stored]) -> set[str]:
        changed = set()
        for stored in objects:
            self._known[stored.key] = stored.etag
            held = self._held[stored.key]
            before = held.value
            held.problem = _update(held, stored)
            if held.problem:
                _log.warning("%s", held.problem)
            if held.value is not before:
                changed.add(stored.key)
        return changed


def _update(held: _Held, stored: Stored) -> str:
    """Take what is `stored` into `held`, or say why not."""
    try:
        body = orjson.loads(stored.data)
        serial = int(body["serial"])
        value, number = _read(stored.key, body)
    except (KeyError, TypeError, ValueError, AttributeError, DecodeError, PointsmanError) as error:
        why = str(error) if isinstance(error, PointsmanError) else f"{type(error).__name__}: {error}"
        return f"{stored.key} is not fit for use ({why}); {_what_stays(held)}"
    if number < held.number or serial < held.serial:
        return (
            f"{stored.key} went back in the store, from {held.number} (serial {held.serial}) to {number} "
            f"(serial {serial}); {_what_stays(held)}"
        )
    held.number, held.serial = number, serial
    if not _equal(held.value, value):
        held.value = value
    return ""


def _read(key: str, body: Mapping[str, object]) -> tuple[Value, int]:
    if key.startswith(keys.MANIFESTS):
        manifest = read_manifest(body)
        if not isinstance(manifest, _kind(key)):
            raise InconsistentContent(f"a {type(manifest).__name__} stands there")
        check_manifest(manifest)
        return manifest, manifest.generation
    snapshot = read_snapshot(body)
    # A key is `snapshots/dc1/sidecar/<cluster id>`, and the cluster must be the one that it is filed under.
    check_snapshot(key.split("/", 3)[3], snapshot)
    return snapshot, snapshot.version


def _kind(manifest_key: str) -> type[Manifest]:
    match manifest_key.removeprefix(keys.MANIFESTS).split("/"):
        case [_, "gateways"]:
            return GatewaysManifest
        case [_, "gateways", _]:
            return GatewayManifest
        case _:
            return SidecarManifest


def _equal(old: Value | None, new: Value) -> bool:
    """Whether no proxy could tell the two apart: a stamp of newer provenance is not a change."""
    if isinstance(old, Snapshot) and isinstance(new, Snapshot):
        return (old.version, old.retired) == (new.version, new.retired) and old.content.same_version(new.content)
    return old == new


def _what_stays(held: _Held) -> str:
    return f"what was there before stays ({held.number})" if held.value is not None else "nothing was there before"
