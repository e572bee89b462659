"""Real Envoys straight at the function's URL, signing their own requests: they fail over, and need nothing to go on."""

import contextlib
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from pointsman.cli.bootstrap import bootstrap

from tests.adapter.targets import gateways
from tests.aws.function_url import CREDENTIALS, HOST, FunctionUrl, function_url
from tests.aws.harness import Aws
from tests.aws.mesh import health
from tests.fleet.ca import CertificateAuthority
from tests.fleet.client import Client, patient
from tests.fleet.envoy import ENVOY_1_39, ENVOY_1_40, Envoy, ready
from tests.fleet.process import Ports, wait_until
from tests.pipeline.meshes import Document, proxy_defaults, resolver

TRUST_DOMAIN = "mesh.example"
IP = "127.0.0.1"


class Situation:
    """s1 (on Envoy 1.40) and s3 (on 1.39) call s2 through the mesh gateway of dc1, an Envoy too; all at the function.

    s2 in dc1 and the mesh gateway of dc2 are servers that say which datacenter they were asked for.
    """

    def __init__(self, aws: Aws, directory: Path, ports: Ports) -> None:
        self._aws, self._directory = aws, directory
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
        code, answer = self._aws.request("Configure", "PUT", "/v1/config", documents)
        assert code == 200, answer
        for dc, place in (("dc1", (IP, self._port["gateway"])), ("dc2", self._far)):
            service = {"Kind": "mesh-gateway", "ID": f"gateway-{dc}", "Address": place[0], "Port": place[1]}
            self._send(health(None, [{"Node": {"Node": dc}, "Service": service, "Checks": []}], dc))
            self.report(dc, "passing")

    def report(self, dc: str, status: str) -> float:
        """Tell how s2 in `dc` is: when it was published."""
        service = {
            "Kind": "connect-proxy",
            "ID": "s2",
            "Address": IP,
            "Port": self._port["s2 in dc1"],
            "Proxy": {"DestinationServiceName": "s2"},
        }
        check = {"CheckID": "alive", "Status": status}
        self._send(health("s2", [{"Node": {"Node": dc}, "Service": service, "Checks": [check]}], dc))
        return time.perf_counter()

    def envoy(self, name: str, binary: Path, url: FunctionUrl) -> Envoy:
        """The Envoy of a proxy, on the bootstrap that `pointsman bootstrap` prints."""
        gateway = name == "gateway-dc1"
        options: list[str | Path] = ["--store", f"s3://{self._aws.stack.refs['Bucket']}", "--dc", "dc1"]
        options += ["--function-url", f"https://{HOST}/", "--refresh-delay", "1", "--admin", f"{IP}:{next(self._free)}"]
        options += ["--ca-bundle", self._directory / "public-ca.pem"]
        if gateway:
            options += ["--gateway"]
        else:
            identity = self._authority.issue(name, "dc1")
            options += ["--certificate", identity.certificate, "--private-key", identity.private_key]
            options += [
                "--ca",
                identity.ca,
                "--public",
                f"{IP}:{next(self._free)}",
                "--app",
                f"{IP}:{next(self._free)}",
            ]
        arguments = [name, *map(str, options)]
        made = orjson.loads(CliRunner().invoke(bootstrap, arguments, catch_exceptions=False).stdout)
        (xds,) = (each for each in made["static_resources"]["clusters"] if each["name"] == "pointsman")
        (group,) = xds["load_assignment"]["endpoints"]
        (place,) = (each["endpoint"]["address"]["socket_address"] for each in group["lb_endpoints"])
        assert place == {"address": HOST, "port_value": 443}
        # Resolved as the host would be. Nobody is at its other address, if it has one.
        place |= {"address": "localhost", "port_value": url.port}
        return Envoy(name, made, self._directory, binary, environment=ENVIRONMENT)

    def client(self, service: str) -> Client:
        """Who asks s2 through the sidecar of `service`."""
        return patient(IP, self._port[service], interval=0.02)

    def _send(self, event: dict[str, Any]) -> None:
        self._aws.put_event(event)
        assert self._aws.pump() == 0

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


ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": str(CREDENTIALS.access_key),
    "AWS_SECRET_ACCESS_KEY": str(CREDENTIALS.secret_key),
    "AWS_SESSION_TOKEN": str(CREDENTIALS.token),
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.mark.envoy
def test_traffic_fails_over_and_back_and_goes_on_while_the_function_is_away(tmp_path: Path) -> None:
    with contextlib.ExitStack() as held:
        aws = held.enter_context(Aws(TrustDomain=TRUST_DOMAIN, RefreshDelay="1"))
        ports = held.enter_context(Ports())
        situation = Situation(aws, tmp_path, ports)
        situation.configure()
        held.enter_context(situation.servers)
        url = held.enter_context(function_url(aws.handler("Discovery"), tmp_path))
        binaries = {"s1": ENVOY_1_40, "s3": ENVOY_1_39, "gateway-dc1": ENVOY_1_40}
        # Their bootstraps all come before the first one asks: the function prints its metrics, as does the command.
        envoys = {name: situation.envoy(name, each, url) for name, each in binaries.items()}
        for envoy in envoys.values():
            held.enter_context(envoy)
        ready(list(envoys.values()))
        clients = {service: held.enter_context(situation.client(service)) for service in ("s1", "s3")}
        for client in clients.values():
            client.wait_for_answer("dc1", after=0.0, timeout=30.0)
        begin = time.perf_counter()

        def updates() -> int:
            return envoys["s1"].stats(["cluster_manager.cds.update_success"])["cluster_manager.cds.update_success"]

        clusters = updates()
        for status, serving in (("critical", "dc2"), ("passing", "dc1")):
            published = situation.report("dc1", status)
            for service, client in clients.items():
                took = client.wait_for_answer(serving, after=published, timeout=30.0).done - published
                print(f"{service}: {serving} answered {took:.2f} s after it was published")

        url.leave()
        gone = dict(url.answers)
        published = situation.report("dc1", "critical")
        wait_until(lambda: time.perf_counter() > published + 2.5, "every Envoy to ask in vain")
        assert url.answers == gone
        for client in clients.values():
            assert {each.datacenter for each in client.attempts(published)} == {"dc1"}
        url.leave(False)
        for client in clients.values():
            client.wait_for_answer("dc2", after=published, timeout=30.0)
            client.wait_past(time.perf_counter())
            assert [each for each in client.attempts(begin) if each.failure] == []

        assert updates() == clusters, "where the SNI goes with the endpoints, clusters never change with health"
        assert {("clusters", 200), ("clusters", 304), ("listeners", 304), ("endpoints", 200)} <= url.answers.keys()
        assert {status for _, status in url.answers} == {200, 304}
        assert url.wrong == []
        assert {where == asked for where, asked in situation.servers.seen} == {True}
