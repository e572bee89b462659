"""The services and datacenters that a store knows, so that a typing error is reported."""

from collections.abc import Iterator
from dataclasses import dataclass

from pointsman.chain.entryset import references
from pointsman.model.entries import Entry
from pointsman.model.errors import InvalidInput
from pointsman.model.intentions import EVERY, ServiceIntentions
from pointsman.model.keys import PATHS, datacenter_of, service_in
from pointsman.model.names import ServiceName
from pointsman.model.resolver import ServiceResolver
from pointsman.pipeline.config import Config
from pointsman.pipeline.engine import Engine
from pointsman.store import keys

MOST_SHOWN = 10
"""Names that an error lists."""


@dataclass(frozen=True, slots=True)
class Known:
    """Everything that a config entry, a registration or a health event names."""

    services: frozenset[ServiceName]
    datacenters: frozenset[str]

    def check_service(self, thing: str, service: ServiceName) -> None:
        """Raise InvalidInput about `thing` if nothing names `service`."""
        if service not in self.services:
            known = sorted(str(each) if each.namespace != service.namespace else each.name for each in self.services)
            reason = f'no entry, registration or health event names "{service.name}"; known are: {_some(known)}'
            raise InvalidInput.single(thing, "", reason)

    def check_datacenter(self, thing: str, option: str, datacenter: str) -> None:
        """Raise InvalidInput about `thing` if nothing names `datacenter`."""
        if datacenter not in self.datacenters:
            known = _some(sorted(self.datacenters))
            reason = f'no entry, registration or health event names "{datacenter}"; known are: {known}'
            raise InvalidInput.single(thing, option, reason)


def known_names(engine: Engine, config: Config) -> Known:
    """The names in `config` and in the catalogs of the store, which it lists. Raises StoreUnavailable."""
    services: set[ServiceName] = set()
    datacenters: set[str] = set()
    for entry in config.entries:
        if isinstance(entry, ServiceIntentions):
            named = (entry.destination, *map(entry.source, entry.sources))
            services |= {each for each in named if each.name != EVERY}
        elif entry.kind.startswith("service-"):
            services.add(ServiceName(entry.namespace, entry.name))
        services |= {service for _, service in references(entry)}
        datacenters |= {*_datacenters(entry)}
    for registration in config.registrations.values():
        datacenters.add(registration.datacenter)
        if not registration.is_gateway:
            services.add(registration.destination)
        for upstream in registration.service.proxy.upstreams:
            namespace = upstream.destination_namespace or registration.service.namespace
            services.add(ServiceName(namespace, upstream.destination_name))
            datacenters |= {upstream.datacenter} - {""}
    for listed in engine.store.list(keys.CATALOG):
        source = keys.source_of(listed.key)
        datacenters.add(datacenter_of(source))
        if (service := service_in(source)) is not None and service != PATHS:
            services.add(service)
    return Known(frozenset(services), frozenset(datacenters))


def _datacenters(entry: Entry) -> Iterator[str]:
    if isinstance(entry, ServiceResolver):
        if entry.redirect and entry.redirect.datacenter:
            yield entry.redirect.datacenter
        for failover in entry.failover.values():
            yield from failover.datacenters
            yield from (target.datacenter for target in failover.targets if target.datacenter)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    return (", ".join(names[:MOST_SHOWN]) or "none") + more
