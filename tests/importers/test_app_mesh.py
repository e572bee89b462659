"""Whoever leaves App Mesh brings what was saved of it: all of it is converted, or named with what to do instead."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from pointsman.agent.definition import read_definitions
from pointsman.cli.imported import report_json
from pointsman.cli.main import run
from pointsman.importers import cloudformation, gather
from pointsman.importers.app_mesh import UNREAD, import_app_mesh
from pointsman.importers.imported import Imported
from pointsman.importers.matches import NoCounterpartError
from pointsman.importers.names import LONGEST_LABEL, label
from pointsman.importers.paths import joined
from pointsman.importers.pieces import CONVERTED, NAMED
from pointsman.importers.ranges import range_pattern
from pointsman.importers.sources import read_source
from pointsman.model.errors import InvalidInput
from pointsman.model.json_texts import MOST_JSON_TEXTS

JSON = dict[str, Any]
BESIDE = Path(__file__).parents[3] / "shared/app-mesh"
"""Files that people published, where they are beside the checkout."""

HTTP_LISTENER: JSON = {"portMapping": {"port": 8080, "protocol": "http"}}
CLOUD_MAP: JSON = {"awsCloudMap": {"namespaceName": "demo.local", "serviceName": "teller"}}
ROUTE: JSON = {
    "priority": 1,
    "httpRoute": {
        "match": {
            "prefix": "/v2",
            "method": "GET",
            "headers": [{"name": "beta", "invert": True, "match": {"regex": "y.*"}}, {"name": "x"}],
            "queryParameters": [{"name": "q", "match": {"exact": "1"}}],
        },
        "action": {
            "weightedTargets": [{"virtualNode": "old", "weight": 2}, {"virtualNode": "new", "weight": 1, "port": 8080}]
        },
        "retryPolicy": {
            "maxRetries": 3,
            "perRetryTimeout": {"unit": "s", "value": 2},
            "httpRetryEvents": ["server-error"],
            "tcpRetryEvents": ["connection-error"],
        },
        "timeout": {"perRequest": {"unit": "s", "value": 30}, "idle": {"unit": "ms", "value": 500}},
    },
}
OLD: JSON = {"listeners": [HTTP_LISTENER], "serviceDiscovery": CLOUD_MAP}
NEW: JSON = {
    "listeners": [
        HTTP_LISTENER
        | {
            "connectionPool": {"http": {"maxConnections": 10, "maxPendingRequests": 5}},
            "timeout": {"http": {"perRequest": {"unit": "s", "value": 60}}},
            "outlierDetection": {
                "maxServerErrors": 5,
                "maxEjectionPercent": 50,
                "interval": {"unit": "s", "value": 10},
                "baseEjectionDuration": {"unit": "s", "value": 30},
            },
            "healthCheck": {
                "protocol": "http",
                "path": "/ping",
                "healthyThreshold": 2,
                "unhealthyThreshold": 3,
                "timeoutMillis": 2000,
                "intervalMillis": 5000,
            },
        }
    ],
    "serviceDiscovery": {"awsCloudMap": CLOUD_MAP["awsCloudMap"] | {"attributes": [{"key": "v", "value": "2"}]}},
}
WEB: JSON = {
    "listeners": [HTTP_LISTENER],
    "serviceDiscovery": {"dns": {"hostname": "web.demo.local"}},
    "backends": [{"virtualService": {"virtualServiceName": "teller.demo.local"}}],
}
RESOURCES: list[tuple[str, JSON, JSON]] = [
    ("virtualNode", {"virtualNodeName": "old"}, OLD),
    ("virtualNode", {"virtualNodeName": "new"}, NEW),
    ("virtualNode", {"virtualNodeName": "web"}, WEB),
    ("virtualRouter", {"virtualRouterName": "teller-router"}, {"listeners": [HTTP_LISTENER]}),
    ("route", {"routeName": "beta", "virtualRouterName": "teller-router"}, ROUTE),
    (
        "virtualService",
        {"virtualServiceName": "teller.demo.local"},
        {"provider": {"virtualRouter": {"virtualRouterName": "teller-router"}}},
    ),
]
"""A mesh in which web calls teller, whose requests for /v2 are split."""


def described() -> list[JSON]:
    """The mesh as `aws appmesh describe-…` prints it, one answer after another."""
    about = {"arn": "arn:aws:appmesh:eu-central-1:1:mesh/demo", "version": 1}
    return [
        {kind: {"meshName": "demo", **names, "spec": spec, "metadata": about, "status": {"status": "ACTIVE"}}}
        for kind, names, spec in RESOURCES
    ]


def inputs() -> list[JSON]:
    """The mesh as files for --cli-input-json."""
    return [{"meshName": "demo", **names, "spec": spec} for _, names, spec in RESOURCES]


def stack() -> list[JSON]:
    """The mesh as a CloudFormation template, which names one thing by another."""
    found = {}
    for i, (kind, names, spec) in enumerate(RESOURCES):
        properties = {"MeshName": {"Fn::GetAtt": ["Mesh", "MeshName"]}, "Spec": _pascal(spec)}
        properties |= {key[0].upper() + key[1:]: value for key, value in names.items()}
        found[f"R{i}"] = {"Type": f"AWS::AppMesh::{kind[0].upper()}{kind[1:]}", "Properties": properties}
    text = json.dumps(found).replace('"teller.demo.local"', '{"Fn::Sub": "teller.${Domain}"}')
    text = text.replace('"teller-router"', '{"Fn::GetAtt": ["R3", "VirtualRouterName"]}', 10)
    resources = json.loads(text)
    resources["R3"]["Properties"]["VirtualRouterName"] = {"Fn::Join": ["-", ["teller", "router"]]}
    resources["Mesh"] = {"Type": "AWS::AppMesh::Mesh", "Properties": {"MeshName": "demo"}}
    return [{"Parameters": {"Domain": {"Type": "String", "Default": "demo.local"}}, "Resources": resources}]


def terraform() -> list[JSON]:
    """The mesh as `terraform show -json` prints it: blocks are lists, and have names in the singular."""
    resources = []
    for kind, names, spec in RESOURCES:
        own, *rest = names.items()
        values = {"id": "1", "mesh_name": "demo", "name": own[1], "spec": [_blocks(spec)], "tags": {}}
        resources.append(
            {"address": f"a.{own[1]}", "type": f"aws_appmesh_{_snake(kind)}", "values": values | _blocks(dict(rest))}
        )
    resources.append({"address": "x", "type": "aws_vpc", "values": {"cidr_block": "10.0.0.0/8"}})
    module = {"child_modules": [{"resources": resources}]}
    return [{"format_version": "1.0", "values": {"root_module": module}}]


def kubernetes() -> list[JSON]:
    """The mesh as resources for App Mesh's controller, which refer to each other by Kubernetes' names."""
    found: list[JSON] = [{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}]
    for kind, names, spec in RESOURCES:
        own, *_ = names.values()
        text = json.dumps(spec)
        for one, other in (
            ('"virtualNode": "old"', '"virtualNodeRef": {"name": "old"}'),
            ('"virtualNode": "new"', '"virtualNodeRef": {"name": "new"}'),
            ('"virtualRouterName": "teller-router"', '"virtualRouterRef": {"name": "teller-router"}'),
            ('"virtualServiceName": "teller.demo.local"', '"virtualServiceRef": {"name": "teller"}'),
        ):
            text = text.replace(one, other)
        if kind == "route":
            found[-1]["spec"]["routes"] = [{"name": own, **json.loads(text)}]
            continue
        metadata = {"name": own.partition(".")[0], "namespace": "demo", "labels": {"app.kubernetes.io/name": "x"}}
        body = json.loads(text) | ({"awsName": own} if "." in own else {})
        found.append(
            {
                "apiVersion": "appmesh.k8s.aws/v1beta2",
                "kind": kind[0].upper() + kind[1:],
                "metadata": metadata,
                "spec": body,
            }
        )
    return found


SHAPES = {
    "describe": described,
    "cli-input-json": inputs,
    "CloudFormation": stack,
    "Terraform": terraform,
    "Kubernetes": kubernetes,
}


def _pascal(value: Any) -> Any:
    if isinstance(value, dict):
        return {key[0].upper() + key[1:]: _pascal(each) for key, each in value.items()}
    return [_pascal(each) for each in value] if isinstance(value, list) else value


def _snake(name: str) -> str:
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in name)


def _blocks(value: JSON) -> JSON:
    found: JSON = {}
    for key, each in value.items():
        name = _snake(key)
        if isinstance(each, dict):
            found[name] = [_blocks(each)]
        elif isinstance(each, list) and each and isinstance(each[0], dict):
            if key == "attributes":
                found[name] = {item["key"]: item["value"] for item in each}
            else:
                found[name.removesuffix("s")] = [_blocks(item) for item in each]
        else:
            found[name] = each
    return found


def written(documents: list[JSON]) -> list[tuple[str, bytes]]:
    return [(f"{i}.json", json.dumps(each).encode()) for i, each in enumerate(documents)]


def leaves(value: Any, path: str = "") -> list[str]:
    """The path of every leaf of `value`."""
    if isinstance(value, dict) and value:
        return [at for key, each in value.items() for at in leaves(each, f"{path}.{key}" if path else key)]
    if isinstance(value, list) and value:
        return [at for i, each in enumerate(value) for at in leaves(each, f"{path}[{i}]")]
    return [path]


def lost(files: list[tuple[str, bytes]], imported: Imported) -> list[str]:
    """The leaves of the sources that are neither in the result nor named."""
    told: dict[str, set[str]] = {}
    for each in imported.ledger.told:
        told.setdefault(each.file, set()).add(each.path)
    found = []
    for name, content in files:
        documents = read_source(content, name)
        for i, document in enumerate(documents):
            for path in leaves(document, f"[{i}]" if len(documents) > 1 else ""):
                starts = ["", *(path[:at] for at, char in enumerate(path) if char in ".["), path]
                if told.get(name, set()).isdisjoint(starts):
                    found.append(f"{name} {path}")
    return found


def entries(imported: Imported) -> set[str]:
    """The documents of the result, as the report names them."""
    found = set()
    for service, documents in imported.files.items():
        found.add(f'service "{service}"')
        for document in documents:
            if "Service" in document:
                found.add(f'registration "{document["Service"]["ID"]}"')
                proxy = document["Service"]["Proxy"]
                found |= {f'service "{each["DestinationName"]}"' for each in proxy.get("Upstreams", [])}
            else:
                found.add(f'{document["Kind"]} "{document["Name"]}"')
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_a_mesh_becomes_the_same_config(shape: str, tmp_path: Path) -> None:
    files = written(SHAPES[shape]())
    imported = import_app_mesh(files, datacenter="dc1")
    teller = {document.get("Kind", "registration"): document for document in imported.files["teller"]}
    assert imported.files["teller-beta"][1]["Splits"] == [
        {"Weight": 66.67, "Service": "teller"},
        {"Weight": 33.33, "Service": "teller", "ServiceSubset": "new"},
    ]
    assert teller["service-router"]["Routes"] == [
        {
            "Match": {
                "HTTP": {
                    "PathPrefix": "/v2",
                    "Methods": ["GET"],
                    "Header": [{"Name": "beta", "Regex": "y.*", "Invert": True}, {"Name": "x", "Present": True}],
                    "QueryParam": [{"Name": "q", "Exact": "1"}],
                }
            },
            "Destination": {
                "Service": "teller-beta",
                "RequestTimeout": "30s",
                "IdleTimeout": "500ms",
                "NumRetries": 3,
                "RetryOn": ["5xx", "connect-failure"],
            },
        }
    ]
    assert teller["service-resolver"]["Subsets"] == {"new": {"Filter": 'Service.Meta["v"] == "2"'}}
    registration, defaults = imported.files["web"]
    assert registration["Service"]["Proxy"]["Upstreams"] == [{"DestinationName": "teller", "LocalBindPort": 15_101}]
    (override,) = defaults["UpstreamConfig"]["Overrides"]
    assert override["Name"] == "teller"
    assert override["Limits"] == {"MaxPendingRequests": 5}
    assert teller["service-defaults"]["MaxInboundConnections"] == 10
    assert teller["service-defaults"]["LocalRequestTimeoutMs"] == 60_000
    assert override["PassiveHealthCheck"]["MaxFailures"] == 5
    named = [each for each in imported.ledger.told if each.fate == NAMED]
    assert {each.text.partition(";")[0] for each in named} == {
        "there is no timeout for one try",
        "sidecars do not check their application",
    }
    assert any('check { http = "http://127.0.0.1:8080/ping", interval = "5000ms"' in each.instead for each in named)
    assert lost(files, imported) == []
    assert {each.text for each in imported.ledger.told if each.fate == CONVERTED} <= entries(imported)
    assert import_app_mesh(files, datacenter="dc1").files == imported.files


def test_the_command_writes_a_directory_that_apply_plans(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source, out, report = tmp_path / "mesh.yaml", tmp_path / "config", tmp_path / "report.json"
    source.write_text(yaml.safe_dump_all(kubernetes()))
    arguments = ["import", "app-mesh", str(source), "--out", str(out), "--report", str(report)]
    assert run(arguments) == 3
    said = capfd.readouterr().out
    assert f"not converted: {source} [2].spec.listeners[0].healthCheck: sidecars do not check" in said
    assert f"note: {source} [1].spec.serviceDiscovery: its instances come from health events" in said
    assert "Route (Kubernetes): 1 converted" in said
    assert f"wrote 8 documents in 3 files to {out}" in said
    told = json.loads(report.read_text())
    assert told["fields"] == {"converted": 50, "not needed": 5, "named": 8}
    store = str(tmp_path / "store.db")
    # Nobody has told of an instance yet, so there are new clusters that have nowhere to go.
    assert run(["apply", "--store", store, "--plan", str(out)]) == 4
    assert '+ service-router "teller"' in capfd.readouterr().out
    assert run(["apply", "--store", store, str(out)]) == 0
    assert run(arguments) == 1
    assert "is not an empty directory; name a new one" in capfd.readouterr().err
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps({"virtualNodeName": "a", "meshName": "m", "spec": {"listeners": [HTTP_LISTENER]}}))
    assert run(["import", "app-mesh", str(plain), "--out", str(tmp_path / "b")]) == 0


def test_a_gateway_listens_for_everybody_before_its_routes() -> None:
    gateway = {"virtualGatewayName": "in", "spec": {"listeners": [HTTP_LISTENER]}}
    target = {"target": {"virtualService": {"virtualServiceName": "teller.demo.local"}}}
    routes = [
        {
            "gatewayRouteName": name,
            "virtualGatewayName": "in",
            "spec": {"httpRoute": {"match": match, "action": target}},
        }
        for name, match in (
            ("all", {"prefix": "/", "hostname": {"suffix": ".example.com"}}),
            ("part", {"prefix": "/teller"}),
        )
    ]
    imported = import_app_mesh(written([*inputs(), gateway, *routes]), datacenter="dc1")
    registration, _, router = imported.files["in"]
    assert registration["Service"]["Proxy"]["LocalServicePort"] == 8080
    assert registration["Service"]["Proxy"]["Upstreams"] == [
        {"DestinationName": "in", "LocalBindPort": 8080, "LocalBindAddress": "0.0.0.0"}
    ]
    answered = [(each["Match"]["HTTP"], each["Destination"]) for each in router["Routes"]]
    assert [(match.get("PathPrefix"), to["Service"], to.get("PrefixRewrite")) for match, to in answered] == [
        ("/teller/v2", "teller-beta", "/v2"),
        ("/teller/", "teller", "/"),
        ("/teller", "teller", "/"),
        ("/v2", "teller-beta", None),
        ("/", "teller", None),
    ]
    assert answered[3][0]["Header"][0] == {"Name": ":authority", "Suffix": ".example.com"}
    assert not [each.text for each in imported.ledger.told if each.fate == NAMED and "gateway route" in each.text]


P, E, R = "PathPrefix", "PathExact", "PathRegex"
JOINED: list[tuple[JSON, str, JSON, list[tuple[JSON, str]]]] = [
    # what a gateway's route takes, what it makes of it, what the route behind it takes, and the routes of both
    ({}, "", {P: "/b"}, [({P: "/b"}, "")]),
    ({P: "/a"}, "", {}, [({P: "/a"}, "")]),
    ({P: "/a"}, "/", {}, [({P: "/a/"}, "/"), ({P: "/a"}, "/")]),
    ({P: "/a/"}, "/", {P: "/b"}, [({P: "/a/b"}, "/b")]),
    ({P: "/a"}, "/", {P: "/b"}, [({P: "/a/b"}, "/b")]),
    ({P: "/a"}, "/", {E: "/"}, [({E: "/a/"}, "/"), ({E: "/a"}, "/")]),
    ({P: "/a"}, "/", {E: "/b/c"}, [({E: "/a/b/c"}, "/b/c")]),
    ({P: "/a/"}, "/x/", {P: "/x"}, [({P: "/a/"}, "/x/")]),
    ({P: "/a/"}, "/x/", {P: "/y"}, []),
    ({P: "/a"}, "", {P: "/a/b"}, [({P: "/a/b"}, "")]),
    ({P: "/a"}, "", {P: "/b"}, []),
    ({P: "/"}, "/x/", {P: "/x/y"}, [({P: "/y"}, "/x/y")]),
    ({E: "/a"}, "/x/y", {P: "/x"}, [({E: "/a"}, "/x/y")]),
    ({E: "/a"}, "/x", {E: "/x"}, [({E: "/a"}, "/x")]),
    ({E: "/a"}, "", {E: "/b"}, []),
    ({R: "/a.*"}, "", {}, [({R: "/a.*"}, "")]),
    ({}, "", {R: "/a.*"}, [({R: "/a.*"}, "")]),
]


@pytest.mark.parametrize(("outer", "rewrite", "inner", "both"), JOINED)
def test_the_path_of_a_gateways_route_comes_before_those_of_the_routes_behind_it(
    outer: JSON, rewrite: str, inner: JSON, both: list[tuple[JSON, str]]
) -> None:
    assert joined(outer, rewrite, inner) == both
    with pytest.raises(NoCounterpartError):
        joined({R: "/a.*"}, "", {P: "/b"})


def test_a_gateway_route_takes_over_conditions_that_are_not_about_the_path() -> None:
    routes = [
        {"routeName": name, "virtualRouterName": "r", "spec": {"httpRoute": {"match": match, "action": action}}}
        for name, match in (("x", {"prefix": "/", "headers": [{"name": "x"}]}), ("rest", {"prefix": "/"}))
        for action in ({"weightedTargets": [{"virtualNode": f"to-{name}", "weight": 1}]},)
    ]
    service = {"virtualServiceName": "s", "spec": {"provider": {"virtualRouter": {"virtualRouterName": "r"}}}}
    action = {"target": {"virtualService": {"virtualServiceName": "s"}}}
    spec = {"httpRoute": {"match": {"prefix": "/s"}, "action": action}}
    gateway = {"gatewayRouteName": "g", "virtualGatewayName": "in", "spec": spec}
    imported = import_app_mesh(written([*routes, service, gateway]), datacenter="dc1")
    (router,) = (each for each in imported.files["in"] if each["Kind"] == "service-router")
    conditions: list[JSON] = [{"Header": [{"Name": "x", "Present": True}]}, {}]
    assert router["Routes"] == [
        {
            "Match": {"HTTP": condition | {"PathPrefix": prefix}},
            "Destination": {"Service": service, "PrefixRewrite": "/"},
        }
        for condition, service in zip(conditions, ("to-x", "to-rest"), strict=True)
        for prefix in ("/s/", "/s")
    ]


def test_what_would_take_more_requests_than_before_is_left_out_and_named() -> None:
    nobody, unknown, elsewhere = (json.loads(json.dumps(ROUTE)) for _ in range(3))
    nobody["httpRoute"]["match"]["headers"] = [{"name": "n", "match": {"range": {"start": 5, "end": 5}}}]
    unknown["httpRoute"]["action"]["weightedTargets"][0]["weight"] = "${WEIGHT}"
    elsewhere["httpRoute"]["action"]["weightedTargets"] = [{"virtualNode": "web", "weight": 1, "port": 9090}]
    specs = {"nobody": nobody, "unknown": unknown, "elsewhere": elsewhere}
    routes = [{"routeName": name, "virtualRouterName": "r", "spec": spec} for name, spec in specs.items()]
    imported = import_app_mesh(written([inputs()[2], *routes]), datacenter="dc1")
    assert "r" not in imported.files
    reasons = {each.text for each in imported.ledger.told if each.fate == NAMED}
    assert reasons == {
        'the route "nobody" is left out: the range of header "n" is empty',
        'the route "unknown" is left out: the weight of old is not known',
        "holds the placeholder WEIGHT",
        'the route "elsewhere" is left out: web is called at port 8080 alone, not at 9090',
    }


@pytest.mark.parametrize(("start", "end"), [(0, 1), (7, 130), (95, 1005), (-13, 8), (-120, -9), (999, 1000)])
def test_a_number_in_a_range_is_compared_as_text(start: int, end: int) -> None:
    import re2

    pattern = re2.compile(range_pattern(start, end))
    for number in range(-1500, 1500):
        for text in (f"{number}", f"{number:+}", f"{number:06}"):
            assert (pattern.fullmatch(text) is not None) == (start <= number < end), text
    assert not any(pattern.fullmatch(each) for each in ("", "x", "1x", "1.0", "--1"))


def test_what_stands_in_one_file_may_be_a_list_or_one_document_after_another() -> None:
    each = [json.dumps(document, indent=1) for document in described()]
    files = [("all.json", "\n".join(each).encode())]
    imported = import_app_mesh(files, datacenter="dc1")
    listed = [("all.json", f"[{','.join(each)}]".encode())]
    again = import_app_mesh(listed, datacenter="dc1")
    assert imported.files == again.files == import_app_mesh(written(described()), datacenter="dc1").files
    assert lost(files, imported) == lost(listed, again) == []
    with pytest.raises(InvalidInput, match=f"has more than {MOST_JSON_TEXTS} documents"):
        import_app_mesh([("many.json", b"{}" * (MOST_JSON_TEXTS + 1))], datacenter="dc1")
    with pytest.raises(InvalidInput, match="lists names alone; save what `aws appmesh describe-"):
        import_app_mesh(written([{"virtualNodes": [{"virtualNodeName": "old"}]}]), datacenter="dc1")


def test_a_file_of_terraforms_state_is_read_too() -> None:
    shown = terraform()[0]["values"]["root_module"]["child_modules"][0]["resources"]
    resources = [
        {"mode": "managed", "type": each["type"], "instances": [{"attributes": each["values"]}]} for each in shown
    ]
    files = written([{"version": 4, "terraform_version": "1.9.0", "resources": resources}])
    imported = import_app_mesh(files, datacenter="dc1")
    assert imported.files == import_app_mesh(written(terraform()), datacenter="dc1").files
    assert lost(files, imported) == []


def test_a_template_is_taken_as_its_parameters_have_it() -> None:
    template = """
