"""Three datacenters of real Envoys under one Pointsman: a mesh gateway and s2 in each, s1 in the first."""

import contextlib
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path as File
from types import TracebackType
from typing import Any, Self

from tests.fleet.accesslog import Connection, connections
from tests.fleet.ca import CertificateAuthority
from tests.fleet.client import Client
from tests.fleet.client import patient as patient_client
from tests.fleet.control_plane import POINTSMAN, Pointsman
from tests.fleet.documents import (
    NAMESPACE,
    RESOLVER,
    Caller,
    Site,
    definitions,
    gateway_health,
    mesh_gateway,
    proxy_defaults,
    s1_sidecar,
    s2_health,
    s2_sidecar,
    service_defaults,
)
from tests.fleet.envoy import Envoy, ready
from tests.fleet.judge import Mode, Point, Sni
from tests.fleet.object_store import Bucket
from tests.fleet.path import Path
from tests.fleet.process import Child, FleetError, Ports, wait_listening, wait_until
from tests.fleet.ways import FILES, Way

TRUST_DOMAIN = "mesh.example"
DATACENTERS = {"dc1": "127.0.0.1", "dc2": "127.0.0.2", "dc3": "127.0.0.3"}
HOME = "dc1"
# Who sees a server name: every gateway, and every sidecar of s2.
POINTS = [Point(kind, datacenter) for kind in ("gateway", "sidecar") for datacenter in DATACENTERS]


