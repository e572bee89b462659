"""Compares what an Envoy holds with what Pointsman would serve to it."""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from pointsman.shadow.authorization import differing
from pointsman.shadow.backend import read_backend
from pointsman.shadow.difference import Findings, Kind
from pointsman.shadow.endpoints import compare_backends, few, pairs, percent
from pointsman.shadow.front import BY_NAME, HTTP, TCP, Chain, Front, read_front
from pointsman.shadow.held import Held
from pointsman.shadow.route import Match, Route, Routes, Way

_ALPN = "tls.alpn_protocols"
_ANYWHERE = ("0.0.0.0", "[::]")


def compare(today: Held, here: Held) -> Findings:
    """What differs for traffic between what an Envoy holds `today` and what Pointsman would serve `here`."""
    found = Findings()
    before = [read_front(each, today) for each in today.listeners]
    after = [read_front(each, here) for each in here.listeners]
    beside = [read_front(each, today) for each in today.bootstrapped]
    for old, new in _matched([*before, *beside], after, found):
        if old is not None and new is not None:
            found.listeners += 1
            _Comparing(today, here, new, found).fronts(old, new)
        elif new is not None:
            _only_here(new, found, first=new.inbound and not any(each.inbound for each in before))
        elif old is not None:
            own = (old in beside and not old.outbound) or (old.inbound and not any(each.inbound for each in after))
            _only_today(old, found, own=own)
    return found


def _only_here(new: Front, found: Findings, *, first: bool) -> None:
    if first:
        found.notes.add(f"listener {_where(new)} is new: today nobody can call the service through this Envoy")
    else:
        found.differ(Kind.UPSTREAM, _where(new), "listener", "none", f"listens at {new.place}")


def _only_today(old: Front, found: Findings, *, own: bool) -> None:
    if own:
        found.not_compared.add(
            f"listener {old.name or old.place} at {old.place}: it comes with the bootstrap, or the registration does"
            " not say where the sidecar listens and where its application is"
        )
    else:
        found.differ(Kind.UPSTREAM, _where(old), "listener", f"listens at {old.place}", "none: connections there fail")


def _matched(
    old: Sequence[Front], new: Sequence[Front], found: Findings
) -> Iterable[tuple[Front | None, Front | None]]:
    """Listeners that listen at the same place, then at the same port where one listens on every address."""
    left, right = list(old), list(new)
    for alike in (_same_place, _same_port):
        for mine in list(left):
            match = next((each for each in right if alike(mine.place, each.place)), None)
            if match is not None:
                left.remove(mine)
                right.remove(match)
                if mine.place != match.place:
                    found.differ(Kind.SETTING, _where(match), "listens at", mine.place, match.place)
                yield mine, match
    yield from ((each, None) for each in left)
    yield from ((None, each) for each in right)


def _same_place(mine: str, other: str) -> bool:
    return mine == other


def _same_port(mine: str, other: str) -> bool:
    (ip, _, port), (other_ip, _, other_port) = mine.rpartition(":"), other.rpartition(":")
    return port == other_port and (ip in _ANYWHERE or other_ip in _ANYWHERE)


def _where(front: Front) -> str:
    name = front.name.removesuffix(f":{front.place}") or "listener"
    return f"{name} ({front.place})"