Parameters: {Stage: {Default: prod}, Names: {Type: CommaDelimitedList, Default: "api, web"}}
Mappings: {By: {prod: {Port: 8080}}}
Conditions: {Here: !Equals [!Ref "AWS::Region", eu], Prod: !Equals [!Ref Stage, prod], Dev: !Not [!Condition Prod]}
Resources:
  Node:
    Type: AWS::AppMesh::VirtualNode
    Condition: Prod
    Properties:
      VirtualNodeName: !Select [1, !Ref Names]
      Spec: {Listeners: [{PortMapping: {Port: !FindInMap [By, !Ref Stage, Port], Protocol: http}}]}
  Other:
    Type: AWS::AppMesh::VirtualNode
    Condition: Dev
    Properties: {VirtualNodeName: !Select [0, !Split ["-", other-one]], Spec: {}}
  Third:
    Type: AWS::AppMesh::VirtualNode
    Condition: Here
    Properties: {VirtualNodeName: third, Spec: {}}
  Fn::ForEach::Nodes: [N, [a, b], {"Node${N}": {Type: "AWS::AppMesh::VirtualNode"}}]
"""
    files = [("stack.yaml", template.encode())]
    imported = import_app_mesh(files, datacenter="dc1")
    assert imported.files["web"][0]["Service"]["Proxy"]["LocalServicePort"] == 8080
    assert imported.files.keys() == {"web"}
    assert lost(files, imported) == []
    unknown, loop = (each for each in imported.ledger.told if each.fate == NAMED)
    assert unknown.text == "whether its condition Here holds is not said by the parameters' values"
    assert "--template-stage Processed" in loop.instead
    dev = import_app_mesh(files, datacenter="dc1", values={"Stage": "dev"})
    assert [each.text for each in dev.ledger.told if each.path == "Resources.Node"] == [
        "its condition does not hold, as the parameters are"
    ]


def test_what_a_template_leaves_open_is_never_guessed() -> None:
    template = """
