"""Which endpoints of a cluster get traffic, and how much of it: Envoy's own arithmetic.

https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/priority and …/panic_threshold
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

DEFAULT_FACTOR = 140
"""Envoy's percentage of overprovisioning."""

_ALL = 100


@dataclass(frozen=True, slots=True)
class Host:
    """An endpoint: the `place` where it listens, whether it counts as healthy, and the server name that it is asked
    for ("" for none)."""

    place: str
    healthy: bool
    weight: int
    sni: str


@dataclass(frozen=True, slots=True)
class Tier:
    """Endpoints of one priority. With `factor` percent of overprovisioning, the next tier gets traffic when fewer than
    100 / `factor` of them are healthy."""

    hosts: tuple[Host, ...]
    factor: int = DEFAULT_FACTOR

    @property
    def percent(self) -> int:
        """How much of all traffic it could take."""
        healthy = sum(each.healthy for each in self.hosts)
        return min(_ALL, self.factor * healthy // len(self.hosts)) if self.hosts else 0


def shares(tiers: Sequence[Tier], panic: Fraction) -> dict[Host, Fraction]:
    """The part of the traffic that each host gets; hosts that get none are left out.

    Below `panic` percent of healthy hosts, unhealthy ones get traffic as well, if the tiers together cannot take all.
    """
    could = [tier.percent for tier in tiers]
    out: dict[Host, Fraction] = {}
    if not sum(could):
        return _split([host for tier in tiers for host in tier.hosts], Fraction(1)) if panic else {}
    left, scarce = Fraction(1), sum(could) < _ALL
    for tier, percent in zip(tiers, could, strict=True):
        load = Fraction(percent, sum(could)) if scarce else min(left, Fraction(percent, _ALL))
        left -= load
        well = [each for each in tier.hosts if each.healthy]
        panics = scarce and len(well) * _ALL < panic * len(tier.hosts)
        for host, share in _split(tier.hosts if panics else well, load).items():
            out[host] = out.get(host, Fraction(0)) + share
    return out


def within(hosts: Iterable[Host]) -> dict[str, Fraction]:
    """How hosts of one tier would share its traffic, by place; those that are not healthy get none."""
    return by_place(_split([each for each in hosts if each.healthy], Fraction(1)))


def by_place(shared: Mapping[Host, Fraction]) -> dict[str, Fraction]:
    """The shares by place alone."""
    out: dict[str, Fraction] = {}
    for host, share in shared.items():
        out[host.place] = out.get(host.place, Fraction(0)) + share
    return out


def _split(hosts: Iterable[Host], load: Fraction) -> dict[Host, Fraction]:
    found = list(hosts)
    total = sum(each.weight for each in found)
    out: dict[Host, Fraction] = {}
    if load and total:
        for each in found:
            out[each] = out.get(each, Fraction(0)) + load * each.weight / total
    return out
