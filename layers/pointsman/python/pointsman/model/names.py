"""Names, and what Pointsman makes of them: target ids, SNIs, SPIFFE ids.

Names arrive from a network and become object keys and file paths, so nothing here accepts a name that is not a
lower-case DNS label (docs/semantics.md, section 1).
"""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from typing import NamedTuple

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
_TRUST_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?\Z")
# Ids of proxies, nodes and sources are their owners' to choose; these characters are safe in a key and in a path.
_IDENTIFIER = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._:@-]{0,126}[A-Za-z0-9_])?\Z")
_HOST = re.compile(
    r"(?=.{1,253}\Z)([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*(?![0-9]+\Z)[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\Z"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

DEFAULT_NAMESPACE = "default"

_THIS_NETWORK = IPv4Network("0.0.0.0/8")
_BROADCAST = IPv4Address("255.255.255.255")

GATEWAYS = "mesh-gateway"
"""The service name of mesh gateways, and the `node.cluster` of their Envoys, where a sidecar has its service. So a
service of that name could not have sidecars: they would count as gateways."""

GATEWAYS_REASON = f'is "{GATEWAYS}", the name of mesh gateways; no service of that name has sidecars, rename it'

GATEWAY_PATHS = "gateway-paths"
"""The service as whose instances observers in a datacenter tell which mesh gateways of others they reach."""

GATEWAY_PATHS_REASON = (
    f'is "{GATEWAY_PATHS}", as which observers tell of gateways; no service of that name has sidecars, rename it'
)

SHARED_GATEWAY_ID = "mesh"
"""Stands for a gateway's id in the SPIFFE id of a certificate that all gateways of a datacenter share."""

SHARED_GATEWAY_REASON = (
    f'is "{SHARED_GATEWAY_ID}", which stands for all mesh gateways in their certificates; give the gateway another ID'
)


_SHORT = 45
"""Characters of the longest IPv6 address without a zone."""


def is_label(name: str) -> bool:
    """Whether `name` is a lower-case DNS label: letters, digits and inner hyphens, 63 characters at most."""
    return _LABEL.match(name) is not None


def is_trust_domain(name: str) -> bool:
    """Whether `name` is valid as the trust domain of an SNI and a SPIFFE id."""
    return _TRUST_DOMAIN.match(name) is not None and ".." not in name


def is_identifier(name: str) -> bool:
    """Whether `name` is valid as the id of a proxy in an object key and a file path."""
    return _IDENTIFIER.match(name) is not None and ".." not in name


def is_ip(text: str) -> bool:
    """Whether `text` is an IPv4 or IPv6 address."""
    # Every endpoint of every cluster is checked whenever the cluster is computed, a tenth of what that takes.
    return _is_short_ip(text) if len(text) <= _SHORT else _is_ip(text)


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


_is_short_ip = lru_cache(maxsize=16384)(_is_ip)


def is_host_name(text: str) -> bool:
    """Whether `text` is a name that DNS may know, and no IP address, also no mistyped one: its last label has a
    letter."""
    return _HOST.match(text) is not None


def unreachable(ip: str) -> str:
    """Why no other machine can connect to `ip`, "" if one can. `is_ip` must have accepted it."""
    return _short_unreachable(ip) if len(ip) <= _SHORT else _unreachable(ip)


def _unreachable(ip: str) -> str:
    if "%" in ip:
        return "has a zone, which means something on one machine only; leave it out"
    address = _address(ip)
    if address.is_unspecified or (isinstance(address, IPv4Address) and address in _THIS_NETWORK):
        return "is where one listens on every address, and no address of anything; give the machine's own"
    return "is a group of machines; give the address of one" if is_group(ip) else ""


_short_unreachable = lru_cache(maxsize=16384)(_unreachable)


def is_group(ip: str) -> bool:
    """Whether an IP address stands for several machines: multicast, or the broadcast address."""
    address = _address(ip)
    return address.is_multicast or address == _BROADCAST


def _address(ip: str) -> IPv4Address | IPv6Address:
    """An IP address; the IPv4 address in an IPv6 one that only holds that."""
    address = ip_address(ip)
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def is_plain_text(text: str) -> bool:
    """Whether `text` has no control character: Envoy rejects a header's name and a path that have one."""
    return _CONTROL.search(text) is None


class ServiceName(NamedTuple):
    """A service: its namespace and its name in it."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @classmethod
    def of(cls, text: str) -> "ServiceName":
        """The service that `str` wrote. Raises ValueError for anything else."""
        found = read_service_name(text)
        if found is None:
            raise ValueError(f"{text!r} is not NAMESPACE/NAME")
        return found


def read_service_name(text: str) -> ServiceName | None:
    """The service whose name is written `namespace/name`; None for anything else."""
    match text.split("/"):
        case [namespace, name] if is_label(namespace) and is_label(name):
            return ServiceName(namespace, name)
        case _:
            return None


class Target(NamedTuple):
    """What a resolver node sends traffic to (docs/semantics.md, section 2)."""

    service: str
    subset: str
    namespace: str
    datacenter: str

    @property
    def id(self) -> str:
        """`service.namespace.datacenter`, with `subset.` in front if there is one."""
        plain = f"{self.service}.{self.namespace}.{self.datacenter}"
        return f"{self.subset}.{plain}" if self.subset else plain

    @property
    def name(self) -> ServiceName:
        """The service whose instances the target selects from."""
        return ServiceName(self.namespace, self.service)

    def sni(self, trust_domain: str) -> str:
        """The TLS server name that mesh gateways route by (docs/semantics.md, section 5)."""
        return f"{self.id}.internal.{trust_domain}"

    def spiffe_id(self, trust_domain: str) -> str:
        """The URI in the certificate of the target's instances."""
        return f"spiffe://{trust_domain}/ns/{self.namespace}/dc/{self.datacenter}/svc/{self.service}"


def datacenter_sni(datacenter: str, trust_domain: str) -> str:
    """The name of a mesh gateway's cluster for another datacenter (docs/semantics.md, section 7)."""
    return f"{datacenter}.internal.{trust_domain}"
