"""The key layout: a prefix per concern. Every name in a key was validated when it came in."""

CONFIG_HEAD = "config/head"
"""The one mutable object of the config."""

CATALOG = "catalog/"
SNAPSHOTS = "snapshots/"
MANIFESTS = "manifests/"


def config_object(digest: str) -> str:
    """An immutable, content-addressed part of the config."""
    return f"config/objects/{digest}"


def catalog(key: str) -> str:
    """The catalog of a service (`dc1/default/web`) or of a datacenter's gateways (`dc1/gateways`)."""
    return f"{CATALOG}{key}"


def snapshot(plan_key: str) -> str:
    """The head of one cluster: `dc1/sidecar/<cluster id>` or `dc1/gateway/<cluster id>`."""
    return f"{SNAPSHOTS}{plan_key}"


def history(plan_key: str, version: int) -> str:
    """A superseded version of a snapshot."""
    return f"history/{plan_key}/{version:010d}"


def sidecar_manifest(key: str) -> str:
    """The manifest of a service's sidecars in a datacenter (`dc1/default/web`)."""
    return f"{MANIFESTS}{key}"


def gateways_manifest(datacenter: str) -> str:
    """The manifest that all gateways of a datacenter share."""
    return f"{MANIFESTS}{datacenter}/gateways"


def gateway_manifest(datacenter: str, gateway_id: str) -> str:
    """What one gateway has of its own."""
    return f"{MANIFESTS}{datacenter}/gateways/{gateway_id}"
