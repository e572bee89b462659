"""Reads what Pointsman is told, for the findings about it."""

import contextlib
from collections.abc import Container, Iterable, Sequence
from dataclasses import replace

from pointsman.failover.paths import cut_from
from pointsman.model.findings import Finding, Told, findings
from pointsman.model.instance import Instance
from pointsman.model.keys import datacenter_of, is_paths_key
from pointsman.model.trouble import Trouble
from pointsman.pipeline.config import Config
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.settle import BATCH
from pointsman.store import keys
from pointsman.store.protocol import StoreError


def find(
    engine: Engine,
    config: Config,
    silent: Iterable[tuple[str, str, str]] = (),
    troubles: Iterable[Trouble] = (),
) -> tuple[Finding, ...]:
    """The findings about what is in the store. Reads every catalog; one that is damaged has no instances.

    `silent` are the silent sources, as (datacenter, source, since). Raises StoreError.
    """
    health: dict[str, Sequence[Instance]] = {}
    names = [each.key for each in engine.store.list(keys.CATALOG)]
    for start in range(0, len(names), BATCH):
        for key, stored in engine.store.get_many(names[start : start + BATCH]).items():
            name = keys.source_of(key)
            with contextlib.suppress(StoreError):
                if instances := engine.readings.read(name, stored).instances:
                    health[name] = instances
    silent = list(silent)
    unheard = {(datacenter, source) for datacenter, source, _ in silent}
    cut = [
        (datacenter, *place)
        for key, seen in sorted(health.items())
        if is_paths_key(key) and (datacenter := datacenter_of(key))
        for place in sorted(cut_from(datacenter, {key: [_marked(each, datacenter, unheard) for each in seen]}))
    ]
    registrations = dict(config.registrations.items())
    called = frozenset(config.index.keys_alone())
    return tuple(findings(Told(registrations, health, called, silent, troubles, cut)))


def _marked(instance: Instance, datacenter: str, silent: Container[tuple[str, str]]) -> Instance:
    return replace(instance, silent=True) if (datacenter, instance.source) in silent else instance
