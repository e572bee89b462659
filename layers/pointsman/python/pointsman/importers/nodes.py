"""Virtual nodes: services or subsets, with the registrations of their sidecars."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pointsman.importers.drafts import Drafts, Protocols
from pointsman.importers.matches import duration
from pointsman.importers.names import Names, label
from pointsman.importers.pieces import Ledger, Piece
from pointsman.importers.resource import Resource
from pointsman.model.go_literals import quote

JSON = dict[str, Any]

_CERTIFICATES: Final = (
    "sidecars always speak mutual TLS, with certificates that name the service",
    "issue one per sidecar and give it with `pointsman secrets` (docs/envoy.md, Certificates)",
)
_ATTRIBUTES: Final = ("serviceDiscovery", "awsCloudMap", "attributes")
_A_YEAR_MS: Final = 365 * 24 * 3_600_000
"""App Mesh's 0 is no timeout, and here 0 is Envoy's default."""
_FAMILY: Final = ("instances have the address that is reported", "report addresses of that family")


@dataclass(frozen=True, slots=True)
class Target:
    """Where the instances of a virtual node are: a service, or a subset of one."""

    service: str
    subset: str = ""
    port: int = field(default=0, compare=False)
    """Of its application, 0 if it is not known."""


def full_name(node: Resource) -> str:
    """What the instances of a node are called: their name in Cloud Map or DNS, else the node's."""
    discovery = node.spec.get("serviceDiscovery")
    if discovery and discovery.text("awsCloudMap", "serviceName"):
        return f"{discovery.text('awsCloudMap', 'serviceName')}.{discovery.text('awsCloudMap', 'namespaceName')}"
    return (discovery.text("dns", "hostname") if discovery else "") or node.name


def target_of(node: Resource, names: Names) -> Target:
    """The service or subset of a node."""
    service = names.service(full_name(node), str(node), node.name)
    has_attributes = bool(node.spec.items(*_ATTRIBUTES))
    ports = [each.number("portMapping", "port") for each in node.spec.items("listeners")[:1]]
    return Target(service, label(node.name) or "node" if has_attributes else "", *ports)


def convert_node(node: Resource, target: Target, drafts: Drafts, protocols: Protocols, ledger: Ledger) -> None:
    """Make what a virtual node says of itself, without its backends and policies."""
    registration = f'registration "{target.service}-sidecar-proxy"'
    for each in node.names:
        ledger.is_service(each, target.service)
    _discovery(node, target, drafts, ledger)
    for i, listener in enumerate(node.spec.items("listeners")):
        if i:
            reason = f"the sidecars of {target.service} stand before one port"
            ledger.name(listener, reason, "make this port a service of its own, with its own registration")
            continue
        if port := listener.number("portMapping", "port"):
            before = drafts.proxy(target.service).setdefault("LocalServicePort", port)
            if before == port:
                ledger.convert(listener.get("portMapping", "port"), registration)
            else:
                reason = f"the sidecars of {target.service} stand before port {before}, as another node has it"
                instead = f"give this node a service of its own: --name {node.name}=NEW"
                ledger.name(listener.get("portMapping", "port"), reason, instead)
        protocols.listener(target.service, listener.get("portMapping", "protocol"))
        _health_check(node, listener, target, drafts, ledger)
        _listener_timeouts(listener, target, drafts, ledger)
        tls(listener.get("tls"), ledger)
    tls(node.spec.get("backendDefaults", "clientPolicy", "tls"), ledger)
    access_log(node.spec, ledger)


def _discovery(node: Resource, target: Target, drafts: Drafts, ledger: Ledger) -> None:
    discovery = node.spec.get("serviceDiscovery")
    if discovery is None:
        return
    into = f'service-resolver "{target.service}"'
    if attributes := discovery.items("awsCloudMap", "attributes"):
        conditions = [f"Service.Meta[{quote(each.text('key'))}] == {quote(each.text('value'))}" for each in attributes]
        resolver = drafts.entry("service-resolver", target.service)
        resolver.setdefault("Subsets", {})[target.subset] = {"Filter": " and ".join(conditions)}
        for each in attributes:
            ledger.convert(each, into)
        keys = ", ".join(each.text("key") for each in attributes)
        ledger.remark(attributes[0], f"subset {target.subset} is by Service.Meta: report {keys} there")
    for family in (discovery.get("awsCloudMap", "ipPreference"), discovery.get("dns", "ipPreference")):
        ledger.name(family, *_FAMILY)
    for name in (discovery.get("awsCloudMap", "serviceName"), discovery.get("dns", "hostname")):
        ledger.is_service(name, target.service)
    text = f'its instances come from health events: let what runs them report them as service "{target.service}"'
    ledger.remark(discovery, text)
    ledger.pass_over(discovery.get("awsCloudMap", "namespaceName"), f"the service is {target.service} alone")
    ledger.pass_over(discovery.get("dns", "responseType"), "instances come from health events, not from DNS")


