"""A group of s2's instances behind the sidecar of s1: each a process that can be killed, without an event."""

import contextlib
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Literal, Self

from pointsman.adapter.files.files_adapter import FilesAdapter
from pointsman.adapter.follow.follower import Follower
from pointsman.bootstrap.document import Address, FetchFiles, Node, gateway_bootstrap
from pointsman.discovery.proxy import GatewayId
from pointsman.store.sqlite import SQLiteStore

from tests.adapter.control import Control, Document, defaults, instance, proxy_defaults, resolver, s1
from tests.adapter.fetching import running, sidecar
from tests.adapter.node import NEW, OLD, S1
from tests.adapter.published import DATACENTERS, TRUST_DOMAIN
from tests.fleet.ca import CertificateAuthority
from tests.fleet.envoy import ENVOY_1_40, Envoy
from tests.fleet.process import Child, Ports, wait_listening, wait_until
from tests.fleet.talk import ask_once

Reach = Literal["direct", "tiers", "remote", "local"]
"""How s1 reaches s2: in its own datacenter, there with as many instances in dc2 as the next tier, or in dc2 through
gateways of this mode."""

# Where the instances are, and where the gateways.
_SITES: dict[Reach, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "direct": (("dc1",), ()),
    "tiers": (("dc1", "dc2"), ()),
    "remote": (("dc2",), ("dc2",)),
    "local": (("dc2",), ("dc1", "dc2")),
}


class Group:
    """s1 in dc1 calls s2, which has `hosts` instances, by `way`; up while the `with` block lasts.

    Through gateways there are `gateways` of them in each datacenter that takes part, real Envoys. In tiers there are
    `hosts` instances in each, those of dc1 first.
    """

    def __init__(
        self,
        way: Reach,
        hosts: int,
        directory: Path,
        *,
        gateways: int = 1,
        protocol: str = "http",
        binary: Path = ENVOY_1_40,
    ) -> None:
        self._way, self._directory, self._protocol, self._binary = way, directory, protocol, binary
        self._held = contextlib.ExitStack()
        ports = self._held.enter_context(Ports())
        self._authority = CertificateAuthority(directory / "ca", TRUST_DOMAIN)
        self.upstream = ports.take("127.0.0.1")
        homes, sites = _SITES[way]
        self._places = {
            f"s2-{dc}-{number}": (DATACENTERS[dc], ports.take(DATACENTERS[dc]))
            for dc in homes
            for number in range(hosts)
        }
        self._ports, self._homes = ports, homes
        self._gateways = {
            f"gateway-{dc}-{number}": (dc, (DATACENTERS[dc], ports.take(DATACENTERS[dc])))
            for dc in sites
            for number in range(gateways)
        }
        self.instances = {name: self._instance(name) for name in self._places}
        self.envoys: dict[str, Envoy] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as held:
            held.enter_context(self._held)
            store = held.enter_context(contextlib.closing(SQLiteStore(self._directory / "store.db")))
            self._publish(Control(store))
            for child in self.instances.values():
                held.enter_context(child)
            for name, child in self.instances.items():
                wait_listening(child, *self._places[name])
            proxies = [S1, *(GatewayId(dc, name) for name, (dc, _) in self._gateways.items())]
            files = self._directory / "envoys"
            held.enter_context(running(FilesAdapter(Follower(store, proxies), files, self._version)))
            for proxy in proxies:
                wait_until((files / proxy.directory / "lds.pb").exists, "the files")
            caller = sidecar(FetchFiles(str(files / S1.directory)), self._authority, self._ports)
            self.envoys["s1"] = held.enter_context(Envoy("s1", caller, self._directory, self._binary))
            for name, (dc, (ip, _)) in self._gateways.items():
                fetch = FetchFiles(str(files / GatewayId(dc, name).directory))
                node, admin = Node(name, "mesh-gateway", dc), Address(ip, self._ports.take(ip))
                bootstrap = gateway_bootstrap(node, admin, fetch)
                self.envoys[name] = held.enter_context(Envoy(name, bootstrap, self._directory, self._binary))
            for envoy in self.envoys.values():
                envoy.wait_ready()
            wait_until(lambda: not ask_once("127.0.0.1", self.upstream).failure, "an answer")
            self._held = held.pop_all()
        return self

    def __exit__(self, *raised: object) -> None:
        self._held.close()

    def restart(self, name: str, status: int = 200) -> None:
        """An instance, dead or not, starts anew; its application answers with this status."""
        self.instances[name].kill()
        self.instances[name] = self._held.enter_context(self._instance(name, status))
        wait_listening(self.instances[name], *self._places[name])

    def ask(self, times: int = 200) -> Counter[str]:
        """Ask so many times, one after the other, each on a new connection: what was wrong, and how often."""
        found = [ask_once("127.0.0.1", self.upstream).failure for _ in range(times)]
        return Counter(each for each in found if each)

    def ejected(self) -> set[tuple[str, str]]:
        """The pairs of an Envoy that runs, and an instance or gateway that it has ejected now."""
        places = {**self._places, **{name: place for name, (_, place) in self._gateways.items()}}
        names = {place: name for name, place in places.items()}
        return {
            (by, names[address["address"], address["port_value"]])
            for by, envoy in self.envoys.items()
            if envoy.alive
            for hosts in envoy.clusters().values()
            for host in hosts
            if host.get("health_status", {}).get("failed_outlier_check")
            for address in (host["address"]["socket_address"],)
        }

    @property
    def _version(self) -> tuple[int, int, int]:
        return NEW if self._binary == ENVOY_1_40 else OLD

    def _instance(self, name: str, status: int = 200) -> Child:
        ip, port = self._places[name]
        identity = self._authority.issue("s2", name.split("-")[1])
        tls = ["--certificate", identity.certificate, "--private-key", identity.private_key]
        answer = ["--name", name, "--address", ip, "--port", str(port), "--status", str(status)]
        return Child(name, [sys.executable, "-m", "tests.fleet.app", *answer, *tls], self._directory)

    def _publish(self, control: Control) -> None:
        mode = self._way if self._gateways else "none"
        control.apply(
            proxy_defaults(mode),
            defaults("s2", Protocol=self._protocol),
            resolver("s2", Failover={"*": {"Datacenters": ["dc2"]}}),
            s1(s2=self.upstream),
            *(_gateway(name, dc, place) for name, (dc, place) in self._gateways.items()),
        )
        for dc in {dc for dc, _ in self._gateways.values()}:
            control.report_gateways({name: place for name, (of, place) in self._gateways.items() if of == dc}, dc=dc)
        for dc in self._homes:
            instances = [instance("s2", place) for name, place in self._places.items() if f"-{dc}-" in name]
            control.report("s2", *instances, dc=dc)


def _gateway(name: str, dc: str, place: tuple[str, int]) -> Document:
    service: dict[str, Any] = {"Kind": "mesh-gateway", "ID": name, "Address": place[0], "Port": place[1]}
    return {"Datacenter": dc, "Service": service}
