"""What happened: every switch with its cause, every change of config and every order; and who served at a time."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from pointsman.model.cause import NO_CAUSE, Cause, CauseKind
from pointsman.model.keys import cluster_of, datacenter_of
from pointsman.model.names import DEFAULT_NAMESPACE, ServiceName
from pointsman.model.orders import Orders, service_of
from pointsman.model.stored import Body
from pointsman.overview.generations import Generation
from pointsman.pipeline.heard import SourceStatus
from pointsman.xds.snapshot import Snapshot

SCHEMA: Final = 1
"""The number of the form of what is here as JSON: it grows when a field goes or changes its meaning."""

MOST_HAPPENINGS: Final = 1_000
"""What is told of one span of time: the newest."""

SWITCH: Final = "switch"
"""The kind of a happening: another target serves. The others are those of causes."""


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened `at` a moment (RFC 3339, UTC), in one sentence.

    Of a `switch`, `service` to `cluster` say whose traffic moved, as the sidecars of which `datacenter` see it, from
    the target `before` to the target `after` (ids; `before` is "" if it is the first, or not known any more), and `why`
    is the sentence of the choice. `cause` is the cause of a switch, or what happened itself.
    """

    at: str
    kind: str
    text: str
    cause: Cause
    service: str = ""
    namespace: str = ""
    datacenter: str = ""
    cluster: str = ""
    version: int = 0
    before: str = ""
    after: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class History:
    """What happened from `since` to `until` (RFC 3339, UTC), the oldest first. With `more`, older things are left
    out."""

    since: str
    until: str
    happenings: tuple[Happening, ...]
    more: bool = False

    def json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "schema": SCHEMA,
            "since": self.since,
            "until": self.until,
            "happenings": [asdict(each) for each in self.happenings],
            "more": self.more,
        }


@dataclass(frozen=True, slots=True)
class Served:
    """Which target served a cluster at a time: as `ResolverNow`. `targets` are (id, healthy, total), as they were last
    known while this version was the current one."""

    service: str
    namespace: str
    datacenter: str
    cluster: str
    version: int
    active: str
    since: str
    published: str
    why: str
    switch: Cause
    targets: tuple[tuple[str, int, int], ...]

    def json(self) -> dict[str, Any]:
        """As plain JSON values."""
        targets = [dict(zip(("id", "healthy", "total"), each, strict=True)) for each in self.targets]
        return asdict(self) | {"targets": targets}


@dataclass(frozen=True, slots=True)
class Moment:
    """Who served `at` a moment (RFC 3339, UTC). Of the clusters in `unknown` nothing is kept from then: they are
    younger, or it was too long ago."""

    at: str
    served: tuple[Served, ...]
    unknown: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "schema": SCHEMA,
            "at": self.at,
            "served": [each.json() for each in self.served],
            "unknown": list(self.unknown),
        }


def service_of_plan(plan_key: str) -> ServiceName | None:
    """The service of the cluster with the plan under this key; None if it is no sidecar's."""
    if f"{datacenter_of(plan_key)}/sidecar/{cluster_of(plan_key)}" != plan_key:
        return None
    # [customization:][subset.]service.namespace.datacenter
    parts = cluster_of(plan_key).rpartition(":")[2].split(".")
    return ServiceName(parts[-2], parts[-3]) if len(parts) >= 3 else None


def plain(service: ServiceName) -> str:
    """A service for people: with its namespace if that is not the default one."""
    return service.name if service.namespace == DEFAULT_NAMESPACE else str(service)


def switches(plan_key: str, versions: Sequence[Snapshot], since: str) -> Iterator[Happening]:
    """The switches of a cluster since a moment. `versions` are those that are known, the oldest first."""
    service = service_of_plan(plan_key)
    if service is None:
        return
    before: Snapshot | None = None
    for each in versions:
        active = each.content.active
        is_switch = before.content.active != active if before is not None else each.since == each.published
        if is_switch and active and each.published >= since:
            was = before.content.active if before is not None else ""
            came = f"{was} to {active}" if was else f"to {active}"
            yield Happening(
                each.published,
                SWITCH,
                f"{plain(service)} as {datacenter_of(plan_key)} sees it: {came}",
                each.switch if each.since == each.published else each.cause,
                service.name,
                service.namespace,
                datacenter_of(plan_key),
                cluster_of(plan_key),
                each.version,
                was,
                active,
                each.content.sentence,
            )
        before = each


