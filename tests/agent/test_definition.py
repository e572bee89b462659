"""Service definitions as Consul's agent has them: what is read, what is passed over, what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from pointsman.agent.definition import SECOND, read_definitions
from pointsman.agent.files import Files
from pointsman.agent.registrations import registrations
from pointsman.agent.statement import Host, statement
from pointsman.agent.verdict import Verdict
from pointsman.model.errors import InvalidInput
from pointsman.model.events import parse_event
from pointsman.model.loading import load_text

HOST = Host("dc1", "host-1", "10.1.0.11", 30 * SECOND)

HCL = """
service {
  name = "web"
  id   = "web-1"
  port = 8080
  tags = ["v1"]
  meta = { version = "1" }
  weights = { passing = 5, warning = 2 }
  check {
    id       = "web-http"
    http     = "https://127.0.0.1:8080/health"
    header   = { Accept = ["text/plain"] }
    interval = "10s"
    timeout  = "1500ms"
    failures_before_critical = 3
  }
  connect {
    sidecar_service {
      port = 20000
      proxy {
        upstreams = [{ destination_name = "db", local_bind_port = 5000 }]
      }
    }
  }
}
"""

JSON = """
{"Services": [{"Name": "web", "ID": "web-1", "Port": 8080, "Tags": ["v1"], "Meta": {"version": "1"},
  "Weights": {"Passing": 5, "Warning": 2},
  "Check": {"ID": "web-http", "HTTP": "https://127.0.0.1:8080/health", "Header": {"Accept": ["text/plain"]},
            "Interval": "10s", "Timeout": "1500ms", "FailuresBeforeCritical": 3},
  "Connect": {"SidecarService": {"Port": 20000,
    "Proxy": {"Upstreams": [{"DestinationName": "db", "LocalBindPort": 5000}]}}}}]}
"""

YAML = """
service:
  name: web
  id: web-1
  port: 8080
  tags: [v1]
  meta: {version: "1"}
  weights: {passing: 5, warning: 2}
  checks:
    - id: web-http
      HTTP: https://127.0.0.1:8080/health
      header: {Accept: [text/plain]}
      interval: 10s
      timeout: 1500ms
      failures_before_critical: 3
  connect:
    sidecar_service:
      port: 20000
      proxy:
        upstreams:
          - destination_name: db
            local_bind_port: 5000
