"""The next step from an Envoy's files to the wanted ones, in an order in which nothing is missing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from pointsman.delivery import order
from pointsman.delivery.deliver import Delivery
from pointsman.delivery.order import Given

SETTLE_S = 1.0
"""Seconds for an Envoy to load new listeners, before the clusters go that only the old ones used; and to load other
endpoints, before the listeners that end connections to the old ones."""


@dataclass(frozen=True, slots=True)
class NamedCluster:
    """A serialized cluster in cds.pb, and the endpoint file that it names, "" if it has its endpoints inside."""

    cluster: bytes
    file: str


Clusters: TypeAlias = Mapping[str, NamedCluster]
"""The clusters in a cds.pb, by name."""


@dataclass(frozen=True, slots=True)
class Writes:
    """The new contents of cds.pb and lds.pb, None if unchanged.

    Write in this order: the endpoint files that cds.pb then names, cds.pb, lds.pb. `given` is the Envoy's progress
    after that. `due` is when to take the next step, None if this is the last one; `refused` is why it is incomplete.
    """

    clusters: Clusters | None
    listeners: tuple[bytes, ...] | None
    given: Given
    due: float | None = None
    refused: str = ""


def next_writes(
    clusters: Clusters | None,
    listeners: tuple[bytes, ...] | None,
    wanted: Delivery,
    *,
    switched: bool,
    shortage: Callable[[int], str],
    given: Given,
    now: float,
) -> Writes:
    """The step from the contents of cds.pb and lds.pb (None: missing) towards `wanted`.

    `switched` is whether another target serves in a cluster whose switches end connections. `given` is the Envoy's
    progress with earlier steps, at the time `now`.

    `shortage` returns why an Envoy cannot have a number of inotify instances. Without enough for the whole step,
    clusters are neither added nor removed, but existing ones are updated; without even the one more that an update
    takes, only their endpoints are.
    """
    new = {each.name: NamedCluster(each.cluster, each.place) for each in wanted.clusters}
    new_listeners = (*wanted.listeners, *(each.serialized for each in wanted.own.listeners))
    has = clusters or {}
    # New files are on disk before the listeners that need them, so an Envoy never waits for them; for DNS it does.
    resolves = listeners is not None and any(not each.file and has.get(name) != each for name, each in new.items())
    new |= {each.name: NamedCluster(each.serialized, "") for each in wanted.own.clusters}
    step = order.next_step(
        given,
        now,
        came=switched or resolves,
        relisten=listeners != new_listeners,
        leaving=not has.keys() <= new.keys(),
        ready_in=SETTLE_S,
        taken_in=SETTLE_S,
    )
    whole = step.clusters(has, new)
    refused = _refusal(clusters, whole, shortage)
    if not refused:
        return Writes(
            clusters=whole if whole != clusters else None,
            listeners=new_listeners if step.relistens else None,
            given=step.given,
            due=step.due,
        )
    if clusters is not None:
        kept_up = {name: new.get(name, each) for name, each in clusters.items()}
        if kept_up != clusters and not _refusal(clusters, kept_up, shortage):
            return Writes(kept_up, None, given, refused=refused)
    return Writes(None, None, given, refused=refused)


def _refusal(before: Clusters | None, after: Clusters, shortage: Callable[[int], str]) -> str:
    # One instance for each endpoint file, one for cds.pb and one for lds.pb. Changed clusters are replaced one at a
    # time, and the new one is made before the old one goes: one more for all of them.
    old = before or {}
    changing = any(old[name] != after[name] for name in old.keys() & after.keys())
    if before is not None and not changing and before.keys() >= after.keys():
        return ""  # needs nothing that it does not have
    named = {name for name, each in (*old.items(), *after.items()) if each.file}
    return shortage(len(named) + 2 + changing)
