"""Status: which target of every resolver serves now, and why."""

import contextlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from pointsman.chain.plan import SidecarPlan
from pointsman.model.findings import Finding
from pointsman.model.lease import Silence
from pointsman.model.orders import Order, order_json
from pointsman.model.trouble import Trouble
from pointsman.pipeline.config import load_root
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.findings import find
from pointsman.pipeline.heads import read_head_object
from pointsman.pipeline.orders import read_orders_object
from pointsman.pipeline.renewals import read_lease_object
from pointsman.pipeline.settle import BATCH
from pointsman.pipeline.silences import DamagedSilence, read_silence_object
from pointsman.pipeline.troubles import troubles
from pointsman.store import keys
from pointsman.xds.assignment import Avoided
from pointsman.xds.content import TargetHealth

MOST_FINDINGS: Final = 1_000
"""Findings in a status."""


@dataclass(frozen=True, slots=True)
class ResolverStatus:
    """One resolver as the sidecars of `datacenter` see it.

    `version` is 0 without a snapshot, and `why` says whether it is not published yet or gone. `since` is when the
    active target last changed, `published` when this version was made. `avoided` are the places of the mesh gateways
    that get no traffic because they are ill and others are well.
    """

    service: str
    namespace: str
    datacenter: str
    cluster: str
    version: int
    generation: int
    active: str
    why: str
    since: str
    published: str
    targets: tuple[TargetHealth, ...]
    avoided: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """A source with a lease in one datacenter.

    `epoch` and `index` are those of the newest event that renewed it, taken in `at` (RFC 3339). `catalogs` is of how
    many catalogs it has spoken, None if that is unknown. `silent_since` is "" while it is heard.
    """

    source: str
    datacenter: str
    lease_ms: int
    epoch: int
    index: int
    at: str
    catalogs: int | None
    silent_since: str

    def json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Status:
    """The config generation, how far it is published, every resolver, ordered by datacenter and cluster, every source
    with a lease, the silent ones first, every order in force, the trouble of the last day with sources,
    and what does not fit together in what it is told.

    `datacenters` are those in scope, none for all; resolvers of others are not included. `notices` is the topic whose
    followers are told of what is written, "" if there is none.
    """

    trust_domain: str
    generation: int
    propagated: int
    datacenters: tuple[str, ...]
    resolvers: tuple[ResolverStatus, ...]
    sources: tuple[SourceStatus, ...] = ()
    notices: str = ""
    orders: tuple[Order, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    findings: tuple[Finding, ...] = ()

    def json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "trust_domain": self.trust_domain,
            "generation": self.generation,
            "propagated": self.propagated,
            "datacenters": list(self.datacenters),
            "notices": self.notices,
            "resolvers": [each.json() for each in self.resolvers],
            "sources": [each.json() for each in self.sources],
            "orders": [order_json(each) for each in self.orders],
            "troubles": [each.json() for each in self.troubles],
            "findings": [each.json() for each in self.findings[:MOST_FINDINGS]],
        }


def status(engine: Engine) -> Status:
    """The status of everything in the store."""
    head = engine.refresh()
    config = engine.config(load_root(engine.objects, head.root))
    scope = engine.scope
    found = scope.of(config.plans)
    plans = {key: each.plan for key, each in found.items() if isinstance(each.plan, SidecarPlan)}
    names = list(plans)
    resolvers: list[ResolverStatus] = []
    for start in range(0, len(names), BATCH):
        chosen = names[start : start + BATCH]
        stored = engine.store.get_many([keys.snapshot(key) for key in chosen])
        for key in chosen:
            snapshot = read_head_object(engine.store, key, stored.get(keys.snapshot(key)), engine.now()).snapshot
            primary = plans[key].targets[0].target
            resolvers.append(
                ResolverStatus(
                    service=primary.service,
                    namespace=primary.namespace,
                    datacenter=plans[key].datacenter,
                    cluster=plans[key].cluster_id,
                    version=snapshot.version if snapshot else 0,
                    generation=snapshot.provenance.generation if snapshot else 0,
                    active=snapshot.content.active if snapshot else "",
                    why=snapshot.content.sentence if snapshot else _missing(found[key].generation, head.propagated),
                    since=snapshot.since if snapshot else "",
                    published=snapshot.published if snapshot else "",
                    targets=snapshot.content.targets if snapshot else (),
                    avoided=_places(snapshot.content.avoided) if snapshot else (),
                )
            )
    told, met = sources(engine), troubles(engine)
    silent = [(each.datacenter, each.source, each.silent_since) for each in told if each.silent_since]
    return Status(
        config.root.trust_domain,
        head.generation,
        head.propagated,
        scope.datacenters,
        tuple(resolvers),
        told,
        engine.notices_beside(head),
        tuple(read_orders_object(engine.store.get(keys.ORDERS)).orders),
        met,
        find(engine, config, silent, met),
    )


def sources(engine: Engine) -> tuple[SourceStatus, ...]:
    """Every source with a lease, the silent ones first, then by datacenter and name."""
    found: list[SourceStatus] = []
    silences: dict[str, Silence] = {}
    for key, stored in engine.store.get_many([each.key for each in engine.store.list(keys.LEASES)]).items():
        datacenter = keys.datacenter_of(key)
        if keys.is_silence(key):
            with contextlib.suppress(DamagedSilence):
                silences[datacenter] = read_silence_object(datacenter, stored).silence
        elif (lease := read_lease_object(stored, engine.now()).lease) is not None and lease.lease_ms:
            spoken = None if lease.catalogs is None else len(lease.catalogs)
            found.append(
                SourceStatus(lease.source, datacenter, lease.lease_ms, *lease.heard, lease.at, spoken, silent_since="")
            )
    told = [replace(each, silent_since=_silent_since(silences.get(each.datacenter), each.source)) for each in found]
    return tuple(sorted(told, key=lambda each: (not each.silent_since, each.datacenter, each.source)))


def _silent_since(silence: Silence | None, source: str) -> str:
    return silence.sources[source].since if silence is not None and silence.has(source) else ""


def _places(avoided: Iterable[Avoided]) -> tuple[str, ...]:
    return tuple(f"[{address}]:{port}" if ":" in address else f"{address}:{port}" for _, address, port in avoided)


def _missing(generation: int, propagated: int) -> str:
    """Why a cluster whose plan is of this `generation` has no snapshot, if generations up to `propagated` are
    published."""
    if generation > propagated:
        return "not published yet"
    return "its snapshot is gone from the store: run `pointsman reconcile`; Envoys keep what they have until then"
