"""The accepted config: entries, registrations, and all that was compiled from them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from pointsman.chain.plan import Plan, plan_json, read_plan
from pointsman.model.names import DEFAULT_NAMESPACE
from pointsman.pipeline.objects import ObjectCache
from pointsman.pipeline.scope import EVERYWHERE, Scope
from pointsman.pipeline.shards import EMPTY, Shards
from pointsman.store.protocol import Stored, StoreError
from pointsman.xds.manifest import GatewayManifest, SidecarManifest

if TYPE_CHECKING:
    from pointsman.chain.entryset import EntrySet
    from pointsman.model.registration import Registration

MAPS = ("entries", "registrations", "plans", "manifests", "index")


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """A plan and the config generation in which it last changed."""

    plan: Plan
    generation: int

    def json(self) -> dict[str, Any]:
        """As it stands in the store."""
        return {"generation": self.generation, "plan": plan_json(self.plan)}

    @classmethod
    def of_json(cls, body: Mapping[str, Any]) -> "PlanEntry":
        """The inverse of `json`."""
        return cls(read_plan(body["plan"]), body["generation"])


@dataclass(frozen=True, slots=True)
class Head:
    """The config head: which root is the config, how far its consequences are published, and for which datacenters."""

    generation: int
    root: str
    propagated: int
    propagated_root: str
    serial: int
    etag: str | None
    scope: Scope = EVERYWHERE

    def json(self) -> dict[str, Any]:
        """The head's body, without serial and nonce."""
        return {
            "generation": self.generation,
            "root": self.root,
            "propagated": self.propagated,
            "propagated_root": self.propagated_root,
            "datacenters": list(self.scope.datacenters),
        }


NO_HEAD = Head(0, "", 0, "", 0, None)


def read_head(stored: Stored | None) -> Head:
    """The config head in `stored`; NO_HEAD where nothing was configured yet. Raises StoreError if it is damaged."""
    if stored is None:
        return NO_HEAD
    try:
        body = orjson.loads(stored.data)
        return Head(
            body["generation"],
            body["root"],
            body["propagated"],
            body["propagated_root"],
            body["serial"],
            stored.etag,
            Scope(body.get("datacenters", ())),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"the config head ({stored.key}) cannot be read: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Root:
    """What a config generation consists of.

    `namespaces` and `gateways` (datacenters with a registered mesh gateway) each say since which generation they are
    there: snapshots that exist because of them carry it in their provenance.
    """

    generation: int
    digest: str
    trust_domain: str
    namespaces: Mapping[str, int]
    gateways: Mapping[str, int]
    maps: Mapping[str, Shards]
    previous: Mapping[str, Any] | None

    def json(self) -> dict[str, Any]:
        """The root's content; its digest is of this."""
        return {
            "generation": self.generation,
            "trust_domain": self.trust_domain,
            "namespaces": dict(self.namespaces),
            "gateways": dict(self.gateways),
            "maps": {name: shards.json() for name, shards in self.maps.items()},
            "previous": dict(self.previous) if self.previous else None,
        }


NO_ROOT = Root(0, "", "", {DEFAULT_NAMESPACE: 0}, {}, dict.fromkeys(MAPS, EMPTY), None)


def load_root(objects: ObjectCache, digest: str) -> Root:
    """The root named `digest`; NO_ROOT for ""."""
    if not digest:
        return NO_ROOT
    body = objects.get(digest)
    return Root(
        body["generation"],
        digest,
        body["trust_domain"],
        body["namespaces"],
        body["gateways"],
        {name: Shards.of_json(body["maps"][name]) for name in MAPS},
        body["previous"],
    )


SidecarOrGateway = SidecarManifest | GatewayManifest


@dataclass(frozen=True, slots=True)
class Config:
    """A root with everything it reaches, in memory: what configuring and reconciling work on."""

    root: Root
    entries: "EntrySet"
    registrations: "Mapping[str, Registration]"
    plans: Mapping[str, PlanEntry]
    manifests: Mapping[str, SidecarOrGateway]
    index: Mapping[str, Mapping[str, PlanEntry]] = field(default_factory=dict)
