"""What a resolver sends a target on to: another target, by redirect or when it fails over."""

from collections.abc import Iterator
from typing import Protocol

from pointsman.chain.complaints import Place
from pointsman.model.entries import EntryKey
from pointsman.model.names import Target
from pointsman.model.resolver import ServiceResolver


class Elsewhere(Protocol):
    """What a redirect and a failover say of where to go instead; "" leaves it as it is."""

    @property
    def service(self) -> str:
        """Another service."""
        ...

    @property
    def service_subset(self) -> str:
        """A subset of it."""
        ...

    @property
    def namespace(self) -> str:
        """Another namespace."""
        ...


def rewrite(target: Target, to: Elsewhere, datacenter: str) -> Target:
    """`target` with the parts replaced that `to` and `datacenter` give. At another service it loses its subset, because
    subsets belong to a service."""
    moved = Target(to.service or target.service, "", to.namespace or target.namespace, datacenter or target.datacenter)
    kept = target.subset if moved.name == target.name else ""
    return moved._replace(subset=to.service_subset or kept)


def resolver_key(target: Target) -> EntryKey:
    """The key of the resolver entry that `target` goes by, whether there is one or not."""
    return ("service-resolver", target.namespace, target.service)


def failover_targets(target: Target, resolver: ServiceResolver) -> Iterator[tuple[Target, Place]]:
    """The failover targets of `target`, in order, each with the place that names it; `target` itself is left out."""
    name = target.subset if target.subset in resolver.failover else "*"
    section = resolver.failover.get(name)
    if section is None:
        return
    entry, field = resolver_key(target), f'Failover["{name}"]'
    for i, to in enumerate(section.targets):
        each = rewrite(target, to, to.datacenter)
        if each != target:
            yield each, Place(entry, f"{field}.Targets[{i}]")
    for datacenter in [] if section.targets else section.datacenters or [""]:
        each = rewrite(target, section, datacenter)
        if each != target:
            yield each, Place(entry, field)
