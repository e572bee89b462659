"""What people bring from Consul: read back from its API, in agents' files, from Kubernetes, by hand."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pointsman.agent.definition import ServiceDefinition
from pointsman.model.consul_documents import config_documents
from pointsman.model.consul_fields import OTHERS
from pointsman.model.entries import KINDS, entry_json, entry_shape, parse_entry
from pointsman.model.errors import InvalidInput
from pointsman.model.loading import load_bytes, load_text
from pointsman.model.registration import Registration, parse_registration
from pointsman.model.shape import Shape, fields_of
from pointsman.pipeline.configure import parse_documents
from pydantic import ValidationError

JSON = dict[str, Any]
BESIDE = Path(__file__).parents[3] / "shared/cases/documents"
"""More documents, where they are beside the checkout."""

RESOLVER: JSON = {"Kind": "service-resolver", "Name": "web", "Failover": {"*": {"Datacenters": ["dc2"]}}}
UPSTREAM: JSON = {"DestinationName": "stock", "LocalBindPort": 5000}
SIDECAR: JSON = {
    "Datacenter": "dc1",
    "Service": {
        "Kind": "connect-proxy",
        "Service": "web-sidecar-proxy",
        "ID": "web-sidecar-proxy",
        "Port": 20000,
        "Proxy": {
            "DestinationServiceName": "web",
            "DestinationServiceID": "web",
            "LocalServicePort": 7000,
            "Upstreams": [UPSTREAM],
        },
    },
}
ANSWER: JSON = {
    **SIDECAR["Service"],
    "Tags": [],
    "Meta": None,
    "Address": "",
    "TaggedAddresses": {},
    "Weights": {"Passing": 1, "Warning": 1},
    "EnableTagOverride": False,
    "ContentHash": "4ecd29c7bc647ca8",
    "PeerName": "",
    "Datacenter": "dc1",
    "Proxy": {
        **SIDECAR["Service"]["Proxy"],
        "Mode": "",
        "Config": {},
        "MeshGateway": {},
        "Expose": {},
        "Upstreams": [{**UPSTREAM, "DestinationType": "service", "MeshGateway": {}, "LocalBindSocketPath": ""}],
    },
}


def brought(*documents: JSON, datacenter: str = "") -> tuple[list[JSON], tuple[str, ...]]:
    """What is kept of `documents`, and what is passed over."""
    batch = parse_documents(documents, datacenter=datacenter)
    kept = [*map(entry_json, batch.entries), *(each.model_dump(by_alias=True) for each in batch.registrations)]
    return kept, tuple(batch.passed_over)


def registered(document: JSON) -> JSON:
    """`document` as it is kept, with every field."""
    return parse_registration(document).model_dump(by_alias=True)


READ_BACK: dict[str, JSON] = {
    "an answer of the API": {
        **RESOLVER,
        "Partition": "default",
        "Namespace": "default",
        "Hash": 1098765432109876543,
        "CreateIndex": 15,
        "ModifyIndex": 35,
        "PrioritizeByLocality": None,
        "LoadBalancer": {},
        "Meta": {},
        "Failover": {"*": {"Datacenters": ["dc2"], "Policy": {"Mode": "", "Regions": None}, "SamenessGroup": ""}},
    },
    "camel case": {"kind": "service-resolver", "name": "web", "failover": {"*": {"datacenters": ["dc2"]}}},
    "any capitals": {"KIND": "service-resolver", "naMe": "web", "FAILOVER": {"*": {"Data_Centers": ["dc2"]}}},
    "one value for a list": {**RESOLVER, "Failover": {"*": {"Datacenters": "dc2"}}},
    "a list of one mapping": {**RESOLVER, "Failover": [{"*": [{"Datacenters": ["dc2"]}]}]},
    "a resource of Kubernetes": {
        "apiVersion": "consul.hashicorp.com/v1alpha1",
        "kind": "ServiceResolver",
        "metadata": {"name": "web", "namespace": "default", "labels": {"a": "b"}},
        "spec": {"failover": {"*": {"datacenters": ["dc2"]}}},
        "status": {"conditions": []},
    },
    "a list of Kubernetes": {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {
                "apiVersion": "consul.hashicorp.com/v1alpha1",
                "kind": "ServiceResolver",
                "metadata": {"name": "web"},
                "spec": {"failover": {"*": {"datacenters": ["dc2"]}}},
            }
        ],
    },
    "an agent's file": {"config_entries": {"bootstrap": [RESOLVER]}},
}


INTENTIONS = {
    "apiVersion": "consul.hashicorp.com/v1alpha1",
    "kind": "ServiceIntentions",
    "metadata": {"name": "who-calls-web", "namespace": "consul"},
    "spec": {
        "destination": {"name": "web"},
        "sources": [{"name": "api", "action": "allow"}, {"name": "*", "action": "deny", "description": "all others"}],
    },
}


def test_intentions_of_kubernetes_are_named_after_the_service_that_is_called() -> None:
    kept, passed_over = brought(INTENTIONS)

    sources = [{"Name": "api", "Action": "allow"}, {"Name": "*", "Action": "deny", "Description": "all others"}]
    assert kept == [{"Kind": "service-intentions", "Name": "web", "Sources": sources}]
    assert ['is in namespace "default"' in line for line in passed_over] == [True]
    for destination in (None, {}, {"namespace": "team"}, "web"):
        spec = {**INTENTIONS["spec"], "destination": destination}
        with pytest.raises(InvalidInput, match=r'"who-calls-web": spec\.destination\.name: is required'):
            brought({**INTENTIONS, "spec": spec})
    with pytest.raises(InvalidInput, match='service-intentions "web": partition: is not supported by Pointsman'):
        brought({**INTENTIONS, "spec": {**INTENTIONS["spec"], "destination": {"name": "web", "partition": "sales"}}})


SETTINGS = {
    "blocks of config_entries": (
        "n.hcl",
        'config_entries {\n kind = "namespace"\n name = "a"\n}\n'
        'config_entries {\n kind = "namespace"\n name = "b"\n}\n',
    ),
    "a list of config_entries": (
        "n.hcl",
        'config_entries = [{ kind = "namespace", name = "a" }, { kind = "namespace", name = "b" }]',
    ),
    "blocks to bootstrap": (
        "n.hcl",
        'config_entries {\n bootstrap {\n kind = "namespace"\n name = "a"\n }\n'
        ' bootstrap {\n kind = "namespace"\n name = "b"\n }\n}\n',
    ),
    "a list to bootstrap": (
        "n.hcl",
        'config_entries { bootstrap = [\n { kind = "namespace"\n name = "a" },\n'
        ' { kind = "namespace", name = "b" },\n] }',
    ),
    "an agent's JSON": (
        "n.json",
        '{"config_entries": {"bootstrap": [{"kind": "namespace", "name": "a"}, {"kind": "namespace", "name": "b"}]}}',
    ),
}


@pytest.mark.parametrize(("name", "text"), SETTINGS.values(), ids=SETTINGS)
def test_the_entries_in_an_agents_settings_are_found(name: str, text: str) -> None:
    kept, _ = brought(*load_text(text, name))

    assert kept == [{"Kind": "namespace", "Name": "a"}, {"Kind": "namespace", "Name": "b"}]


@pytest.mark.parametrize("document", READ_BACK.values(), ids=READ_BACK)
def test_an_entry_is_understood_however_it_is_brought(document: JSON) -> None:
    assert brought(document) == ([RESOLVER], ())


REGISTERED: dict[str, JSON] = {
    "what the catalog takes": {**SIDECAR, "Node": "n1", "Address": "", "SkipNodeUpdate": True, "Check": None},
    "what an agent answers": ANSWER,
    "all that an agent answers": {"web-sidecar-proxy": ANSWER},
    "what an agent takes": {"Name": "web-sidecar-proxy", **{k: v for k, v in ANSWER.items() if k != "Service"}},
    "a service definition": {
        "datacenter": "dc1",
        "service": {
            "name": "web",
            "port": 7000,
            "connect": {
                "sidecar_service": {
                    "port": 20000,
                    "proxy": {"upstreams": {"destination_name": "stock", "local_bind_port": "5000"}},
                }
            },
        },
    },
    "definitions": {
        "Datacenter": "dc1",
        "services": [
            {
                "name": "web-sidecar-proxy",
                "kind": "connect-proxy",
                "port": 20000,
                "proxy": {
                    "destination_service_name": "web",
                    "destination_service_id": "web",
                    "local_service_port": 7000,
                    "upstreams": [{"destination_name": "stock", "local_bind_port": 5000}],
                },
            }
        ],
    },
}


@pytest.mark.parametrize("document", REGISTERED.values(), ids=REGISTERED)
def test_a_registration_is_understood_however_it_is_brought(document: JSON) -> None:
    (found,), passed_over = brought(document)

    wanted = registered(SIDECAR)
    for each in (found, wanted):  # kept as they come, and not used
        for field in ("Tags", "Meta", "Weights", "TaggedAddresses"):
            each["Service"].pop(field)
        for upstream in each["Service"]["Proxy"]["Upstreams"]:
            upstream.pop("DestinationType")
        each.pop("Node")
    assert found == wanted
    assert passed_over == ()


def test_a_sidecar_may_say_again_what_follows_from_its_service() -> None:
    own = {
        "kind": "connect-proxy",
        "id": "s",
        "address": "10.1.0.7",
        "namespace": "default",
        "port": 21000,
        "token": "t",
    }
    service = {"name": "web", "port": 80, "address": "10.1.0.6", "namespace": "default"}
    (found,), _ = brought({"service": {**service, "connect": {"sidecar_service": own}}}, datacenter="dc1")
    registration = parse_registration(found)
    assert (registration.service.id, registration.listen) == ("s", ("10.1.0.7", 21000))


def test_a_registration_without_a_datacenter_takes_that_of_the_command() -> None:
    answer = {key: value for key, value in ANSWER.items() if key != "Datacenter"}

    (found,), _ = brought(answer, datacenter="dc9")
    with pytest.raises(InvalidInput, match=r'"web-sidecar-proxy": Datacenter: is required; .* `pointsman apply --dc`'):
        brought(answer)

    assert found["Datacenter"] == "dc9"


def maps_of_shapes(shape: type[Shape], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where, in `shape` and below it, names that the user chooses have a shape each."""
    for field in {each.name: each for each in fields_of(shape).values() if each.inner}.values():
        here = (*at, field.name)
        if field.of_map:
            yield here
        yield from maps_of_shapes(field.inner, here)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [*map(entry_shape, KINDS), Registration, ServiceDefinition])