Parameters:
  Stage: {Type: String}
  Name: {Type: "AWS::SSM::Parameter::Value<String>", Default: /where/it/is}
Conditions: {Prod: !Equals [!Ref Stage, prod], First: !Equals [!Select [0, !GetAZs ""], a]}
Resources:
  Node:
    Type: AWS::AppMesh::VirtualNode
    Properties:
      VirtualNodeName: !Join ["-", [node, !Select [0, !GetAZs ""]]]
      Spec:
        Listeners:
          - PortMapping: {Port: !If [Prod, 443, 8080], Protocol: http}
            Timeout: !If [First, {HTTP: {PerRequest: {Unit: s, Value: 9}}}, !Ref "AWS::NoValue"]
        ServiceDiscovery: {DNS: {Hostname: !Sub "${Name}.local"}}
  Route:
    Type: AWS::AppMesh::Route
    Properties:
      RouteName: r
      VirtualRouterName: router
      Spec:
        HttpRoute:
          Match: {Prefix: /, Headers: [{Name: x, Match: {Exact: true}}]}
          Action: {WeightedTargets: [{VirtualNode: !GetAtt Node.VirtualNodeName, Weight: 1}]}
"""
    files = [("stack.yaml", template.encode())]
    imported = import_app_mesh(files, datacenter="dc1")
    assert lost(files, imported) == []
    named = {each.path.rpartition(".")[2]: each.text for each in imported.ledger.told if each.fate == NAMED}
    assert named == {
        "Port": "whether its condition Prod holds is not said by the parameters' values",
        "Timeout": "whether its condition First holds is not said by the parameters' values",
    }
    assert any("placeholder Name stays" in each for each in imported.ledger.remarks)
    assert any("only CloudFormation knows its name; it is taken to be Node" in each for each in imported.ledger.remarks)
    (router,) = (each for each in imported.files["router"] if each["Kind"] == "service-router")
    assert router["Routes"][0]["Destination"] == {"Service": "name"}
    assert router["Routes"][0]["Match"]["HTTP"]["Header"] == [{"Name": "x", "Exact": "true"}]
    whole = import_app_mesh(files, datacenter="dc1", values={"Stage": "prod", "Name": "api"})
    assert whole.files["api"][0]["Service"]["Proxy"]["LocalServicePort"] == 443


def test_a_route_of_which_something_is_not_known_takes_nothing() -> None:
    unknown = {"Fn::If": ["Prod", 1, 2]}
    target = {"VirtualNode": "a", "Weight": 1}
    for part, value in (
        ("Match", {"Prefix": unknown}),
        ("Match", {"Prefix": "/", "Headers": [{"Name": "x", "Match": {"Range": {"Start": unknown, "End": 5}}}]}),
        ("Match", {"Prefix": "/", "Headers": [unknown]}),
        ("Match", {"Prefix": "/", "Method": "FETCH"}),
        ("Match", {"Prefix": "/", "Sheme": "https"}),
        ("Match", unknown),
        ("Action", {"WeightedTargets": [target, unknown]}),
        ("Action", {"WeightedTargets": [target, {"VirtualNode": unknown, "Weight": 1}]}),
        ("Action", {"WeightedTargets": [target, {"VirtualNode": "", "Weight": 1}]}),
    ):
        route = {"Match": {"Prefix": "/"}, "Action": {"WeightedTargets": [target]}} | {part: value}
        spec = {"HttpRoute": route}
        properties = {"RouteName": "x", "VirtualRouterName": "r", "Spec": spec}
        resources = {"R": {"Type": "AWS::AppMesh::Route", "Properties": properties}}
        files = written([{"Conditions": {"Prod": {"Fn::Equals": [{"Ref": "Stage"}, "p"]}}, "Resources": resources}])
        imported = import_app_mesh(files, datacenter="dc1")
        assert imported.files == {}, value
        assert lost(files, imported) == []
        (left,) = {each.text for each in imported.ledger.told if "is left out:" in each.text}
        assert left.endswith((f"something of its {part.lower()} is not known", "a target has no name"))


def test_templates_know_what_others_export() -> None:
    base = """
