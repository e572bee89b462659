"""Whoever leaves Consul brings what it has: all of it is converted, or named with what to do instead."""

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from pointsman.cli.imported import MOST_ALIKE
from pointsman.cli.main import run
from pointsman.importers import consul as importing
from pointsman.importers import consul_units
from pointsman.importers.consul import import_consul
from pointsman.importers.consul_sources import read_consul_file
from pointsman.importers.imported import Imported
from pointsman.importers.pieces import CONVERTED, NAMED
from pointsman.model.entries import parse_entry
from pointsman.model.errors import InvalidInput
from pointsman.model.registration import parse_registration

from tests.importers.consul import health, read_back, row
from tests.importers.test_app_mesh import leaves

JSON = dict[str, Any]
CASES = Path(__file__).parents[1] / "conformance"
BESIDE = Path(__file__).parents[3] / "shared/cases/documents"

ENTRIES: list[JSON] = [
    {"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http"}, "MeshGateway": {"Mode": "local"}},
    {
        "Kind": "service-resolver",
        "Name": "stock",
        "ConnectTimeout": "3s",
        "DefaultSubset": "v1",
        "Subsets": {"v1": {"Filter": "Service.Meta.v == 1", "OnlyPassing": True}},
        "Failover": {"*": {"Datacenters": ["dc2", "dc3"]}},
    },
    {
        "Kind": "service-router",
        "Name": "shop",
        "Routes": [
            {
                "Match": {"HTTP": {"PathPrefix": "/stock", "Header": [{"Name": "x", "Exact": "1"}]}},
                "Destination": {"Service": "stock", "RequestTimeout": "10s", "RetryOn": ["5xx"]},
            }
        ],
    },
    {"Kind": "service-splitter", "Name": "cart", "Splits": [{"Weight": 90}, {"Weight": 10, "Service": "stock"}]},
]
SIDECAR: JSON = {
    "Kind": "connect-proxy",
    "Service": "shop-sidecar-proxy",
    "ID": "shop-1-sidecar-proxy",
    "Address": "10.1.0.6",
    "Port": 20000,
    "Meta": {"v": "1"},
    "Proxy": {
        "DestinationServiceName": "shop",
        "DestinationServiceID": "shop-1",
        "LocalServiceAddress": "127.0.0.1",
        "LocalServicePort": 7000,
        "Upstreams": [
            {"DestinationName": "stock", "LocalBindPort": 5000, "Config": {"passive_health_check": {"interval": "9s"}}}
        ],
    },
}
GATEWAY: JSON = {"Kind": "mesh-gateway", "Service": "mesh-gateway", "ID": "gw", "Address": "10.1.0.9", "Port": 8443}


def registered(service: JSON, node: str = "n1", dc: str = "dc1", **more: Any) -> JSON:
    """What is sent to /v1/catalog/register."""
    return {"Datacenter": dc, "Node": node, "Address": "10.1.0.5", "Service": {**service, **more}}


def imported(*documents: Any, name: str = "x.json", **options: Any) -> Imported:
    """What is made of the documents of one file."""
    return import_consul([(name, list(documents))], **{"datacenter": "dc1", **options})


def of(found: Imported, kind: str) -> list[JSON]:
    """The documents of the result of one kind."""
    documents = [each for documents in found.files.values() for each in documents]
    return [each for each in documents if each.get("Kind", "registration") == kind]


def named(found: Imported) -> list[tuple[str, str]]:
    """What is named: where, and why."""
    return [(each.path, each.text) for each in found.ledger.told if each.fate == NAMED]


def lost(sources: list[tuple[str, list[Any]]], found: Imported) -> list[str]:
    """The leaves of the sources that are neither in the result nor named."""
    told: dict[str, set[str]] = {}
    for each in found.ledger.told:
        told.setdefault(each.file, set()).add(each.path)
    gone = []
    for name, documents in sources:
        for i, document in enumerate(documents):
            for path in leaves(document, f"[{i}]" if len(documents) > 1 else ""):
                starts = ["", *(path[:at] for at, char in enumerate(path) if char in ".["), path]
                if told.get(name, set()).isdisjoint(starts):
                    gone.append(f"{name} {path}")
    return gone