def test_a_map_may_be_written_as_blocks_within_a_block(shape: type[Shape]) -> None:
    for path in maps_of_shapes(shape):
        written: Any = [{"v1": [{"nothing_of_theirs": 1}], "v2": [{"nothing_of_theirs": 1}]}]
        for name in reversed(path):
            written = [{name: written}]
        with pytest.raises(ValidationError) as refused:
            shape.model_validate(written[0])
        inside = [each for each in refused.value.errors() if each["loc"][-1] == "nothing_of_theirs"]
        assert {each["loc"][-2] for each in inside} == {"v1", "v2"}, path


def test_what_is_not_for_pointsman_is_named() -> None:
    agent = {
        "datacenter": "dc1",
        "data_dir": "data",
        "ports": {"grpc": 8502},
        "config_entries": {"bootstrap": RESOLVER},
        "services": [
            {"name": "db", "port": 1, "check": {"tcp": "a:1", "interval": "1s"}},
            {"name": "out", "kind": "terminating-gateway", "port": 1},
        ],
    }
    kubernetes = [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}},
        {
            "apiVersion": "consul.hashicorp.com/v1alpha1",
            "kind": "ProxyDefaults",
            "metadata": {"name": "global", "namespace": "consul"},
            "spec": {"config": {"protocol": "http"}},
        },
    ]

    kept, passed_over = brought(agent, *kubernetes)

    assert kept == [RESOLVER, {"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http"}}]
    assert passed_over == (
        'service "db": no sidecar, so nobody in the mesh reaches it',
        'service "db": its checks are run by `pointsman agent`, not from here',
        'service "out": terminating-gateway is not supported by Pointsman',
        "settings of Consul's agent: data_dir, ports",
        "Kubernetes' Deployment \"web\" is not one of Consul's resources",
        'proxy-defaults "global": metadata.namespace "consul" is Kubernetes\', not Consul\'s: the entry is in '
        'namespace "default"',
    )
    with pytest.raises(InvalidInput, match="no registration; passed over: Kubernetes' Deployment"):
        brought(kubernetes[0])


