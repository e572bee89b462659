"""What `up` answers is what its OpenAPI description says: in a story of every route, and to what a fuzzer makes up."""

import copy
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from pointsman.api.openapi import document
from pointsman.api.routes import ROUTES, find
from pointsman.cli.openapi import openapi
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.fleet.control_plane import Pointsman
from tests.fleet.process import REPOSITORY
from tests.pipeline.meshes import gateway, gateway_instance, instance, resolver, sidecar

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
DRAIN = {"verb": "drain", "datacenter": "dc1", "for": "2h", "reason": "new kernel"}
MESH = [resolver("web", Failover={"*": {"Datacenters": ["dc2"]}}), sidecar("shop", "web"), gateway("dc1", "gw-1")]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a real `up` on an empty store is asked."""
    with Pointsman(tmp_path_factory.mktemp("described"), "td") as pointsman:
        yield pointsman.url
        assert "Traceback" not in pointsman.tail()


def strict(schema: Any) -> Any:
    """A schema in which every object has the fields that are described, and no other."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: strict(each) for name, each in schema.items()}
    if "properties" in schema and "anyOf" not in schema:
        found.setdefault("additionalProperties", False)
    return found


class Described:
    """Asks, and holds each answer against the description."""

    def __init__(self, url: str) -> None:
        self._http, self._url = requests.Session(), url
        self.document = self._http.get(f"{url}/openapi.json", timeout=60).json()
        self._schemas = strict(copy.deepcopy(self.document["components"]["schemas"]))
        # In Consul's shapes there is more than the description names.
        for name in ("Entry", "Registration"):
            del self._schemas[name]["additionalProperties"]
        self.seen: set[tuple[str, str, int]] = set()

    def ask(self, method: str, path: str, body: Any = None, *, status: int = 200, kind: str = "json") -> Any:
        """The answer, which has this `status`."""
        sent = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": f"application/{kind}"} if sent is not None else {}
        answer = self._http.request(method, self._url + path, data=sent, headers=headers, timeout=60)
        assert answer.status_code == status, answer.text
        template = find(method, path.partition("?")[0])[0].path.replace("...}", "}")
        self.seen.add((method, template, status))
        described = self.document["paths"][template][method.lower()]["responses"][str(status)]
        if "$ref" in described:
            described = self.document["components"]["responses"][described["$ref"].rpartition("/")[2]]
        schema = {**described["content"]["application/json"]["schema"], "components": {"schemas": self._schemas}}
        Draft202012Validator(schema).validate(answer.json())
        assert answer.headers["content-type"] == "application/json"
        assert all(name in answer.headers for name in described.get("headers", ()))
        return answer.json()


def test_the_description_is_valid_openapi() -> None:
    printed = CliRunner().invoke(openapi, catch_exceptions=False).output
    assert json.loads(printed) == json.loads(json.dumps(document()))
    OpenAPIV31SpecValidator(document()).validate()
    names = [each["operationId"] for path in document()["paths"].values() for each in path.values()]
    assert len(set(names)) == len(names) == len(ROUTES)