def _health_check(node: Resource, listener: Piece, target: Target, drafts: Drafts, ledger: Ledger) -> None:
    """A check is the agent's, if the result is for one. A node without a check has a definition too."""
    check = listener.get("healthCheck")
    port = listener.number("portMapping", "port")
    at = (check.number("port") if check else 0) or port
    written: JSON = {}
    if check is not None and at:
        protocol = check.text("protocol")
        kind = protocol if protocol in ("tcp", "grpc") else "http"
        written = {kind: f"127.0.0.1:{at}" if kind != "http" else f"http://127.0.0.1:{at}{check.text('path') or '/'}"}
        for here, name, unit in (
            ("interval", "intervalMillis", "ms"),
            ("timeout", "timeoutMillis", "ms"),
            ("success_before_passing", "healthyThreshold", ""),
            ("failures_before_critical", "unhealthyThreshold", ""),
        ):
            if number := check.number(name):
                written[here] = f"{number}{unit}" if unit else number
        if protocol == "http2":
            text = "the agent asks with HTTP/1.1; if the application answers HTTP/2 alone, check with tcp"
            ledger.remark(check, text)
    if drafts.for_agent and port:
        meta = {each.text("key"): each.text("value") for each in node.spec.items(*_ATTRIBUTES)}
        definition = {"name": target.service, "port": port, "meta": meta, "check": written}
        named = drafts.definition(target.subset or target.service, definition)
        if written:
            ledger.convert(check, named)
    said = ", ".join(f"{here} = {json.dumps(value)}" for here, value in written.items())
    reason = "sidecars do not check their application; health comes from events"
    ledger.name(check, reason, f"let `pointsman agent` check it, with what --agent DIR writes: check {{ {said} }}")


def _listener_timeouts(listener: Piece, target: Target, drafts: Drafts, ledger: Ledger) -> None:
    timeout = listener.get("timeout")
    for kind in timeout.value if timeout and isinstance(timeout.value, dict) else ():
        each = timeout.get(kind, "perRequest") if timeout else None
        if each is not None and (each.get("value") is not None and each.text("unit")):
            milliseconds = each.number("value") * (1000 if each.text("unit") == "s" else 1)
            _own("LocalRequestTimeoutMs", milliseconds or _A_YEAR_MS, each, target, drafts, ledger)
    reason = "no incoming connection is ended here for being idle"
    http = timeout is not None and timeout.get("tcp") is None
    instead = "set IdleTimeout on the routes that lead to it" if http else "let the application end idle connections"
    ledger.name(timeout, reason, instead)


def _own(field: str, value: int, piece: Piece, target: Target, drafts: Drafts, ledger: Ledger) -> None:
    """Set what the sidecars of the node's own service do with what comes in."""
    if drafts.entry("service-defaults", target.service).setdefault(field, value) == value:
        ledger.convert(piece, f'service-defaults "{target.service}"')
    else:
        ledger.name(piece, f"another node of {target.service} has another one", f"choose one {field}")


def tls(piece: Piece | None, ledger: Ledger) -> None:
    """What becomes of TLS: it is always on here, and always mutual."""
    if piece is None:
        return
    for name, good in (("mode", "STRICT"), ("enforce", True)):
        given = piece.get(name)
        if given is not None and given.value == good:
            ledger.pass_over(given, "sidecars always speak mutual TLS")
        elif given is not None:
            ledger.name(given, "sidecars always speak mutual TLS, and nothing else", "give every caller a sidecar")
    ledger.name(piece, *_CERTIFICATES)


