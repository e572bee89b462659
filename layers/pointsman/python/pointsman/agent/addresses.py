"""Host names in definitions: the agent resolves those of services, because Envoy's EDS takes IP addresses only.

Those of mesh gateways stay names, which Envoys resolve (docs/envoy.md, "Gateways with host names").
"""

import asyncio
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from typing import Final

from pointsman.agent.definition import Definitions, ServiceDefinition
from pointsman.model.names import GATEWAY_PATHS, is_ip, unreachable

AGAIN_S: Final = 5.0
"""Seconds between two looks at what all names stand for, as often as Envoy looks."""
LOOKUP_SECONDS: Final = 3.0
"""Seconds that one look waits for DNS; what is not answered then stays as it was."""


class Addresses:
    """What the names that are `wanted` stand for. For one event loop; `report` gets a line for whatever changes or goes
    wrong."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._wanted: frozenset[str] = frozenset()
        self._looked: frozenset[str] = frozenset()
        self._known: dict[str, str] = {}
        self._problems: dict[str, str] = {}
        self._new = asyncio.Event()

    @property
    def now(self) -> Mapping[str, str]:
        """The IP address of each name that had one, the last that it had."""
        return dict(self._known)

    def want(self, names: Iterable[str]) -> bool:
        """Look at these names from now on. Returns whether all were looked at; if not, that is done next."""
        self._wanted = frozenset(names)
        if self._wanted <= self._looked:
            return True
        self._new.set()
        return False

    async def look(self) -> None:
        """Look once at all names, for LOOKUP_SECONDS at most."""
        wanted = self._wanted
        await asyncio.gather(*map(self._look_at, sorted(wanted)))
        self._known = {name: address for name, address in self._known.items() if name in wanted}
        self._problems = {name: problem for name, problem in self._problems.items() if name in wanted}
        self._looked = wanted

    async def run(self) -> None:
        """Look again and again, until it is cancelled."""
        while True:
            self._new.clear()
            await self.look()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._new.wait(), AGAIN_S)

    async def _look_at(self, name: str) -> None:
        before, problem = self._known.get(name), ""
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                answer = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
            found = {str(each[4][0]) for each in answer}
            usable = sorted((each for each in found if not unreachable(each)), key=_order)
            if not usable:
                problem = "has no address that others can connect to"
            elif before not in usable:
                self._known[name] = usable[0]
                self._report(f"{name} is {usable[0]}" + (f", was {before}" if before else ""))
        except TimeoutError:
            problem = f"is not resolved within {LOOKUP_SECONDS:g} s"
        except OSError as error:
            problem = f"is not resolved: {error.strerror or error}"
        if problem and problem != self._problems.get(name):
            then = f"it stays {before}" if before else "its instances are left out"
            self._report(f"{name} {problem}; {then}")
        self._problems[name] = problem


def names_in(definitions: Definitions) -> frozenset[str]:
    """The host names that are addresses of services."""
    return frozenset(name for service in definitions.services.values() for name in _names(service))


def with_addresses(definitions: Definitions, addresses: Mapping[str, str]) -> Definitions:
    """`definitions` with IP addresses in place of names, without the services of whose names there is none."""
    if not names_in(definitions):
        return definitions
    services = {
        key: _resolved(service, addresses)
        for key, service in definitions.services.items()
        if _names(service) <= addresses.keys()
    }
    return replace(definitions, services=services)


def _order(address: str) -> tuple[int, int]:
    """IPv4 before IPv6; of several the least, so that all looks choose the same."""
    found = ip_address(address)
    return found.version, int(found)


def _names(service: ServiceDefinition) -> set[str]:
    if service.kind or service.name == GATEWAY_PATHS:
        return set()
    sidecar = service.connect.sidecar_service
    return {each for each in (service.address, sidecar.address if sidecar else "") if each and not is_ip(each)}


def _resolved(service: ServiceDefinition, addresses: Mapping[str, str]) -> ServiceDefinition:
    sidecar = service.connect.sidecar_service
    if sidecar is not None:
        sidecar = sidecar.model_copy(update={"address": addresses.get(sidecar.address, sidecar.address)})
    connect = service.connect.model_copy(update={"sidecar_service": sidecar})
    address = addresses.get(service.address, service.address)
    return service.model_copy(update={"address": address, "connect": connect})