"""


def read(text: str, name: str = "services.json") -> Any:
    return read_definitions([(name, each) for each in load_text(text, name)], HOST.address)


def test_the_same_is_read_from_hcl_json_and_yaml_and_registered_and_reported_alike() -> None:
    said = []
    for text, name in ((HCL, "web.hcl"), (JSON, "web.json"), (YAML, "web.yaml")):
        found = read(text, name)
        assert found.passed_over == ()
        verdicts = {key: Verdict("passing", "fine") for key in found.checks}
        (registered,) = registrations(HOST, found)
        event = statement(HOST, found, verdicts, "web", 7, 0.0)
        parse_event(event)
        said.append((registered, event))
    assert said[0] == said[1] == said[2]
    registered, event = said[0]
    assert registered.key == "dc1/sidecar/default/web"
    assert [each.destination_name for each in registered.service.proxy.upstreams] == ["db"]
    (instance,) = event["detail"]["Instances"]
    assert event["detail"]["Lease"] == "30s"
    assert (instance["Service"]["ID"], instance["Service"]["Address"]) == ("web-1-sidecar-proxy", "10.1.0.11")
    assert instance["Service"]["Weights"] == {"Passing": 5, "Warning": 2}
    assert [check["CheckID"] for check in instance["Checks"]] == ["web-http", "service:web-1-sidecar-proxy"]


def test_the_manual_s_example_is_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "agent.md").read_text()
    found = read(page.partition("```hcl\n")[2].partition("```")[0], "manual.hcl")
    assert set(found.checks) == {"web-http", "service:web-sidecar-proxy"}


def test_gateways_native_services_and_checks_of_the_host_are_read() -> None:
    found = read(
        """{"services": [
          {"name": "gateway", "id": "gateway-1", "kind": "mesh-gateway", "port": 8443,
           "tagged_addresses": {"wan": {"address": "203.0.113.7", "port": 443}}},
          {"name": "api", "port": 9000, "connect": {"native": true},
           "check": {"id": "as-gateway", "alias_service": "gateway-1"}}],
         "checks": [{"id": "memory", "args": ["check-memory"], "interval": "10s"}]}"""
    )
    verdicts = {"memory": Verdict("warning"), "as-gateway": Verdict("passing")}
    (gateway,) = statement(HOST, found, verdicts, "", 1, 0.0)["detail"]["Instances"]
    assert gateway["Service"]["TaggedAddresses"]["wan"] == {"Address": "203.0.113.7", "Port": 443}
    assert [check["Status"] for check in gateway["Checks"]] == ["warning"]
    (api,) = statement(HOST, found, verdicts, "api", 2, 0.0)["detail"]["Instances"]
    assert {check["CheckID"] for check in api["Checks"]} == {"memory", "as-gateway"}
    assert [each.key for each in registrations(HOST, found)] == ["dc1/gateway/gateway-1"]
    for name in ("", "api"):
        parse_event(statement(HOST, found, verdicts, name, 3, 0.0))


def test_what_was_critical_for_long_enough_is_left_out() -> None:
    found = read(HCL.replace('interval = "10s"', 'interval = "10s"\nderegister_critical_service_after = "1m"'), "a.hcl")
    verdicts = {key: Verdict("critical", critical_since=100.0) for key in found.checks}
    assert len(statement(HOST, found, verdicts, "web", 1, 159.9)["detail"]["Instances"]) == 1
    assert statement(HOST, found, verdicts, "web", 1, 160.0)["detail"]["Instances"] == []


def test_what_is_not_about_the_mesh_is_passed_over_and_named() -> None:
    found = read(
        """{"datacenter": "dc1", "service": {"name": "plain", "port": 80},
            "check": {"id": "x", "service_id": "plain", "tcp": "127.0.0.1:80", "interval": "10s"}}"""
    )
    assert (found.services, found.checks) == ({}, {})
    assert found.passed_over == (
        "services.json: datacenter: not about services or checks",
        "services.json: plain: no connect block, so nobody in the mesh reaches it",
        "services.json: a check of plain, which is not a service of the mesh here",
    )


SIDECAR = {"connect": {"sidecar_service": {"port": 20000}}}


def check(**fields: str) -> dict[str, Any]:
    return {"check": fields}


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ({"name": "Web", "port": 1}, '"Web" is not a lower-case DNS label'),
        ({"connect": {"sidecar_service": {}}}, "connect.sidecar_service.port: is required"),
        ({"prot": 1}, "Service.prot"),
        ({"port": 1, "Port": 2}, "Service.Port: is Port once more"),
        (check(interval="1s"), "exactly one of http, tcp"),
        (check(tcp="a:1", http="http://a"), "exactly one of http, tcp"),
        (check(tcp="a:1"), "interval: is required"),
        (check(tcp="a", interval="1s"), "is not HOST:PORT"),
        (check(http="ftp://a", interval="1s"), "not an http or https URL"),
        (check(alias_service="db"), '"db" is not a service'),
        (check(ttl="5"), "has no unit"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(service: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_definitions([("services.json", {"service": {"name": "web", **SIDECAR, **service}})], HOST.address)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (
            {"service": {"kind": "connect-proxy", "name": "p", "proxy": {"destination_service_name": "web"}}},
            "Service: connect-proxy is not supported by Pointsman: write the sidecar within its service",
        ),
        (
            {"services": [{"kind": "ingress-gateway", "name": "in", "port": 1}]},
            "Services[0]: ingress-gateway is not supported by Pointsman: there are no gateways for what comes",
        ),
        (
            {"service": {"name": "web", "port": 1, "connect": {"proxy": {"command": ["a"]}}}},
            "Service.Connect.proxy: is not supported by Pointsman: managed proxies ended with Consul 1.6; write",
        ),
        (
            {"check": {"name": "a", "script_args": ["true"], "interval": "5s"}},
            "Check.script_args: is not supported by Pointsman: write what is run as args",
        ),
        ({"ID": "web1", "Name": "web", "Port": 80, "Check": {"TTL": "5s"}}, "write it within service { … }"),
    ],
)
def test_what_else_consul_registers_is_refused_in_one_sentence(document: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_definitions([("services.json", document)], HOST.address)
    assert len(refused.value.problems) == 1
    assert said in str(refused.value)


def test_two_services_with_one_id_are_refused() -> None:
    with pytest.raises(InvalidInput, match="the id of another service too"):
        read_definitions([("services.json", {"services": [{"name": "web", **SIDECAR}] * 2})], HOST.address)


def test_files_are_read_again_when_they_change(tmp_path: Path) -> None:
    (tmp_path / "web.hcl").write_text(HCL)
    (tmp_path / "notes.txt").write_text("not read")
    files = Files([tmp_path], HOST.address)
    assert set(files.read().services) == {"web-1"}
    assert files.read_if_changed() is None
    (tmp_path / "api.json").write_text(json.dumps({"service": {"name": "api", **SIDECAR}}))
    found = files.read_if_changed()
    assert found is not None
    assert set(found.services) == {"web-1", "api"}
    (tmp_path / "api.json").write_text("{")
    with pytest.raises(InvalidInput, match=r"api\.json"):
        files.read_if_changed()


def test_what_only_consul_needs_may_be_there() -> None:
    service = {
        "name": "web",
        "token": "secret",
        "namespace": "default",
        "locality": {"region": "eu"},
        "connect": {"sidecar_service": {"port": 20000, "id": "x", "proxy": {"mode": "direct", "expose": {}}}},
        "check": {
            "http": "http://127.0.0.1",
            "interval": "1s",
            "header": {"x": "y"},
            "output_max_size": 1,
            "token": "a",
        },
    }

    found = read_definitions([("services.json", {"service": service})], HOST.address)

    assert list(found.services) == ["web"]
    assert found.services["web"].own_checks[0].header == {"x": ["y"]}