def access_log(spec: Piece, ledger: Ledger) -> None:
    """What becomes of access logs."""
    path = spec.text("logging", "accessLog", "file", "path") or "FILE"
    reason = "what an Envoy logs is said where it is started"
    ledger.name(spec.get("logging"), reason, f"start it with `pointsman bootstrap --access-log {path}`")


def convert_backends(
    node: Resource, target: Target, services: Mapping[str, str], drafts: Drafts, ledger: Ledger
) -> list[str]:
    """Make the upstreams of a node's sidecars; `services` are the services of virtual services, by all their names.

    Returns the services that it calls.
    """
    called = []
    for backend in node.spec.items("backends"):
        name = backend.get("virtualService", "virtualServiceName")
        tls(backend.get("virtualService", "clientPolicy", "tls"), ledger)
        if name is None:
            continue
        service = services[str(name.value)]
        if service == target.service:
            ledger.name(name, "a sidecar has no upstream to its own service here", "let the application call itself")
            continue
        address, port = drafts.upstream(target.service, service)
        ledger.convert(name, f'registration "{target.service}-sidecar-proxy"')
        ledger.remark(name, f"the application calls {address}:{port} instead of {str(name.value).rpartition('/')[2]}")
        called.append(service)
    return called


def convert_policy(
    node: Resource, target: Target, upstreams: Iterable[tuple[str, str]], drafts: Drafts, ledger: Ledger
) -> None:
    """Make outlier detection and connection pools of a node what its callers' sidecars do, and its own.

    `upstreams` are the callers, each with the service by which it calls the node.
    """
    for listener in node.spec.items("listeners")[:1]:
        wanted: JSON = {}
        if outliers := listener.get("outlierDetection"):
            wanted["PassiveHealthCheck"] = {
                "Interval": duration(outliers.get("interval")) or "10s",
                "MaxFailures": outliers.number("maxServerErrors"),
                "MaxEjectionPercent": outliers.number("maxEjectionPercent"),
                "BaseEjectionTime": duration(outliers.get("baseEjectionDuration")) or "30s",
                "EnforcingConsecutive5xx": 100,
            }
        pool = listener.get("connectionPool")
        found = limits(pool)
        if "MaxConnections" in found and pool is not None:
            # A sidecar itself protects its application from too many connections; the rest is its callers'.
            connections = pool.get("http", "maxConnections") or pool.get("tcp", "maxConnections")
            if connections is not None:
                _own("MaxInboundConnections", found.pop("MaxConnections"), connections, target, drafts, ledger)
        if found:
            wanted["Limits"] = found
        for name, piece in (("PassiveHealthCheck", outliers), ("Limits", pool)):
            if piece is not None and name in wanted:
                _for_callers(name, wanted[name], piece, upstreams, drafts, ledger)


def limits(pool: Piece | None) -> JSON:
    """The Limits of a connection pool."""
    found: JSON = {}
    for kind in pool.value if pool is not None and isinstance(pool.value, dict) else ():
        for name, here in (
            ("maxConnections", "MaxConnections"),
            ("maxPendingRequests", "MaxPendingRequests"),
            ("maxRequests", "MaxConcurrentRequests"),
        ):
            if pool is not None and pool.number(kind, name):
                found[here] = pool.number(kind, name)
    return found


def _for_callers(
    field: str, wanted: JSON, piece: Piece, upstreams: Iterable[tuple[str, str]], drafts: Drafts, ledger: Ledger
) -> None:
    done = refused = ""
    for caller, service in upstreams:
        config = drafts.entry("service-defaults", caller).setdefault("UpstreamConfig", {"Overrides": []})
        override = next((each for each in config["Overrides"] if each["Name"] == service), None)
        if override is None:
            override = {"Name": service}
            config["Overrides"].append(override)
        if override.setdefault(field, wanted) == wanted:
            done = f'service-defaults "{caller}"'
        else:
            refused = f"{caller} calls {service}, where another node has other values"
    if done and not refused:
        ledger.convert(piece, done)
        ledger.remark(piece, f"holds in each caller's sidecar by itself, as {field}")
    else:
        said = ", ".join(f"{key} = {value}" for key, value in wanted.items())
        reason = refused or "it is the callers' sidecars that do this here, and no virtual node here calls it"
        ledger.name(piece, reason, f"set {field} ({said}) in the UpstreamConfig of the callers' service-defaults")
