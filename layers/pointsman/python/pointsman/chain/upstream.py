"""From a sidecar's registration to the chains of its upstreams."""

from pointsman.chain.compiler import compile_chain
from pointsman.chain.entryset import EntrySet
from pointsman.chain.graph import Chain, Overrides
from pointsman.model.names import ServiceName
from pointsman.model.registration import Registration, Upstream
from pointsman.model.upstream_config import Mode, PassiveHealthCheck, UpstreamLimits


def overrides(entries: EntrySet, registration: Registration, upstream: Upstream) -> Overrides:
    """What `registration` says of its upstream, and where it says nothing, its service's `service-defaults`: of the
    upstream by name, then of all. The order of gateway modes is Consul's: the registration's upstream, the service's
    upstream by name, the registration's proxy, all of the service's upstreams."""
    defaults = entries.defaults(registration.destination)
    named, general = defaults.upstream(destination_of(registration, upstream)) if defaults else (None, None)
    mode, source = first_set(
        (upstream.mesh_gateway.mode, "upstream override"),
        (named.mesh_gateway.mode if named else "", "UpstreamConfig"),
        (registration.service.proxy.mesh_gateway.mode, "proxy override"),
        (general.mesh_gateway.mode if general else "", "UpstreamConfig"),
    )
    said = [each for each in (upstream.config, named, general) if each is not None]
    limits = next((each.limits for each in said if each.limits), None)
    check = next((each.passive_health_check for each in said if each.passive_health_check), None)
    return Overrides(
        mode=mode,
        mode_source=source,
        protocol=next((each.protocol for each in said if each.protocol), ""),
        connect_timeout_ms=next((each.connect_timeout_ms for each in said if each.connect_timeout_ms), 0),
        limits=None if limits == UpstreamLimits() else limits,
        passive_health_check=None if check == PassiveHealthCheck() else check,
    )


def first_set(*modes: tuple[Mode, str]) -> tuple[Mode, str]:
    """The first mode that is set, with who set it."""
    return next((each for each in modes if each[0]), ("", ""))


def destination_of(registration: Registration, upstream: Upstream) -> ServiceName:
    """The service that an upstream of `registration` is for: in its own namespace where it names none."""
    return ServiceName(upstream.destination_namespace or registration.service.namespace, upstream.destination_name)


def upstream_chain(entries: EntrySet, registration: Registration, upstream: Upstream) -> Chain:
    """The chain behind one upstream. Raises ChainError if it does not compile."""
    return compile_chain(
        entries,
        destination_of(registration, upstream),
        upstream.datacenter or registration.datacenter,
        registration.datacenter,
        overrides=overrides(entries, registration, upstream),
    )