def changes_of_config(generations: Iterable[Generation], since: str) -> Iterator[Happening]:
    """The generations of the config since a moment."""
    for each in generations:
        if each.at >= since and each.at:
            by = f" by {each.by}" if each.by else ""
            said = f": {each.message}" if each.message else ""
            text = f"generation {each.generation}{by}{said}"
            yield Happening(each.at, CauseKind.CONFIG.value, text, Cause(CauseKind.CONFIG, str(each.generation), text))


def orders_given(orders: Orders, since: str, service: ServiceName | None) -> Iterator[Happening]:
    """The orders that were given or ended since a moment, about a service or all of them."""

    def is_about(scope: str) -> bool:
        return service is None or service_of(scope) in (None, service)

    past = [(each.order, each.at, each.by) for each in orders.ended]
    for order, ended, by in [*((each, "", "") for each in orders), *past]:
        if not is_about(order.subject.scope):
            continue
        if order.at >= since:
            text = f"order {order.id}: {order.subject} until {order.until}, by {order.by} ({order.reason})"
            yield Happening(order.at, CauseKind.ORDER.value, text, Cause(CauseKind.ORDER, order.id, text))
        if ended and ended >= since:
            how = f"ended by {by}" if by else "its time was up"
            text = f"the end of order {order.id}: {order.subject}, {how}"
            yield Happening(ended, CauseKind.ORDER.value, text, Cause(CauseKind.ORDER, order.id, text))


def silences(sources: Iterable[SourceStatus], since: str) -> Iterator[Happening]:
    """The sources that are silent now, if they fell silent since a moment."""
    for each in sources:
        if each.silent_since and each.silent_since >= since:
            text = f"{each.source} of {each.datacenter} is silent: last heard at {each.at}"
            cause = Cause(CauseKind.LAPSE, each.source, text)
            yield Happening(each.silent_since, CauseKind.LAPSE.value, text, cause, datacenter=each.datacenter)


def history(since: str, until: str, found: Iterable[Happening], *, more: bool = False) -> History:
    """What happened, in order: the newest MOST_HAPPENINGS."""
    ordered = sorted(found, key=lambda each: (each.at, each.kind == SWITCH, each.datacenter, each.cluster, each.text))
    return History(since, until, tuple(ordered[-MOST_HAPPENINGS:]), more or len(ordered) > MOST_HAPPENINGS)


def in_force(versions: Iterable[Snapshot], at: str) -> Snapshot | None:
    """Of `versions`, the oldest first, the one that was the current one `at` a moment; None if none was."""
    found: Snapshot | None = None
    for each in versions:
        if each.published > at:
            break
        found = each
    return found


def served(plan_key: str, snapshot: Snapshot) -> Served:
    """Who served a sidecars' cluster with this snapshot."""
    service = service_of_plan(plan_key) or ServiceName("", "")
    content = snapshot.content
    return Served(
        service.name,
        service.namespace,
        datacenter_of(plan_key),
        cluster_of(plan_key),
        snapshot.version,
        content.active,
        snapshot.since,
        snapshot.published,
        content.sentence,
        snapshot.switch,
        tuple((each.id, each.healthy, each.total) for each in content.targets),
    )


def read_json(body: Body) -> History | Moment:
    """The History or Moment that `json` wrote."""
    if "happenings" in body:
        happenings = [Happening(**each | {"cause": _cause(each["cause"])}) for each in body["happenings"]]
        return History(body["since"], body["until"], tuple(happenings), body["more"])
    return Moment(body["at"], tuple(map(_served, body["served"])), tuple(body["unknown"]))


def _served(body: Body) -> Served:
    targets = tuple((each["id"], each["healthy"], each["total"]) for each in body["targets"])
    return Served(**body | {"switch": _cause(body["switch"]), "targets": targets})


def _cause(body: Mapping[str, str]) -> Cause:
    return Cause(CauseKind(body["kind"]), body["id"], body["text"]) if body["text"] else NO_CAUSE
