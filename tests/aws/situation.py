"""Envoys that ask the discovery function of a stack, the servers behind them, and who asks them."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson
from click.testing import CliRunner
from pointsman.cli.bootstrap import bootstrap

from tests.adapter.targets import gateways
from tests.aws.mesh import health
from tests.fleet.ca import CertificateAuthority
from tests.fleet.client import Client, patient
from tests.fleet.envoy import Envoy
from tests.fleet.process import Ports
from tests.pipeline.meshes import Document, proxy_defaults, resolver

TRUST_DOMAIN = "mesh.example"
IP = "127.0.0.1"


class Stack(Protocol):
    """A deployed stack. `store` is what the command line calls it."""

    @property
    def store(self) -> str: ...

    def configure(self, documents: list[Document]) -> None:
        """Write config."""

    def send(self, event: dict[str, Any]) -> None:
        """Put an event on the bus."""


@dataclass(frozen=True)
class Url:
    """The URL of the discovery function: a host of AWS, which is at a port of 127.0.0.1 here, and the CA that vouches
    for it. An Envoy asks it for clusters and listeners `refresh_delay` seconds after each answer."""

    host: str
    port: int
    ca: Path
    refresh_delay: int = 1


class Situation:
    """s1 (on Envoy 1.40) and s3 (on 1.39) call s2 through the mesh gateway of dc1, an Envoy too; all at the function.

    s2 in dc1 and the mesh gateway of dc2 are servers that say which datacenter they were asked for.
    """

    def __init__(self, stack: Stack, directory: Path, ports: Ports) -> None:
        self._stack, self._directory = stack, directory
        self._authority = CertificateAuthority(directory / "ca", TRUST_DOMAIN)
        self._port = {name: ports.take(IP) for name in ("s1", "s3", "gateway", "s2 in dc1")}
        self._far = ("127.0.0.2", ports.take("127.0.0.2"))
        self._free = iter([ports.take(IP) for _ in range(9)])
        self.servers = gateways(self._authority, "s2", {"dc1": (IP, self._port["s2 in dc1"]), "dc2": self._far})

    def configure(self) -> None:
        """Write the config, and say that all is well."""
        failover = resolver("s2", Failover={"*": {"Datacenters": ["dc2"]}})
        documents = [proxy_defaults(mode="local"), failover, self._sidecar("s1"), self._sidecar("s3")]
        documents += [self._gateway("dc1", (IP, self._port["gateway"])), self._gateway("dc2", self._far)]
        self._stack.configure(documents)
        for dc, place in (("dc1", (IP, self._port["gateway"])), ("dc2", self._far)):
            service = {"Kind": "mesh-gateway", "ID": f"gateway-{dc}", "Address": place[0], "Port": place[1]}
            self._stack.send(health(None, [{"Node": {"Node": dc}, "Service": service, "Checks": []}], dc))
            self.report(dc, "passing")

    def report(self, dc: str, status: str) -> float:
        """Tell how s2 in `dc` is: when it was told."""
        service = {
            "Kind": "connect-proxy",
            "ID": "s2",
            "Address": IP,
            "Port": self._port["s2 in dc1"],
            "Proxy": {"DestinationServiceName": "s2"},
        }
        check = {"CheckID": "alive", "Status": status}
        self._stack.send(health("s2", [{"Node": {"Node": dc}, "Service": service, "Checks": [check]}], dc))
        return time.perf_counter()

    def envoy(self, name: str, binary: Path, url: Url, credentials: Mapping[str, str]) -> Envoy:
        """The Envoy of a proxy, with its credentials, on the bootstrap that `pointsman bootstrap` prints."""
        options: list[str | int | Path] = ["--store", self._stack.store, "--dc", "dc1", "--admin", self._place()]
        options += [
            "--function-url",
            f"https://{url.host}/",
            "--refresh-delay",
            url.refresh_delay,
            "--ca-bundle",
            url.ca,
        ]
        if name == "gateway-dc1":
            options += ["--gateway"]
        else:
            identity = self._authority.issue(name, "dc1")
            options += ["--certificate", identity.certificate, "--private-key", identity.private_key]
            options += ["--ca", identity.ca, "--public", self._place(), "--app", self._place()]
        arguments = [name, *map(str, options)]
        made = orjson.loads(CliRunner().invoke(bootstrap, arguments, catch_exceptions=False).stdout)
        (xds,) = (each for each in made["static_resources"]["clusters"] if each["name"] == "pointsman")
        (group,) = xds["load_assignment"]["endpoints"]
        (place,) = (each["endpoint"]["address"]["socket_address"] for each in group["lb_endpoints"])
        assert place == {"address": url.host, "port_value": 443}
        # Resolved as the host would be. Nobody is at its other address, if it has one.
        place |= {"address": "localhost", "port_value": url.port}
        return Envoy(name, made, self._directory, binary, environment=credentials)

    def client(self, service: str, interval: float = 0.02) -> Client:
        """Who asks s2 through the sidecar of `service`, every `interval` seconds."""
        return patient(IP, self._port[service], interval=interval)

    def _place(self) -> str:
        return f"{IP}:{next(self._free)}"

    def _sidecar(self, service: str) -> Document:
        upstream = {"DestinationName": "s2", "LocalBindAddress": IP, "LocalBindPort": self._port[service]}
        proxy = {"DestinationServiceName": service, "Upstreams": [upstream]}
        return {
            "Datacenter": "dc1",
            "Service": {"Kind": "connect-proxy", "Service": f"{service}-sidecar", "Proxy": proxy},
        }

    def _gateway(self, dc: str, place: tuple[str, int]) -> Document:
        service = {"Kind": "mesh-gateway", "ID": f"gateway-{dc}", "Service": "mesh-gateway"}
        return {"Datacenter": dc, "Service": {**service, "Address": place[0], "Port": place[1]}}
