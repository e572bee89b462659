"""What somebody who speaks to a control plane may do there."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pointsman.model.names import DEFAULT_NAMESPACE, ServiceName

_GATEWAY: Final = "gateway/"


class Role(StrEnum):
    """What a token or a certificate is for."""

    READ = "read"
    """See config, orders, sources and the status."""

    REPORT = "report"
    """Send health events."""

    REGISTER = "register"
    """Write and delete registrations."""

    ORDER = "order"
    """Give and end orders."""

    CONFIGURE = "configure"
    """Write and delete all config, registrations included, and forget sources."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What somebody may do: what the `roles` say.

    `datacenters` limit of where they may tell and what they may register, `sources` as whom they may tell, `services`
    for which services they may register: none of them means all. A source or service that ends in `*` stands for all
    that begin so. A service of another namespace is written `namespace/service`, a mesh gateway `gateway/ID`.

    `name` is theirs, noted beside what they do; "" for somebody unknown, who may say a name. `who` names them in
    messages.
    """

    roles: frozenset[Role]
    who: str = ""
    name: str = ""
    datacenters: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    services: tuple[str, ...] = ()

    def has(self, role: Role) -> bool:
        """Whether this role, or one that includes it, is among them."""
        return role in self.roles or (role is Role.REGISTER and Role.CONFIGURE in self.roles)

    def refuses_report(self, datacenter: str, source: str) -> str:
        """Why they may not tell of `datacenter` as `source`, "" if they may."""
        if self.datacenters and datacenter not in self.datacenters:
            return f"{self.who} may not tell of {datacenter}, only of {', '.join(self.datacenters)}"
        if self.sources and not _any_matches(self.sources, source):
            return f'{self.who} may not speak as "{source[:80]}", only as {", ".join(self.sources)}'
        return ""

    def refuses_sidecar(self, datacenter: str, service: ServiceName) -> str:
        """Why they may not register sidecars of `service` in `datacenter`, "" if they may."""
        name = service.name if service.namespace == DEFAULT_NAMESPACE else str(service)
        # "gateway/x" is a mesh gateway, so of a namespace of that name no service can be named.
        return self._refuses(datacenter, name, named=not name.startswith(_GATEWAY))

    def refuses_gateway(self, datacenter: str, id_: str) -> str:
        """Why they may not register the mesh gateway `id_` of `datacenter`, "" if they may."""
        return self._refuses(datacenter, f"{_GATEWAY}{id_}")

    def _refuses(self, datacenter: str, name: str, named: bool = True) -> str:
        if Role.CONFIGURE in self.roles:
            return ""
        if not self.has(Role.REGISTER):
            return f"{self.who} is not for {Role.REGISTER.value}"
        if self.datacenters and datacenter not in self.datacenters:
            return f"{self.who} may not register in {datacenter}, only in {', '.join(self.datacenters)}"
        if self.services and not (named and _any_matches(self.services, name)):
            return f'{self.who} may not register "{name[:80]}", only {", ".join(self.services)}'
        return ""


EVERYTHING: Final = Grant(frozenset(Role))
"""For whoever speaks on loopback."""


def _any_matches(patterns: tuple[str, ...], name: str) -> bool:
    return any(name.startswith(each[:-1]) if each.endswith("*") else name == each for each in patterns)