def test_every_route_answers_as_it_is_described(url: str) -> None:
    up = Described(url)
    assert up.document == json.loads(json.dumps(document()))
    ask = up.ask
    written = ask("PUT", "/v1/config?message=first", MESH)
    assert written["changed"]
    ask("POST", "/v1/config?dry_run=1&owner=team-a", b'Kind = "service-resolver"\nName = "db"', kind="hcl")
    ask("PUT", "/v1/config", [{"Kind": "none"}, resolver("Web")], status=400)
    ask("PUT", "/v1/config", b"x", kind="octet-stream", status=415)
    detail = {"Source": "agent/h1", "Index": 7, "Datacenter": "dc1", "Service": "web", "Lease": "1h"}
    for dc in ("dc1", "dc2"):
        ask("POST", "/v1/events", {**detail, "Datacenter": dc, "Instances": [instance("web")]})
    bad = {**instance("web", 2), "Checks": [{"Status": 5}]}
    ask("POST", "/v1/events", {**detail, "Index": 8, "Instances": [instance("web", status="critical"), bad]})
    assert ask("POST", "/v1/events", {**detail, "Instances": []})["stale"]
    ask("POST", "/v1/events", {}, status=400)
    ask("POST", "/v1/consul/watch?type=service&dc=dc1&service=web&index=9", [instance("web", 3)])
    ask("GET", "/v1/config")
    ask("GET", "/v1/config?kind=none", status=400)
    ask("GET", "/v1/config/service-resolver/web")
    ask("GET", "/v1/config/service-resolver/none", status=404)
    ask("GET", "/v1/config/registration/shop?dc=dc1")
    ask("GET", "/v1/config/registration/gateway/gw-1?dc=dc1")
    ask("DELETE", "/v1/config/registration/gateway/gw-1?dc=dc1")
    ask("DELETE", "/v1/config/service-resolver/web")
    ask("GET", "/v1/generations?most=2")
    ask("GET", "/v1/diff?before=1")
    ask("GET", "/v1/proxies?dc=dc1")
    ask("GET", "/v1/explain/web?dc=dc1")
    ask("GET", "/v1/explain/none?dc=dc1", status=400)
    ask("GET", "/v1/history")
    ask("GET", "/v1/history?service=web&dc=dc1")
    ask("POST", f"/v1/rollback/{written['generation']}?by=ann")
    assert ask("GET", "/v1/whatif?down=dc2/web&orders=drain%20dc2")["generation"]
    assert ask("POST", "/v1/whatif?prune=1", {"down": ["dc1/web"], "documents": [resolver("web")]})["documents"]
    ask("POST", "/v1/whatif", {"orders": ["stop"]}, status=400)
    ask("PUT", "/v1/config?generation=0", MESH, status=409)
    given_ = ask("POST", "/v1/orders", DRAIN)
    refused = ask("POST", "/v1/orders", {**DRAIN, "datacenter": "dc2"}, status=409)
    assert refused["effects"]
    ask("POST", "/v1/orders", DRAIN | {"verb": "stop"}, status=400)
    ask("GET", "/v1/status")
    ask("POST", f"/v1/orders/{given_['order']['id']}/end")
    ask("POST", "/v1/orders/none/end", status=404)
    assert ask("GET", "/v1/orders")["ended"]
    ask("GET", "/v1/instances/web")
    ask("GET", "/v1/sources")
    edge = {**detail, "Kind": "mesh-gateway", "Index": 9, "Instances": [gateway_instance()]}
    del edge["Service"]
    ask("POST", "/v1/events", edge)
    assert ask("GET", "/v1/gateways")["gateways"]
    ask("DELETE", "/v1/sources/agent%2Fh1?dry_run=1&dc=dc1")
    ask("DELETE", "/v1/sources/agent/h1?dc=dc1")
    ask("DELETE", "/v1/sources/no%0Ane", status=404)
    assert requests.get(f"{url}/v1/none", timeout=60).json() == {"error": "there is no such page here"}
    ask("DELETE", "/v1/config/registration/shop?dc=dc1")
    ask("GET", "/openapi.json")
    asked = {(method, path) for method, path, status in up.seen if status == 200}
    assert asked == {(each.method, each.path.replace("...}", "}")) for each in ROUTES}


def test_the_page_of_the_api_names_every_route_and_its_examples_run(url: str, tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "api.md").read_text()
    rows = re.findall(r"^\| ((?:`[A-Z]+ /\S+`(?:, )?)+) \| (\w+) \|", page, re.MULTILINE)
    named = {(request, role) for requests_, role in rows for request in re.findall("`(.+?)`", requests_)}
    assert named == {(f"{each.method} {each.path}", each.role or "none") for each in ROUTES}
    (entry,) = re.findall(r"^```hcl\n(.+?)^```$", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "s2.hcl").write_text(entry)
    commands = re.findall(r"^```sh\n(.+?)^```$", page, re.DOTALL | re.MULTILINE)[0]
    here = 'curl() { command curl -sS --fail-with-body "$@"; }\n' + commands.replace("http://127.0.0.1:8420", url)
    done = subprocess.run(["bash", "-euxc", here], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert '"DestinationName":"s2"' not in requests.get(f"{url}/v1/config", timeout=60).text, "all is deleted again"


@pytest.mark.parametrize("examples", [5, pytest.param(100, marks=pytest.mark.soak)])
def test_whatever_is_sent_gets_an_answer_that_is_described(url: str, examples: int) -> None:
    schema = schemathesis.openapi.from_dict(document())
    bounded = settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    statuses, session = set(), requests.Session()
    for found in schema.get_all_operations():
        operation = found.ok()
        says = operation.definition.raw
        # Where there is nothing to say, nothing wrong can be said.
        for mode in GenerationMode if "parameters" in says or "requestBody" in says else [GenerationMode.POSITIVE]:

            @bounded
            @given(operation.as_strategy(generation_mode=mode))
            def run(case: schemathesis.Case) -> None:
                response = case.call(base_url=url, session=session)
                statuses.add(response.status_code)
                case.validate_response(response, checks=CHECKS)

            run()
    assert statuses >= {200, 400, 404}
