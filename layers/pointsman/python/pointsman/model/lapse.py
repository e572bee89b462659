"""Lapses: which sources were not heard for their whole lease, by one observer's own clock.

Pure. An observer looks at all leases now and then, and says how much time has passed since its last look, by a clock
that never jumps. Clocks are never compared, neither with the sources' nor with other observers'.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pointsman.model.lease import Lease, Place


@dataclass(frozen=True, slots=True)
class Observed:
    """A lease as it was last seen: where its source was last heard, and for how long that has not changed."""

    heard: Place
    unchanged_ms: int


@dataclass(frozen=True, slots=True)
class Watch:
    """What one observer has seen, by the keys of the leases. `quiet_ms` is for how long it has heard nobody at all."""

    observed: Mapping[str, Observed] = field(default_factory=dict)
    quiet_ms: int = 0


def look(watch: Watch, leases: Mapping[str, Lease], elapsed_ms: int) -> tuple[Watch, list[str]]:
    """`watch` after a look at all `leases`, `elapsed_ms` after the last one; and the keys of those that ran out.

    A source that is seen for the first time begins a whole lease, so a restarted observer condemns nobody. A lease runs
    only while the observer hears: if it heard nobody at all for more than half of a lease, that lease has not run out,
    and it starts anew when somebody is heard again. (Sources renew at a third of their lease, so one that is left alone
    is enough to be heard, also by an observer that looks only now and then.)
    """
    leases = {key: lease for key, lease in leases.items() if lease.lease_ms}
    observed: dict[str, Observed] = {}
    is_heard = False
    for key, lease in leases.items():
        known = watch.observed.get(key)
        if known is None or known.heard != lease.heard:
            observed[key] = Observed(lease.heard, 0)
            is_heard = is_heard or known is not None or bool(watch.observed)
        else:
            observed[key] = Observed(lease.heard, known.unchanged_ms + elapsed_ms)
    quiet_ms = watch.quiet_ms + elapsed_ms
    if is_heard:
        for key, lease in leases.items():
            if _is_deaf(quiet_ms, lease):
                observed[key] = Observed(lease.heard, 0)
        quiet_ms = 0
    out = [
        key
        for key, lease in leases.items()
        if observed[key].unchanged_ms >= lease.lease_ms and not _is_deaf(quiet_ms, lease)
    ]
    return Watch(observed, quiet_ms), out


def _is_deaf(quiet_ms: int, lease: Lease) -> bool:
    """Whether it was quiet for so long that the lease may have been renewed unheard."""
    return quiet_ms * 2 > lease.lease_ms
