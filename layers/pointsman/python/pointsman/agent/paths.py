"""Probes of the mesh gateways of other datacenters: checks of this host, and a service that they are about."""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pointsman.agent.control_plane import Place, refusal
from pointsman.agent.definition import SECOND, Check, CheckDefinition, Connect, Definitions, ServiceDefinition
from pointsman.model.errors import InvalidInput, PointsmanError
from pointsman.model.names import GATEWAY_PATHS, is_host_name, is_ip, is_label

TIMEOUT_S: Final = 3
"""Seconds of one probe."""
FALL: Final = 3
"""Probes in a row that fail before a gateway counts as not reached."""
RISE: Final = 2
"""Probes in a row that reach it before it counts as reached again."""
MOST_PROBED: Final = 64
"""Gateways that a host probes."""
FIRST_PAUSE_S: Final = 2.0
LONGEST_PAUSE_S: Final = 60.0
"""Seconds between two questions which gateways there are: more and more as long as the answer is the same."""


@dataclass(frozen=True, order=True, slots=True)
class Gateway:
    """A mesh gateway, where other datacenters reach it."""

    datacenter: str
    address: str
    port: int

    @property
    def place(self) -> str:
        """Address and port."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    def __str__(self) -> str:
        return f"{self.datacenter}={self.place}"


def read_gateway(text: str) -> Gateway:
    """The gateway that `DC=HOST:PORT` names. Raises InvalidInput."""
    datacenter, _, place = text.partition("=")
    address, _, port = place.rpartition(":")
    address = address.removeprefix("[").removesuffix("]")
    is_place = is_ip(address) or is_host_name(address)
    if is_label(datacenter) and is_place and port.isascii() and port.isdecimal() and 0 < int(port) < 65536:
        return Gateway(datacenter, address, int(port))
    raise InvalidInput.single("--gateway", "", f'"{text[:80]}" is not DC=HOST:PORT')


@dataclass(frozen=True, slots=True)
class Probing:
    """How gateways are probed: a TCP connection each `interval_ns` nanoseconds, and with `sni` a TLS handshake for that
    server name, in which `{dc}` is the gateway's datacenter."""

    interval_ns: int = 5 * SECOND
    sni: str = ""


def with_probes(definitions: Definitions, gateways: Iterable[Gateway], probing: Probing) -> Definitions:
    """`definitions`, and a probe of each of the `gateways`, at most MOST_PROBED."""
    chosen = sorted(set(gateways))
    services, checks = dict(definitions.services), dict(definitions.checks)
    for each in chosen[:MOST_PROBED]:
        services[str(each)] = ServiceDefinition(
            name=GATEWAY_PATHS, id=str(each), address=each.address, port=each.port, connect=Connect(native=True)
        )
        name = f"path:{each}"
        checks[name] = Check(name, str(each), _probe(each, name, probing))
    left_out = [f"the gateway {each}: {MOST_PROBED} are probed at most" for each in chosen[MOST_PROBED:]]
    return replace(definitions, services=services, checks=checks, passed_over=(*definitions.passed_over, *left_out))


def _probe(gateway: Gateway, name: str, probing: Probing) -> CheckDefinition:
    return CheckDefinition(
        id=name,
        name=f"from here to {gateway}",
        tcp=gateway.place,
        interval=probing.interval_ns,
        timeout=TIMEOUT_S * SECOND,
        success_before_passing=RISE,
        failures_before_critical=FALL,
        tcp_use_tls=bool(probing.sni),
        tls_server_name=probing.sni.replace("{dc}", gateway.datacenter),
        # Whoever has another certificate answers too, and that is all that is asked.
        tls_skip_verify=bool(probing.sni),
    )


class KnownGateways:
    """The gateways of other datacenters than `datacenter`: those that are `named`, and those that control planes know,
    which are asked again and again."""

    def __init__(
        self, datacenter: str, named: Iterable[Gateway], places: Sequence[Place], report: Callable[[str], None]
    ) -> None:
        self._datacenter, self._named, self._places, self._report = datacenter, frozenset(named), places, report
        self._told: dict[str, frozenset[Gateway]] = {}
        self._problems: dict[str, str] = {}

    @property
    def now(self) -> frozenset[Gateway]:
        """Those that are known now. What a control plane said last counts while it is away."""
        found = self._named.union(*self._told.values())
        return frozenset(each for each in found if each.datacenter != self._datacenter)

    async def ask(self) -> None:
        """Ask all control planes once."""
        for place in self._places:
            try:
                status, told = await place.ask("GET", "/v1/gateways")
                if status != 200:
                    raise PointsmanError(refusal(status, told))
                self._told[place.url] = _read(told)
                self._problems.pop(place.url, None)
            except Exception as error:
                # Whatever it is, nothing else waits for it.
                if self._problems.get(place.url) != str(error):
                    self._report(f"{place.url}: which gateways there are is not known: {error}")
                self._problems[place.url] = str(error)

    async def run(self) -> None:
        """Ask again and again, until it is cancelled."""
        pause = FIRST_PAUSE_S
        while True:
            before = self.now
            await self.ask()
            pause = min(2 * pause, LONGEST_PAUSE_S) if self.now == before else FIRST_PAUSE_S
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))


def _read(told: Any) -> frozenset[Gateway]:
    """The gateways in an answer; one that cannot be read is left out."""
    found = told.get("gateways") if isinstance(told, Mapping) else None
    gateways = set()
    for each in found if isinstance(found, list) else ():
        if isinstance(each, Mapping):
            try:
                gateways.add(read_gateway(f"{each.get('datacenter')}=[{each.get('address')}]:{each.get('port')}"))
            except InvalidInput:
                continue
    return frozenset(gateways)
