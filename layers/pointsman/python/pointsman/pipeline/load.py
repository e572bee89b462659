"""Reads the config: all of it, or what one event needs."""

from collections.abc import Iterable, Mapping
from typing import Any

from pointsman.model.stored import Kind
from pointsman.pipeline.config import NO_ROOT, Config, PlanEntry, Root
from pointsman.pipeline.objects import ObjectCache
from pointsman.xds.manifest import GatewayManifest, SidecarManifest, read_manifest


def load_map(objects: ObjectCache, root: Root, name: str) -> dict[str, Any]:
    """A whole map of `root`, as JSON values."""
    buckets = root.maps[name].buckets.values()
    out: dict[str, Any] = {}
    for content in objects.get_many(buckets, Kind.CONFIG_MAP).values():
        out.update(content["values"])
    return dict(sorted(out.items()))


def load_config(objects: ObjectCache, root: Root) -> Config:
    """Everything that `root` refers to."""
    # Imported here, because health events read single plans and need no shapes of config.
    from pointsman.chain.entryset import EntrySet
    from pointsman.model.entries import parse_entry
    from pointsman.model.registration import parse_registration

    if not root.digest:
        return Config(NO_ROOT, EntrySet({}), {}, {}, {}, {})
    plans = {key: PlanEntry.of_json(body) for key, body in load_map(objects, root, "plans").items()}
    return Config(
        root=root,
        entries=EntrySet.of(parse_entry(body) for body in load_map(objects, root, "entries").values()),
        registrations={key: parse_registration(body) for key, body in load_map(objects, root, "registrations").items()},
        plans=plans,
        manifests={key: _own_manifest(body) for key, body in load_map(objects, root, "manifests").items()},
        index=index_of(plans),
    )


def _own_manifest(body: Mapping[str, Any]) -> SidecarManifest | GatewayManifest:
    manifest = read_manifest(body)
    assert isinstance(manifest, SidecarManifest | GatewayManifest)
    return manifest


def index_of(plans: Mapping[str, PlanEntry]) -> dict[str, dict[str, PlanEntry]]:
    """The plans that read each catalog, by its key."""
    index: dict[str, dict[str, PlanEntry]] = {}
    for key, entry in plans.items():
        for source in entry.plan.inputs():
            index.setdefault(source, {})[key] = entry
    return index


def readers_of(objects: ObjectCache, root: Root, catalog_key: str) -> Mapping[str, PlanEntry]:
    """The plans that read the catalog under `catalog_key`, by their keys.

    A service's index entry contains the plans themselves; that of a datacenter's gateways, which nearly every plan may
    read, contains only their keys.
    """
    bucket = root.maps["index"].digest_for(catalog_key)
    if bucket is None:
        return {}

    def read(content: Mapping[str, Any]) -> tuple[dict[str, PlanEntry], list[str]]:
        found: Mapping[str, Any] = content["values"].get(catalog_key) or {}
        plans = {key: PlanEntry.of_json(body) for key, body in sorted(found.items()) if body is not None}
        return plans, [key for key, body in found.items() if body is None]

    plans, bare = objects.made(bucket, Kind.CONFIG_MAP, catalog_key, read)
    return dict(sorted((plans | _plans(objects, root, bare)).items())) if bare else plans


def _plans(objects: ObjectCache, root: Root, plan_keys: Iterable[str]) -> dict[str, PlanEntry]:
    shards = root.maps["plans"]
    names = {key: name for key in plan_keys if (name := shards.digest_for(key))}
    objects.get_many(names.values(), Kind.CONFIG_MAP)  # all at once

    def plan(key: str, name: str) -> PlanEntry:
        return objects.made(name, Kind.CONFIG_MAP, key, lambda content: PlanEntry.of_json(content["values"][key]))

    return {key: plan(key, name) for key, name in names.items()}
