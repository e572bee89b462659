"""A mesh leaves App Mesh: from its file to requests of a real Envoy that go where they went, and the way back."""

import contextlib
import http.client
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from pointsman.cli.main import run

from tests.adapter.control import instance
from tests.adapter.doubles import Remote
from tests.adapter.fetching import Fetching
from tests.adapter.published import TRUST_DOMAIN
from tests.adapter.targets import instances
from tests.fleet.ca import CertificateAuthority
from tests.fleet.process import Ports, wait_until
from tests.fleet.ways import Tongue, Way

pytestmark = pytest.mark.envoy

JSON = dict[str, Any]


def mesh(old: int, new: int) -> str:
    """Resources of a mesh in which s1 calls teller, whose requests are divided by these weights, unless they say
    something else."""

    def resource(kind: str, name: str, spec: JSON) -> JSON:
        metadata = {"name": name, "namespace": "demo"}
        return {"apiVersion": "appmesh.k8s.aws/v1beta2", "kind": kind, "metadata": metadata, "spec": spec}

    def node(name: str, service: str, **more: Any) -> JSON:
        found = {"namespaceName": "demo.local", "serviceName": service} | more
        listener = {
            "portMapping": {"port": 8080, "protocol": "http"},
            "healthCheck": {
                "protocol": "http",
                "path": "/ping",
                "intervalMillis": 5000,
                "timeoutMillis": 2000,
                "healthyThreshold": 2,
                "unhealthyThreshold": 3,
            },
        }
        return resource("VirtualNode", name, {"listeners": [listener], "serviceDiscovery": {"awsCloudMap": found}})

    def route(name: str, priority: int, match: JSON, *targets: tuple[str, int], **more: Any) -> JSON:
        weighted = [{"virtualNodeRef": {"name": each}, "weight": weight} for each, weight in targets]
        body = {"match": {"prefix": "/"} | match, "action": {"weightedTargets": weighted}} | more
        return {"name": name, "priority": priority, "httpRoute": body}

    retried = {
        "maxRetries": 5,
        "tcpRetryEvents": ["connection-error"],
        "perRetryTimeout": {"unit": "s", "value": 2},
    }
    numbered = {"headers": [{"name": "tellers", "match": {"range": {"start": 7, "end": 130}}}]}
    routes = [
        route("rest", 30, {}, ("old", old), ("new", new)),
        route("numbered", 10, numbered, ("new", 1)),
        route("shaky", 20, {"prefix": "/shaky"}, ("old", 1), retryPolicy=retried),
    ]
    caller = node("s1", "s1")
    caller["spec"]["backends"] = [{"virtualService": {"virtualServiceRef": {"name": "teller"}}}]
    router = {"listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}], "routes": routes}
    provider = {"virtualRouter": {"virtualRouterRef": {"name": "tellers"}}}
    return yaml.safe_dump_all(
        [
            caller,
            node("old", "teller", attributes=[{"key": "version", "value": "1"}]),
            node("new", "teller", attributes=[{"key": "version", "value": "2"}]),
            resource("VirtualRouter", "tellers", router),
            resource("VirtualService", "teller", {"awsName": "teller.demo.local", "provider": provider}),
        ]
    )


class Walk:
    """Who walks, with the commands of docs/from-app-mesh.md."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.store, self.upstream = directory, str(directory / "store.db"), 0
        self._index = 0

    def imports(self, old: int, new: int, into: str) -> str:
        """Import the mesh with these weights; returns the directory of the result."""
        source, out = self.directory / "mesh.yaml", str(self.directory / into)
        source.write_text(mesh(old, new))
        assert run(["import", "app-mesh", str(source), "--out", out, "--agent", f"{out}-agent"]) == 3
        (registration,) = (each for each in json.loads(Path(out, "s1.json").read_text()) if "Service" in each)
        self.upstream = registration["Service"]["Proxy"]["Upstreams"][0]["LocalBindPort"]
        return out

    def at(self, port: int, out: str) -> None:
        """Let the caller's Envoy listen on a port that is free here."""
        file = Path(out, "s1.json")
        file.write_text(file.read_text().replace(f'"LocalBindPort": {self.upstream}', f'"LocalBindPort": {port}'))
        self.upstream = port

    def emit(self, *there: JSON) -> None:
        """Tell of the instances of teller."""
        self._index += 1
        about = {"Source": "test", "Index": self._index, "Datacenter": "dc1", "Service": "teller"}
        event = self.directory / "event.json"
        event.write_text(json.dumps({**about, "Instances": list(there)}))
        assert run(["emit", "--store", self.store, str(event)]) == 0

    def ask(self, path: str = "/", **headers: str) -> str:
        """Who answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"host": "teller.demo.local:8080"} | headers)
            response = connection.getresponse()
            return response.read().decode() if response.status == 200 else str(response.status)

    def hundred(self) -> Counter[str]:
        """Who answers a hundred times."""
        return Counter(self.ask() for _ in range(100))


def test_requests_go_where_app_meshs_routes_sent_them_and_a_change_is_taken_back(tmp_path: Path) -> None:
    walk, authority = Walk(tmp_path), CertificateAuthority(tmp_path / "ca", TRUST_DOMAIN)
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        upstream = ports.take("127.0.0.1")
        places = {name: ("127.0.0.1", ports.take("127.0.0.1")) for name in ("old", "new", "nobody")}
        alive = {name: places[name] for name in ("old", "new")}
        held.enter_context(instances(authority, "teller", alive))
        out = walk.imports(70, 30, "config")
        walk.at(upstream, out)
        apply = ["apply", "--store", walk.store, "--trust-domain", TRUST_DOMAIN]
        assert run([*apply, out]) == 0
        assert run(["apply", "--store", walk.store, "--plan", out]) == 0
        old, new = instance("teller", places["old"], version="1"), instance("teller", places["new"], version="2")
        walk.emit(old, new)
        store = held.enter_context(contextlib.closing(Remote(tmp_path / "store.db")))
        envoy = held.enter_context(Fetching(Way(Tongue.DELTA), store, tmp_path, ports, authority)).envoy

        wait_until(lambda: (walk.ask("/shaky"), walk.ask(tellers="7")) == ("old", "new"), "an answer of both")
        divided = walk.hundred()
        assert set(divided) == {"old", "new"}
        assert 40 < divided["old"] < 95  # a fair draw is outside less than once in ten million runs
        assert {walk.ask(tellers=number) for number in ("7", "129", "0042", "+100")} == {"new"}
        assert {walk.ask("/shaky") for _ in range(20)} == {"old"}

        # One instance is not there, and nobody has told so: what App Mesh tried again is tried again.
        walk.emit(old, instance("teller", places["nobody"], version="1"), new)
        asked: list[str] = []

        def tried_again() -> bool:
            asked.append(walk.ask("/shaky", tellers="6"))
            return any(envoy.counters(r"cluster\.old\.teller\..*upstream_rq_retry$").values())

        wait_until(tried_again, "a request that was tried again")
        assert set(asked) == {"old"}
        walk.emit(old, new)

        again = walk.imports(0, 1, "again")
        walk.at(upstream, again)
        assert run([*apply, again]) == 0
        wait_until(lambda: walk.hundred() == {"new": 100}, "all requests to go to new")
        assert run(["rollback", "1", "--store", walk.store]) == 0
        wait_until(lambda: walk.hundred()["old"] > 0, "requests to go to old again")