Resources:
  Router: {Type: AWS::AppMesh::VirtualRouter, Properties: {VirtualRouterName: r, Spec: {}}}
  Service:
    Type: AWS::AppMesh::VirtualService
    Properties:
      VirtualServiceName: stock.local
      Spec: {Provider: {VirtualRouter: {VirtualRouterName: !GetAtt Router.VirtualRouterName}}}
Outputs:
  Router: {Value: !GetAtt Router.VirtualRouterName, Export: {Name: !Sub "${AWS::StackName}:Router"}}
  Loop: {Value: !ImportValue loop, Export: {Name: loop}}
"""
    app = """
Parameters: {Base: {Default: base}}
Resources:
  Node:
    Type: AWS::AppMesh::VirtualNode
    Properties: {VirtualNodeName: v1, Spec: {Backends: [{VirtualService: {VirtualServiceName: !ImportValue loop}}]}}
  Route:
    Type: AWS::AppMesh::Route
    Properties:
      VirtualRouterName: {"Fn::ImportValue": !Sub "${Base}:Router"}
      Spec: {HttpRoute: {Match: {Prefix: /}, Action: {WeightedTargets: [{VirtualNode: !Ref Node, Weight: 1}]}}}
"""
    # In whatever order, and as CloudFormation gives a template back.
    files = [
        ("app.yaml", app.encode()),
        ("base.json", json.dumps({"TemplateBody": base, "StagesAvailable": []}).encode()),
    ]
    imported = import_app_mesh(files, datacenter="dc1")
    assert lost(files, imported) == []
    (router,) = (each for each in imported.files["stock"] if each["Kind"] == "service-router")
    assert router["Routes"][0]["Destination"] == {"Service": "v1"}


def test_a_plan_that_changes_or_removes_a_mesh_says_what_it_was() -> None:
    shown = terraform()[0]["values"]["root_module"]["child_modules"][0]["resources"]
    expected = import_app_mesh(written(terraform()), datacenter="dc1")
    for before, after in (("before", "after"), ("after", "before")):
        changes = [
            {"type": each["type"], "change": {"actions": ["?"], before: None, after: each["values"]}} for each in shown
        ]
        plan = {"format_version": "1.2", "planned_values": {"root_module": {}}, "resource_changes": changes}
        for document in (plan, {key: plan[key] for key in ("format_version", "resource_changes")}):
            imported = import_app_mesh(written([document]), datacenter="dc1")
            assert imported.files == expected.files
            assert lost(written([document]), imported) == []


def test_marks_of_a_template_are_the_sign_of_one_only_where_they_are_app_meshs() -> None:
    node = "---\n{kind: VirtualNode, apiVersion: appmesh.k8s.aws/v1beta2, metadata: {name: a}, spec: "
    listener = "{listeners: [{portMapping: {port: %s, protocol: http}}]}}"
    beside = '---\nkind: ConfigMap\ndata: {rule: "{{ $labels.pod }} {{ if x }}"}\n---\n# none\n---\n'
    imported = import_app_mesh([("all.yaml", f"{beside}{node}{listener % 80}".encode())], datacenter="dc1")
    assert imported.files["a"][0]["Service"]["Proxy"]["LocalServicePort"] == 80
    for port, name in (("'{{resolve:ssm:/a/port:1}}'", "resolve_ssm_a_port_1"), ("${PORT}", "PORT")):
        imported = import_app_mesh([("a.yaml", (node + listener % port).encode())], datacenter="dc1")
        assert [each.instead for each in imported.ledger.told if each.fate == NAMED] == [
            f"give its value: --set {name}=VALUE"
        ]
    with pytest.raises(InvalidInput, match="helm template"):
        import_app_mesh([("a.yaml", (node + listener % "'{{ .Values.port | int }}'").encode())], datacenter="dc1")


def test_what_a_script_collected_and_what_the_first_api_had_is_read_too() -> None:
    nodes = [each["virtualNode"] for each in described() if "virtualNode" in each]
    services = [each["virtualService"] for each in described() if "virtualService" in each]
    collected = {"virtualNodes": [*nodes, {"virtualNodeName": "x"}], "virtualServices": services, "routes": []}
    old = {
        "VirtualNode": {
            "VirtualNodeName": "gate",
            "Spec": {
                "backends": ["teller.demo.local"],
                "serviceDiscovery": {"dns": {"serviceName": "gate.demo.local"}},
            },
            "Sepc": {},
        }
    }
    files = written([collected, old])
    imported = import_app_mesh(files, datacenter="dc1")
    assert lost(files, imported) == []
    for each in ("web", "gate"):
        upstreams = imported.files[each][0]["Service"]["Proxy"]["Upstreams"]
        assert upstreams == [{"DestinationName": "teller", "LocalBindPort": 15_101}]
    named = {each.path: each.text for each in imported.ledger.told if each.fate == NAMED}
    assert named["virtualNodes[3]"] == "is a name alone"
    assert named["VirtualNode.Sepc"] == "App Mesh's API has no such field in VirtualNode"


def test_nodes_of_one_service_have_one_port_and_a_target_without_weight_takes_no_connection() -> None:
    new = json.loads(json.dumps(NEW))
    new["listeners"][0]["portMapping"]["port"] = 9090
    targets = [{"virtualNode": "old", "weight": 100}, {"virtualNode": "other", "weight": 0}]
    route = {"tcpRoute": {"action": {"weightedTargets": targets}}}
    resources = [
        {"virtualNodeName": "old", "spec": OLD},
        {"virtualNodeName": "new", "spec": new},
        {"routeName": "a", "virtualRouterName": "db", "spec": route},
    ]
    imported = import_app_mesh(written(resources), datacenter="dc1")
    assert imported.files["db"][-1]["Redirect"] == {"Service": "teller"}
    assert imported.files["teller"][0]["Service"]["Proxy"]["LocalServicePort"] == 8080
    (port,) = (each for each in imported.ledger.told if each.path.endswith("portMapping.port") and each.fate == NAMED)
    assert port.instead == "give this node a service of its own: --name new=NEW"
    again = import_app_mesh(written(resources), datacenter="dc1", names={"new": "fresh"})
    assert again.files["fresh"][0]["Service"]["Proxy"]["LocalServicePort"] == 9090
    http = {"httpRoute": {"match": {"prefix": "/"}, "action": {"weightedTargets": targets[:1]}}}
    beside = [*resources, {"routeName": "b", "virtualRouterName": "db", "spec": http}]
    mixed = import_app_mesh(written(beside), datacenter="dc1")
    assert [each["Kind"] for each in mixed.files["db"]] == ["service-defaults", "service-router"]
    (left,) = {each.text for each in mixed.ledger.told if each.fate == NAMED and "left out" in each.text}
    assert left == 'the route "a" is left out: other routes of db are not TCP\'s, and a service has one protocol'
    for each in targets:
        each["weight"] = 0
    imported = import_app_mesh(
        written([{"routeName": "a", "virtualRouterName": "db", "spec": route}]), datacenter="dc1"
    )
    named = {each.text for each in imported.ledger.told if each.fate == NAMED}
    assert named == {'the route "a" is left out: no target has a weight'}


def test_a_directory_may_hold_other_files_too(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    for i, each in enumerate(inputs()):
        (source / f"{i}.json").write_text(json.dumps(each))
    for name, text in (("package.json", '{"name": "x"}'), ("terragrunt.hcl", 'a = "b"'), ("README.md", "# Mesh")):
        (source / name).write_text(text)
    assert run(["import", "app-mesh", str(source), "--out", str(out)]) == 3
    said = capfd.readouterr().out
    assert f"note: {source / 'package.json'}: is none of what App Mesh's configuration is kept in" in said
    assert {each.name for each in out.iterdir()} == {"teller.json", "teller-beta.json", "web.json"}
    # Named one by one, all that are none are told at once.
    strange = [str(source / "package.json"), str(source / "README.md")]
    assert run(["import", "app-mesh", *strange, "--out", str(tmp_path / "none")]) == 1
    assert capfd.readouterr().err.count("is none of what") == 2


def test_a_backend_group_is_the_upstreams_of_the_nodes_that_have_it() -> None:
    documents = kubernetes()
    web = next(each for each in documents if each["metadata"]["name"] == "web" and "spec" in each)
    del web["spec"]["backends"]
    web["spec"]["backendGroups"] = [{"name": "all"}, {"name": "missing", "namespace": "demo"}]
    group = {
        "apiVersion": "appmesh.k8s.aws/v1beta2",
        "kind": "BackendGroup",
        "metadata": {"name": "all", "namespace": "demo"},
        "spec": {"virtualservices": [{"name": "teller"}, {"name": "bank", "namespace": "other"}]},
    }
    files = written([*documents, group])
    imported = import_app_mesh(files, datacenter="dc1")
    upstreams = imported.files["web"][0]["Service"]["Proxy"]["Upstreams"]
    assert [each["DestinationName"] for each in upstreams] == ["teller", "bank"]
    assert lost(files, imported) == []
    assert "its backend group is in none of these files" in {each.text for each in imported.ledger.told}


def test_a_reference_is_to_the_namespace_that_kubectl_was_told() -> None:
    web, *others = [each for each in kubernetes() if each["kind"] != "Service"][::-1]
    documents = [web, *others]
    expected = import_app_mesh(written(documents), datacenter="dc1").files
    for without in ("VirtualNode", "VirtualService", "VirtualRouter"):
        again = json.loads(json.dumps(documents))
        for each in again:
            if each["kind"] == without:
                del each["metadata"]["namespace"]
            for backend in each["spec"].get("backends", []):
                backend["virtualService"]["virtualServiceRef"]["namespace"] = "demo"
        assert import_app_mesh(written(again), datacenter="dc1").files == expected, without


def test_a_name_goes_before_what_a_template_calls_something_else() -> None:
    template = """
