"""Who may call a service: the intentions that apply to it, in their order (docs/semantics.md, section 11)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pointsman.chain.entryset import EntrySet
from pointsman.model.entries import EntryKey
from pointsman.model.intentions import EVERY, Action, Permission, SourceIntention
from pointsman.model.names import ServiceName

ALL = ServiceName(EVERY, EVERY)
"""Every service of every namespace."""


@dataclass(frozen=True, slots=True)
class Intention:
    """What calls from `source` may do: the first of `permissions` that a request matches decides, else `otherwise`.

    Name and namespace of `source` may each be EVERY. `entry` is where it is written.
    """

    source: ServiceName
    permissions: tuple[Permission, ...]
    otherwise: Action
    entry: EntryKey


def keys_of(service: ServiceName) -> tuple[EntryKey, ...]:
    """The keys of the entries that may apply to `service`, in their order: its own, that of its namespace, and that of
    all."""
    names = (service, ServiceName(service.namespace, EVERY), ALL)
    return tuple(("service-intentions", each.namespace, each.name) for each in names)


def applying(entries: EntrySet, service: ServiceName) -> tuple[Intention, ...]:
    """The intentions that apply to calls of `service`, in their order; none if all may call.

    Those of a more exact destination come first, among them those of a more exact source. `deciding` says which one
    decides. A request that matches none of a source's permissions is decided by the last of the intentions from `*` to
    `*` that cover the source; without one it is allowed.
    """
    found = list(_written(entries, service))
    general = [
        Intention(source, (), each.action, key)
        for source, each, key in found
        if source.name == EVERY == key[2] and each.action
    ][::-1]
    out: dict[ServiceName, Intention] = {}
    for source, each, key in found:
        unmatched: Action = next((one.otherwise for one in general if covers(one.source, source)), "allow")
        out.setdefault(source, Intention(source, tuple(each.permissions), each.action or unmatched, key))
    # An intention from everybody to this service stands where the default, from everybody to `*`, would stand. Then the
    # default follows it.
    default = [each for each in general if each.source == ALL][:1]
    return (*out.values(), *(each for each in default if out[ALL] != each))


def default_of(intentions: Sequence[Intention]) -> Action:
    """What is done by default: what the last of `intentions` from everybody to `*` says."""
    general = (each for each in reversed(intentions) if each.source == ALL and each.entry[2] == EVERY)
    return next((each.otherwise for each in general if not each.permissions), "allow")


def _written(entries: EntrySet, service: ServiceName) -> Iterator[tuple[ServiceName, SourceIntention, EntryKey]]:
    """The sources of the entries that apply, in their order, each with the entry that it is in."""
    for kind, namespace, name in keys_of(service):
        if entry := entries.intentions(ServiceName(namespace, name)):
            sources = [(entry.source(each), each) for each in entry.sources]
            for source, each in sorted(sources, key=lambda one: _width(one[0])):
                yield source, each, (kind, namespace, name)


def _width(service: ServiceName) -> tuple[int, ServiceName]:
    """How much it covers, then its name: what exact names come to depends on no order."""
    return (service.namespace, service.name).count(EVERY), service


def covers(source: ServiceName, service: ServiceName) -> bool:
    """Whether `service`, which may be a source itself, is one of `source`."""
    return source.namespace in (EVERY, service.namespace) and source.name in (EVERY, service.name)


def deciding(intentions: Sequence[Intention], caller: ServiceName) -> Intention | None:
    """The one of `intentions` that decides what `caller` may do; None if it may do everything.

    It is the first that covers the caller. But, as in Consul's sidecars, it takes nothing from a later one that is
    about fewer callers (`*` may call this service, and the caller may not call `*`): what is not done by default wins.
    """
    default = default_of(intentions)
    holding: list[Intention] = []
    for each in intentions:
        if covers(each.source, caller) and not any(covers(each.source, one.source) for one in holding):
            holding.append(each)
    other = (each for each in holding if not each.permissions and each.otherwise != default)
    return next(other, next(iter(holding), None))
