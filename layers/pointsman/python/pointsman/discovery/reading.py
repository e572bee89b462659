"""The last known good under a key of the store: checked, and never older than before."""

from dataclasses import dataclass
from typing import NamedTuple

from pointsman.delivery.deliverable import check_manifest, check_snapshot
from pointsman.model.era import NO_ERA, Era
from pointsman.model.errors import PointsmanError
from pointsman.model.keys import cluster_of, gateway_in, is_gateways_key, sidecar_in
from pointsman.model.stored import number as read_number
from pointsman.model.stored import parse
from pointsman.store import keys
from pointsman.store.protocol import Stored
from pointsman.xds.content import InconsistentContent
from pointsman.xds.manifest import GatewayManifest, GatewaysManifest, Manifest, SidecarManifest, read_manifest
from pointsman.xds.snapshot import Snapshot, read_snapshot

Value = Snapshot | Manifest


class Position(NamedTuple):
    """The position of an object in the history of its key.

    The epoch of its `era` never decreases, nor do the other numbers within an era. Of two eras with the same epoch
    neither is newer. `number` is the version of a snapshot, the generation of a manifest.
    """

    era: Era
    number: int
    serial: int

    def __str__(self) -> str:
        return f"{self.number} (serial {self.serial}, epoch {self.era.epoch} of {self.era.identity or 'no store'})"


_NOWHERE = Position(NO_ERA, 0, 0)


@dataclass(slots=True)
class LastGood:
    """The last known good of one object, a head or a manifest, and its `position`.

    `value` is None before the first good one, and the same object until it changes. `problem` is why the last object
    read was refused, "" if it was accepted. `contradicted` is whether that was because it is older, or different at the
    same position: then `confirm` decides by the store itself. `times` counts the reads.
    """

    value: Value | None = None
    position: Position = _NOWHERE
    problem: str = ""
    contradicted: bool = False
    times: int = 0

    def take(self, stored: Stored) -> bool:
        """Accept `stored` as the value, unless it is unreadable, unfit for an Envoy, older than the value, or different
        at the same position: then the value stays. Returns whether the value changed."""
        before, self.contradicted = self.value, False
        self.times += 1
        read = self._readable(stored)
        if read is None:
            return False
        value, position = read
        if why := self._contradiction(position, value):
            self.contradicted = True
            self.problem = f"{stored.key} {why}; {self._what_stays}"
            return False
        self._accept(value, position)
        return self.value is not before

    def confirm(self, stored: Stored | None, key: str) -> tuple[bool, str]:
        """Accept what the store itself has under `key`, read without caches, even if it is older. A missing or unusable
        object leaves the value. Returns whether the value is what the store has, and what went back from where to where
        ("" if nothing did)."""
        if stored is None:
            self.miss(key)
            return False, ""
        self.contradicted = False
        self.times += 1
        read = self._readable(stored)
        if read is None:
            return False, ""
        value, position = read
        went = f"from {self.position} to {position}" if self._contradiction(position, value) else ""
        self._accept(value, position)
        return True, went

    def miss(self, key: str) -> None:
        """Record that `key` is missing in the store. The value stays: missing is not a statement."""
        self.contradicted = False
        self.times += 1
        self.problem = f"{key} is not in the store any more; {self._what_stays}" if self.value is not None else ""

    def _readable(self, stored: Stored) -> tuple[Value, Position] | None:
        try:
            body = parse(stored.data)
            value, number = _read(stored.key, body)
            serial = read_number(body, "serial")
        except Exception as error:
            # Whatever is wrong with one object must not stop the reading of the others.
            why = str(error) if isinstance(error, PointsmanError) else f"{type(error).__name__}: {error}"
            self.problem = f"{stored.key} is not fit for use ({why}); {self._what_stays}"
            return None
        return value, Position(value.era, number, serial)

    def _contradiction(self, position: Position, value: Value) -> str:
        """Why an object at this position cannot follow the value; "" if it can."""
        here = self.position
        if self.value is None or position.era.epoch > here.era.epoch:
            return ""
        if position.era.epoch < here.era.epoch or (
            position.era == here.era and (position.number < here.number or position.serial < here.serial)
        ):
            return f"went back in the store, from {here} to {position}"
        if position.era != here.era:
            return f"is another store's than what is here, {position} and not {here}"
        if _other(self.value, value) or (position == self.position and not _equal(self.value, value)):
            return f"is another in the store than here, both {position}"
        return ""

    def _accept(self, value: Value, position: Position) -> None:
        self.position, self.problem = position, ""
        if not _equal(self.value, value):
            self.value = value

    @property
    def _what_stays(self) -> str:
        stays = f"what was there before stays ({self.position.number})"
        return stays if self.value is not None else "nothing was there before"


def _read(key: str, body: object) -> tuple[Value, int]:
    if keys.is_manifest(key):
        manifest = read_manifest(body)
        if not _belongs(keys.proxy_of(key), manifest):
            raise InconsistentContent(f"a {type(manifest).__name__} stands there")
        check_manifest(manifest)
        return manifest, manifest.generation
    snapshot = read_snapshot(body)
    # The cluster must be the one that its key names.
    check_snapshot(cluster_of(keys.plan_of(key)), snapshot)
    return snapshot, snapshot.version


def _belongs(proxy_key: str, manifest: Manifest) -> bool:
    """Whether a manifest belongs under its key."""
    match manifest:
        case SidecarManifest():
            return sidecar_in(proxy_key) is not None
        case GatewayManifest():
            return gateway_in(proxy_key) is not None
        case GatewaysManifest():
            return is_gateways_key(proxy_key)


def _equal(old: Value | None, new: Value) -> bool:
    """Whether no proxy could tell the two apart. Within an era, newer provenance alone is not a change."""
    if isinstance(old, Snapshot) and isinstance(new, Snapshot):
        same = (old.version, old.retired, old.era) == (new.version, new.retired, new.era)
        return same and old.content.same_version(new.content)
    return old == new


def _other(old: Value, new: Value) -> bool:
    """Whether these are different contents of one version, which no sequence of writes produces."""
    if isinstance(old, Snapshot) and isinstance(new, Snapshot):
        return old.version == new.version and not old.content.same_version(new.content)
    return False
