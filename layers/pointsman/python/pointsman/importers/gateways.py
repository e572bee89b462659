"""Virtual gateways: a sidecar that listens for everybody, before a service whose router has the gateway's routes."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from pointsman.importers.drafts import Drafts, Protocols
from pointsman.importers.matches import NoCounterpartError, http_match
from pointsman.importers.nodes import access_log, limits, tls
from pointsman.importers.paths import joined
from pointsman.importers.pieces import Ledger, Piece
from pointsman.importers.resource import Resource
from pointsman.importers.routes import EVERYTHING, KINDS, leave_out, order

JSON = dict[str, Any]


@dataclass(slots=True)
class Gateway:
    """One virtual gateway, named `service` here. `find` gives the service of a virtual service."""

    service: str
    find: Callable[[Piece], str]
    drafts: Drafts
    protocols: Protocols
    ledger: Ledger

    def convert(self, gateway: Resource | None, routes: Sequence[Resource]) -> None:
        """Make the registration and the router; `gateway` is None if only its routes are known."""
        registration = f'registration "{self.service}-sidecar-proxy"'
        listeners = gateway.spec.items("listeners") if gateway else []
        ports = {each.number("portMapping", "port") for each in listeners} - {0}
        for each in listeners:
            if port := each.number("portMapping", "port"):
                self.drafts.upstream(self.service, self.service, "0.0.0.0", port)
                # Whoever calls the gateway within the mesh is routed as everybody else is.
                self.drafts.proxy(self.service).setdefault("LocalServicePort", port)
                self.ledger.convert(each.get("portMapping", "port"), registration)
            tls(each.get("tls"), self.ledger)
            reason = "a gateway's Envoy tells its own health at its admin's /ready"
            self.ledger.name(each.get("healthCheck"), reason, "let the load balancer before it ask there")
            self._pool(each.get("connectionPool"))
            self.protocols.listener(self.service, each.get("portMapping", "protocol"))
        if gateway:
            tls(gateway.spec.get("backendDefaults", "clientPolicy", "tls"), self.ledger)
            access_log(gateway.spec, self.ledger)
            for each in gateway.names:
                self.ledger.is_service(each, self.service)
        if routes:
            reason = "the Host header stays what the caller sent; App Mesh's gateway set the virtual service's name"
            self.ledger.remark(routes[0].spec, reason)
        for route in sorted(routes, key=order):
            self._route(route, ports)
        has_routes = self.drafts.has("service-router", self.service)
        made = self.drafts.entry("service-router", self.service)["Routes"] if has_routes else []
        if made and made[-1].get("Match", {}).get("HTTP", {}) not in EVERYTHING:
            self.ledger.remark(routes[-1].spec, "requests that no route takes get 503 here; App Mesh answered 404")

    def _pool(self, pool: Piece | None) -> None:
        """A gateway's limits are about what it sends, to each cluster by itself, as here."""
        if pool is None or not (wanted := limits(pool)):
            return
        defaults = self.drafts.entry("service-defaults", self.service)
        if defaults.setdefault("UpstreamConfig", {"Defaults": {"Limits": wanted}})["Defaults"]["Limits"] == wanted:
            self.ledger.convert(pool, f'service-defaults "{self.service}"')
        else:
            self.ledger.name(pool, "another listener of this gateway has other limits", "choose one")

    def _route(self, route: Resource, ports: set[int]) -> None:
        kind, body = next(((each, route.spec.get(each)) for each in KINDS if route.spec.get(each)), ("", None))
        target = body.get("action", "target", "virtualService", "virtualServiceName") if body else None
        if body is None or target is None:
            self._named(route, "it has no target", "name a virtual service in its action")
            return
        if (unknown := route.unknown()) is not None:
            self._named(route, *unknown)
            return
        service = self.find(target)
        spoken = self.protocols.of(service) or KINDS[kind]
        here = self.protocols.of(self.service) if self.drafts.has("service-router", self.service) else spoken
        if spoken != here or spoken == "tcp":
            reason = f"{service} speaks {spoken}, and this gateway's other routes {here}; a chain has one protocol"
            self._named(route, reason, "make a gateway of its own for it")
            return
        try:
            match = http_match(body.get("match"), ports)
            rewrite = _rewrite(body, match)
            made = self._through(service, match, rewrite)
        except NoCounterpartError as error:
            reason, instead = error.args
            self._named(route, reason, instead)
            return
        into = f'service-router "{self.service}"'
        if (host := body.get("action", "rewrite", "hostname", "defaultTargetHostname")) is not None:
            if host.value == "DISABLED":
                self.ledger.pass_over(host, "the Host header stays as it is")
            else:
                self.ledger.name(host, "the Host header stays as it is", f"let {service} answer to every host")
        self.ledger.pass_over(
            body.get("action", "target", "port"), "instances are called at the port that they are reported with"
        )
        self.drafts.entry("service-router", self.service).setdefault("Routes", []).extend(made)
        self.protocols.routed(self.service, spoken)
        self.protocols.joined(self.service, [service])
        for each in [route.spec, *route.names]:
            self.ledger.convert(each, into)

    def _through(self, service: str, match: JSON, rewrite: str) -> list[JSON]:
        """The routes that a gateway route becomes. A router leads to no other router, so those of `service` are taken
        over."""
        inner: list[JSON] = [{}]
        if self.drafts.has("service-router", service) and service != self.service:
            inner = self.drafts.entry("service-router", service).get("Routes", [])
        made: list[JSON] = []
        for each in deepcopy(inner):
            own = each.get("Match", {}).get("HTTP", {})
            methods = _common(match.get("Methods"), own.get("Methods"))
            if methods == []:
                continue
            for path, to in joined(_path(match), rewrite, _path(own)):
                merged = {key: value for key, value in (match | own).items() if not key.startswith("Path")} | path
                for key in ("Header", "QueryParam"):
                    if both := [*match.get(key, []), *own.get(key, [])]:
                        merged[key] = both
                made.append(_route({"Service": service} | each.get("Destination", {}), merged, methods, to))
        if inner != [{}] and made and inner[-1].get("Match", {}).get("HTTP", {}) not in EVERYTHING:
            # What no route of the service takes.
            rest = [
                _route({"Service": service}, match | path, match.get("Methods"), to)
                for path, to in joined(_path(match), rewrite, {})
            ]
            taken = [each.get("Match") for each in made]
            made += [each for each in rest if each.get("Match") not in taken]
        return made

    def _named(self, route: Resource, reason: str, instead: str) -> None:
        leave_out(route, reason, instead, self.ledger)


