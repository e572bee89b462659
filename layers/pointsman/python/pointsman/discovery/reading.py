"""What was read under a key of the store, checked, and never older than what was read there before."""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from pointsman.model.errors import PointsmanError
from pointsman.store import keys
from pointsman.store.protocol import Stored
from pointsman.xds.content import InconsistentContent
from pointsman.xds.deliverable import check_manifest, check_snapshot
from pointsman.xds.manifest import GatewayManifest, GatewaysManifest, Manifest, SidecarManifest, read_manifest
from pointsman.xds.snapshot import Snapshot, read_snapshot

Value = Snapshot | Manifest


@dataclass(slots=True)
class LastGood:
    """The last known good of one object, a head or a manifest.

    `number` is the version of a snapshot, the generation of a manifest; neither it nor the serial goes back. `value` is
    None if there was nothing good so far, and the same object until it changes. `problem` tells why what was read last
    was not taken, "" if it was.
    """

    value: Value | None = None
    number: int = 0
    serial: int = 0
    problem: str = ""

    def take(self, stored: Stored) -> bool:
        """Take what is `stored` for the value, unless it cannot be read, must not reach an Envoy or is older than what
        is here: then the value stays. Whether the value changed."""
        before = self.value
        self.problem = self._update(stored)
        return self.value is not before

    def _update(self, stored: Stored) -> str:
        try:
            body = orjson.loads(stored.data)
            serial = int(body["serial"])
            value, number = _read(stored.key, body)
        except Exception as error:
            # Whatever is wrong with one object must not end the reading of the others.
            why = str(error) if isinstance(error, PointsmanError) else f"{type(error).__name__}: {error}"
            return f"{stored.key} is not fit for use ({why}); {self._what_stays}"
        if number < self.number or serial < self.serial:
            return (
                f"{stored.key} went back in the store, from {self.number} (serial {self.serial}) to {number} "
                f"(serial {serial}); {self._what_stays}"
            )
        self.number, self.serial = number, serial
        if not _equal(self.value, value):
            self.value = value
        return ""

    @property
    def _what_stays(self) -> str:
        stays = f"what was there before stays ({self.number})"
        return stays if self.value is not None else "nothing was there before"


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
