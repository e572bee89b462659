"""Routes of virtual routers: `service-router` and `service-splitter`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pointsman.importers.drafts import Drafts, Protocols
from pointsman.importers.matches import NoCounterpartError, http_match, retries, timeouts
from pointsman.importers.names import Names
from pointsman.importers.nodes import Target
from pointsman.importers.pieces import Ledger, Piece
from pointsman.importers.resource import Resource

JSON = dict[str, Any]

KINDS: Final = {"httpRoute": "http", "http2Route": "http2", "grpcRoute": "grpc", "tcpRoute": "tcp"}
"""The kinds of routes, and the protocol of each."""

EVERYTHING: Final[tuple[JSON, ...]] = ({}, {"PathPrefix": "/"})
"""Matches that every request meets."""

_WHOLE: Final = 10_000
"""Hundredths of a percent."""


@dataclass(slots=True)
class Router:
    """The routes of a virtual service. `find` gives the target of a virtual node, by any of its names."""

    service: str
    find: Callable[[Piece], Target]
    is_node: bool
    names: Names
    drafts: Drafts
    protocols: Protocols
    ledger: Ledger

    def convert(self, routes: Sequence[Resource], listeners: Sequence[Piece]) -> None:
        """Make the entries of `routes`. `listeners` are those of the virtual router."""
        ports = {each.number("portMapping", "port") for each in listeners} - {0}
        for each in listeners:
            self.protocols.listener(self.service, each.get("portMapping", "protocol"))
            reason = "a sidecar listens for each upstream at the port that its registration says"
            self.ledger.pass_over(each.get("portMapping", "port"), reason)
        ordered = sorted(routes, key=order)
        kinds = {kind for route in ordered for kind in KINDS if route.spec.get(kind)}
        for route in ordered:
            if route.spec.get("tcpRoute") and len(kinds) > 1:
                reason = f"other routes of {self.service} are not TCP's, and a service has one protocol"
                self._named(route, reason, "make a service of its own for it")
            else:
                self._one(route, ports, alone=len(ordered) == 1)
        router = self.drafts.entry("service-router", self.service) if self._has_router() else {}
        made = router.get("Routes", [])
        if made and made[-1].get("Match", {}).get("HTTP", {}) not in EVERYTHING:
            reason = f"requests that no route takes go to the instances of {self.service} here; App Mesh answered 404"
            self.ledger.remark(ordered[-1].spec, reason)

    def _has_router(self) -> bool:
        return self.drafts.has("service-router", self.service)

    def _one(self, route: Resource, ports: set[int], alone: bool) -> None:
        kind, body = next(((each, route.spec.get(each)) for each in KINDS if route.spec.get(each)), ("", None))
        if body is None:
            self._named(route, "it is none of HTTP, HTTP/2, gRPC and TCP", "say what it routes")
            return
        if (unknown := route.unknown()) is not None:
            self._named(route, *unknown)
            return
        named = [(each, each.get("virtualNode")) for each in body.items("action", "weightedTargets")]
        targets = [(self.find(name), each) for each, name in named if name is not None]
        if not targets or len(targets) < len(named):
            self._named(route, "it has no target" if not targets else "a target has no name", "name it in its action")
            return
        for called in (self.service, *(target.service for target, _ in targets)):
            other = self.protocols.of_routes(called)
            if other and (other == "tcp") != (kind == "tcpRoute"):
                reason = f"other routes lead to {called} as {other}, and a service has one protocol"
                self._named(route, reason, "make a service of its own for it")
                return
        if kind == "tcpRoute":
            self._tcp(route, body, targets)
            return
        try:
            match = http_match(body.get("match"), ports)
        except NoCounterpartError as error:
            reason, instead = error.args
            self._named(route, reason, instead)
            return
        destination: JSON = {}
        if not self._send(destination, route, targets, directly=alone and match in EVERYTHING):
            return
        self.protocols.routed(self.service, KINDS[kind])
        into = f'service-router "{self.service}"'
        destination |= timeouts(body, self.ledger, into) | retries(body, self.ledger, into)
        self.protocols.joined(self.service, [target.service for target, _ in targets])
        if alone and match in EVERYTHING and not destination:
            # A splitter of the service alone says it, or nothing has to.
            split = self.drafts.has("service-splitter", self.service)
            into = f'service-splitter "{self.service}"' if split else ""
        else:
            made: JSON = {"Destination": destination} if destination else {}
            if match:
                made["Match"] = {"HTTP": match}
            self.drafts.entry("service-router", self.service).setdefault("Routes", []).append(made)
        for each in [*route.names, route.spec]:
            if into:
                self.ledger.convert(each, into)
            else:
                self.ledger.is_service(each, self.service)

    def _send(
        self, destination: JSON, route: Resource, targets: Sequence[tuple[Target, Piece]], directly: bool
    ) -> bool:
        """Fill in where a route sends requests; False, and it is named, if nowhere."""
        for target, piece in targets:
            if (port := piece.number("port")) and target.port and port != target.port:
                reason = f"{target.service} is called at port {target.port} alone, not at {port}"
                self._named(route, reason, "make that port a service of its own, with its own registration")
                return False
            reason = "instances are called at the port that they are reported with"
            self.ledger.pass_over(piece.get("port"), reason)
        if len(targets) == 1:
            target = targets[0][0]
            if target.service != self.service:
                destination["Service"] = target.service
            if target.subset:
                destination["ServiceSubset"] = target.subset
            self.ledger.pass_over(targets[0][1].get("weight"), "one target takes everything")
            return True
        unknown = next((target for target, piece in targets if piece.get("weight") is None), None)
        if unknown is not None:
            self._named(route, f"the weight of {unknown.service} is not known", "give it a weight")
            return False
        weights: dict[Target, int] = {}
        for target, piece in targets:
            weights[target] = weights.get(target, 0) + piece.number("weight")
        if not sum(weights.values()):
            self._named(route, "no target has a weight", "give one a weight")
            return False
        name = self.service if directly and not self.is_node else self.names.own(f"{self.service}-{route.name}")
        self.drafts.entry("service-splitter", name)["Splits"] = [
            {"Weight": weight / 100 if weight % 100 else weight // 100, "Service": target.service}
            | ({"ServiceSubset": target.subset} if target.subset else {})
            for target, weight in zip(weights, _percent(list(weights.values())), strict=True)
        ]
        self.protocols.joined(self.service, [name])
        for _, piece in targets:
            self.ledger.convert(piece, f'service-splitter "{name}"')
        if name != self.service:
            destination["Service"] = name
        return True

    def _tcp(self, route: Resource, body: Piece, targets: Sequence[tuple[Target, Piece]]) -> None:
        without = [piece for _, piece in targets if piece.get("weight") is not None and not piece.number("weight")]
        targets = [(target, piece) for target, piece in targets if piece not in without]
        if not targets:
            self._named(route, "no target has a weight", "give one a weight")
            return
        if len({target for target, _ in targets}) > 1:
            self._named(route, "TCP connections are not split", "send them to one virtual node, or speak HTTP")
            return
        if self.drafts.has("service-resolver", self.service) and not self.is_node:
            self._named(route, f"another TCP route of {self.service} comes first", "keep one TCP route")
            return
        idle = body.get("timeout")
        self.ledger.name(idle, "no TCP connection is ended here for being idle", "leave it out")
        for each in without:
            self.ledger.pass_over(each, "takes no connection: its weight is 0")
        self.protocols.routed(self.service, "tcp")
        self.direct(targets[0][0], [route.spec, *route.names])

    def direct(self, target: Target, said: Sequence[Piece]) -> None:
        """All of the service's requests go to one target; `said` is what says so."""
        into = f'service-resolver "{self.service}"'
        if target.service != self.service:
            if self.is_node:
                reason = f"{self.service} is the name of a virtual node's instances too"
                for each in said:
                    self.ledger.name(each, reason, "give one of them another name: --name OLD=NEW")
                return
            resolver = self.drafts.entry("service-resolver", self.service)
            resolver["Redirect"] = {"Service": target.service}
            if target.subset:
                resolver["Redirect"]["ServiceSubset"] = target.subset
            self.protocols.joined(self.service, [target.service])
        elif target.subset:
            self.drafts.entry("service-resolver", self.service)["DefaultSubset"] = target.subset
        else:
            into = ""
        for each in said:
            if into:
                self.ledger.convert(each, into)
            else:
                self.ledger.is_service(each, self.service)

    def _named(self, route: Resource, reason: str, instead: str) -> None:
        leave_out(route, reason, instead, self.ledger)


