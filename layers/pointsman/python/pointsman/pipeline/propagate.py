"""Propagate: publishes what follows from a config generation, in an order that is safe for Envoys.

Heads are published before a manifest names them and retired after. The config head says how far this went, so that the
next writer finishes what a crash left.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from pointsman.model.cause import by_config
from pointsman.model.keys import datacenter_of, is_gateway_plan_key
from pointsman.model.words import counted
from pointsman.pipeline.codecs import PlanEntry
from pointsman.pipeline.config import Config, ConfigHead, Root, load_root, read_config_head
from pointsman.pipeline.config_head import Latest, WentBack, write_config_head
from pointsman.pipeline.engine import ATTEMPTS, Contended, Engine
from pointsman.pipeline.heads import read_head_object
from pointsman.pipeline.manifests import nameable, publish_manifests
from pointsman.pipeline.rosters import publish_roster
from pointsman.pipeline.scope import Scope
from pointsman.pipeline.settle import BATCH, Settled, settle
from pointsman.pipeline.swaps import swap_many
from pointsman.pipeline.verdict import head_write, retirement
from pointsman.store import keys
from pointsman.store.protocol import Stored, Write

Progress = Callable[[str], None]
"""Receives texts about what is being done, for people who wait."""


def _silent(text: str) -> None:
    """Reports no progress."""


def propagate(engine: Engine, progress: Progress = _silent) -> Settled:
    """Publish everything that changed between the last propagated generation and the current one."""
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


def _since(engine: Engine, head: ConfigHead, root: Root) -> list[Config]:
    """The config last propagated and those between it and `root`: heads of any of them may have to be retired."""
    out = [engine.config(load_root(engine.objects, head.propagated_root))]
    while root.previous and root.previous["generation"] > head.propagated:
        root = load_root(engine.objects, root.previous["root"])
        out.append(engine.config(root))
    return out


def _publish(engine: Engine, earlier: Sequence[Config], config: Config, progress: Progress) -> tuple[Settled, bool]:
    """Publish `config` after `earlier`, of which the first is fully published. False if a newer config came in
    between."""
    before = earlier[0]
    scope = engine.scope
    differing = [scope.keys(each.plans.differing(config.plans)) for each in earlier]
    changed = sorted(key for key in differing[0] if key in config.plans)
    gone = {key for each in differing for key in each if key not in config.plans}
    out = Settled()
    cause = by_config(config.root.generation, config.root.note)
    for start in range(0, len(changed) or 1, BATCH):
        progress(f"{start:,} of {counted(len(changed), 'cluster')} computed, {len(gone)} to retire")
        some = partial(_plans, engine, plan_keys=changed[start : start + BATCH])
        out += settle(engine, some, why=lambda key: cause)
        if engine.root.digest != config.root.digest:
            # The newer config may lack plans of this one, so some heads may be unpublished: name none of them.
            return out, False
    wanted = {
        key: manifest
        for key in before.manifests.differing(config.manifests)
        if (manifest := config.manifests.get(key)) is not None
    }
    for each in earlier:
        # Retired even if none exists, so that a writer that still publishes an earlier config comes too late.
        wanted |= {
            key: replace(each.manifests[key], generation=config.root.generation, retired=True)
            for key in each.manifests.differing(config.manifests)
            if key not in config.manifests
        }
    # Unchanged ones get notices too: their writer may have crashed before sending them.
    manifests = publish_manifests(engine, nameable(dict(sorted(scope.of(wanted).items())), out.absent))
    if out.note(manifests.failed, manifests.raised):
        return out, False
    told = [*manifests.moved, *manifests.stood]
    out.manifests += [each.key for each in manifests.moved]
    for datacenter in _rosters(scope, earlier, config, (*changed, *gone)):
        roster = publish_roster(engine, datacenter, before.root.generation)
        out += roster.settled
        if roster.stands and (roster.changed or roster.stands.generation > before.root.generation):
            told.append(roster.stands)
    if engine.root.digest != config.root.digest:
        # A roster of the newer config may name a plan that this one lacks, with a head older than both.
        return out, False
    retired = retire(engine, sorted(gone), config.root.generation)
    if out.note(retired.failed, retired.raised):
        return out, False
    if heads := out.notices():
        engine.notify(heads)
    if told:
        engine.notify(told)
    return out, True


def _rosters(scope: Scope, earlier: Sequence[Config], config: Config, plan_keys: Iterable[str]) -> list[str]:
    """The datacenters whose rosters may have to change: what their gateways forward to depends on the config as well,
    on its gateways, its namespaces and the plans of gateways, of which those under `plan_keys` changed."""

    def inputs(each: Config, datacenter: str) -> object:
        return each.root.trust_domain, each.root.namespaces, each.root.gateways.get(datacenter)

    static = {datacenter_of(key) for key in plan_keys if is_gateway_plan_key(key, datacenter_of(key))}
    known = scope.keys({name for each in [*earlier, config] for name in each.root.gateways})
    return sorted(
        datacenter
        for datacenter in known
        if datacenter in static or any(inputs(each, datacenter) != inputs(config, datacenter) for each in earlier)
    )


def _plans(engine: Engine, root: Root, plan_keys: Iterable[str]) -> dict[str, PlanEntry]:
    plans = engine.config(root).plans
    return {key: entry for key in plan_keys if (entry := plans.get(key)) is not None}


@dataclass(frozen=True, slots=True)
class RetiredHeads:
    """How many heads were retired, which could not be, and the warning that the store went back, if its epoch was
    raised because of one of them."""

    marked: int
    failed: Mapping[str, Exception]
    raised: str = ""


def retire(engine: Engine, plan_keys: Iterable[str], generation: int) -> RetiredHeads:
    """Retire the heads of plans that `generation` does not have any more."""
    era, latest = engine.era, Latest()

    def swap(key: str, stored: Stored | None) -> Write | None:
        plan_key = keys.plan_of(key)
        reading = read_head_object(engine.store, plan_key, stored, engine.now())
        current = reading.snapshot
        at = era.epoch, generation
        if current is not None and not current.retired and current.at >= at:
            # A newer config published it meanwhile. A head of this same generation must not be retired by it: then a
            # later one has to exist.
            latest.note(plan_key, current.at if current.at > at else (at[0], generation + 1), at)
        ended = retirement(current, era, generation)
        return head_write(plan_key, reading, ended, engine.nonce()) if ended is not None else None

    swapped = swap_many(engine, map(keys.snapshot, plan_keys), swap)
    failed = {keys.plan_of(key): error for key, error in swapped.failed.items()}
    for each in swapped.written:
        engine.witness.retired(keys.plan_of(each.key))
    try:
        return RetiredHeads(len(swapped.written), failed, latest.raise_above(engine))
    except WentBack as error:
        return RetiredHeads(len(swapped.written), failed | {latest.thing: error})


def _mark(engine: Engine, root: Root) -> None:
    """Note in the config head that `root` is published."""
    for _ in range(ATTEMPTS):
        head = read_config_head(engine.store.get(keys.CONFIG_HEAD))
        if head.propagated >= root.generation or head.generation < root.generation:
            return  # already recorded by another writer, or the config went back
        marked = replace(head, propagated=root.generation, propagated_root=root.digest)
        if write_config_head(engine, marked) is not None:
            return
    raise Contended("the config head is contended; run it again")
