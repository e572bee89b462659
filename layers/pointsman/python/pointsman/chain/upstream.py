"""From a sidecar's registration to the chains of its upstreams."""

from pointsman.chain.compiler import compile_chain
from pointsman.chain.entryset import EntrySet
from pointsman.chain.graph import Chain, Overrides
from pointsman.model.entries import Mode
from pointsman.model.names import ServiceName
from pointsman.model.registration import Registration, Upstream


def overrides(registration: Registration, upstream: Upstream) -> Overrides:
    """The overrides in the registration; an upstream's own gateway mode overrides its proxy's."""
    mode: Mode
    if upstream.mesh_gateway.mode:
        mode, source = upstream.mesh_gateway.mode, "upstream override"
    else:
        mode, source = registration.service.proxy.mesh_gateway.mode, "proxy override"
    return Overrides(
        mode=mode,
        mode_source=source if mode else "",
        protocol=upstream.config.protocol,
        connect_timeout_ms=upstream.config.connect_timeout_ms,
    )


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
        overrides=overrides(registration, upstream),
    )
