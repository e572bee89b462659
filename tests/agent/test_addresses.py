"""Services with host names: the agent tells of the IP addresses, and of a name without one it says so."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
from pointsman.agent import addresses as of_addresses
from pointsman.agent.addresses import Addresses, names_in, with_addresses
from pointsman.agent.definition import Definitions, read_definitions
from pointsman.agent.paths import Gateway, Probing, with_probes
from pointsman.agent.statement import Host, statement
from pointsman.agent.verdict import Verdict
from pointsman.model.errors import InvalidInput
from pointsman.model.events import parse_event

HOST = Host("dc1", "h1", "10.1.0.11", 30_000_000_000)
NATIVE = {"native": True}


def definitions(*services: dict[str, Any]) -> Definitions:
    return read_definitions([("services.json", {"services": list(services)})], HOST.address)


def sidecar(name: str, address: str, of_sidecar: str = "") -> dict[str, Any]:
    beside = {"sidecar_service": {"port": 20000, "address": of_sidecar}}
    return {"name": name, "address": address, "port": 8080, "connect": beside}


def told(found: Definitions, name: str) -> list[str]:
    """Where the host's instances of a service are said to be; no part of that is refused."""
    verdicts = {key: Verdict("passing") for key in found.checks}
    event = parse_event(statement(HOST, found, verdicts, name, 1, 0.0)["detail"])
    assert event.refused == ()
    return [each.description["Service"]["Address"] for each in event.statements if each.description]


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str] | None]:
    """What the system's resolver answers for a name: addresses; None: it fails."""
    known: dict[str, list[str] | None] = {}

    def getaddrinfo(host: str, *args: Any, **options: Any) -> list[Any]:
        found = known.get(host)
        if found is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 0)) for each in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


def test_names_are_told_of_as_addresses_and_those_for_others_and_of_gateways_as_names(
    dns: dict[str, list[str] | None],
) -> None:
    dns |= {"web.test": ["2001:db8::1", "10.1.0.9", "10.1.0.10"], "db.test": ["10.1.0.20"]}
    far = {"tagged_addresses": {"wan": {"address": "far.test"}}, "connect": NATIVE, "port": 1}
    gateway = {"name": "gw", "kind": "mesh-gateway", "port": 8443, "tagged_addresses": {"wan": {"address": "nlb.test"}}}
    found = definitions(
        sidecar("web", "web.test"), sidecar("db", "10.1.0.11", "db.test"), {"name": "cache", **far}, gateway
    )
    assert names_in(found) == {"web.test", "db.test"}

    async def run() -> Addresses:
        addresses = Addresses(print)
        addresses.want(names_in(found))
        await addresses.look()
        return addresses

    resolved = with_addresses(found, asyncio.run(run()).now)
    assert (told(resolved, "web"), told(resolved, "db"), told(resolved, "cache")) == (
        ["10.1.0.9"],
        ["10.1.0.20"],
        ["10.1.0.11"],
    )
    (cache,) = (each for each in resolved.services.values() if each.name == "cache")
    assert cache.tagged_addresses["wan"].address == "far.test"
    assert told(resolved, "") == ["10.1.0.11"]
    # What an observer tells of a gateway is about its name.
    probed = with_probes(resolved, [Gateway("dc2", "nlb.test", 443)], Probing())
    assert (names_in(probed), told(probed, "gateway-paths")) == (frozenset(), ["nlb.test"])


def test_an_address_stays_while_dns_has_it_or_is_away_and_a_name_without_one_holds_nobody_back(
    dns: dict[str, list[str] | None],
) -> None:
    both = definitions(sidecar("web", "web.test"), {**sidecar("web", "none.test"), "id": "web-2"})
    said: list[str] = []
    dns["web.test"] = ["10.1.0.9"]

    async def run() -> list[list[str]]:
        addresses, seen = Addresses(said.append), []
        assert not addresses.want(names_in(both))
        for answer in (["10.1.0.9"], ["10.1.0.8", "10.1.0.9"], None, ["0.0.0.0"], ["10.1.0.8"]):
            dns["web.test"] = answer
            await addresses.look()
            seen.append(told(with_addresses(both, addresses.now), "web"))
        assert addresses.want(names_in(both))
        addresses.want([])
        await addresses.look()
        assert addresses.now == {}
        return seen

    assert asyncio.run(run()) == [["10.1.0.9"]] * 4 + [["10.1.0.8"]]
    assert sorted(said) == [
        "none.test is not resolved: Name or service not known; its instances are left out",
        "web.test has no address that others can connect to; it stays 10.1.0.9",
        "web.test is 10.1.0.8, was 10.1.0.9",
        "web.test is 10.1.0.9",
        "web.test is not resolved: Name or service not known; it stays 10.1.0.9",
    ]


def test_a_look_takes_so_long_and_a_new_name_is_looked_at_next(
    dns: dict[str, list[str] | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_addresses, "LOOKUP_SECONDS", 0.05)
    monkeypatch.setattr(of_addresses, "AGAIN_S", 3600.0)
    said: list[str] = []

    async def until(condition: Callable[[], object]) -> None:
        while not condition():
            await asyncio.sleep(0.01)

    async def run() -> None:
        hanging = asyncio.Event()
        answers = asyncio.get_running_loop().getaddrinfo

        async def getaddrinfo(host: str, *args: Any, **options: Any) -> Any:
            if host == "slow.test":
                await hanging.wait()
            return await answers(host, *args, **options)

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        addresses = Addresses(said.append)
        addresses.want(["slow.test"])
        running = asyncio.create_task(addresses.run())
        await until(lambda: said)
        dns["web.test"] = ["10.1.0.9"]
        assert not addresses.want(["slow.test", "web.test"])
        await until(lambda: addresses.now)
        running.cancel()

    asyncio.run(run())
    assert said == ["slow.test is not resolved within 0.05 s; its instances are left out", "web.test is 10.1.0.9"]


@pytest.mark.parametrize(
    ("service", "said"),
    [
        (sidecar("web", "10.1.0.300"), '"10.1.0.300" is neither an IP address nor a host name'),
        (sidecar("web", "", "a b"), '"a b" is neither an IP address nor a host name'),
        (
            {"name": "gw", "kind": "mesh-gateway", "port": 1, "address": "nlb.test"},
            '"nlb.test" is not an IP address: the gateway listens there; what others reach is tagged_addresses.wan',
        ),
    ],
)
def test_what_is_no_address_is_refused(service: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        definitions(service)
    assert said in str(refused.value)