def leave_out(route: Resource, reason: str, instead: str, ledger: Ledger) -> None:
    """Name a route that is not converted, once."""
    text = f"the {route} is left out: {reason}"
    ledger.name(route.spec, text, instead)
    for each in route.names:
        if route.spec.value:
            ledger.pass_over(each, "is the name of a route that is left out")
        else:
            ledger.name(each, text, instead)


def order(route: Resource) -> tuple[int, int, int, str]:
    """Routes are tried by priority; those without one come last, the longest paths and the most conditions first."""
    body = next((route.spec.get(each) for each in KINDS if route.spec.get(each)), None)
    match = body.get("match") if body else None
    priority = route.spec.get("priority")
    length = len(match.text("prefix") or match.text("path", "exact") or match.text("path", "regex")) if match else 0
    conditions = sum(1 for _ in match.leaves()) if match else 0
    return (priority.number() if priority else 10_000, -length, -conditions, route.name)


def _percent(weights: list[int]) -> list[int]:
    """`weights` as hundredths of a percent that add up to all of them: the largest remainders get one more."""
    total = sum(weights)
    shares = [weight * _WHOLE // total for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(weights[i] * _WHOLE % total), i))
    for i in by_remainder[: _WHOLE - sum(shares)]:
        shares[i] += 1
    return shares