@pytest.mark.parametrize(
    ("settings", "denies"),
    [
        ({"acl": [{"enabled": True, "default_policy": "deny"}]}, True),
        ({"ACL": {"Enabled": True, "DefaultPolicy": "deny"}}, True),
        ({"default_intention_policy": "deny"}, True),
        ({"default_intention_policy": "allow", "acl": {"enabled": True, "default_policy": "deny"}}, False),
        ({"acl": {"enabled": False, "default_policy": "deny"}}, False),
        ({"acl": {"enabled": True}}, False),
    ],
)
def test_that_an_agent_denies_what_no_intention_allows_is_said(settings: JSON, denies: bool) -> None:
    _, passed_over = brought({**settings, "config_entries": {"bootstrap": RESOLVER}})
    assert any("they deny what no intention allows" in line for line in passed_over) is denies


def test_what_consul_hands_on_to_envoys_and_is_not_used_is_named() -> None:
    config = {"protocol": "http", "envoy_prometheus_bind_addr": "0.0.0.0:9102", "local_connect_timeout_ms": 0}

    proxy = {"DestinationServiceName": "web", "Config": {**config, "bind_port": 21001, "access_log_path": "/log"}}
    sidecar = {"Kind": "connect-proxy", "Service": "web-sidecar-proxy", "Port": 21000, "Proxy": proxy}

    _, passed_over = brought(
        {"Kind": "proxy-defaults", "Name": "global", "Config": config}, {"Datacenter": "dc1", "Service": sidecar}
    )

    assert passed_over == (
        'proxy-defaults "global": Config: envoy_prometheus_bind_addr: not used; `pointsman bootstrap` has what Envoys '
        "are told here",
        'registration "web-sidecar-proxy": Proxy.Config: protocol, envoy_prometheus_bind_addr, bind_port: not used; '
        "`pointsman bootstrap` has what Envoys are told here",
    )


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"config_entries": 1}, "config_entries: a mapping is required, not 1"),
        ({"config_entries": {"bootstrap": ["a"]}}, 'config_entries.bootstrap: a mapping is required, not "a"'),
        ({"services": [1]}, "services: a mapping is required, not 1"),
        (
            {"apiVersion": "consul.hashicorp.com/v1alpha1", "kind": "Mesh", "metadata": {"name": "mesh"}},
            'mesh "mesh": Kind: is not supported by Pointsman: its settings have no counterpart; set TLS in Envoy\'s '
            "bootstrap",
        ),
        (
            {"apiVersion": "consul.hashicorp.com/v1", "kind": "ServiceRouter", "metadata": {"name": "a"}, "spec": 1},
            'service-router "a": spec: must be a mapping, not 1',
        ),
        ({"a": 1}, "entry: Kind: is required; kinds are "),
    ],
)
def test_what_cannot_be_meant_is_refused(document: JSON, said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        brought(document)
    assert str(refused.value).startswith(said)


ENTRIES = {
    "ProxyDefaults": {"Kind": "proxy-defaults", "Name": "global"},
    "ServiceDefaults": {"Kind": "service-defaults", "Name": "web"},
    "ServiceResolver": {"Kind": "service-resolver", "Name": "web"},
    "ServiceSplitter": {"Kind": "service-splitter", "Name": "web", "Splits": [{"Weight": 100}]},
    "ServiceRouter": {"Kind": "service-router", "Name": "web"},
}


@pytest.mark.parametrize("shape", ENTRIES)
@pytest.mark.parametrize("nothing", [None, "", 0, False, [], {}, {"Mode": "", "Paths": [None]}, "0s"], ids=repr)
def test_what_says_nothing_is_dropped_whatever_consul_has_it_for(shape: str, nothing: Any) -> None:
    entry = ENTRIES[shape]

    for spelled in (str, str.lower):
        assert parse_entry({**entry, **{spelled(field): nothing for field in OTHERS[shape]}}) == parse_entry(entry)


@pytest.mark.parametrize("shape", ENTRIES)
def test_a_value_that_is_consuls_default_is_dropped_however_it_is_written(shape: str) -> None:
    entry = ENTRIES[shape]
    said = {field: value for field, other in OTHERS[shape].items() for value in other.nothing}
    assert parse_entry({**entry, **said}) == parse_entry(entry)
    for field, value in said.items():
        if isinstance(value, dict):
            block = [{**{name.lower(): each for name, each in value.items()}, "regions": []}]
            assert parse_entry({**entry, field: block}) == parse_entry(entry), field
            with pytest.raises(InvalidInput, match="is not supported by Pointsman"):
                parse_entry({**entry, field: [*block, *block]})


@pytest.mark.parametrize("shape", ENTRIES)
def test_what_says_something_is_refused_with_its_reason(shape: str) -> None:
    refused = {name: other for name, other in OTHERS[shape].items() if other.refused}
    with pytest.raises(InvalidInput) as found:
        parse_entry({**ENTRIES[shape], **dict.fromkeys(OTHERS[shape], "x")})

    assert {(each.field, each.reason) for each in found.value.problems} == {
        (name, f"is not supported by Pointsman: {other.why}") for name, other in refused.items()
    }


@pytest.mark.skipif(not BESIDE.exists(), reason=f"{BESIDE} is not there")
def test_every_recorded_document_is_taken_or_refused_with_a_cure() -> None:
    for path in BESIDE.iterdir():
        documents, _ = config_documents(load_bytes(path.read_bytes(), path.name), datacenter="dc1")
        try:
            assert parse_documents(documents)
        except InvalidInput as error:
            for problem in error.problems:
                assert any(cure in problem.reason for cure in ("write ", "not supported by Pointsman")), problem


def test_numbers_and_switches_may_be_text_and_the_other_way_round() -> None:
    text = """
    kind = "service-router"
    name = "web"
    routes {
      match { http { header { name = "x-version", exact = 2 } path_prefix = "/" methods = "get" } }
      destination { num_retries = "3" retry_on_connect_failure = "true" retry_on_status_codes = ["503"] }
    }
    meta { one = 1, half = 0.5, whole = 1.0 }
    """
    (document,) = load_text(text, "web.hcl")
    assert entry_json(parse_entry(document)) == {
        "Kind": "service-router",
        "Name": "web",
        "Routes": [
            {
                "Match": {
                    "HTTP": {"PathPrefix": "/", "Header": [{"Name": "x-version", "Exact": "2"}], "Methods": ["GET"]}
                },
                "Destination": {"NumRetries": 3, "RetryOnConnectFailure": True, "RetryOnStatusCodes": [503]},
            }
        ],
        "Meta": {"one": "1", "half": "0.5", "whole": "1"},
    }
    assert set(KINDS) >= {entry["Kind"] for entry in ENTRIES.values()}


@pytest.mark.parametrize("kind", ["JWTProvider", "PeeringAcceptor", "Registration", "RouteTLSSDSFilter", "RateLimit"])
def test_what_else_consul_has_on_kubernetes_is_refused_with_its_reason(kind: str) -> None:
    document = {"apiVersion": "consul.hashicorp.com/v1alpha1", "kind": kind, "metadata": {"name": "a"}, "spec": {}}
    with pytest.raises(InvalidInput, match="Kind: is not supported by Pointsman: "):
        parse_documents([document])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kind: ServiceResolver\nmetadata: {name: a}", "add it, or write service-resolver"),
        (
            "apiVersion: consul.hashicorp.com/v1alpha1\nkind: ProxyDefaults\nmetadata: {name: global}\nspec:\n"
            "meshGateway: {mode: local}",
            'proxy-defaults "global": meshGateway: stands beside spec, where it means nothing; indent it',
        ),
        (
            "apiVersion: consul.hashicorp.com/v1alpha1\nkind: MeshGateway\nmetadata: {name: a}",
            "register each gateway instead",
        ),
    ],
)
def test_a_resource_that_is_not_quite_one_says_what_to_do(text: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        parse_documents(load_text(text, "a.yaml"))