class _Comparing:
    """The comparison of one listener."""

    def __init__(self, today: Held, here: Held, front: Front, found: Findings) -> None:
        self._today, self._here, self._found = today, here, found
        self._where = _where(front)

    def fronts(self, old: Front, new: Front) -> None:
        """Compare two listeners."""
        self._found.settings(self._where, old.settings, new.settings)
        before, after = {each.match: each for each in old.chains}, {each.match: each for each in new.chains}
        if len(before) == len(after) == 1 and before.keys() != after.keys():
            (was,), (will,) = before, after
            self._found.differ(Kind.ROUTE, self._where, "connections", was or "all", will or "all")
            self._chains(before[was], after[will], self._where)
            return
        for match in dict.fromkeys([*before, *after]):
            where = f"{self._where}, {match}" if match else self._where
            if match not in after:
                self._found.differ(Kind.ROUTE, where, "connections", _leads(before[match]), "not taken apart")
            elif match not in before:
                self._found.differ(Kind.ROUTE, where, "connections", "not taken apart", _leads(after[match]))
            else:
                self._chains(before[match], after[match], where)

    def _chains(self, old: Chain, new: Chain, where: str) -> None:
        found = self._found
        if old.kind != new.kind:
            found.differ(Kind.UPSTREAM, where, "protocol", old.kind, new.kind)
            return
        for each in differing(old.rules, new.rules, self._here.trust_domain):
            found.differ(Kind.AUTHORIZATION, where, f"{few(each.callers)} may call", each.today, each.pointsman)
        self._certificates(old.names, new.names, where)
        self._filters(old.filters, new.filters, where)
        self._chain_settings(old.settings, new.settings, where)
        if old.kind == BY_NAME:
            self._by_name(where)
        elif old.kind == TCP:
            self._ways(old.ways, new.ways, where)
        elif old.kind == HTTP:
            if old.routes is None or new.routes is None:
                found.differ(Kind.ROUTE, where, "routes", old.missing or "its own", new.missing or "its own")
            else:
                self._routes(old.routes, new.routes, where)
        else:
            found.not_compared.add(f"{where}: what becomes of its connections")

    def _chain_settings(self, old: Mapping[str, Any], new: Mapping[str, Any], where: str) -> None:
        if _ALPN in old and _ALPN not in new:
            self._found.notes.add(f"{where}: today it offers ALPN, which Envoys of the mesh do not ask for")
            old = {path: each for path, each in old.items() if path != _ALPN}
        self._found.settings(where, old, new)

    def _certificates(self, old: frozenset[str], new: frozenset[str], where: str) -> None:
        everybody = "all that the CAs issued"
        if not old and new == {f"spiffe://{self._here.trust_domain}/…"}:
            self._found.notes.add(f"{where}: with Pointsman, clients need certificates of the mesh's trust domain")
        elif old != new:
            what = "clients' certificates"
            self._found.differ(
                Kind.AUTHORIZATION, where, what, few(old) if old else everybody, few(new) if new else everybody
            )

    def _filters(self, old: Mapping[str, str], new: Mapping[str, str], where: str) -> None:
        for name in sorted({*old, *new}):
            if name in old and name in new:
                if old[name] != new[name]:
                    self._found.differ(Kind.SETTING, where, f"filter {name}", old[name], new[name])
            else:
                pair = ("there", "none") if name in old else ("none", "there")
                self._found.differ(Kind.ROUTE, where, f"filter {name}", *pair)

    def _by_name(self, where: str) -> None:
        """The clusters that connections reach by their server name."""
        names = [each for each in self._today.fetched if each in self._here.fetched]
        for name in sorted(self._today.fetched | self._here.fetched):
            at = f"{where}, server name {name}"
            if name in names:
                compare_backends(self._today, self._here, (name, name), at, self._found)
            elif name in self._here.fetched:
                self._found.differ(Kind.UPSTREAM, at, "where it leads", "nowhere", f"cluster {name}")
            elif read_backend(self._today, name) is not None:
                self._found.differ(Kind.UPSTREAM, at, "where it leads", f"cluster {name}", "nowhere")

    def _ways(self, old: Sequence[Way], new: Sequence[Way], where: str) -> None:
        """Compare clusters with their shares; several on one side are told apart by what they are."""
        before, after = _merged(old), _merged(new)
        several = len(before) > 1 or len(after) > 1
        for mine, other in pairs(list(before), list(after), self._today, self._here):
            at = f"{where}, to {other or mine}" if several else where
            if not mine or not other:
                pair = (percent(before[mine][0]), "0 %") if mine else ("0 %", percent(after[other][0]))
                self._found.differ(Kind.ROUTE, where, f"requests to {mine or other}", *pair)
                continue
            (was, settings), (will, others) = before[mine], after[other]
            if was != will:
                self._found.differ(Kind.ROUTE, where, f"requests to {other}", percent(was), percent(will))
            self._found.settings(at, settings, others)
            self._cluster(mine, other, where)

    def _cluster(self, mine: str, other: str, where: str) -> None:
        listener = where.partition(", ")[0]
        compare_backends(self._today, self._here, (mine, other), f"{listener}, to {other}", self._found)

    def _routes(self, old: Routes, new: Routes, where: str) -> None:
        self._found.settings(where, old.settings, new.settings)
        for domain in dict.fromkeys([*new.by_domain, *old.by_domain]):
            at = where if domain == "*" else f"{where}, host {domain}"
            if domain not in new.by_domain or domain not in old.by_domain:
                pair = ("own routes", "none") if domain in old.by_domain else ("none", "own routes")
                self._found.differ(Kind.ROUTE, at, f"host {domain}", *pair)
            else:
                self._route_lists(old.by_domain[domain], new.by_domain[domain], at)

    def _route_lists(self, old: Sequence[Route], new: Sequence[Route], where: str) -> None:
        before, after = {each.match.text: each for each in old}, {each.match.text: each for each in new}
        for text in dict.fromkeys([*before, *after]):
            at = f"{where}, {text}"
            if text not in after:
                self._found.differ(Kind.ROUTE, at, "route", _to(before[text]), "none: the next that matches")
            elif text not in before:
                self._found.differ(Kind.ROUTE, at, "route", "none: the next that matches", _to(after[text]))
            else:
                self._found.settings(at, before[text].settings, after[text].settings)
                self._ways(before[text].ways, after[text].ways, at)
        common = [each.match for each in old if each.match.text in after]
        if swapped := _swapped(common, [each.match.text for each in new]):
            first, second = swapped
            self._found.differ(Kind.ROUTE, where, f"first of {first} and {second}", first, second)


def _swapped(old: Sequence[Match], new: Sequence[str]) -> tuple[str, str] | None:
    """Two routes whose order differs, of those that one request may match; None if there are none."""
    places = {text: place for place, text in enumerate(new)}
    for at, first in enumerate(old):
        for second in old[at + 1 :]:
            if places[first.text] > places[second.text] and first.may_meet(second):
                return first.text, second.text
    return None


def _merged(ways: Iterable[Way]) -> dict[str, tuple[Fraction, Mapping[str, object]]]:
    """The ways by cluster; of several to one cluster, the sum and the settings of the first."""
    out: dict[str, tuple[Fraction, Mapping[str, object]]] = {}
    for each in ways:
        share, settings = out.get(each.cluster, (Fraction(0), each.settings))
        out[each.cluster] = share + each.share, settings
    return out


def _to(route: Route) -> str:
    return (
        "to " + ", ".join(each.cluster or "a cluster that is chosen otherwise" for each in route.ways)
        if route.ways
        else "answers itself"
    )


def _leads(chain: Chain) -> str:
    if chain.kind == BY_NAME:
        return "to the cluster of their server name"
    return "to " + ", ".join(each.cluster for each in chain.ways) if chain.ways else chain.kind
