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
    """The intentions that apply to calls of `service`, in their order: the first whose source `covers` the caller
    decides. Whom none covers may call.

    Those of a more exact destination come first, among them those of a more exact source. A request that matches none
    of a source's permissions is decided by the last of the intentions from `*` to `*` that cover the caller; without
    one it is allowed. Those that no caller is left for are not among them.
    """
    found = list(_written(entries, service))
    general = [
        (source, each.action) for source, each, (_, _, name) in found if source.name == EVERY == name and each.action
    ][::-1]
    out: dict[ServiceName, Intention] = {}
    for source, written, entry in found:
        for each in _parts(source, written, entry, general):
            if out.keys().isdisjoint((each.source, ServiceName(each.source.namespace, EVERY), ALL)):
                out[each.source] = each
    return tuple(out.values())


def _written(entries: EntrySet, service: ServiceName) -> Iterator[tuple[ServiceName, SourceIntention, EntryKey]]:
    """The sources of the entries that apply, in their order, each with the entry that it is in."""
    for kind, namespace, name in keys_of(service):
        if entry := entries.intentions(ServiceName(namespace, name)):
            sources = [(entry.source(each), each) for each in entry.sources]
            for source, each in sorted(sources, key=lambda one: _width(one[0])):
                yield source, each, (kind, namespace, name)


def _parts(
    source: ServiceName, written: SourceIntention, entry: EntryKey, general: Sequence[tuple[ServiceName, Action]]
) -> Iterator[Intention]:
    """What a source of an entry comes to: one intention for each part of it where requests that match no permission are
    decided otherwise, the narrower ones first."""
    if written.action:
        yield Intention(source, (), written.action, entry)
        return
    for part in sorted({source, *(each for each, _ in general if covers(source, each))}, key=_width):
        otherwise: Action = next((action for each, action in general if covers(each, part)), "allow")
        yield Intention(part, tuple(written.permissions), otherwise, entry)


def _width(service: ServiceName) -> tuple[int, ServiceName]:
    """How much it covers, then its name: what exact names come to depends on no order."""
    return (service.namespace, service.name).count(EVERY), service


def covers(source: ServiceName, service: ServiceName) -> bool:
    """Whether `service`, which may be a source itself, is one of `source`."""
    return source.namespace in (EVERY, service.namespace) and source.name in (EVERY, service.name)


def deciding(intentions: Sequence[Intention], caller: ServiceName) -> Intention | None:
    """The one of `intentions` that decides what `caller` may do; None if it may do everything."""
    return next((each for each in intentions if covers(each.source, caller)), None)
