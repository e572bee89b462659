"""What another config would do to those who call: who may call whom no longer, and who may then."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pointsman.chain.complaints import thing
from pointsman.chain.entryset import EntrySet
from pointsman.chain.intentions import Intention, applying, covers, deciding
from pointsman.chain.plan import SidecarPlan
from pointsman.model.keys import datacenter_of, sidecar_in, sidecar_plan_key
from pointsman.model.names import ServiceName
from pointsman.pipeline.difference import Difference
from pointsman.xds.manifest import SidecarManifest


@dataclass(frozen=True, slots=True, order=True)
class Call:
    """That `caller`, whose sidecars have a cluster for `service`, may call it otherwise than before.

    `before` and `after` are "allowed", "denied", or "by request" if it depends on what is asked for. `by` is the entry
    that decides then, "" if none does.
    """

    service: ServiceName
    caller: ServiceName
    before: str
    after: str
    by: str


def changed_calls(difference: Difference) -> tuple[Call, ...]:
    """The calls of registered sidecars that intentions would decide otherwise, in order.

    It reads the plans of all sidecars, if any intention changes, else nothing.
    """
    about = [ServiceName(*key[1:]) for key in difference.entries if key[0] == "service-intentions"]
    if not about:
        return ()
    old = difference.before.entries
    puts = [entry for _, entry in difference.entries.values() if entry is not None]
    new = old.with_changes(puts, [key for key, (_, entry) in difference.entries.items() if entry is None])
    before, after = _Deciding(old), _Deciding(new)
    pairs = {pair for pair in _pairs(difference) if any(covers(each, pair[0]) for each in about)}
    return tuple(
        Call(service, caller, _word(was), _word(will), thing(will.entry) if will else "")
        for service, caller in sorted(pairs)
        if _what(was := before.of(service, caller)) != _what(will := after.of(service, caller))
    )


class _Deciding:
    """The intention that decides for each pair, among the entries of one config."""

    def __init__(self, entries: EntrySet) -> None:
        self._entries = entries
        self._applying: dict[ServiceName, tuple[Intention, ...]] = {}

    def of(self, service: ServiceName, caller: ServiceName) -> Intention | None:
        if service not in self._applying:
            self._applying[service] = applying(self._entries, service)
        return deciding(self._applying[service], caller)


def _pairs(difference: Difference) -> Iterator[tuple[ServiceName, ServiceName]]:
    """Each service at the end of a cluster, with each service whose sidecars have the cluster."""
    plans, users = difference.before.plans, dict(_users(difference))
    plans.read_ahead(users)
    for key, callers in users.items():
        entry = plans.get(key)
        plan = difference.plans[key][1] if key in difference.plans else entry.plan if entry else None
        if isinstance(plan, SidecarPlan):
            yield from ((each.target.name, caller) for each in plan.targets for caller in callers)


def _users(difference: Difference) -> Iterable[tuple[str, set[ServiceName]]]:
    """By the keys of plans, whose sidecars have the cluster."""
    clusters = {key: body.get("clusters", ()) for key, body in difference.before.manifests.stored()}
    clusters |= {
        key: new.clusters if isinstance(new, SidecarManifest) else () for key, (_, new) in difference.manifests.items()
    }
    found: dict[str, set[ServiceName]] = {}
    for key, ids in clusters.items():
        if (caller := sidecar_in(key)) is not None:
            for each in ids:
                found.setdefault(sidecar_plan_key(datacenter_of(key), each), set()).add(caller)
    return found.items()


def _what(intention: Intention | None) -> object:
    return (intention.permissions, intention.otherwise) if intention else ((), "allow")


def _word(intention: Intention | None) -> str:
    if intention is None:
        return "allowed"
    return "by request" if intention.permissions else {"allow": "allowed", "deny": "denied"}[intention.otherwise]
