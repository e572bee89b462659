"""The key layout: a prefix for each kind of object, then the keys of `model/keys.py`.

All keys of the store are built and parsed here. Every name in a key was validated when it came in.
"""

from hashlib import sha256

from pointsman.model.era import Era
from pointsman.model.keys import gateway_key, gateways_key, sidecar_key
from pointsman.model.names import ServiceName

CONFIG_HEAD = "config/head"
"""The one mutable object of the config."""

CATALOG = "catalog/"
SNAPSHOTS = "snapshots/"
MANIFESTS = "manifests/"
HISTORY = "history/"
PROBE = "probe/"
CONFIG_OBJECTS = "config/objects/"
LEASES = "leases/"
WAKE = "wake"
"""When leases are looked at next, where no process does it all the time."""
WAITS = "waits"
"""Which clusters have to be computed again at which moment."""
ORDERS = "orders"
"""The orders of operators."""
TROUBLE = "trouble/"
"""What was wrong with what the sources of a datacenter sent."""
SEEN = "seen/"
"""What adapters saw of their Envoys."""
TOKENS = "tokens"
"""Who may speak to `pointsman up` from other machines."""


def config_object(digest: str) -> str:
    """An immutable, content-addressed part of the config."""
    return f"{CONFIG_OBJECTS}{digest}"


def probed(place: str) -> str:
    """The object that says that the bucket passed its probe through the endpoint with this digest."""
    return f"{PROBE}{place}"


def race(name: str) -> str:
    """An object that writers contend for in a probe, and that is deleted afterwards."""
    return f"{PROBE}race-{name}"


def catalog(source: str) -> str:
    """The catalog of a service (`dc1/service/default/web`) or of a datacenter's gateways (`dc1/gateways`)."""
    return f"{CATALOG}{source}"


def leases(datacenter: str) -> str:
    """The prefix of all that is kept of the sources that speak of a datacenter."""
    return f"{LEASES}{datacenter}/"


def lease(datacenter: str, source: str) -> str:
    """The lease of one source in a datacenter. The name of a source is any text, so its digest stands for it."""
    return f"{leases(datacenter)}{sha256(source.encode()).hexdigest()[:32]}"


def silence(datacenter: str) -> str:
    """The silent sources of a datacenter, beside their leases."""
    return f"{leases(datacenter)}silent"


def is_silence(key: str) -> bool:
    """Whether this is the key of the silent sources of a datacenter."""
    return key.startswith(LEASES) and key.endswith("/silent")


def trouble(datacenter: str) -> str:
    """What was wrong with what the sources of a datacenter sent."""
    return f"{TROUBLE}{datacenter}"


def seen(adapter: str) -> str:
    """What the adapter with this id saw."""
    return f"{SEEN}{adapter}"


def source_of(catalog_key: str) -> str:
    """The service or gateways of the catalog under this key."""
    return catalog_key.removeprefix(CATALOG)


def snapshot(plan_key: str) -> str:
    """The head of one cluster: `dc1/sidecar/<cluster id>` or `dc1/gateway/<cluster id>`."""
    return f"{SNAPSHOTS}{plan_key}"


def plan_of(snapshot_key: str) -> str:
    """The key of the plan of the head under this key."""
    return snapshot_key.removeprefix(SNAPSHOTS)


def datacenter_of(key: str) -> str:
    """The datacenter of a catalog, a head or a manifest, by its key."""
    return key.split("/", 2)[1]


def is_snapshot(key: str) -> bool:
    """Whether this is the key of a head."""
    return key.startswith(SNAPSHOTS)


def is_manifest(key: str) -> bool:
    """Whether this is the key of a manifest."""
    return key.startswith(MANIFESTS)


def manifest(proxy_key: str) -> str:
    """The manifest of a service's sidecars, of one gateway, or of a datacenter's gateways, by their key."""
    return f"{MANIFESTS}{proxy_key}"


def proxy_of(manifest_key: str) -> str:
    """The key of the proxies of this manifest; the inverse of `manifest`."""
    return manifest_key.removeprefix(MANIFESTS)


def sidecar_manifest(datacenter: str, service: ServiceName) -> str:
    """The manifest of a service's sidecars in a datacenter."""
    return manifest(sidecar_key(datacenter, service))


def gateways_manifest(datacenter: str) -> str:
    """The manifest that all gateways of a datacenter share."""
    return manifest(gateways_key(datacenter))


def gateway_manifest(datacenter: str, gateway_id: str) -> str:
    """The manifest of one gateway's own settings."""
    return manifest(gateway_key(datacenter, gateway_id))


def history(plan_key: str, era: Era, version: int) -> str:
    """A superseded version of a snapshot, published in `era`, because a new store counts versions from 1 again."""
    return f"{history_of(plan_key)}{era.epoch:010d}-{era.identity}/{version:010d}"


def history_of(plan_key: str) -> str:
    """The prefix of the keys of all superseded versions of a snapshot."""
    return f"{HISTORY}{plan_key}/"


def version_of(history_key: str) -> int | None:
    """The version in a key of the history; None for another key."""
    number = history_key.rpartition("/")[2]
    return int(number) if len(number) <= 20 and number.isascii() and number.isdecimal() else None
