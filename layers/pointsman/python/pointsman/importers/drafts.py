"""The entries and registrations that an import makes, while it makes them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from pointsman.importers.pieces import Ledger, Piece

JSON = dict[str, Any]

SIDECAR_PORT: Final = 20_000
"""Where the definitions for agents say that a sidecar listens for other services."""

FIRST_PORT: Final = 15_101
"""Where a sidecar listens for the first upstream of its application; the next one has the next port."""


@dataclass(slots=True)
class Drafts:
    """Documents by kind and name. Registrations are those of `datacenter`."""

    datacenter: str
    for_agent: bool = False
    """Whether there are definitions for agents too."""
    definitions: dict[str, JSON] = field(default_factory=dict)
    """What an agent's file says of each virtual node's instances, by a name for the file."""
    _documents: dict[tuple[str, str], JSON] = field(default_factory=dict)

    def entry(self, kind: str, name: str) -> JSON:
        """The entry of this kind and name, made if there is none yet."""
        return self._documents.setdefault((kind, name), {"Kind": kind, "Name": name})

    def has(self, kind: str, name: str) -> bool:
        """Whether there is one."""
        return (kind, name) in self._documents

    def proxy(self, service: str) -> JSON:
        """The proxy part of the registration of the sidecars of `service`."""
        document = self._documents.setdefault(
            ("registration", service),
            {
                "Datacenter": self.datacenter,
                "Service": {
                    "Kind": "connect-proxy",
                    "ID": f"{service}-sidecar-proxy",
                    "Proxy": {"DestinationServiceName": service},
                },
            },
        )
        proxy: JSON = document["Service"]["Proxy"]
        return proxy

    def definition(self, wanted: str, service: JSON) -> str:
        """Keep what an agent is told of a service, without what is empty; returns how the report calls it."""
        name, number = wanted, 1
        while name in self.definitions:
            number += 1
            name = f"{wanted}-{number}"
        told = {key: value for key, value in service.items() if value}
        told["connect"] = {"sidecar_service": {"port": SIDECAR_PORT}}
        self.definitions[name] = {"service": told}
        return f'definition "{name}"'

    def upstream(self, service: str, called: str, address: str = "", port: int = 0) -> tuple[str, int]:
        """The place where the sidecars of `service` listen for `called`: as given, or the first free port."""
        upstreams = self.proxy(service).setdefault("Upstreams", [])
        for each in upstreams:
            if each["DestinationName"] == called and (not port or each["LocalBindPort"] == port):
                return each.get("LocalBindAddress", "127.0.0.1"), each["LocalBindPort"]
        taken = {each["LocalBindPort"] for each in upstreams}
        port = port or next(each for each in range(FIRST_PORT, 65_536) if each not in taken)
        upstreams.append({"DestinationName": called, "LocalBindPort": port})
        if address:
            upstreams[-1]["LocalBindAddress"] = address
        return address or "127.0.0.1", port

    def services(self) -> set[str]:
        """The services that a document is of, or an upstream."""
        proxies = [each["Service"]["Proxy"] for (kind, _), each in self._documents.items() if kind == "registration"]
        called = {each["DestinationName"] for proxy in proxies for each in proxy.get("Upstreams", [])}
        return called | {name for _, name in self._documents}

    def by_service(self) -> dict[str, list[JSON]]:
        """The documents by service, in the order of kinds."""
        found: dict[str, list[JSON]] = {}
        for (_, name), document in sorted(self._documents.items(), key=lambda item: item[0]):
            found.setdefault(name, []).append(document)
        return dict(sorted(found.items()))


@dataclass(slots=True)
class Protocols:
    """The protocol of each service: all that are in one chain speak the same, that of its router."""

    _with: dict[str, str] = field(default_factory=dict)
    _routed: dict[str, str] = field(default_factory=dict)
    _listeners: list[tuple[str, Piece]] = field(default_factory=list)

    def listener(self, service: str, protocol: Piece | None) -> None:
        """What a listener of `service` speaks."""
        if protocol is not None:
            self._listeners.append((service, protocol))

    def routed(self, service: str, protocol: str) -> None:
        """`service` has routes of this protocol."""
        self._routed.setdefault(self._root(service), protocol)

    def of_routes(self, service: str) -> str:
        """The protocol of the routes in the chain of a service, "" if there are none yet."""
        return self._routed.get(self._root(service), "")

    def joined(self, service: str, others: Iterable[str]) -> None:
        """Requests to `service` go on to `others`."""
        for each in others:
            one, other = self._root(service), self._root(each)
            if one != other:
                self._with[other] = one
                if other in self._routed:
                    self._routed.setdefault(one, self._routed.pop(other))

    def of(self, service: str) -> str:
        """The protocol of a service, "" if nothing says it."""
        root = self._root(service)
        if root in self._routed:
            return self._routed[root]
        return next((str(piece.value) for each, piece in self._listeners if self._root(each) == root), "")

    def write(self, drafts: Drafts, ledger: Ledger) -> None:
        """Make the `service-defaults` of all services that anything is known of."""
        services = {each for each, _ in self._listeners} | {*self._with, *self._with.values(), *self._routed}
        spoken = dict(self._routed)
        for service, piece in self._listeners:
            spoken.setdefault(self._root(service), str(piece.value))
        for service in sorted(services):
            if protocol := spoken.get(self._root(service)):
                drafts.entry("service-defaults", service)["Protocol"] = protocol
        for service, piece in self._listeners:
            protocol = spoken[self._root(service)]
            if piece.value == protocol:
                ledger.convert(piece, f'service-defaults "{service}"')
            else:
                reason = f"what calls it speaks {protocol}, and a chain has one protocol"
                ledger.name(piece, reason, f"let {service} speak {protocol}, or change the router's")

    def _root(self, service: str) -> str:
        while service in self._with:
            service = self._with[service]
        return service