def crd(entry: JSON) -> JSON:
    """An entry as a Kubernetes resource."""

    def small(value: Any, keep: bool = False) -> Any:
        if isinstance(value, list):
            return [small(each) for each in value]
        if not isinstance(value, dict):
            return value
        return {
            key if keep or key == "HTTP" else key[0].lower() + key[1:]: small(each, key in ("Subsets", "Failover"))
            for key, each in value.items()
        } | ({"http": small(value["HTTP"])} if "HTTP" in value else {})

    kind = "".join(each.capitalize() for each in entry["Kind"].split("-"))
    spec = {key: each for key, each in small(entry).items() if key not in ("kind", "name")}
    spec = json.loads(json.dumps(spec).replace('"HTTP": ', '"gone": '))
    metadata = {"name": entry["Name"], "namespace": "default", "uid": "1"}
    for route in spec.get("routes", []):
        route["match"].pop("gone")
    return {"apiVersion": "consul.hashicorp.com/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def terraform(entries: list[JSON]) -> JSON:
    """Entries as Terraform's state has them."""
    found: list[JSON] = [{"address": "x", "type": "aws_vpc", "values": {"id": "1"}}]
    for entry in entries:
        own = {"kind": entry["Kind"], "name": entry["Name"], "namespace": None, "id": "1"}
        fields = {key: each for key, each in entry.items() if key not in ("Kind", "Name")}
        values = {**own, "config_json": json.dumps(fields)}
        found.append({"address": entry["Name"], "type": "consul_config_entry", "values": values})
    module = {"resources": found[:2], "child_modules": [{"resources": found[2:]}]}
    return {"format_version": "1.0", "terraform_version": "1.9", "values": {"root_module": module}}


def hcl(value: Any) -> str:
    """A value as HCL."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {hcl(each)}" for key, each in value.items()) + "}"
    return f"[{', '.join(map(hcl, value))}]" if isinstance(value, list) else json.dumps(value)


SHAPES: dict[str, list[tuple[str, bytes]]] = {
    "HCL": [
        (f"{i}.hcl", "\n".join(f"{key} = {hcl(inner)}" for key, inner in each.items()).encode())
        for i, each in enumerate(ENTRIES)
    ],
    "config read": [(f"{i}", json.dumps(read_back(each), indent=4).encode()) for i, each in enumerate(ENTRIES)],
    "config read in a loop": [("all.json", "\n".join(json.dumps(read_back(each)) for each in ENTRIES).encode())],
    "answer": [("entries.json", json.dumps([read_back(each) for each in ENTRIES]).encode())],
    "Kubernetes": [("crds.yaml", yaml.safe_dump_all([crd(each) for each in ENTRIES]).encode())],
    "Terraform": [("state.json", json.dumps(terraform(ENTRIES)).encode())],
    "agent file": [
        ("consul.hcl", f'datacenter = "dc1"\nconfig_entries {{ bootstrap = {hcl(ENTRIES)} }}\nports {{}}\n'.encode())
    ],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_entries_becomes_the_same_config(shape: str) -> None:
    sources = [(name, read_consul_file(content, name)) for name, content in SHAPES[shape]]
    found = import_consul(sources)
    assert named(found) == []
    assert lost(sources, found) == []
    assert [parse_entry(each) for each in sorted(found.files["stock"] + found.files["shop"], key=str)] == [
        parse_entry(each) for each in (ENTRIES[1], ENTRIES[2])
    ]
    (entry,) = of(found, "service-resolver")
    assert entry["ConnectTimeout"] == "3s"
    assert of(found, "proxy-defaults") == [ENTRIES[0]]
    assert {each.text for each in found.ledger.told if each.fate == CONVERTED} == {
        'proxy-defaults "global"',
        'service-resolver "stock"',
        'service-router "shop"',
        'service-splitter "cart"',
    }


DEFINED: JSON = {
    "service": {
        "name": "shop",
        "id": "shop-1",
        "port": 7000,
        "tags": ["a"],
        "check": {"http": "http://127.0.0.1:7000/", "interval": "9s"},
        "connect": {
            "sidecar_service": {
                "proxy": {
                    "upstreams": [
                        {
                            "destination_name": "stock",
                            "local_bind_port": 5000,
                            "config": {"passive_health_check": {"interval": "9s"}},
                        }
                    ]
                }
            }
        },
    }
}


@pytest.mark.parametrize(
    "document",
    [
        registered(SIDECAR),
        row(registered(SIDECAR)),
        health(registered(SIDECAR)),
        SIDECAR,
        {"shop-1-sidecar-proxy": SIDECAR},
        {"Node": {"Node": "n1", "Datacenter": "dc1", "Address": "10.1.0.5"}, "Services": {"a": SIDECAR}},
        DEFINED,
        DEFINED["service"],
    ],
    ids=["register", "row", "health", "agent", "agent's all", "node", "agent file", "agent's register"],
)
def test_every_shape_of_a_sidecar_becomes_the_same_registration(document: JSON) -> None:
    found = imported(document)
    (registration,) = map(parse_registration, of(found, "registration"))
    assert registration.key == "dc1/sidecar/default/shop"
    proxy = registration.service.proxy
    assert (proxy.local_service_port, proxy.upstreams[0].destination_name) == (7000, "stock")
    health_check = proxy.upstreams[0].config.passive_health_check
    assert health_check is not None
    assert health_check.interval == 9_000_000_000
    assert named(found) == []
    assert lost([("x.json", [document])], found) == []


def test_all_instances_of_a_service_become_one_registration_and_who_differs_is_named() -> None:
    other = json.loads(json.dumps(SIDECAR["Proxy"]))
    other["Upstreams"].append({"DestinationName": "cart", "LocalBindPort": 5001})
    rows = [row(registered(SIDECAR, f"n{i}", Address=f"10.1.1.{i}", ID=f"shop-{i}-sidecar-proxy")) for i in range(1, 4)]
    rows[1]["ServiceProxy"] = other
    rows.append(row(registered(SIDECAR, "n1", "dc2")))
    found = imported(*rows)
    one, two = sorted(of(found, "registration"), key=lambda each: str(each["Datacenter"]))
    assert (one["Datacenter"], two["Datacenter"]) == ("dc1", "dc2")
    assert "Node" not in one
    assert "ID" not in one["Service"]
    assert one["Service"]["Port"] == 20000
    assert two["Service"]["ID"] == "shop-1-sidecar-proxy"
    assert [each.instead.partition(",")[0] for each in found.ledger.told if each.fate == NAMED] == [
        "make the sidecars of a service in a datacenter alike"
    ]
    ((path, text),) = named(found)
    assert (path, text) == (
        "[1]",
        "its Upstreams is not what most say of dc1/sidecar/default/shop, as x.json [0]",
    )
    assert lost([("x.json", rows)], found) == []


def test_gateways_keep_their_ids_unless_several_have_one() -> None:
    rows = [registered(GATEWAY, "n1"), registered(GATEWAY, "n2", Address="10.1.0.10"), registered(GATEWAY, dc="dc2")]
    found = imported(*rows)
    assert [(each["Datacenter"], each["Service"]["ID"]) for each in found.files["mesh-gateways"]] == [
        ("dc1", "n1-gw"),
        ("dc1", "n2-gw"),
        ("dc2", "gw"),
    ]
    assert [each.partition(": ")[2] for each in found.ledger.remarks] == [
        f'"gw" is the ID of several gateways, and this one is {node}-gw here' for node in ("n1", "n2")
    ]


def test_one_gateway_is_not_described_in_two_ways() -> None:
    found = imported(registered(GATEWAY), registered(GATEWAY), registered(GATEWAY, Port=9443))
    assert [each["Service"]["Port"] for each in found.files["mesh-gateways"]] == [8443]
    ((path, text),) = named(found)
    assert (path, text.partition(" is ")[0]) == ("[2]", "its Port")


def test_what_would_be_about_somebody_else_without_a_field_is_left_out_as_a_whole() -> None:
    resolver = {
        "Kind": "service-resolver",
        "Name": "a",
        "Failover": {
            "*": {"Targets": [{"Datacenter": "dc2"}, {"Peer": "other"}], "Policy": {"Mode": "order-by-locality"}}
        },
        "PrioritizeByLocality": {"Mode": "failover"},
    }
    router = {
        "Kind": "service-router",
        "Name": "b",
        "Routes": [
            {"Match": {"HTTP": {"PathPrefix": "/x", "Cookie": "a"}}, "Destination": {"Service": "a"}},
            {"Match": {"HTTP": {"PathPrefix": "/y"}}, "Destination": {"Service": "a", "Partition": "other"}},
            {"Match": {"HTTP": {"PathPrefix": "/z"}}, "Destination": {"Service": "a", "PrefixRewrite": ""}},
        ],
    }
    splitter = {"Kind": "service-splitter", "Name": "c", "Splits": [{"Weight": 50}, {"Weight": 50, "Partition": "o"}]}
    nowhere = {
        "Kind": "service-resolver",
        "Name": "f",
        "ConnectTimeout": "1s",
        "Failover": {"*": {"Targets": [{"Peer": "p"}]}},
    }
    redirect = {"Kind": "service-resolver", "Name": "d", "Redirect": {"Service": "a", "Peer": "other"}}
    elsewhere = {"Kind": "service-resolver", "Name": "e", "Partition": "other"}
    defaults = {"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http", "envoy_tracing_json": "{}"}}
    proxy = {
        **SIDECAR["Proxy"],
        "Upstreams": [
            {"DestinationName": "a", "LocalBindPort": 1000},
            {"DestinationName": "b", "DestinationPeer": "other", "LocalBindPort": 1001},
            {"DestinationName": "c", "DestinationType": "prepared_query", "LocalBindPort": 1002},
            {"DestinationName": "d", "CentrallyConfigured": True, "Config": {"protocol": "http"}},
        ],
    }
    documents = [
        resolver,
        router,
        splitter,
        redirect,
        elsewhere,
        defaults,
        registered({**SIDECAR, "Proxy": proxy}),
        nowhere,
    ]
    found = imported(*documents)
    assert of(found, "service-resolver") == [
        {"Kind": "service-resolver", "Name": "a", "Failover": {"*": {"Targets": [{"Datacenter": "dc2"}]}}},
        {"Kind": "service-resolver", "Name": "d"},
        {"Kind": "service-resolver", "Name": "f", "ConnectTimeout": "1s"},
    ]
    (kept,) = of(found, "service-router")
    assert [each["Match"]["HTTP"]["PathPrefix"] for each in kept["Routes"]] == ["/z"]
    assert of(found, "service-splitter") == []
    assert of(found, "proxy-defaults") == [{"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http"}}]
    (registration,) = of(found, "registration")
    assert [each["DestinationName"] for each in registration["Service"]["Proxy"]["Upstreams"]] == ["a"]
    assert {path for path, _ in named(found)} == {
        "[0].Failover.*.Targets[1]",
        "[0].Failover.*.Policy",
        "[0].PrioritizeByLocality",
        "[1].Routes[0]",
        "[1].Routes[1]",
        "[2]",
        "[3].Redirect",
        "[4]",
        "[5].Config.envoy_tracing_json",
        "[7].Failover.*.Targets[0]",
        *(f"[6].Service.Proxy.Upstreams[{i}]" for i in (1, 2, 3)),
    }
    assert all(each.instead and each.text for each in found.ledger.told if each.fate == NAMED)
    assert lost([("x.json", documents)], found) == []


def test_what_does_not_fit_any_more_is_left_out_and_named_as_well() -> None:
    protocol = {"Kind": "service-defaults", "Name": "a", "Partition": "other", "Protocol": "http"}
    router = {"Kind": "service-router", "Name": "a", "Routes": []}
    splitter = {"Kind": "service-splitter", "Name": "b", "Splits": [{"Weight": 100, "Service": "a"}]}
    found = imported(protocol, router, splitter, {"Kind": "service-resolver", "Name": "Not_A_Label"})
    assert found.files == {}
    reasons = [text for _, text in named(found)]
    assert sum("which does not permit service-" in each for each in reasons) == 2
    assert sum("is not a lower-case DNS label" in each for each in reasons) == 1


def test_who_may_call_is_never_more_than_before() -> None:
    token = {"Providers": [{"Name": "okta"}]}
    path = {"Action": "allow", "HTTP": {"PathPrefix": "/x"}}
    entries = [
        {
            "Kind": "service-intentions",
            "Name": "stock",
            "Sources": [
                {"Name": "shop", "Action": "allow", "Precedence": 9, "Type": "consul", "LegacyID": "1"},
                {"Name": "web", "Permissions": [path, {**path, "JWT": token}]},
                {"Name": "far", "Peer": "other", "Action": "allow"},
            ],
        },
        {"Kind": "service-intentions", "Name": "cart", "JWT": token, "Sources": [{"Name": "*", "Action": "allow"}]},
        {"Kind": "service-intentions", "Name": "tcp", "Sources": [{"Name": "web", "Permissions": [path]}]},
        {"Kind": "service-intentions", "Name": "odd", "Sources": [{"Name": "web", "Action": "maybe"}]},
        {"Kind": "service-intentions", "Name": "far", "Sources": [{"Name": "a", "Peer": "other", "Action": "allow"}]},
        {"Kind": "service-defaults", "Name": "stock", "Protocol": "http"},
    ]
    found = imported(*entries)
    deny = [{"Name": "*", "Action": "deny"}]
    assert {each["Name"]: each["Sources"] for each in of(found, "service-intentions")} == {
        "stock": [{"Name": "shop", "Action": "allow"}, {"Name": "web", "Action": "deny"}],
        "cart": deny,
        "tcp": deny,
        "odd": deny,
    }
    assert {path for path, _ in named(found)} == {
        "[0].Sources[1]",
        "[0].Sources[2]",
        "[1]",
        "[2]",
        "[3]",
        "[4].Sources[0]",
        "[4]",
    }
    assert lost([("x.json", entries)], found) == []


def test_what_terraform_has_of_consul_beside_entries() -> None:
    values = {"source_name": "web", "destination_name": "stock", "action": "allow", "id": "1"}
    found = [
        {"type": "consul_intention", "address": "a", "values": values},
        {"type": "consul_config_entry", "values": {"kind": "service-defaults", "name": "a", "config_json": "[]"}},
        {"type": "consul_config_entry", "values": {"kind": "nothing", "name": "a", "config_json": "{}"}},
        {"type": "consul_config_entry_service_resolver", "values": {"name": "a"}},
    ]
    document = {"format_version": "1.0", "planned_values": {"root_module": {"resources": found}}}
    made = imported(document)
    (entry,) = of(made, "service-intentions")
    assert (entry["Name"], entry["Sources"]) == ("stock", [{"Name": "web", "Action": "allow"}])
    at = "planned_values.root_module.resources"
    assert [path for path, _ in named(made)] == [f"{at}[{i}]" for i in (1, 2, 3)]
    assert lost([("x.json", [document])], made) == []


def test_intentions_of_old_and_what_consul_does_without_any() -> None:
    rows = [
        {"ID": "1", "SourceNS": "default", "SourceName": source, "DestinationNS": "default", "DestinationName": name}
        | {"SourceType": "consul", "Action": action, "Precedence": 9, "CreatedAt": "2018-05-21T16:41:27Z"}
        for source, name, action in (("web", "stock", "allow"), ("*", "stock", "deny"), ("web", "cart", "allow"))
    ]
    there = {"Kind": "service-intentions", "Name": "cart", "Sources": [{"Name": "web", "Action": "allow"}]}
    agent = {"Config": {"Version": "1.8"}, "Member": {"Name": "a"}, "DebugConfig": {"ACLsEnabled": True}}
    agent["DebugConfig"]["ACLDefaultPolicy"] = "deny"
    found = imported(*rows, there, agent)
    assert {
        each["Name"]: {source["Name"]: source["Action"] for source in each["Sources"]}
        for each in of(found, "service-intentions")
    } == {"*": {"*": "deny"}, "stock": {"web": "allow", "*": "deny"}, "cart": {"web": "allow"}}
    assert found.ledger.remarks == [
        'Consul denies what no intention allows; here service-intentions "*" in namespace "*" says so'
    ]
    assert lost([("x.json", [*rows, there, agent])], found) == []
    assert found.ledger.remarks != imported(*rows).ledger.remarks
    agent["DebugConfig"] = {"ACLsEnabled": True, "ACLDefaultPolicy": "deny", "DefaultIntentionPolicy": "allow"}
    assert imported(*rows, agent).ledger.remarks == []
    strict = {"Kind": "mesh", "Name": "mesh", "DefaultIntentionPolicy": "deny"}
    assert len(of(imported(there, strict), "service-intentions")) == 2
    for settings in ({"acl": [{"enabled": True, "default_policy": "deny"}]}, {"default_intention_policy": "deny"}):
        assert len(of(imported(there, {"datacenter": "dc1", **settings}), "service-intentions")) == 2
    assert len(of(imported(there, {"acl": {"enabled": False, "default_policy": "deny"}}), "service-intentions")) == 1


def test_rows_that_cannot_be_said_are_named_once_each() -> None:
    row = {"SourceName": "web", "DestinationName": "stock", "SourceType": "consul", "Precedence": 9, "Action": "allow"}
    of_requests = row | {"SourceName": "shop", "Action": "", "Permissions": [{"Action": "allow", "HTTP": {}}]}
    found = imported(row, of_requests)
    assert [where for where, _ in named(found)] == ["[0]", "[1]"]
    assert [each["Sources"] for each in of(found, "service-intentions")] == [[{"Name": "*", "Action": "deny"}]]


def test_what_lists_of_resources_and_of_services_hold_is_converted() -> None:
    resource = {"apiVersion": "consul.hashicorp.com/v1alpha1", "kind": "ServiceResolver", "metadata": {"name": "stock"}}
    listed = {"apiVersion": "v1", "kind": "List", "items": [{**resource, "spec": {"connectTimeout": "3s"}}]}
    node = {"Node": {"Node": "n1", "Address": "10.1.0.5", "Datacenter": "dc1"}, "Services": {"a": SIDECAR}}
    found = imported(listed, node)
    assert found.resources == [
        ("service-resolver", "Kubernetes", CONVERTED),
        ("registration", "catalog", CONVERTED),
    ]
    assert lost([("x.json", [listed, node])], found) == []


def test_the_gateway_mode_of_who_calls_comes_first_as_consuls_agents_merge_it() -> None:
    def modes(*entries: JSON, **proxy: Any) -> tuple[str, list[str]]:
        service = {**SIDECAR, "Proxy": {**SIDECAR["Proxy"], **proxy}}
        found = imported(*entries, registered(service))
        (registration,) = map(parse_registration, of(found, "registration"))
        return registration.service.proxy.mesh_gateway.mode, found.ledger.remarks

    general = {"Kind": "proxy-defaults", "Name": "global", "MeshGateway": {"Mode": "local"}}
    caller: JSON = {"Kind": "service-defaults", "Name": "shop", "MeshGateway": {"Mode": "remote"}}
    called = {"Kind": "service-defaults", "Name": "stock", "MeshGateway": {"Mode": "none"}}
    mode, remarks = modes(caller)
    assert (mode, len(remarks)) == ("remote", 1)
    assert "registration of dc1/sidecar/default/shop (remote)" in remarks[0]
    assert modes(general, called)[0] == "local"
    assert modes(general, caller, called)[0] == "remote"
    # Where the same comes of the entries here, or something else says it, nothing is added.
    assert modes(called) == ("", [])
    assert modes(general) == ("", [])
    assert modes(general, {**called, "MeshGateway": {"Mode": "local"}}) == ("", [])
    assert modes(caller, MeshGateway={"Mode": "none"}) == ("none", [])
    assert modes(general, {**caller, "UpstreamConfig": {"Defaults": {"MeshGateway": {"Mode": "local"}}}}) == ("", [])
    assert modes(general, caller, Upstreams=[]) == ("", [])


def test_the_protocol_of_all_holds_where_a_service_names_none_as_in_consuls_sidecars() -> None:
    def protocols(*entries: JSON) -> tuple[dict[str, str], list[str]]:
        found = imported(*entries)
        defaults = {each["Name"]: each.get("Protocol", "") for each in of(found, "service-defaults")}
        return defaults, found.ledger.remarks

    general = {"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http"}}
    silent = {"Kind": "service-defaults", "Name": "stock", "LocalRequestTimeoutMs": 900}
    of_tcp = {"Kind": "service-defaults", "Name": "db", "Protocol": "tcp"}
    found, remarks = protocols(general, silent, of_tcp)
    assert found == {"stock": "http", "db": "tcp"}
    assert remarks == [
        'proxy-defaults names the protocol http, and service-defaults "stock" none, which means tcp here: it is '
        "written there, since Consul's sidecars speak it"
    ]
    assert protocols(silent, of_tcp) == ({"stock": "", "db": "tcp"}, [])
    # A chain has one protocol, here as in Consul, and there only the entries count.
    redirect = {"Kind": "service-resolver", "Name": "stock", "Redirect": {"Service": "db"}}
    found, remarks = protocols(general, silent, of_tcp, redirect)
    assert found == {"stock": "", "db": "tcp"}
    assert "name it where it fits to the other services of a chain" in remarks[0]


def test_names_that_are_no_labels_get_others_wherever_they_stand() -> None:
    documents = [
        {"Kind": "service-resolver", "Name": "my_stock", "Failover": {"*": {"Datacenters": ["us_east"]}}},
        registered(
            {
                **SIDECAR,
                "Proxy": {**SIDECAR["Proxy"], "Upstreams": [{"DestinationName": "my_stock", "LocalBindPort": 1}]},
            },
            dc="us_east",
        ),
    ]
    found = imported(*documents, names={"my_stock": "stock", "us_east": "us-east"})
    assert found.files["stock"][0]["Failover"] == {"*": {"Datacenters": ["us-east"]}}
    (registration,) = of(found, "registration")
    assert registration["Datacenter"] == "us-east"
    assert registration["Service"]["Proxy"]["Upstreams"][0]["DestinationName"] == "stock"
    assert found.ledger.remarks[0] == "my_stock has another name here, so it has in server names and certificates"
    with pytest.raises(InvalidInput, match="nothing is called other"):
        imported(*documents, names={"other": "stock"})


def test_namespaces_are_entries_here() -> None:
    found = imported(
        {
            "Kind": "service-resolver",
            "Name": "a",
            "Namespace": "team",
            "Redirect": {"Namespace": "more", "Service": "b"},
        }
    )
    assert [each["Name"] for each in found.files["namespaces"]] == ["more", "team"]
    assert list(found.files) == ["namespaces", "team.a"]


def test_other_things_of_consul_are_named_or_need_nothing() -> None:
    documents: list[Any] = [
        {"Kind": "terminating-gateway", "Name": "out", "Services": [{"Name": "db"}]},
        {"Kind": "control-plane-request-limit", "Name": "x", "Mode": "permissive"},
        {"Kind": "ingress-gateway", "Service": "in", "ID": "in", "Port": 80},
        {"Service": "db", "ID": "db", "Kind": "", "Port": 5432},
        {"consul": [], "web": ["v1"]},
        "dc1",
        {"PeerID": "1", "Name": "other", "State": "ACTIVE"},
        {"ActiveRootID": "1", "TrustDomain": "1.consul", "Roots": [{"ID": "1"}]},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}},
        {"apiVersion": "consul.hashicorp.com/v1alpha1", "kind": "GatewayClassConfig", "metadata": {"name": "x"}},
        {"datacenter": "dc7", "data_dir": "/x", "watches": [{"type": "checks"}]},
        {"name": "db", "port": 5432, "check": {"tcp": "127.0.0.1:5432"}},
        {"what": {"is": "this"}},
        {"Node": "n1", "CheckID": "c", "Status": "passing", "ServiceID": "x", "ServiceName": ""},
        {"Chain": {"ServiceName": "x", "Nodes": {}}},
        {"Name": "team", "Description": "", "ACLs": {"PolicyDefaults": []}},
        {"ID": "1", "Node": "n1", "Address": "10.1.0.5", "Datacenter": "dc1", "Meta": {}},
    ]
    found = imported(*documents)
    assert found.files == {}
    assert {path for path, _ in named(found)} == {"[0]", "[2]", "[6]", "[9]", "[12]"}
    assert lost([("x.json", documents)], found) == []
    assert found.ledger.remarks[0] == (
        "x.json [7]: the trust domain is 1.consul; to keep it, give it at the first apply: --trust-domain 1.consul"
    )


def test_a_registration_without_a_datacenter_gets_that_of_the_agent_beside_it() -> None:
    sources = [
        ("conf/consul.hcl", [{"datacenter": "dc7", "server": True}]),
        ("conf/web.hcl", [DEFINED]),
        ("other/web.hcl", [{"service": {**DEFINED["service"], "name": "web"}}]),
    ]
    found = import_consul(sources)
    assert [each["Datacenter"] for each in of(found, "registration")] == ["dc7"]
    ((_, reason),) = named(found)
    assert reason == 'registration "shop-1-sidecar-proxy": nothing says in which datacenter it is'
    assert len(of(import_consul(sources, datacenter="dc1"), "registration")) == 2


def test_one_entry_is_not_there_in_two_versions() -> None:
    with pytest.raises(
        InvalidInput, match=r'service-resolver "a": is at x.json \[0\] and, differently, at x.json \[1\]'
    ):
        imported(
            {"Kind": "service-resolver", "Name": "a"},
            {"Kind": "service-resolver", "Name": "a", "DefaultSubset": ""} | {"ConnectTimeout": "1s"},
        )
    again = imported(read_back(ENTRIES[1]), read_back(ENTRIES[1], index=99))
    assert [each.text for each in again.ledger.told if each.path == "[1]"] == ["is at x.json [0] already"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x1f\x8b\x08\x00", "ask its API, with --url"),
        (b"a: 1\n", "is none of what Consul's configuration is kept in"),
        (b'[{"a": {"b": 1}}]', "is none of what Consul's configuration is kept in"),
        (b"ID Source Action Destination\n1 web allow db\n", "a mapping is required"),
        (b'{"Kind": "x", "Kind": "y"}', "twice"),
        (b"\xff\xfe", "is not UTF-8"),
    ],
)
def test_what_is_nothing_of_consul_says_so(content: bytes, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        import_consul([("x", read_consul_file(content, "x"))])


def test_what_terraform_is_written_in_is_not_read() -> None:
    with pytest.raises(InvalidInput, match=r"a\.tf: is Terraform's own language; import what `terraform show -json`"):
        read_consul_file(b'resource "consul_config_entry" "web" {}', "a.tf")


def test_the_command_writes_a_directory_that_apply_plans(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source, out, report = tmp_path / "consul", tmp_path / "config", tmp_path / "report.json"
    source.mkdir()
    for name, content in SHAPES["HCL"]:
        (source / name).write_bytes(content)
    (source / "shop.json").write_text(json.dumps(DEFINED))
    arguments = ["import", "consul", str(source), "--dc", "dc1", "--out", str(out), "--report", str(report)]
    assert run(arguments) == 0
    said = capfd.readouterr().out
    assert "service-resolver (entry): 1 converted" in said
    assert f"wrote 5 documents in 4 files to {out}" in said
    assert json.loads(report.read_text())["fields"]["named"] == 0
    store = str(tmp_path / "store.db")
    assert run(["apply", "--store", store, "--plan", str(out)]) == 4
    assert '+ service-router "shop"' in capfd.readouterr().out
    assert run(["apply", "--store", store, str(out)]) == 0
    assert run(arguments) == 1
    assert "is not an empty directory; name a new one" in capfd.readouterr().err
    (source / "more.json").write_text(
        '{"Kind": "mesh", "Name": "mesh", "TransparentProxy": {"MeshDestinationsOnly": true}}'
    )
    assert run([*arguments[:-3], str(tmp_path / "b")]) == 3
    assert (
        f'not converted: {source / "more.json"}: mesh "mesh": is not supported by Pointsman: ' in capfd.readouterr().out
    )
    for wrong in (
        ["--out", "c"],
        ["--url", "http://127.0.0.1:1", "x", "--out", "c"],
        ["--datacenters", "a", "x", "--out", "c"],
    ):
        assert run(["import", "consul", *wrong]) == 2


def test_what_a_sidecar_does_with_incoming_connections_is_converted() -> None:
    defaults = {"Kind": "proxy-defaults", "Name": "global", "Config": {"local_request_timeout_ms": 900}}
    own = {"Kind": "service-defaults", "Name": "shop", "Protocol": "http", "MaxInboundConnections": 9}
    path = {"Path": "/health", "ListenerPort": 21500, "LocalPathPort": 7000, "Protocol": "http"}
    proxy = {**SIDECAR["Proxy"], "Config": {"max_inbound_connections": 8}, "Expose": {"Checks": False, "Paths": [path]}}
    found = imported(defaults, own, registered(SIDECAR, Proxy=proxy))
    assert named(found) == []
    assert of(found, "proxy-defaults")[0]["Config"] == {"local_request_timeout_ms": 900}
    assert of(found, "service-defaults")[0]["MaxInboundConnections"] == 9
    kept = of(found, "registration")[0]["Service"]["Proxy"]
    assert kept["Config"] == {"max_inbound_connections": 8}
    assert kept["Expose"]["Paths"][0]["Path"] == "/health"


def test_many_instances_that_are_alike_are_named_in_a_few_lines(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    proxy = {**SIDECAR["Proxy"], "Mode": "transparent"}
    rows = [row(registered(SIDECAR, f"n{i}", ID=f"shop-{i}", Proxy=proxy)) for i in range(MOST_ALIKE + 5)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    assert run(["import", "consul", str(tmp_path / "rows.json"), "--out", str(tmp_path / "config")]) == 3
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("not converted")]
    assert len(lines) == MOST_ALIKE + 1
    assert lines[-1].startswith("not converted: 5 more at […].ServiceProxy.Mode; instead: name the upstreams")


def test_bounds_of_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consul_units, "MOST_UNITS", 3)
    with pytest.raises(InvalidInput, match="import fewer at a time"):
        imported(*ENTRIES)
    monkeypatch.setattr(importing, "MOST_ROUNDS", 0)
    monkeypatch.setattr(consul_units, "MOST_UNITS", 9)
    with pytest.raises(InvalidInput, match="does not fit together in 0 rounds"):
        imported({"Kind": "service-router", "Name": "a"})


ALL: list[JSON] = [
    *map(read_back, ENTRIES),
    row(registered(SIDECAR)),
    registered(GATEWAY),
    health(registered(SIDECAR, "n2")),
    DEFINED,
    crd({**ENTRIES[1], "Name": "other"}),
    terraform([{**ENTRIES[1], "Name": "another"}]),
    {
        "datacenter": "dc1",
        "config_entries": [{"bootstrap": [{"kind": "service-defaults", "name": "z", "protocol": "grpc"}]}],
    },
]


@pytest.mark.parametrize("seed", range(2))
def test_whatever_a_source_says_is_told_or_refused(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(50):
        documents = json.loads(json.dumps(ALL))
        where: Any = chance.choice(documents)
        while True:
            key = chance.choice(list(where) if isinstance(where, dict) else range(len(where)))
            if not isinstance(where[key], dict | list) or not where[key] or chance.random() < 0.1:
                break
            where = where[key]
        where[key] = chance.choice(
            [None, 5, -1, 2**70, "x", "", True, [], {}, [1], {"a": 1}, [[]], [{"name": "x"}], "ü"]
        )
        try:
            found = imported(*documents)
        except InvalidInput:
            continue
        assert lost([("x.json", documents)], found) == []
        assert all(leaf.instead for leaf in found.ledger.told if leaf.fate == NAMED)


def test_of_what_a_real_consul_accepted_nothing_is_lost() -> None:
    with gzip.open(CASES / "resolver_cases.jsonl.gz", "rt") as lines:
        cases = [json.loads(line) for _, line in zip(range(20), lines, strict=False)]
    for case in cases:
        accepted = {
            (each["entry"]["Kind"], each["entry"]["Name"]): each["entry"] for each in case["writes"] if each["accepted"]
        }
        rows = [row(each) for of_one in case["registrations"].values() for each in of_one]
        sources: list[tuple[str, list[Any]]] = [("entries", list(map(read_back, accepted.values()))), ("rows", rows)]
        found = import_consul(sources)
        made = list(map(parse_entry, accepted.values()))
        kept = [parse_entry(each) for documents in found.files.values() for each in documents if "Kind" in each]
        assert sorted(kept, key=str) == sorted(made, key=str), case["name"]
        assert lost(sources, found) == []
        assert named(found) == [], case["name"]


@pytest.mark.skipif(not BESIDE.is_dir(), reason="needs the documents that people published")
def test_of_documents_that_people_have_every_leaf_is_in_the_result_or_named() -> None:
    for path in sorted(BESIDE.iterdir()):
        sources = [(path.name, read_consul_file(path.read_bytes(), path.name))]
        found = import_consul(sources, datacenter="dc1")
        assert lost(sources, found) == [], path.name
