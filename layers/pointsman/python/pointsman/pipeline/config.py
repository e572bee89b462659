"""The accepted config: entries, registrations, and everything compiled from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pointsman.model.era import NO_ERA, Era, era_json, read_era
from pointsman.model.names import DEFAULT_NAMESPACE
from pointsman.model.note import NO_NOTE, Note
from pointsman.model.stored import Damaged, Kind, number, parse, tagged, text, texts
from pointsman.pipeline.codecs import (
    ENTRIES,
    INDEX,
    MANIFESTS,
    PLANS,
    REFERRING,
    REGISTRATIONS,
    USERS,
    Codec,
    PlanEntry,
    Readers,
    SidecarOrGateway,
)
from pointsman.pipeline.objects import ObjectCache
from pointsman.pipeline.scope import EVERYWHERE, Scope
from pointsman.pipeline.shards import EMPTY, Shards
from pointsman.store.bears import NOT_SAID, WRITER, Bears, check_writer, read_bears
from pointsman.store.protocol import Stored, StoreError
from pointsman.xds.manifest import Moment

if TYPE_CHECKING:
    from pointsman.chain.entryset import EntrySet
    from pointsman.model.names import ServiceName
    from pointsman.model.registration import Registration
    from pointsman.pipeline.lazy_map import LazyMap

CODECS: Mapping[str, Codec[Any, Any]] = {
    "entries": ENTRIES,
    "registrations": REGISTRATIONS,
    "plans": PLANS,
    "manifests": MANIFESTS,
    "index": INDEX,
    "referring": REFERRING,
    "users": USERS,
}
"""The maps of a config, by name."""


@dataclass(frozen=True, slots=True)
class ConfigHead:
    """The config head: which root is the config, how far its consequences are published, and for which datacenters.

    `era` is the store's, `bears` the oldest versions that may use it, `oldest` the oldest generation that is kept
    (`retention`), `notices` the ARN of the topic whose followers are told of what is written, "" if there is none.
    """

    generation: int
    root: str
    propagated: int
    propagated_root: str
    serial: int
    etag: str | None
    scope: Scope = EVERYWHERE
    era: Era = NO_ERA
    bears: Bears = NOT_SAID
    oldest: int = 0
    notices: str = ""

    @property
    def at(self) -> Moment:
        """The state of the config: epoch and generation."""
        return self.era.epoch, self.generation

    def json(self) -> dict[str, Any]:
        """The body of the head, without serial and nonce."""
        return tagged(
            Kind.CONFIG_HEAD,
            {
                **era_json(self.era),
                **self.bears.json(),
                "generation": self.generation,
                "root": self.root,
                "propagated": self.propagated,
                "propagated_root": self.propagated_root,
                "datacenters": list(self.scope.datacenters),
                "oldest": self.oldest,
                "notices": self.notices,
            },
        )


NO_CONFIG_HEAD = ConfigHead(0, "", 0, "", 0, None)


def read_config_head(stored: Stored | None) -> ConfigHead:
    """The config head in `stored`; NO_CONFIG_HEAD if nothing is configured yet.

    Raises StoreError if it is damaged, or this Pointsman is too old for it.
    """
    if stored is None:
        return NO_CONFIG_HEAD
    try:
        body = parse(stored.data)
        bears = read_bears(body)
        check_writer(bears)
        return ConfigHead(
            number(body, "generation"),
            text(body, "root"),
            number(body, "propagated"),
            text(body, "propagated_root"),
            number(body, "serial"),
            stored.etag,
            Scope(texts(body, "datacenters")),
            read_era(body),
            bears,
            number(body, "oldest"),
            # Heads of older writers have none.
            text({"notices": "", **body}, "notices"),
        )
    except Damaged as error:
        raise StoreError(f"the config head ({stored.key}) cannot be read: {error}; restore it from a copy") from None


@dataclass(frozen=True, slots=True)
class Root:
    """What a config generation consists of.

    `namespaces` and `gateways` (datacenters with a registered mesh gateway) map to the generation that added them,
    which is part of the provenance of snapshots that exist because of them. `writer` is the version of the writer that
    compiled it (`store.bears`). It was written `at` (RFC 3339, UTC; "" in roots of older writers), and `note` says by
    whom and what for.
    """

    generation: int
    digest: str
    trust_domain: str
    namespaces: Mapping[str, int]
    gateways: Mapping[str, int]
    maps: Mapping[str, Shards]
    previous: Mapping[str, Any] | None
    writer: int = WRITER
    at: str = ""
    note: Note = NO_NOTE

    def json(self) -> dict[str, Any]:
        """The root's content, from which its digest is made."""
        return tagged(
            Kind.CONFIG_ROOT,
            {
                "generation": self.generation,
                "trust_domain": self.trust_domain,
                "namespaces": dict(self.namespaces),
                "gateways": dict(self.gateways),
                "maps": {name: shards.json() for name, shards in self.maps.items()},
                "previous": dict(self.previous) if self.previous else None,
                "writer": self.writer,
                "at": self.at,
                "by": self.note.by,
                "message": self.note.message,
            },
        )

    def objects(self) -> set[str]:
        """The digests of everything that this root reaches, itself included, without earlier roots."""
        return {self.digest, *(name for shards in self.maps.values() for name in shards.buckets.values())}


NO_ROOT = Root(0, "", "", {DEFAULT_NAMESPACE: 0}, {}, dict.fromkeys(CODECS, EMPTY), None)


def load_root(objects: ObjectCache, digest: str) -> Root:
    """The root with this digest; NO_ROOT for "". Raises StoreError."""
    if not digest:
        return NO_ROOT
    body = objects.get(digest, Kind.CONFIG_ROOT)
    if not CODECS.keys() <= body["maps"].keys():
        raise StoreError(
            f"the config root {digest} is of an older layout: name another store and apply the config there "
            "(`pointsman list --json` of the older Pointsman prints it)"
        )
    return Root(
        body["generation"],
        digest,
        body["trust_domain"],
        body["namespaces"],
        body["gateways"],
        {name: Shards.of_json(body["maps"][name]) for name in CODECS},
        body["previous"],
        body["writer"],
        # Roots of older writers have none of these.
        body.get("at", ""),
        Note(body.get("by", ""), body.get("message", "")),
    )


class Config:
    """A root with everything it reaches. What is asked for is read."""

    def __init__(self, root: Root, maps: "Mapping[str, LazyMap[Any, Any]]") -> None:
        """`maps` are those in `root`, by name."""
        self.root = root
        self.maps = maps

    @cached_property
    def entries(self) -> "EntrySet":
        """The config entries."""
        # Imported here, because health events need no shapes of config.
        from pointsman.chain.entryset import EntrySet

        namespaces = frozenset(self.root.namespaces)
        return EntrySet(self.maps["entries"], namespaces=namespaces, referring=self.maps["referring"])

    @property
    def registrations(self) -> "LazyMap[str, Registration]":
        """The registrations, by their keys."""
        return self.maps["registrations"]

    @property
    def plans(self) -> "LazyMap[str, PlanEntry]":
        """The plans, by their keys."""
        return self.maps["plans"]

    @property
    def manifests(self) -> "LazyMap[str, SidecarOrGateway]":
        """The manifests, by the keys of their registrations."""
        return self.maps["manifests"]

    @property
    def index(self) -> "LazyMap[str, Readers]":
        """The plans that read each catalog."""
        return self.maps["index"]

    @property
    def users(self) -> "LazyMap[ServiceName, frozenset[str]]":
        """The registrations with each service as an upstream."""
        return self.maps["users"]
