"""Reads the config: all of it that is asked for, or what one event needs."""

from collections.abc import Iterable, Mapping
from typing import Any

from pointsman.model.stored import Kind
from pointsman.pipeline.codecs import PlanEntry
from pointsman.pipeline.config import CODECS, Config, Root
from pointsman.pipeline.lazy_map import LazyMap
from pointsman.pipeline.objects import ObjectCache


def load_config(objects: ObjectCache, root: Root, near: Config | None = None) -> Config:
    """The config of `root`, of which nothing is read yet.

    `near` is another state of it: what both have is read and decoded once.
    """
    maps = {name: LazyMap(objects, root.maps[name], codec) for name, codec in CODECS.items()}
    for name, each in maps.items():
        if near is not None:
            each.share(near.maps[name])
    return Config(root, maps)


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
    return dict(sorted((plans | plans_of(objects, root, bare)).items())) if bare else plans


def plans_of(objects: ObjectCache, root: Root, plan_keys: Iterable[str]) -> dict[str, PlanEntry]:
    """The plans of `root` under these keys, without those that are not there."""
    shards = root.maps["plans"]
    names = {key: name for key in plan_keys if (name := shards.digest_for(key))}
    objects.get_many(names.values(), Kind.CONFIG_MAP)  # all at once

    def plan(key: str, name: str) -> PlanEntry:
        return objects.made(name, Kind.CONFIG_MAP, key, lambda content: PlanEntry.of_json(content["values"][key]))

    return {key: plan(key, name) for key, name in names.items()}
