"""Now: which target of every service serves whose callers, since when and why, and what is wrong."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from pointsman.chain.plan import SidecarPlan
from pointsman.failover.measured import Instances
from pointsman.failover.paths import cut_from, is_usable
from pointsman.model.cause import NO_CAUSE, Cause, CauseKind
from pointsman.model.findings import Finding
from pointsman.model.keys import datacenter_of, gateways_key
from pointsman.model.orders import Order, order_json, read_order
from pointsman.model.stored import Body
from pointsman.model.trouble import Trouble
from pointsman.pipeline.config import ConfigHead
from pointsman.pipeline.heard import SourceStatus
from pointsman.xds.assignment import Avoided
from pointsman.xds.snapshot import Provenance, Relation, Snapshot

SCHEMA: Final = 1
"""The number of the form of what is here as JSON: it grows when a field goes or changes its meaning."""

MOST_FINDINGS: Final = 1_000
"""Findings in a status."""


@dataclass(frozen=True, slots=True)
class Gateways:
    """The mesh gateways of a datacenter on the way to a target: how many are `known`, and how many of them are healthy
    and, as far as anybody says so, reached."""

    datacenter: str
    usable: int
    known: int


@dataclass(frozen=True, slots=True)
class TargetNow:
    """A target of a service in the order of failover: how many of its instances are healthy, and the mesh gateways on
    the way to it (`mode` none, local or remote), the caller's first."""

    id: str
    datacenter: str
    mode: str
    healthy: int
    total: int
    gateways: tuple[Gateways, ...] = ()