class Mesh:
    """The whole mesh, healthy and with a client at work, while the `with` block lasts. All its files in `directory`.

    `protocol` is that of s2. A `patient` client has fewer requests under way than any Envoy has room for, and waits
    for each: it finds fault with what is delivered, not with how busy the machine is.
    """

    def __init__(
        self,
        mode: Mode,
        directory: File,
        way: Way = FILES,
        *,
        protocol: str = "tcp",
        patient: bool = False,
        bucket: Bucket | None = None,
        lease_s: int = 0,
        probed: bool = False,
        apart: bool = False,
    ) -> None:
        """The store is a file in `directory`, or in a bucket. With `lease_s`, an agent in each datacenter tells of it,
        with a lease of so many seconds; otherwise `report` does. If they are `probed`, all mesh gateways are reached by
        paths that can be cut, which an agent in the first datacenter probes every second. If they are `apart`, each
        datacenter has a control plane and a store of its own, and each agent tells all of them."""
        self.mode = mode
        self.sni = Sni(mode, HOME, list(DATACENTERS), TRUST_DOMAIN)
        self.pointsman = Pointsman(directory, TRUST_DOMAIN, way, bucket)
        self._directory = directory
        self._way = way
        self._protocol = protocol
        self._lease_s = lease_s
        self._probed, self._apart = probed, apart
        self.planes: dict[str, Pointsman] = {}
        self.paths: dict[str, Path] = {}
        self._agents: dict[str, Child] = {}
        self._asking = patient_client if patient else Client
        self._authority = CertificateAuthority(directory / "ca", TRUST_DOMAIN)
        self._held = contextlib.ExitStack()
        self._indexes = dict.fromkeys(DATACENTERS, 0)
        self._apps: dict[str, Child] = {}
        self._sidecars: dict[str, Envoy] = {}
        self._all: dict[str, Envoy] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as held:
            try:
                self._start(held)
            except FleetError as error:
                error.add_note(self.pointsman.tail())
                raise
            self._held = held.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, FleetError):
            error.add_note(self.pointsman.tail())
        self._held.close()

    @property
    def upstream(self) -> tuple[str, int]:
        """Where s1 finds s2."""
        return self._caller.site.ip, self._caller.upstream

    @property
    def has_agents(self) -> bool:
        """Whether agents tell of health."""
        return bool(self._lease_s)

    def pids(self, datacenter: str) -> list[int]:
        """The processes of s2 in `datacenter`: the service and its sidecar."""
        return [self._apps[datacenter].pid, self._sidecars[datacenter].pid]

    def rest(self) -> None:
        """The client stops, and s2 is started wherever it is dead."""
        self.client.stop()
        for datacenter, app in self._apps.items():
            if not app.alive:
                self.start_service(datacenter)

    def kill_service(self, datacenter: str) -> None:
        """s2 in `datacenter` dies: the service and its sidecar, both at once and without a word."""
        self._apps[datacenter].kill()
        self._sidecars[datacenter].kill()

    def start_service(self, datacenter: str) -> None:
        """s2 in `datacenter` is back where it was; returns when it could serve."""
        self._apps[datacenter].start()
        self._sidecars[datacenter].start()
        self._sidecars[datacenter].wait_ready()
        self._wait_for_app(datacenter)

    def darken(self, datacenter: str) -> float:
        """All of `datacenter` dies at once and without a word, also who tells of it: the `time.perf_counter` just
        before."""
        began = time.perf_counter()
        self._agents[datacenter].kill()
        self._all[f"gateway-{datacenter}"].kill()
        self.kill_service(datacenter)
        return began

    def lighten(self, datacenter: str) -> float:
        """All of `datacenter` is back where it was, and last who tells of it: the `time.perf_counter` just before."""
        self._all[f"gateway-{datacenter}"].start()
        self._all[f"gateway-{datacenter}"].wait_ready()
        self.start_service(datacenter)
        began = time.perf_counter()
        self._agents[datacenter].start()
        return began

    def agent(self, datacenter: str) -> Child:
        """The agent of `datacenter`."""
        return self._agents[datacenter]

    def report(self, datacenter: str, status: str) -> float:
        """Send the health of s2 in `datacenter`: the `time.perf_counter` just before the first byte."""
        return self.pointsman.send(s2_health(self._sites[datacenter], status, self._next_index(datacenter)))

    def lose_gateway(self, datacenter: str) -> None:
        """The mesh gateway of `datacenter` dies, and its check says so."""
        self._all[f"gateway-{datacenter}"].kill()
        site, index = self._sites[datacenter], self._next_index(datacenter)
        self.pointsman.send(gateway_health(site, index, "critical"))

    def apply(self, document: Mapping[str, Any]) -> None:
        """Write one more config entry."""
        file = self._directory / "config" / f"{document['Kind']}.json"
        file.write_text(json.dumps(document))
        for plane in self._all_planes:
            plane.apply([file])

    def trouble(self) -> dict[str, dict[str, int]]:
        """What every Envoy has counted that was not as it should be, for a person to read."""
        pattern = r".*\.(update_rejected|upstream_cx_(overflow|connect_fail|connect_timeout|none_healthy))$"
        counted = {name: envoy.counters(pattern) for name, envoy in self._all.items() if envoy.alive}
        return {name: found for name, each in counted.items() if (found := {k: v for k, v in each.items() if v})}

    def seen(self, points: Iterable[Point] = POINTS) -> dict[Point, list[Connection]]:
        """What the `points` have logged so far."""
        return {point: connections(self._log(point)) for point in points}

    def _start(self, held: contextlib.ExitStack) -> None:
        ports = held.enter_context(Ports())
        self._sites = {
            datacenter: Site(datacenter, ip, *(ports.take(ip) for _ in range(5)))
            for datacenter, ip in DATACENTERS.items()
        }
        if self._probed:
            for datacenter, site in self._sites.items():
                wan = ports.take(site.ip)
                self.paths[datacenter] = held.enter_context(Path((site.ip, wan), (site.ip, site.gateway)))
                self._sites[datacenter] = replace(site, wan=wan)
        home = self._sites[HOME]
        self._caller = Caller(home, *(ports.take(home.ip) for _ in range(3)))

        self.planes = dict.fromkeys(DATACENTERS, self.pointsman)
        if self._apart:
            self.planes = {datacenter: self._plane(site, ports) for datacenter, site in self._sites.items()}
            self.pointsman = self.planes[HOME]
        documents = list(self._documents())
        for plane in self._all_planes:
            plane.apply(documents)
            held.enter_context(plane)
        for site in self._sites.values():
            if not self._lease_s:
                self.pointsman.send(gateway_health(site, self._next_index(site.datacenter)))
                self.report(site.datacenter, "passing")

        # An Envoy whose files are not there yet does not start, or never heals.
        wait_until(lambda: all(file.exists() for file in self._fetched()), "the files that the Envoys fetch")
        envoys = self._all = self._envoys()
        self._sidecars = {datacenter: envoys[f"s2-{datacenter}"] for datacenter in DATACENTERS}
        self._apps = {datacenter: self._app(site) for datacenter, site in self._sites.items()}
        for child in (*self._apps.values(), *envoys.values()):
            held.enter_context(child)
        ready(list(envoys.values()))
        for datacenter in DATACENTERS:
            self._wait_for_app(datacenter)
        if self._lease_s:
            self._agents = {datacenter: self._agent(site) for datacenter, site in self._sites.items()}
            for agent in self._agents.values():
                held.enter_context(agent)
            wait_until(self._all_told, "the agents to tell of everything", children=list(self._agents.values()))
        if self._probed and not self._lease_s:
            held.enter_context(self._observer())
        self.client = held.enter_context(self._asking(home.ip, self._caller.upstream, 0.002))
        self.client.wait_for_answer(HOME, after=0.0)

    def _documents(self) -> Iterator[File]:
        """The files of config entries and registrations, as a user would have them."""
        documents: dict[str, Any] = {"proxy-defaults": proxy_defaults(self.mode), "s1-dc1": s1_sidecar(self._caller)}
        documents["s2-defaults"] = service_defaults("s2", self._protocol)
        for datacenter, site in self._sites.items():
            documents[f"s2-{datacenter}"] = s2_sidecar(site, self._log(Point("sidecar", datacenter)))
            documents[f"gateway-{datacenter}"] = mesh_gateway(site, self._log(Point("gateway", datacenter)))
        config = self._directory / "config"
        config.mkdir()
        resolver = config / "s2.hcl"
        resolver.write_text(RESOLVER)
        yield resolver
        for name, document in documents.items():
            file = config / f"{name}.json"
            file.write_text(json.dumps(document, indent=2))
            yield file

    def _fetched(self) -> Iterator[File]:
        for datacenter, site in self._sites.items():
            services = ["s1", "s2"] if datacenter == HOME else ["s2"]
            for folder in [*(f"sidecar/{NAMESPACE}/{service}" for service in services), f"gateway/{site.gateway_id}"]:
                for file in ("cds.pb", "lds.pb"):
                    yield self.planes[datacenter].files / datacenter / folder / file

    def _envoys(self) -> dict[str, Envoy]:
        """Every Envoy by its name, on the bootstrap that `pointsman bootstrap` prints."""
        with ThreadPoolExecutor(max_workers=2) as pool:
            bootstraps = {"s1-dc1": pool.submit(self._sidecar_bootstrap, "s1", self._caller.site, self._caller.admin)}
            for datacenter, site in self._sites.items():
                bootstraps[f"s2-{datacenter}"] = pool.submit(self._sidecar_bootstrap, "s2", site, site.sidecar_admin)
                bootstraps[f"gateway-{datacenter}"] = pool.submit(self._gateway_bootstrap, site)
            return {
                name: Envoy(name, bootstrap.result(), self._directory, self._way.binary)
                for name, bootstrap in bootstraps.items()
            }

    def _sidecar_bootstrap(self, service: str, site: Site, admin: int) -> dict[str, Any]:
        identity = self._authority.issue(service, site.datacenter)
        secrets = ("--certificate", identity.certificate, "--private-key", identity.private_key, "--ca", identity.ca)
        admin_at = ("--admin", f"{site.ip}:{admin}")
        return self.planes[site.datacenter].bootstrap(service, site.datacenter, *secrets, *admin_at)

    def _gateway_bootstrap(self, site: Site) -> dict[str, Any]:
        admin = f"{site.ip}:{site.gateway_admin}"
        plane = self.planes[site.datacenter]
        return plane.bootstrap(site.gateway_id, site.datacenter, "--gateway", "--admin", admin)

    def _app(self, site: Site) -> Child:
        command = [sys.executable, "-m", "tests.fleet.app", "--name", site.datacenter]
        where = ["--address", site.ip, "--port", str(site.app)]
        return Child(f"app-{site.datacenter}", [*command, *where], self._directory)

    def _agent(self, site: Site) -> Child:
        services = self._directory / f"services-{site.datacenter}.json"
        services.write_text(json.dumps(definitions(site), indent=2))
        who = ["--dc", site.datacenter, "--node", f"node-{site.datacenter}", "--address", site.ip]
        # What the mesh is made of is applied already.
        told = [word for plane in self._all_planes for word in ("--to", plane.url)]
        told += ["--lease", f"{self._lease_s}s", "--no-register"]
        if self._probed:
            told += ["--probe-gateways", "--probe-interval", "1s"]
        return Child(f"agent-{site.datacenter}", [POINTSMAN, "agent", *who, *told, str(services)], self._directory)

    def _observer(self) -> Child:
        nothing = self._directory / "nothing.json"
        nothing.write_text("{}")
        who = ["--dc", HOME, "--node", "observer", "--address", self._sites[HOME].ip, "--to", self.pointsman.url]
        probes = ["--probe-gateways", "--probe-interval", "1s", str(nothing)]
        return Child("observer", [POINTSMAN, "agent", *who, *probes], self._directory)

    def _all_told(self) -> bool:
        pages = [json.loads(plane.page("/v1/status"))["resolvers"] for plane in self._all_planes]
        return all(target["healthy"] for found in pages for each in found for target in each["targets"])

    @property
    def _all_planes(self) -> list[Pointsman]:
        """The control planes, each once, that of the first datacenter first."""
        return list(dict.fromkeys(self.planes.values()))

    def _plane(self, site: Site, ports: Ports) -> Pointsman:
        listen = f"{self._sites[HOME].ip}:{ports.take(self._sites[HOME].ip)}"
        directory = self._directory / site.datacenter
        directory.mkdir()
        return Pointsman(directory, TRUST_DOMAIN, self._way, name=f"up-{site.datacenter}", listen=listen)

    def _wait_for_app(self, datacenter: str) -> None:
        wait_listening(self._apps[datacenter], self._sites[datacenter].ip, self._sites[datacenter].app)

    def _log(self, point: Point) -> File:
        return self._directory / f"{point.kind}-{point.datacenter}.access.log"

    def _next_index(self, datacenter: str) -> int:
        self._indexes[datacenter] += 1
        return self._indexes[datacenter]
