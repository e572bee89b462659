"""Compares two backends: which endpoints get traffic under which server names, what takes over, and the settings."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import zip_longest
from typing import Final

from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from pointsman.shadow.backend import Backend, configured_settings, read_backend, tiers_of
from pointsman.shadow.balance import DEFAULT_FACTOR, Host, Tier, by_place, shares, within
from pointsman.shadow.difference import Findings, Kind
from pointsman.shadow.held import Held
from pointsman.shadow.plain import text_of

MOST_PLACES: Final = 10
"""Endpoints of one side of a difference that are named."""

_RESOLVING = ("dns_", "respect_dns_ttl")

_ONLY_WHEN_NONE = 10_000
"""A factor of overprovisioning with which one healthy endpoint of a hundred takes all of the traffic."""

_ONE_TARGET = "the dump shows only the target that serves now: what takes over when it fails is not compared"


def compare_backends(today: Held, here: Held, names: tuple[str, str], where: str, found: Findings) -> None:
    """Compare the cluster of the first name as the Envoy has it `today` with that of the second as served `here`."""
    if names in found.compared:
        return
    found.compared.add(names)
    old, new = _read(today, here, names)
    if old is None or new is None:
        if old is not new:
            has = (f"cluster {names[0]}", "no such cluster")
            pair = has if new is None else (has[1], f"cluster {names[1]}")
            found.differ(Kind.UPSTREAM, where, "where it leads", *pair)
        return
    found.not_compared |= {*old.problems, *new.problems}
    _compare_serving(old, new, where, found)
    _compare_names(old, new, where, found)
    _compare_failover(old, new, here, names[1], where, found)
    configured = configured_settings(here, names[1])
    for settings in old.members:
        # How names are resolved is nobody's to configure here.
        resolving = (
            {path: each for path, each in settings.items() if path.startswith(_RESOLVING)} if new.by_name else {}
        )
        gets = new.members[0] if new.members else {}
        found.settings(where, settings, gets, {**configured, **resolving} or None)


def _read(today: Held, here: Held, names: tuple[str, str]) -> tuple[Backend | None, Backend | None]:
    old, new = read_backend(today, names[0]), read_backend(here, names[1])
    if old is not None and new is not None and old.by_name and not new.by_name:
        # Names on one side alone: what they stand for is what can be compared.
        old = read_backend(today, names[0], resolved=True)
    return old, new


def _compare_serving(old: Backend, new: Backend, where: str, found: Findings) -> None:
    before, after = shares(old.tiers, old.panic), shares(new.tiers, new.panic)
    was, will = by_place(before), by_place(after)
    if was.keys() != will.keys():
        found.differ(Kind.ENDPOINTS, where, "traffic goes now to", _places(was), _places(will))
    elif was != will:
        found.differ(Kind.ENDPOINTS, where, "of the traffic get", _shared(was), _shared(will))
    asked, ask = _snis(before), _snis(after)
    if was and will and asked != ask and (was.keys() == will.keys() or set(asked.values()) != set(ask.values())):
        found.differ(Kind.SERVER_NAME, where, "server name", few(asked.values()), few(ask.values()))


def _compare_names(old: Backend, new: Backend, where: str, found: Findings) -> None:
    if old.names != new.names:
        only_old, only_new = sorted(old.names - new.names), sorted(new.names - old.names)
        what = "certificates that are accepted" if old.names and new.names else "whose certificates are accepted"
        empty = "all that the CAs issued"
        found.differ(
            Kind.SERVER_NAME,
            where,
            what,
            few(only_old) if old.names else empty,
            few(only_new) if new.names else empty,
        )


def _compare_failover(old: Backend, new: Backend, here: Held, name: str, where: str, found: Findings) -> None:
    """What takes over when the endpoints that serve fail, and when."""
    if order := here.orders.get(name, ()):
        names = [f"{each}.internal.{here.trust_domain}" for each in order]
        if len(old.targets) > 1:
            if list(old.targets) != names:
                found.differ(Kind.FAILOVER, where, "targets in order", ", ".join(old.targets), ", ".join(names))
            else:
                _compare_targets(old, order, here.standby.get(name, ()), where, found)
            _compare_spilling(old, _ONLY_WHEN_NONE, where, found)
        elif len(order) > 1:
            found.notes.add(_ONE_TARGET)
        return
    before, after = _standby(old), _standby(new)
    if [within(each.hosts) for each in before] != [within(each.hosts) for each in after]:
        found.differ(Kind.FAILOVER, where, "takes over then", _tiers(before), _tiers(after))
    elif [_names(each) for each in before] != [_names(each) for each in after]:
        found.notes.add(
            f"{where}: the endpoints that stand by are asked for another server name, which sidecars ignore"
        )
    if len(old.tiers) > 1 and len(new.tiers) > 1:
        _compare_spilling(old, new.tiers[0].factor, where, found)


def _compare_targets(
    old: Backend, order: Sequence[str], standby: Sequence[ClusterLoadAssignment], where: str, found: Findings
) -> None:
    """Which endpoints get traffic when a target serves that does not serve now."""
    serving = {each.place for each in shares(old.tiers, old.panic)}
    for target, tiers, assignment in zip(order, old.by_target, standby, strict=False):
        before = {host for tier in tiers for host in tier.hosts}
        if serving & {each.place for each in before}:
            continue
        was, will = within(before), within(host for tier in tiers_of(assignment) for host in tier.hosts)
        if was != will:
            found.differ(Kind.FAILOVER, where, f"endpoints if {target} serves", few(was), few(will))


def _compare_spilling(old: Backend, factor: int, where: str, found: Findings) -> None:
    """How many of the endpoints that serve have to fail until the next ones get a part of the traffic."""
    today, here = (_spills(each) for each in (old.tiers[0].factor if old.tiers else factor, factor))
    if today == here:
        return
    if old.tiers[0].factor == DEFAULT_FACTOR:
        found.notes.add(
            f"{where}: today those that stand by get a part of the traffic {today}, which is Envoy's default;"
            f" with Pointsman {here}"
        )
    else:
        found.differ(Kind.FAILOVER, where, "those that stand by get a part of the traffic", today, here)


def _spills(factor: int) -> str:
    if factor >= _ONLY_WHEN_NONE:
        return "when none that serves is healthy"
    return f"when fewer than {percent(Fraction(100, factor))} of those that serve are healthy"


def _standby(backend: Backend) -> list[Tier]:
    """The tiers with healthy endpoints that get no traffic now, each host where it counts first."""
    serving = {each.place for each in shares(backend.tiers, backend.panic)}
    seen: set[str] = set(serving)
    out = []
    for tier in backend.tiers:
        hosts = tuple(each for each in tier.hosts if each.healthy and each.place not in seen)
        seen |= {each.place for each in hosts}
        if hosts:
            out.append(replace(tier, hosts=hosts))
    return out


def _names(tier: Tier) -> set[str]:
    return {each.sni for each in tier.hosts}


def _snis(shared: Mapping[Host, Fraction]) -> dict[str, str]:
    return {each.place: each.sni for each in shared}


def _places(shared: Mapping[str, Fraction]) -> str:
    return few(shared)


def _shared(shared: Mapping[str, Fraction]) -> str:
    return few(f"{place} {percent(share)}" for place, share in shared.items())


def _tiers(tiers: Iterable[Tier]) -> str:
    return ", then ".join(few(each.place for each in tier.hosts) for tier in tiers)


def few(values: Iterable[str]) -> str:
    """Some of `values` in order, and how many more there are."""
    found = sorted({each or "none" for each in values})
    more = f" and {len(found) - MOST_PLACES} more" if len(found) > MOST_PLACES else ""
    return ", ".join(found[:MOST_PLACES]) + more


def percent(share: Fraction) -> str:
    """A share in percent, to a hundredth."""
    return f"{float(share) * 100:.2f}".rstrip("0").rstrip(".") + " %"


def pairs(old: Sequence[str], new: Sequence[str], today: Held, here: Held) -> Iterator[tuple[str, str]]:
    """Which of these clusters of the Envoy stand for which that are served: by name, by server name, by endpoints, and
    what is left in order. "" stands for none."""
    left, right = list(dict.fromkeys(old)), list(dict.fromkeys(new))
    for key in (_by_name, _by_target, _by_place):
        theirs = {found: each for each in reversed(right) if (found := key(here, each))}
        for mine in list(left):
            if (found := key(today, mine)) and (match := theirs.pop(found, None)) is not None:
                left.remove(mine)
                right.remove(match)
                yield mine, match
    yield from zip_longest(left, right, fillvalue="")


def _by_name(held: Held, name: str) -> str:
    return name


def _by_target(held: Held, name: str) -> str:
    backend = read_backend(held, name)
    return backend.targets[0] if backend and backend.targets else ""


def _by_place(held: Held, name: str) -> str:
    backend = read_backend(held, name)
    return (
        text_of(sorted({each.place for tier in backend.tiers for each in tier.hosts}))
        if backend and backend.tiers
        else ""
    )
