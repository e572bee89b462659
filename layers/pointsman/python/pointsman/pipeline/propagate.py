"""Propagating: the consequences of a config generation, published in an order that no Envoy trips over.

Heads are published before a manifest names them and retired after. The config head says how far this went, so that
whoever comes next finishes what a crash left.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import orjson

from pointsman.pipeline.config import Config, Head, PlanEntry, Root, SidecarOrGateway, load_root, read_head
from pointsman.pipeline.engine import ATTEMPTS, Contended, Engine, Moved
from pointsman.pipeline.objects import seal
from pointsman.pipeline.publish import head_write, read_head_object, retirement
from pointsman.pipeline.rosters import publish_roster
from pointsman.pipeline.settle import Settled, settle
from pointsman.store import keys
from pointsman.store.protocol import Stored, Write
from pointsman.xds.manifest import GatewaysManifest, Manifest, manifest_json, read_manifest

Progress = Callable[[str], None]
"""Told what is being done, for people who wait."""


def _silent(text: str) -> None:
    """Nobody waits."""


def propagate(engine: Engine, progress: Progress = _silent) -> Settled:
    """Publish everything that changed between the generation last propagated and the current one."""
    out = Settled()
    for _ in range(ATTEMPTS):
        head = engine.refresh()
        if head.propagated >= head.generation:
            return out
        config = engine.config(load_root(engine.objects, head.root))
        settled, published = _publish(engine, _since(engine, head, config.root), config, progress)
        out += settled
        if published:
            _mark(engine, config.root)
    raise Contended("the config changes faster than it can be published; run it again")


def _since(engine: Engine, head: Head, root: Root) -> list[Config]:
    """The config last propagated and those between it and `root`: what was published of any of them may have to go."""
    out = [engine.config(load_root(engine.objects, head.propagated_root))]
    while root.previous and root.previous["generation"] > head.propagated:
        root = load_root(engine.objects, root.previous["root"])
        out.append(engine.config(root))
    return out


def _publish(engine: Engine, earlier: Sequence[Config], config: Config, progress: Progress) -> tuple[Settled, bool]:
    """Publish `config` after those `earlier`, the first of which is published whole; False if it was overtaken."""
    before = earlier[0]
    changed = {key for key, entry in config.plans.items() if before.plans.get(key) != entry}
    gone = {key for each in earlier for key in each.plans} - config.plans.keys()
    progress(f"{len(changed)} clusters to compute, {len(gone)} to retire")
    out = settle(engine, lambda root: {k: e for k, e in _plans(engine, root).items() if k in changed})
    if engine.root.generation > config.root.generation:
        # The newer config need not have every plan of this one, so some heads may not be published: name none of them.
        return out, False
    for key, manifest in config.manifests.items():
        if before.manifests.get(key) != manifest:
            publish_manifest(engine, manifest_key(key), manifest)
    ended = {key: each.manifests[key] for each in earlier for key in each.manifests.keys() - config.manifests.keys()}
    for key, manifest in sorted(ended.items()):
        # Written even where nothing stands, so that whoever is still publishing an earlier config comes too late.
        publish_manifest(engine, manifest_key(key), replace(manifest, generation=config.root.generation, retired=True))
    for datacenter in sorted({name for each in [*earlier, config] for name in each.root.gateways}):
        out += publish_roster(engine, datacenter)[1]
    for key in sorted(gone):
        retire(engine, key, config.root.generation)
    if told := out.notices():
        engine.notify(told)
    return out, True


def _plans(engine: Engine, root: Root) -> dict[str, PlanEntry]:
    return dict(engine.config(root).plans)


def manifest_key(key: str) -> str:
    """The store key of the manifest under `key` (`dc1/default/web`, `dc1/gateways/ID`) in a config."""
    return keys.sidecar_manifest(key)


def publish_manifest(engine: Engine, key: str, manifest: SidecarOrGateway) -> bool:
    """Bring the manifest under the store key `key` to `manifest`, unless a newer one stands. True if it changed."""
    for _ in range(ATTEMPTS):
        stored = engine.store.get(key)
        current, serial = read_stored_manifest(stored)
        if current is not None and (current == manifest or current.generation > manifest.generation):
            return False
        data = seal(manifest_json(manifest), serial + 1, engine.nonce())
        if engine.store.put(Write(key, data, stored.etag if stored else None)).etag is not None:
            return True
    raise Contended(f"the manifest {key} is contended; run it again")


def end_manifest(engine: Engine, key: str, generation: int) -> bool:
    """Mark the manifest under the store key `key`, which `generation` does not have. True if it was not marked yet."""
    current, _ = read_stored_manifest(engine.store.get(key))
    if current is None or current.retired or isinstance(current, GatewaysManifest):
        return False
    return publish_manifest(engine, key, replace(current, generation=generation, retired=True))


def read_stored_manifest(stored: Stored | None) -> tuple[Manifest | None, int]:
    """The manifest in `stored` and its serial; None where there is none, or none that can be read."""
    if stored is None:
        return None, 0
    try:
        body = orjson.loads(stored.data)
        return read_manifest(body), int(body["serial"])
    except (ValueError, KeyError, TypeError):
        return None, 0


def retire(engine: Engine, plan_key: str, generation: int) -> Moved | None:
    """Mark the head of a plan that `generation` does not have any more."""
    for _ in range(ATTEMPTS):
        stored = engine.store.get(keys.snapshot(plan_key))
        reading = read_head_object(engine.store, plan_key, stored, engine.now())
        ended = retirement(reading.snapshot, generation)
        if ended is None:
            return None
        write = head_write(plan_key, reading, ended, engine.nonce())
        if engine.store.put(write).etag is not None:
            return Moved(plan_key, plan_key.split("/", 1)[0], ended.version, write.data)
    raise Contended(f"the snapshot {plan_key} is contended; run it again")


def _mark(engine: Engine, root: Root) -> None:
    """Note in the config head that the consequences of `root` are published."""
    for _ in range(ATTEMPTS):
        head = read_head(engine.store.get(keys.CONFIG_HEAD))
        if head.propagated >= root.generation:
            return
        marked = replace(head, propagated=root.generation, propagated_root=root.digest)
        if write_config_head(engine, marked) is not None:
            return
    raise Contended("the config head is contended; run it again")


def write_config_head(engine: Engine, head: Head) -> Head | None:
    """Swap the config head that `head.etag` stands for; None if the race was lost."""
    data = seal(head.json(), head.serial + 1, engine.nonce())
    written = engine.store.put(Write(keys.CONFIG_HEAD, data, head.etag))
    return replace(head, serial=head.serial + 1, etag=written.etag) if written.etag is not None else None
