"""Starts an agent: what it is told, its control planes, and everything in between."""

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pointsman.agent.addresses import Addresses, names_in, with_addresses
from pointsman.agent.agent import Agent, Settings
from pointsman.agent.control_plane import ControlPlane
from pointsman.agent.counter import Counter
from pointsman.agent.definition import Definitions
from pointsman.agent.files import Files
from pointsman.agent.paths import Gateway, KnownGateways, Probing, with_probes
from pointsman.agent.probe import Prober
from pointsman.agent.registered import Registered
from pointsman.agent.registrar import Registrar
from pointsman.agent.registrations import registrations
from pointsman.agent.sender import is_http, sender
from pointsman.agent.statement import Host
from pointsman.serve.access import Access
from pointsman.serve.listen import Listen
from pointsman.serve.supervisor import Supervisor


@dataclass(frozen=True, slots=True)
class Options:
    """How an agent is run.

    `places` are the control planes that it tells, `state` is the directory in which it keeps what it needs after a
    restart, and `ttl` where applications speak to it. It registers the host's sidecars and gateways if `registers`, and
    probes `gateways`, and with `asks` those that the control planes know. With `once` it
    ends after one run of each check. At its end it takes the host's instances out if `leaves`.
    """

    host: Host
    files: Files
    places: tuple[str, ...]
    access: Access
    state: Path | None
    ttl: Listen | None
    registers: bool
    gateways: tuple[Gateway, ...]
    asks: bool
    probing: Probing
    once: bool
    leaves: bool


async def run(options: Options, report: Callable[[str], None], ready: Callable[[dict[str, Any]], None]) -> int:
    """Run an agent, and return its exit code. `report` gets a line for whatever changes or goes wrong, and `ready` is
    called when it has begun."""
    async with AsyncExitStack() as opened:
        prober = Prober()
        opened.push_async_callback(prober.close)
        planes = {place: ControlPlane(place, report, options.access) for place in options.places if is_http(place)}
        for plane in planes.values():
            opened.push_async_callback(plane.close)
        state = options.state
        counter = Counter(state and state / "agent.json", lambda: time.time_ns() // 1_000_000)
        needs = _Needs()
        senders = {place: sender(place, planes.get(place), needs, report) for place in options.places}
        known = KnownGateways(
            options.host.datacenter, options.gateways, list(planes.values()) if options.asks else [], report
        )
        await known.ask()
        addresses = Addresses(report)
        reading = _Reading(options, known, addresses)
        definitions = await reading.first()
        registered = Registered(state and state / "registered.json", report)
        registering = planes.values() if options.registers else ()
        agent = Agent(
            Settings(options.host, definitions, reading.read, counter, options.leaves),
            senders,
            prober,
            report,
            registrars=[Registrar(each, options.host.source, registered, report) for each in registering],
            beside=[known, addresses],
        )
        needs.agent = agent
        if options.registers and any(registrations(options.host, definitions)):
            for place in options.places:
                if place not in planes:
                    report(f"{place}: registrations are not sent there; --registrations prints them")
        if options.once:
            return 0 if await agent.once() else 1
        if options.ttl is not None:
            from aiohttp import web

            from pointsman.agent.ttl import application

            runner = web.AppRunner(application(agent), access_log=None)
            await runner.setup()
            opened.push_async_callback(runner.cleanup)
            await web.SockSite(runner, options.ttl.bind("--ttl")).start()
        for line in definitions.passed_over:
            report(f"passed over: {line}")
        services = len(definitions.services)
        ready({"ready": True, "source": options.host.source, "services": services})
        await agent.run(Supervisor())
    return 0


class _Needs:
    """Passes on what control planes want of an agent, which is made after what speaks to them."""

    agent: Agent

    def overtaken(self, index: int) -> None:
        self.agent.overtaken(index)

    def all_again(self, why: str) -> None:
        self.agent.all_again(why)


class _Reading:
    """The definitions of the files, with the IP addresses of their names and the probes of the gateways that are
    known."""

    def __init__(self, options: Options, known: KnownGateways, addresses: Addresses) -> None:
        self._files, self._known, self._addresses, self._probing = options.files, known, addresses, options.probing
        self._latest = self._of_files = self._files.read()

    async def first(self) -> Definitions:
        """The definitions at the start, after one look at their names."""
        self._addresses.want(names_in(self._latest))
        await self._addresses.look()
        return self._made()

    def read(self) -> Definitions | None:
        """The definitions, None if neither files nor gateways nor addresses changed. Raises InvalidInput."""
        if (found := self._files.read_if_changed()) is not None:
            self._latest = found
        # What is there stays until new names were looked at, or an instance would be gone in between.
        if self._addresses.want(names_in(self._latest)):
            self._of_files = self._latest
        if (self._of_files, self._known.now, self._addresses.now) == self._of:
            return None
        return self._made()

    def _made(self) -> Definitions:
        self._of = self._of_files, self._known.now, self._addresses.now
        of_files, gateways, addresses = self._of
        return with_probes(with_addresses(of_files, addresses), gateways, self._probing)