def _route(destination: JSON, match: JSON, methods: list[str] | None, rewrite: str) -> JSON:
    if rewrite:
        destination = destination | {"PrefixRewrite": rewrite}
    match = match | ({"Methods": methods} if methods else {})
    return {"Destination": destination} | ({"Match": {"HTTP": match}} if match else {})


def _common(one: list[str] | None, other: list[str] | None) -> list[str] | None:
    """The methods that both have; None if neither says any."""
    return [each for each in one if each in other] if one and other else one or other


def _path(match: JSON) -> JSON:
    """What a match says of the path."""
    return {key: value for key, value in match.items() if key.startswith("Path")}


def _rewrite(body: Piece, match: JSON) -> str:
    """What the matched path is replaced by; "" for nothing. App Mesh replaces a prefix by "/" unless told not to."""
    rewrite = body.get("action", "rewrite")
    if rewrite and (exact := rewrite.text("path", "exact")):
        if not {"PathExact", "PathPrefix"} & match.keys():
            raise NoCounterpartError("only an exact path or a prefix can be replaced", "match an exact path")
        return exact
    if "PathPrefix" not in match or body.get("match", "serviceName") is not None:
        return ""
    if rewrite and (value := rewrite.text("prefix", "value")):
        return value if value != match["PathPrefix"] else ""
    if rewrite and rewrite.text("prefix", "defaultPrefix") == "DISABLED":
        return ""
    return "/" if match["PathPrefix"] != "/" else ""
