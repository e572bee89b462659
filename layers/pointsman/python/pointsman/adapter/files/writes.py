"""The next step from the files that an Envoy has to those that it should have: before it comes what it needs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from pointsman.delivery import order
from pointsman.delivery.deliver import Delivery
from pointsman.delivery.order import Given

SETTLE_S = 1.0
"""Seconds that an Envoy is given to take new listeners before the clusters go that only the old ones used."""


@dataclass(frozen=True, slots=True)
class NamedCluster:
    """A cluster as it stands in cds.pb, serialized, and the endpoint file that it names."""

    cluster: bytes
    file: str


Clusters: TypeAlias = Mapping[str, NamedCluster]
"""What a cds.pb holds, by name."""


@dataclass(frozen=True, slots=True)
class Writes:
    """What cds.pb and lds.pb hold afterwards, None where they stay as they are.

    It is to be written in this order: the endpoint files that cds.pb then names, cds.pb, lds.pb. `leaving` says that
    some clusters are there only until the Envoy has the new listeners, `refused` why this is not the whole way.
    """

    clusters: Clusters | None
    listeners: tuple[bytes, ...] | None
    leaving: bool = False
    refused: str = ""


def next_writes(
    clusters: Clusters | None,
    listeners: tuple[bytes, ...] | None,
    wanted: Delivery,
    *,
    shortage: Callable[[int], str],
    given: Given,
    now: float,
) -> Writes:
    """From what cds.pb and lds.pb hold (None: there is none) towards `wanted`.

    `given` says how far the Envoy is, at the moment `now`, with what it was given before.

    `shortage` tells why an Envoy cannot have a number of inotify instances. Where it cannot have those of the whole
    step, clusters neither come nor go, but those that are there are kept up; where it cannot even have the one more
    that this takes, their endpoints are.
    """
    new = {each.name: NamedCluster(each.cluster, each.place) for each in wanted.clusters}
    has = clusters or {}
    # What comes is on the disk before the listeners are: an Envoy never has to wait for it.
    step = order.next_step(
        given,
        now,
        came=False,
        relisten=listeners != wanted.listeners,
        leaving=not has.keys() <= new.keys(),
        ready_in=0.0,
        taken_in=SETTLE_S,
    )
    whole = step.clusters(has, new)
    refused = _refusal(clusters, whole, shortage)
    if not refused:
        return Writes(
            clusters=whole if whole != clusters else None,
            listeners=wanted.listeners if step.relistens else None,
            leaving=step.due is not None,
        )
    if clusters is not None:
        kept_up = {name: new.get(name, each) for name, each in clusters.items()}
        if kept_up != clusters and not _refusal(clusters, kept_up, shortage):
            return Writes(kept_up, None, refused=refused)
    return Writes(None, None, refused=refused)


def _refusal(before: Clusters | None, after: Clusters, shortage: Callable[[int], str]) -> str:
    # One instance for each endpoint file, one for cds.pb and one for lds.pb. A cluster that changes is made anew before
    # the old one goes, one cluster after the other: one more for all of them.
    old = before or {}
    changing = any(old[name] != after[name] for name in old.keys() & after.keys())
    if before is not None and not changing and before.keys() >= after.keys():
        return ""  # nothing that it does not have
    return shortage(len(old.keys() | after.keys()) + 2 + changing)
