"""From a sidecar's registration and the config entries of its service to its incoming connections."""

from pointsman.chain.entryset import EntrySet
from pointsman.chain.graph import HTTP_PROTOCOLS
from pointsman.chain.intentions import applying
from pointsman.chain.protocol import spoken_by
from pointsman.model.inbound import CONNECT_TIMEOUT, CONNECTIONS, REQUEST_TIMEOUT, whole
from pointsman.model.names import ServiceName, is_ip
from pointsman.model.registration import Registration
from pointsman.xds.inbound import CONNECT_TIMEOUT_MS, ExposedPath, Host, Inbound, IpPort, is_log_path


def inbound_of(entries: EntrySet, registration: Registration, trust_domain: str) -> Inbound:
    """What the sidecars of `registration` have in common for incoming connections.

    As in Consul, the registration's `Proxy.Config` and `Proxy.Expose` win, then the service's `service-defaults`, then
    `proxy-defaults`. The protocol is that of the service, as its callers see it.
    """
    service, proxy = registration.destination, registration.service.proxy
    defaults, general = entries.defaults(service), entries.proxy_defaults()
    config = general.config if general else {}

    def first(name: str, own: int) -> int | None:
        """The first that is set: 0 in `service-defaults` is not."""
        for found in (whole(proxy.config, name), own or None, whole(config, name)):
            if found is not None:
                return found
        return None

    protocol = spoken_by(entries, service).protocol
    exposed = (proxy.expose, *(each.expose for each in (defaults, general) if each))
    return Inbound(
        trust_domain,
        protocol,
        _filters(entries, service, protocol, trust_domain),
        max_connections=first(CONNECTIONS, defaults.max_inbound_connections if defaults else 0) or 0,
        connect_timeout_ms=first(CONNECT_TIMEOUT, defaults.local_connect_timeout_ms if defaults else 0)
        or CONNECT_TIMEOUT_MS,
        request_timeout_ms=first(REQUEST_TIMEOUT, defaults.local_request_timeout_ms if defaults else 0),
        exposed=tuple(
            ExposedPath(each.path, each.listener_port, each.local_path_port, each.protocol == "http2")
            for each in next((each.paths for each in exposed if each.paths), ())
        ),
        registered=_registered(registration),
    )


def _filters(entries: EntrySet, service: ServiceName, protocol: str, trust_domain: str) -> tuple[bytes, ...]:
    """The serialized filters that the intentions for `service` come to."""
    intentions = applying(entries, service)
    if not intentions:
        return ()
    # Most services have none, and a process that takes in health events needs none of this.
    from pointsman.xds.intentions import http_rbac, network_rbac

    made = http_rbac if protocol in HTTP_PROTOCOLS else network_rbac
    return tuple(bytes(each.SerializeToString(deterministic=True)) for each in made(intentions, trust_domain))


def _registered(registration: Registration) -> Host | None:
    """Where the registration says that the sidecar listens; None if it leaves that to each Envoy."""
    (ip, port), proxy = registration.listen, registration.service.proxy
    log = registration.access_log_path
    if not (ip and port and is_ip(proxy.local_service_address) and proxy.local_service_port):
        return None
    return Host(
        IpPort(ip, port),
        IpPort(proxy.local_service_address, proxy.local_service_port),
        log if is_log_path(log) else "",
    )