Resources:
  web: {Type: AWS::AppMesh::VirtualNode, Properties: {VirtualNodeName: one, Spec: {Listeners: [%s]}}}
  other: {Type: AWS::AppMesh::VirtualNode, Properties: {VirtualNodeName: web, Spec: {Listeners: [%s]}}}
  s:
    Type: AWS::AppMesh::VirtualService
    Properties: {VirtualServiceName: s, Spec: {Provider: {VirtualNode: {VirtualNodeName: web}}}}
""" % (("{PortMapping: {Port: 80, Protocol: http}}",) * 2)
    imported = import_app_mesh([("t.yaml", template.encode())], datacenter="dc1")
    assert imported.files["s"][-1]["Redirect"] == {"Service": "web"}


def test_health_checks_are_written_for_agents() -> None:
    imported = import_app_mesh(written(inputs()), datacenter="dc1", for_agent=True)
    assert imported.definitions.keys() == {"new", "teller", "web"}
    documents = [(name, document) for name, document in imported.definitions.items() if name != "teller"]
    definitions = read_definitions(documents, "10.0.0.1")
    (service,) = (each for each in definitions.services.values() if each.name == "teller")
    assert (service.port, service.meta) == (8080, {"v": "2"})
    check = service.check
    assert check is not None
    assert (check.http, check.interval) == ("http://127.0.0.1:8080/ping", 5 * 10**9)
    assert (check.success_before_passing, check.failures_before_critical) == (2, 3)
    named = [each.text for each in imported.ledger.told if each.fate == NAMED]
    assert named == ["there is no timeout for one try"]


def test_what_is_different_though_converted_is_said() -> None:
    route = {"priority": 1, "http2Route": ROUTE["httpRoute"] | {"timeout": {"perRequest": {"unit": "s", "value": 0}}}}
    del route["http2Route"]["retryPolicy"]
    pool = HTTP_LISTENER | {"connectionPool": {"http": {"maxConnections": 7}}}
    gateway = {"virtualGatewayName": "in", "spec": {"listeners": [pool]}}
    imported = import_app_mesh(
        written([{"routeName": "a", "virtualRouterName": "r", "spec": route}, gateway]), datacenter="dc1"
    )
    (router,) = (each for each in imported.files["r"] if each["Kind"] == "service-router")
    assert router["Routes"][0]["Destination"]["RequestTimeout"] == "-1s"
    assert sum("here requests are tried once" in each for each in imported.ledger.remarks) == 1
    (defaults,) = (each for each in imported.files["in"] if each.get("Kind") == "service-defaults")
    assert defaults["UpstreamConfig"] == {"Defaults": {"Limits": {"MaxConnections": 7}}}


def test_two_things_do_not_get_one_name() -> None:
    other = {
        "virtualServiceName": "teller.other.local",
        "spec": {"provider": {"virtualNode": {"virtualNodeName": "web"}}},
    }
    files = written([*inputs(), other])
    with pytest.raises(InvalidInput, match=r"--name teller\.other\.local=NEW") as refused:
        import_app_mesh(files, datacenter="dc1")
    assert "(teller.demo.local)" in str(refused.value)
    with pytest.raises(InvalidInput, match="--name teller=web2: nothing in these files is called so"):
        import_app_mesh(files, datacenter="dc1", names={"teller.other.local": "web2", "teller": "web2"})
    imported = import_app_mesh(files, datacenter="dc1", names={"teller.other.local": "web2"})
    assert imported.files["web2"][-1]["Redirect"] == {"Service": "web"}


def test_one_resource_is_not_described_in_two_ways() -> None:
    again = [*inputs(), {"meshName": "demo", "virtualNodeName": "old", "spec": NEW}]
    with pytest.raises(InvalidInput, match="is described differently at"):
        import_app_mesh(written(again), datacenter="dc1")
    assert import_app_mesh(written([*inputs(), *inputs()]), datacenter="dc1").files.keys() == {
        "teller",
        "teller-beta",
        "web",
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a: 1\n", "is none of what App Mesh's configuration is kept in"),
        (b"[1, 2]", "is none of what App Mesh's configuration is kept in"),
        (b'resource "aws_appmesh_mesh" "m" {}', "what `terraform show -json` prints"),
        (b"\xff", "is not UTF-8"),
        (b"{", "JSON"),
        (b"{{- if .Values.mesh }}\nkind: Mesh\n{{- end }}", "helm template"),
    ],
)
def test_what_is_no_app_mesh_file_says_so(content: bytes, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        import_app_mesh([("x", content)], datacenter="dc1")


@pytest.mark.parametrize("first", [0, 1])
def test_a_node_is_not_called_as_tcp_and_as_http(first: int) -> None:
    action = {"weightedTargets": [{"virtualNode": "old", "weight": 1}]}
    specs = [{"tcpRoute": {"action": action}}, {"httpRoute": {"match": {"prefix": "/x"}, "action": action}}]
    routes = [{"routeName": f"r{i}", "virtualRouterName": f"s{i}", "spec": specs[i]} for i in (first, 1 - first)]
    imported = import_app_mesh(written([inputs()[0], *routes]), datacenter="dc1")
    (left,) = {each.text for each in imported.ledger.told if "is left out:" in each.text}
    assert left.startswith(f'the route "r{1 - first}" is left out: other routes lead to teller as ')


def test_a_file_of_another_kind_says_so_whatever_yaml_makes_of_it() -> None:
    terraform = b'resource "aws_appmesh_mesh" "m" {\n  name = "a: b"\n  x: [\n}'
    for name, content, reason in (
        ("README.md", b"# A mesh\n\n- a: b: c\n", "is none of what App Mesh's configuration"),
        ("logo.png", b"\x89PNG\xff", "is none of what App Mesh's configuration"),
        ("main.tf", terraform, "is Terraform's language"),
        ("mesh.yaml", b"a: b: c", "line 1: "),
    ):
        with pytest.raises(InvalidInput, match=reason):
            import_app_mesh([(name, content)], datacenter="dc1")


def test_placeholders_are_filled_or_asked_for() -> None:
    mapping = '{"port": ${PORT}, "protocol": "http"}'
    text = f'{{"virtualNodeName": $NAME, "spec": {{"listeners": [{{"portMapping": {mapping}}}]}}}}'.encode()
    imported = import_app_mesh([("a.json", text)], datacenter="dc1")
    assert [each.instead for each in imported.ledger.told if each.fate == NAMED] == ["give its value: --set PORT=VALUE"]
    imported = import_app_mesh([("a.json", text)], datacenter="dc1", values={"PORT": "80", "NAME": "api"})
    assert imported.files["api"][0]["Service"]["Proxy"]["LocalServicePort"] == 80


def test_bounds_of_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "MOST_RESOURCES", 5)
    with pytest.raises(InvalidInput, match="import fewer at a time"):
        import_app_mesh(written(inputs()), datacenter="dc1")
    deep: Any = "end"
    for _ in range(cloudformation.MOST_FUNCTIONS + 2):
        deep = {"Fn::Join": ["", [deep]]}
    assert "Fn::Join" in str(cloudformation.Template({}, {}).resolved(deep))
    half = {"Fn::Join": ["", ["x" * (cloudformation.LONGEST_TEXT // 2)] * 2]}
    whole = {"Fn::Join": ["", ["x" * cloudformation.LONGEST_TEXT, "x"]]}
    assert cloudformation.Template({}, {}).resolved(half) == "x" * cloudformation.LONGEST_TEXT
    assert cloudformation.Template({}, {}).resolved(whole) == whole
    assert label("a" * 100) == "a" * LONGEST_LABEL
    exports = cloudformation.Exports()
    for i in range(2):
        outputs = {f"O{j}": {"Value": j, "Export": {"Name": f"{i}-{j}"}} for j in range(cloudformation.MOST_EXPORTS)}
        exports.add(cloudformation.Template({}, {}), {"Outputs": outputs})
    assert (exports.value(f"0-{cloudformation.MOST_EXPORTS - 1}", 0), exports.value("1-0", 0)) == (999, None)


@pytest.mark.parametrize("shape", SHAPES)
def test_whatever_a_source_says_is_told_or_refused(shape: str) -> None:
    chance = random.Random(shape)
    whole = json.dumps(SHAPES[shape]())
    for _ in range(60):
        documents = json.loads(whole)
        _spoil(documents, chance)
        files = written(documents)
        try:
            imported = import_app_mesh(files, datacenter="dc1")
        except InvalidInput:
            continue
        assert lost(files, imported) == []
        assert {each.text for each in imported.ledger.told if each.fate == CONVERTED} <= entries(imported)


INSTEAD: list[Any] = [
    *(None, True, 5, -1, 2**63, "x", "", "\0", "a" * 5000, "${X}"),
    *([], {}, [1], [[]], {"a": 1}, {"name": "x"}),
]


def _spoil(documents: list[JSON], chance: random.Random) -> None:
    """Put something else in the place of one value."""
    where: Any = chance.choice(documents)
    while True:
        key = chance.choice(list(where) if isinstance(where, dict) else range(len(where)))
        if not isinstance(where[key], dict | list) or not where[key] or chance.random() < 0.1:
            break
        where = where[key]
    where[key] = chance.choice(INSTEAD)


@pytest.mark.skipif(not BESIDE.is_dir(), reason="needs the files that people published")
def test_of_files_that_people_published_every_leaf_is_in_the_result_or_named(tmp_path: Path) -> None:
    seen = 0
    for path in sorted(BESIDE.glob("*/*")):
        files = [(path.name, path.read_bytes())]
        imported = import_app_mesh(files, datacenter="dc1")
        seen += 1
        assert lost(files, imported) == [], path.name
        assert [each for each in imported.ledger.told if UNREAD in each.text] == [], path.name
        assert {each.text for each in imported.ledger.told if each.fate == CONVERTED} <= entries(imported), path.name
        assert all(each.instead for each in imported.ledger.told if each.fate == NAMED)
        assert report_json(imported)["fields"].keys() == {"converted", "not needed", "named"}
    assert seen > 100


def test_names_that_refer_to_each_other_many_times_are_worked_out_once() -> None:
    resources = {
        f"R{i}": {
            "Type": "AWS::AppMesh::VirtualNode",
            "Condition": f"C{i}",
            "Properties": {
                "VirtualNodeName": {"Fn::Join": ["", [{"Ref": f"R{(i + 1) % 200}"}] * 20]},
                "Spec": {"listeners": [HTTP_LISTENER]},
            },
        }
        for i in range(200)
    }
    conditions = {f"C{i}": {"Fn::Or": [{"Condition": f"C{(i + 1) % 200}"}] * 20} for i in range(200)}
    imported = import_app_mesh(written([{"Resources": resources, "Conditions": conditions}]), datacenter="dc1")
    assert {each.text.partition(" holds")[0] for each in imported.ledger.told} >= {"whether its condition C0"}
    del resources["R0"]["Condition"]
    assert import_app_mesh(written([{"Resources": resources}]), datacenter="dc1").resources


def test_a_resource_is_known_in_whatever_list_and_capitals_it_stands() -> None:
    spec = {"listeners": [HTTP_LISTENER]}
    listed = {
        "apiVersion": "appmesh.k8s.aws/v1beta2",
        "kind": "VirtualNodeList",
        "items": [{"metadata": {"name": "a", "namespace": "n"}, "spec": spec}],
    }
    properties = {"MeshName": "m", "VirtualNodeName": "a", "Spec": _pascal(spec)}
    planned = {"type": "aws_appmesh_virtual_node", "name": "a", "values": {"spec": [_blocks(spec)]}}
    plan = {"planned_values": {"root_module": {"resources": [planned]}}}
    for document in (listed, properties, plan, [{"virtualNodeName": "a", "spec": spec}, {"x-note": 1}]):
        files = [("mesh.json", json.dumps(document).encode())]
        imported = import_app_mesh(files, datacenter="dc1")
        assert imported.files["a"][0]["Service"]["Proxy"]["LocalServicePort"] == 8080
        assert lost(files, imported) == []


def test_a_time_without_a_unit_is_named_and_never_guessed() -> None:
    route = json.loads(json.dumps(ROUTE))
    route["httpRoute"]["timeout"] = {"perRequest": {"unit": "m", "value": 5}, "idle": {"value": 3}}
    imported = import_app_mesh(written([{"routeName": "a", "virtualRouterName": "r", "spec": route}]), datacenter="dc1")
    (router,) = (each for each in imported.files["r"] if each["Kind"] == "service-router")
    assert router["Routes"][0]["Destination"].keys() == {"Service", "NumRetries", "RetryOn"}
    said = [each.text for each in imported.ledger.told if each.fate == NAMED]
    assert said.count("is no time with its unit") == 2