@dataclass(frozen=True, slots=True)
class ResolverNow:
    """One resolver as the sidecars of `datacenter` see it.

    `version` is 0 without a snapshot. `active` is the id of the target that serves, `since` when (RFC 3339, UTC), `why`
    the sentence that says why, and `switch` the cause of that switch; `published` is when this version was made. It is
    `served` if a target has a healthy instance, and `failed_over` if not the first target serves. `avoided` are the
    places of the mesh gateways that get no traffic because they are ill and others are well. `trouble` is what is wrong
    with what is published, "" if nothing is: it is behind, ahead, damaged or missing.
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
    served: bool
    failed_over: bool
    trouble: str
    switch: Cause
    targets: tuple[TargetNow, ...]
    avoided: tuple[str, ...] = ()

    @property
    def rank(self) -> int:
        """How bad it is: 0 if nobody serves, 1 if something is wrong, 2 if it failed over, 3 if all is well."""
        return 0 if not self.served else 1 if self.trouble else 2 if self.failed_over else 3


@dataclass(frozen=True, slots=True)
class Now:
    """What is true now: the config `generation`, up to which one it is published (`propagated`), every resolver, the
    worst first, every source with a lease, the silent ones first, every order in force, the trouble of the last day
    with sources, and what does not fit together in what it is told.

    `datacenters` are those in scope, none for all; resolvers of others are not included. `notices` is the topic whose
    followers are told of what is written, "" if there is none.
    """

    trust_domain: str
    generation: int
    propagated: int
    datacenters: tuple[str, ...]
    notices: str
    resolvers: tuple[ResolverNow, ...]
    sources: tuple[SourceStatus, ...] = ()
    orders: tuple[Order, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    findings: tuple[Finding, ...] = ()

    def json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "schema": SCHEMA,
            "trust_domain": self.trust_domain,
            "generation": self.generation,
            "propagated": self.propagated,
            "datacenters": list(self.datacenters),
            "notices": self.notices,
            "resolvers": [asdict(each) for each in self.resolvers],
            "sources": [each.json() for each in self.sources],
            "orders": [order_json(each) for each in self.orders],
            "troubles": [each.json() for each in self.troubles],
            "findings": [each.json() for each in self.findings[:MOST_FINDINGS]],
        }


def read_json(body: Body) -> Now:
    """The state that `Now.json` wrote, without troubles and findings."""
    return Now(
        body["trust_domain"],
        body["generation"],
        body["propagated"],
        tuple(body["datacenters"]),
        body["notices"],
        tuple(map(_resolver, body["resolvers"])),
        tuple(SourceStatus(**each) for each in body["sources"]),
        tuple(map(read_order, body["orders"])),
    )


def _resolver(body: Body) -> ResolverNow:
    def target(found: Body) -> TargetNow:
        return TargetNow(**found | {"gateways": tuple(Gateways(**each) for each in found["gateways"])})

    targets = tuple(map(target, body["targets"]))
    switch = Cause(CauseKind(body["switch"]["kind"]), body["switch"]["id"], body["switch"]["text"])
    return ResolverNow(**body | {"switch": switch, "targets": targets, "avoided": tuple(body["avoided"])})


def gateways_on(way: Iterable[str], datacenter: str, instances: Instances) -> tuple[Gateways, ...]:
    """The mesh gateways on a `way` from `datacenter`, which is keys of catalogs, as the `instances` of those are, and
    as observers in `datacenter` see them."""
    cut, own = cut_from(datacenter, instances), gateways_key(datacenter)
    found = []
    for key in way:
        known = [each for each in instances.get(key, ()) if each.counts]
        usable = sum([is_usable(each, cut, is_own=key == own) for each in known])
        found.append(Gateways(datacenter_of(key), usable, len(known)))
    return tuple(found)


def resolver_now(
    plan: SidecarPlan,
    generation: int,
    snapshot: Snapshot | None,
    gateways: Callable[[tuple[str, ...], str], tuple[Gateways, ...]],
    *,
    trouble: str,
) -> ResolverNow:
    """The resolver of `plan`, which last changed in `generation`, with its `snapshot` (None if it has none that can be
    used). `gateways` are those on a way from a datacenter, as `gateways_on` tells them."""
    primary = plan.targets[0].target
    content = snapshot.content if snapshot is not None else None
    ways = {each.target.id: each for each in plan.targets}
    targets = []
    for each in content.targets if content is not None else ():
        way = ways.get(each.id)
        datacenter = way.target.datacenter if way is not None else ""
        through = gateways(way.way(plan.datacenter), plan.datacenter) if way is not None else ()
        targets.append(TargetNow(each.id, datacenter, each.mode, each.healthy, each.total, through))
    return ResolverNow(
        service=primary.service,
        namespace=primary.namespace,
        datacenter=plan.datacenter,
        cluster=plan.cluster_id,
        version=snapshot.version if snapshot is not None else 0,
        generation=snapshot.provenance.generation if snapshot is not None else generation,
        active=content.active if content is not None else "",
        why=content.sentence if content is not None else trouble,
        since=snapshot.since if snapshot is not None else "",
        published=snapshot.published if snapshot is not None else "",
        served=any(each.healthy for each in targets),
        failed_over=bool(targets) and content is not None and content.active != targets[0].id,
        trouble=trouble,
        switch=snapshot.switch if snapshot is not None else NO_CAUSE,
        targets=tuple(targets),
        avoided=_places(content.avoided) if content is not None else (),
    )


def _places(avoided: Iterable[Avoided]) -> tuple[str, ...]:
    return tuple(f"[{address}]:{port}" if ":" in address else f"{address}:{port}" for _, address, port in avoided)


def trouble_of(
    snapshot: Snapshot | None, generation: int, head: ConfigHead, revisions: Mapping[str, int] | None = None
) -> str:
    """What is wrong with the `snapshot` of a plan that last changed in `generation`, beside the config `head`; "" if
    nothing is.

    `revisions` are those of everything that the plan is computed from now, None if they were not read.
    """
    if snapshot is None or snapshot.retired:
        if generation > head.propagated:
            return "not published yet"
        return "its snapshot is gone from the store: run `pointsman reconcile`; Envoys keep what they have until then"
    known = snapshot.provenance
    if snapshot.at > head.at:
        return (
            f"ahead: it was published in generation {known.generation} of epoch {known.epoch}, and the config is "
            f"generation {head.generation} of epoch {head.era.epoch}. Was the store restored? Run `pointsman recover`"
        )
    if known.epoch == head.era.epoch and known.generation < generation:
        return f"behind: it is of generation {known.generation}, and its config changed in generation {generation}"
    if revisions is None or known.epoch != head.era.epoch:
        return ""
    now = Provenance(known.epoch, generation, revisions)
    if now.relation_to(Provenance(known.epoch, known.generation, _without_time(known.catalog, revisions))) in (
        Relation.EQUAL,
        Relation.OLDER,
    ):
        return ""
    newer = [key for key in sorted(revisions) if revisions[key] > known.catalog.get(key, 0)]
    read = ", ".join(f"{key} has revision {revisions[key]} and not {known.catalog.get(key, 0)}" for key in newer[:2])
    return f"behind: {read}. It is being published, or cannot be computed: `pointsman reconcile` says why"


def _without_time(known: Mapping[str, int], revisions: Mapping[str, int]) -> dict[str, int]:
    """`known` without what is no revision: the moment of a choice."""
    return {key: each for key, each in known.items() if key in revisions}


def worst_first(resolvers: Iterable[ResolverNow]) -> tuple[ResolverNow, ...]:
    """The resolvers, those that nobody serves first; among equals by datacenter and cluster."""
    return tuple(sorted(resolvers, key=lambda each: (each.rank, each.datacenter, each.cluster)))


def unserved(resolvers: Sequence[ResolverNow]) -> list[ResolverNow]:
    """The resolvers without a healthy target."""
    return [each for each in resolvers if not each.served]
