"""What is compared is what traffic sees: of one dump, everything that matters is told when it alone changes, and
nothing else is."""

import copy
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pointsman.discovery.proxy import SidecarId
from pointsman.discovery.view import View
from pointsman.discovery.whole import read_view
from pointsman.model.errors import InvalidInput
from pointsman.model.keys import sidecar_plan_key
from pointsman.pipeline.config import load_root
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.standby import read_standby
from pointsman.shadow.difference import Findings, Kind
from pointsman.shadow.dump import dump_of
from pointsman.shadow.shadowed import shadowed
from pointsman.store.open import open_store

from tests.adapter.published import TRUST_DOMAIN
from tests.shadow.consul_envoy import TYPES, configure, dump, sni

JSON = dict[str, Any]

WEB = SidecarId("dc1", "default", "web")


@dataclass(frozen=True)
class Published:
    """What is published for web."""

    view: View
    standby: Mapping[str, Any]


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    store = open_store(str(tmp_path_factory.mktemp("shadow") / "store.db"), create=True)
    configure(store)
    engine = Engine(store)
    config = engine.config(load_root(engine.objects, engine.refresh().root))
    found = read_view(store, WEB)
    yield Published(found, read_standby(engine, config, [sidecar_plan_key("dc1", each) for each in found.snapshots]))
    store.close()


def found_in(web: Published, answer: JSON) -> Findings:
    read = dump_of(answer, "web.json", TRUST_DOMAIN)
    return shadowed(WEB, web.view, read, TRUST_DOMAIN, web.standby)


class Dumped:
    """A dump to change; parts by their names."""

    def __init__(self) -> None:
        self.all = dump()

    def part(self, kind: str) -> JSON:
        found: JSON = next(each for each in self.all["configs"] if each["@type"].endswith(f".{kind}ConfigDump"))
        return found

    def cluster(self, name: str) -> JSON:
        entries = self.part("Clusters")["dynamic_active_clusters"]
        found: JSON = next(each["cluster"] for each in entries if each["cluster"]["name"] == name)
        return found

    def assignment(self, name: str) -> JSON:
        entries = [each["endpoint_config"] for each in self.part("Endpoints")["dynamic_endpoint_configs"]]
        found: JSON = next(each for each in entries if each["cluster_name"] == name)
        return found

    def endpoints(self, name: str) -> list[JSON]:
        found: list[JSON] = self.assignment(name)["endpoints"][0]["lb_endpoints"]
        return found

    def tls(self, name: str) -> JSON:
        found: JSON = self.cluster(name)["transport_socket"]["typed_config"]
        return found

    @property
    def listeners(self) -> list[JSON]:
        found: list[JSON] = self.part("Listeners")["dynamic_listeners"]
        return found

    def listener(self, name: str) -> JSON:
        found: JSON = next(each for each in self.listeners if each["name"].startswith(f"{name}:"))["active_state"][
            "listener"
        ]
        return found

    def filter(self, name: str) -> JSON:
        found: JSON = self.listener(name)["filter_chains"][0]["filters"][-1]["typed_config"]
        return found

    @property
    def routes(self) -> list[JSON]:
        config = self.part("Routes")["dynamic_route_configs"][0]["route_config"]
        found: list[JSON] = config["virtual_hosts"][0]["routes"]
        return found

    @property
    def split(self) -> list[JSON]:
        found: list[JSON] = self.routes[3]["route"]["weighted_clusters"]["clusters"]
        return found


V1, V2, DATABASE, STORED = (sni(f"{each}.default.dc1") for each in ("v1.api", "v2.api", "db", "cache"))
FIRST, SECOND = f"failover-target~0~{DATABASE}", f"failover-target~1~{DATABASE}"

Change = Callable[[Dumped], object]


def place(dumped: Dumped, name: str, number: int) -> JSON:
    found: JSON = dumped.endpoints(name)[number]["endpoint"]["address"]["socket_address"]
    return found


def moved(values: list[Any], old: int, new: int) -> None:
    values.insert(new, values.pop(old))


def san(dumped: Dumped, name: str) -> JSON:
    found: JSON = dumped.tls(name)["common_tls_context"]["validation_context"]["match_subject_alt_names"][0]
    return found


_ONE = {"safe_regex": {"regex": "^spiffe://[^/]+/ns/default/dc/[^/]+/svc/shop$"}}
_POLICY = {"permissions": [{"any": True}], "principals": [{"authenticated": {"principal_name": _ONE}}]}
DENIED = {"action": "DENY", "policies": {"one": _POLICY}}
LUA = {"name": "lua", "typed_config": {"@type": f"{TYPES}.extensions.filters.http.lua.v3.Lua", "inline_code": "x"}}

MATTERS: dict[str, tuple[Kind, Change]] = {
    "a listener is gone": (Kind.UPSTREAM, lambda d: d.listeners.pop(2)),
    "a listener that the bootstrap has leads to others": (
        Kind.UPSTREAM,
        lambda d: d.part("Listeners")["static_listeners"][0]["listener"].update(traffic_direction="OUTBOUND"),
    ),
    "a listener is elsewhere": (
        Kind.UPSTREAM,
        lambda d: d.listener("cache")["address"]["socket_address"].update(port_value=9199),
    ),
    "a listener speaks TCP": (
        Kind.UPSTREAM,
        lambda d: d.listener("api").update(filter_chains=d.listener("db")["filter_chains"]),
    ),
    "a cluster is gone": (
        Kind.UPSTREAM,
        lambda d: d.part("Clusters")["dynamic_active_clusters"].pop(-1),
    ),
    "an endpoint has another port": (Kind.ENDPOINTS, lambda d: place(d, V2, 1).update(port_value=20001)),
    "an endpoint is gone": (Kind.ENDPOINTS, lambda d: d.endpoints(V2).pop()),
    "an endpoint is ill": (Kind.ENDPOINTS, lambda d: d.endpoints(V1)[0].update(health_status="UNHEALTHY")),
    "an endpoint is well": (Kind.ENDPOINTS, lambda d: d.endpoints(STORED)[1].update(health_status="HEALTHY")),
    "an endpoint has more weight": (Kind.ENDPOINTS, lambda d: d.endpoints(V2)[0].update(load_balancing_weight=3)),
    "the first target is ill": (
        Kind.ENDPOINTS,
        lambda d: [each.update(health_status="UNHEALTHY") for each in d.endpoints(FIRST)],
    ),
    "the targets of a failover are in another order": (
        Kind.ENDPOINTS,
        lambda d: moved(d.cluster(DATABASE)["cluster_type"]["typed_config"]["clusters"], 1, 0),
    ),
    "the second target is another one": (Kind.FAILOVER, lambda d: d.tls(SECOND).update(sni=sni("db.default.dc3"))),
    "the second target is reached through another gateway": (
        Kind.FAILOVER,
        lambda d: place(d, SECOND, 0).update(address="10.2.0.8"),
    ),
    "the second target has nobody": (Kind.FAILOVER, lambda d: d.endpoints(SECOND)[0].update(health_status="UNHEALTHY")),
    "how many must fail": (
        Kind.FAILOVER,
        lambda d: d.assignment(FIRST).update(policy={"overprovisioning_factor": 200}),
    ),
    "routes that are not there": (Kind.ROUTE, lambda d: d.filter("api")["rds"].update(route_config_name="gone")),
    "another server name": (Kind.SERVER_NAME, lambda d: d.tls(STORED).update(sni=sni("cache.default.dc2"))),
    "no TLS": (Kind.SERVER_NAME, lambda d: d.cluster(STORED).pop("transport_socket")),
    "other certificates": (Kind.SERVER_NAME, lambda d: san(d, STORED).update(exact="spiffe://other")),
    "any certificate": (
        Kind.SERVER_NAME,
        lambda d: d.tls(STORED)["common_tls_context"]["validation_context"].pop("match_subject_alt_names"),
    ),
    "no certificate is verified": (
        Kind.SETTING,
        lambda d: d.tls(STORED)["common_tls_context"]["validation_context"].pop("trusted_ca"),
    ),
    "no certificate is presented": (
        Kind.SETTING,
        lambda d: d.tls(STORED)["common_tls_context"].pop("tls_certificates"),
    ),
    "a route is gone": (Kind.ROUTE, lambda d: d.routes.pop(1)),
    "two routes that one request matches change places": (Kind.ROUTE, lambda d: moved(d.routes, 1, 0)),
    "a route is new": (Kind.ROUTE, lambda d: d.routes.insert(0, {"match": {"path": "/new"}, "route": {"cluster": V1}})),
    "a condition on a header": (Kind.ROUTE, lambda d: d.routes[0]["match"]["headers"][0].update(invert_match=True)),
    "a condition on a parameter": (Kind.ROUTE, lambda d: d.routes[0]["match"].pop("query_parameters")),
    "a path": (Kind.ROUTE, lambda d: d.routes[2]["match"].update(path="/healthz")),
    "capitals count no more": (Kind.ROUTE, lambda d: d.routes[2]["match"].update(case_sensitive=False)),
    "a route leads elsewhere": (Kind.ENDPOINTS, lambda d: d.routes[0]["route"].update(cluster=V1)),
    "the weights of a split": (Kind.ROUTE, lambda d: [d.split[0].update(weight=8000), d.split[1].update(weight=2000)]),
    "a split leads elsewhere": (Kind.ROUTE, lambda d: d.split.pop()),
    "a split's header": (Kind.ROUTE, lambda d: d.split[0].pop("response_headers_to_add")),
    "a route's header": (Kind.ROUTE, lambda d: d.routes[2]["request_headers_to_add"][0]["header"].update(value="b")),
    "a path is not rewritten": (Kind.ROUTE, lambda d: d.routes[1]["route"].pop("prefix_rewrite")),
    "a timeout": (Kind.TIMEOUT, lambda d: d.routes[0]["route"].update(timeout="4s")),
    "no timeout": (Kind.TIMEOUT, lambda d: d.routes[2]["route"].update(timeout="0s")),
    "retries": (Kind.TIMEOUT, lambda d: d.routes[0]["route"]["retry_policy"].update(num_retries=5)),
    "what is retried": (
        Kind.TIMEOUT,
        lambda d: d.routes[0]["route"]["retry_policy"].update(retriable_status_codes=[503]),
    ),
    "an idle timeout": (Kind.TIMEOUT, lambda d: d.filter("db").update(idle_timeout="60s")),
    "a connect timeout": (Kind.TIMEOUT, lambda d: d.cluster(V1).update(connect_timeout="1s")),
    "a connect timeout behind an aggregate": (Kind.TIMEOUT, lambda d: d.cluster(SECOND).update(connect_timeout="1s")),
    "a load balancing policy": (Kind.SETTING, lambda d: d.cluster(V2).update(lb_policy="RING_HASH")),
    "a limit on connections": (
        Kind.SETTING,
        lambda d: d.cluster(V1).update(circuit_breakers={"thresholds": [{"max_connections": 7}]}),
    ),
    "outlier detection": (Kind.SETTING, lambda d: d.cluster(V1).update(outlier_detection={"consecutive_5xx": 2})),
    "no outlier detection": (Kind.SETTING, lambda d: d.cluster(V1).pop("outlier_detection")),
    "a panic threshold": (Kind.SETTING, lambda d: d.cluster(V1).pop("common_lb_config")),
    "HTTP/2": (Kind.SETTING, lambda d: d.cluster(V1).update(http2_protocol_options={})),
    "active health checks": (
        Kind.SETTING,
        lambda d: d.cluster(V1).update(
            health_checks=[
                {
                    "timeout": "1s",
                    "interval": "5s",
                    "tcp_health_check": {},
                    "healthy_threshold": 1,
                    "unhealthy_threshold": 1,
                }
            ]
        ),
    ),
    "no upgrade to WebSocket": (Kind.SETTING, lambda d: d.filter("api").pop("upgrade_configs")),
    "a filter nobody here knows": (Kind.ROUTE, lambda d: d.filter("api")["http_filters"].insert(0, LUA)),
    "the application is elsewhere": (
        Kind.ENDPOINTS,
        lambda d: d.cluster("local_app")["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"][
            "socket_address"
        ].update(port_value=8081),
    ),
    "one caller is denied": (
        Kind.AUTHORIZATION,
        lambda d: d.listener("public_listener")["filter_chains"][0]["filters"][0]["typed_config"].update(rules=DENIED),
    ),
    "callers need no certificate": (
        Kind.SETTING,
        lambda d: d.listener("public_listener")["filter_chains"][0]["transport_socket"]["typed_config"].pop(
            "require_client_certificate"
        ),
    ),
    "a limit on incoming connections": (
        Kind.SETTING,
        lambda d: d.cluster("local_app").update(circuit_breakers={"thresholds": [{"max_connections": 7}]}),
    ),
    "clients of another trust domain": (
        Kind.AUTHORIZATION,
        lambda d: d.listener("public_listener")["filter_chains"][0]["transport_socket"]["typed_config"][
            "common_tls_context"
        ]["validation_context"].update(match_subject_alt_names=[{"prefix": "spiffe://else/"}]),
    ),
    "a domain": (
        Kind.ROUTE,
        lambda d: d.part("Routes")["dynamic_route_configs"][0]["route_config"]["virtual_hosts"][0].update(
            domains=["a"]
        ),
    ),
}


def renamed(dumped: Dumped, old: str, new: str) -> None:
    dumped.all = json.loads(json.dumps(dumped.all).replace(json.dumps(old), json.dumps(new)))


def names_of_clusters(dumped: Dumped) -> None:
    for old, new in ((V1, "one"), (FIRST, "first")):
        server_name = dumped.tls(old)["sni"]
        renamed(dumped, old, new)
        dumped.tls(new)["sni"] = server_name


def routes_inline(dumped: Dumped) -> None:
    config = copy.deepcopy(dumped.part("Routes")["dynamic_route_configs"][0]["route_config"])
    del config["@type"], dumped.filter("api")["rds"]
    dumped.filter("api")["route_config"] = config


def shuffled(dumped: Dumped) -> None:
    chance = random.Random(7)
    dumped.routes[0]["match"]["headers"].reverse()
    dumped.routes[0]["route"]["retry_policy"]["retriable_status_codes"].reverse()
    dumped.split.reverse()
    for values in (
        dumped.endpoints(V2),
        dumped.listeners,
        dumped.part("Clusters")["dynamic_active_clusters"],
        dumped.part("Endpoints")["dynamic_endpoint_configs"],
        dumped.all["configs"],
    ):
        chance.shuffle(values)


def older_headers(dumped: Dumped) -> None:
    dumped.routes[0]["match"]["headers"][0] = {"name": "x-debug", "exact_match": "1"}
    dumped.split[0]["response_headers_to_add"][0] = {"header": {"key": "X-Version", "value": "1"}, "append": False}


def new_forms(dumped: Dumped) -> None:
    context = dumped.tls(STORED)["common_tls_context"]["validation_context"]
    (name,) = context.pop("match_subject_alt_names")
    context["match_typed_subject_alt_names"] = [{"san_type": "URI", "matcher": name}]


def from_files(dumped: Dumped) -> None:
    context = dumped.tls(V2)["common_tls_context"]
    context["tls_certificate_sds_secret_configs"] = [{"name": "own"}]
    del context["tls_certificates"]
    context["combined_validation_context"] = {
        "default_validation_context": {
            "match_subject_alt_names": context.pop("validation_context")["match_subject_alt_names"]
        },
        "validation_context_sds_secret_config": {"name": "ca"},
    }


def camel(value: Any) -> Any:
    if isinstance(value, list):
        return [camel(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        "".join([first, *map(str.capitalize, rest)]): camel(each)
        for name, each in value.items()
        for first, *rest in [name.split("_")]
    }


SAYS_NOTHING: dict[str, Change] = {
    "names of clusters": names_of_clusters,
    "the name of a listener": lambda d: d.listener("cache").update(name="other"),
    "the name of the routes": lambda d: renamed(d, "api", "other"),
    "what has no order": shuffled,
    "routes inline": routes_inline,
    "older forms of the same": older_headers,
    "newer forms of the same": new_forms,
    "certificates from elsewhere": from_files,
    "an endpoint that is ill is left out": lambda d: d.endpoints(STORED).pop(),
    "one more endpoint that is ill": lambda d: d.endpoints(V1).append(
        {**copy.deepcopy(d.endpoints(V2)[0]), "health_status": "UNHEALTHY"}
    ),
    "weights that are all the same": lambda d: [each.update(load_balancing_weight=9) for each in d.endpoints(V2)],
    "weights of a split with another sum": lambda d: [d.split[0].update(weight=90), d.split[1].update(weight=10)],
    "two routes that no request matches both": lambda d: moved(d.routes, 2, 0),
    "a route that nothing reaches": lambda d: d.routes.append({"match": {"path": "/b"}, "route": {"cluster": V1}}),
    "statistics": lambda d: [d.cluster(V1).pop("alt_stat_name"), d.filter("db").update(stat_prefix="other")],
    "a log": lambda d: d.filter("db").update(
        access_log=[
            {
                "name": "x",
                "typed_config": {"@type": f"{TYPES}.extensions.access_loggers.file.v3.FileAccessLog", "path": "/x"},
            }
        ]
    ),
    "defaults written out": lambda d: [
        d.cluster(V1).update(
            lb_policy="ROUND_ROBIN",
            per_connection_buffer_limit_bytes=1048576,
            circuit_breakers={"thresholds": [{"max_connections": 1024, "max_retries": 3}]},
            outlier_detection={"consecutive_5xx": 5, "interval": "10s"},
        ),
        d.filter("db").update(idle_timeout="3600s", max_connect_attempts=1),
        d.routes[2]["route"].update(timeout="15s"),
        d.routes[2]["match"].update(case_sensitive=True),
    ],
    "a cluster that nothing leads to": lambda d: d.part("Clusters")["dynamic_active_clusters"].append(
        {"cluster": {**copy.deepcopy(d.cluster(V1)), "name": "unused"}}
    ),
    "names of fields as in JSON": lambda d: d.part("Clusters").update(
        dynamic_active_clusters=[
            {"cluster": camel(each["cluster"])} for each in d.part("Clusters")["dynamic_active_clusters"]
        ]
    ),
}


LAST = [
    "what has no order",
    "two routes that no request matches both",
    "a route that nothing reaches",
    "names of clusters",
    "names of fields as in JSON",
    "the name of a listener",
    "routes inline",
    "the name of the routes",
]


@pytest.mark.parametrize("name", MATTERS)
def test_whatever_traffic_sees_is_told_when_it_alone_differs(web: Published, name: str) -> None:
    kind, change = MATTERS[name]
    dumped = Dumped()
    change(dumped)
    differences = sorted(found_in(web, dumped.all).differences)
    assert differences, name
    assert differences[0].kind is kind, differences
    assert all(each.today != each.pointsman for each in differences)


def test_without_a_change_nothing_differs(web: Published) -> None:
    found = found_in(web, dump())
    assert found.differences == set()
    assert (found.listeners, len(found.compared)) == (4, 5)
    assert {each.partition(":")[0] for each in found.not_compared} == {"listener envoy_ready_listener"}
    domain, everywhere, note = sorted(found.notes, key=len)
    assert "clients need certificates of the mesh's trust domain" in domain
    assert "`pointsman bootstrap --public 0.0.0.0:20000` keeps that" in everywhere
    assert "when fewer than 71.43 % of those that serve are healthy, which is Envoy's default; with Pointsman" in note
    assert any(each.startswith("circuit_breakers.DEFAULT.max_connections: Envoy's default today") for each in found.own)


@given(chosen=st.lists(st.sampled_from(sorted(SAYS_NOTHING)), unique=True, min_size=2, max_size=6))
@settings(max_examples=20, deadline=None)
def test_several_of_them_together_are_no_difference(web: Published, chosen: list[str]) -> None:
    dumped = Dumped()
    # Those after which parts are not found by their names any more come last.
    for name in sorted(chosen, key=[*(each for each in SAYS_NOTHING if each not in LAST), *LAST].index):
        SAYS_NOTHING[name](dumped)
    assert found_in(web, dumped.all).differences == set()


def test_a_listener_for_others_where_there_was_none_changes_nothing_of_today(web: Published) -> None:
    dumped = Dumped()
    public = dumped.listeners.pop()
    found = found_in(web, dumped.all)
    assert found.differences == set()
    assert any("is new: today nobody can call the service through this Envoy" in each for each in found.notes)

    dumped.listeners.append(public)
    dumped.listener("public_listener")["address"]["socket_address"]["port_value"] = 7
    assert [each.kind for each in found_in(web, dumped.all).differences] == [Kind.UPSTREAM, Kind.UPSTREAM]


@pytest.mark.parametrize("name", SAYS_NOTHING)
def test_what_traffic_does_not_see_is_no_difference(web: Published, name: str) -> None:
    dumped = Dumped()
    SAYS_NOTHING[name](dumped)
    assert found_in(web, dumped.all).differences == set()


NOT_TRAFFIC = re.compile(
    # Names, versions, statistics, where something comes from.
    r"node/|version_info|traffic_direction|stat_prefix|alt_stat_name|resource_api_version|inline_string|validate_clusters"
    r"|(listener|route_config|dynamic_listeners/\d+|(virtual_hosts|filters|http_filters)/\d+|transport_socket)/name$"
    r"|cluster_type/name$|load_assignment/cluster_name"
    # What an Envoy has whoever configures it, and parts of a dump without traffic.
    r"|/static_(clusters|endpoint_configs|listeners)/|configs/[04]/@type"
    # Of an unknown value of an enum nothing is left; weights and overprovisioning where one host is, or all are well.
    r"|append_action|cluster/type$|overprovisioning_factor|load_balancing_weight|lb_policy"
    # An aggregate cluster's own timeout and endpoints, and the address of an endpoint that is ill.
    r"|dynamic_active_clusters/3/cluster/connect_timeout|dynamic_endpoint_configs/5/"
    r"|dynamic_endpoint_configs/2/endpoint_config/endpoints/0/lb_endpoints/1/endpoint/"
)
"""The paths of what says nothing for traffic."""


def every_leaf(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list) and value:
        for name, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from every_leaf(each, (*path, name))
    elif not isinstance(value, dict | list):
        yield path


def other_than(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    times = re.fullmatch(r"\d+s", value)
    return "77s" if times else {"HEALTHY": "UNHEALTHY", "UNHEALTHY": "HEALTHY"}.get(value, f"{value}x")


@pytest.mark.soak
def test_every_single_value_of_a_dump_matters_or_is_known_to_say_nothing(web: Published) -> None:
    silent = []
    for path in every_leaf(dump()):
        answer = dump()
        here: Any = answer
        for name in path[:-1]:
            here = here[name]
        here[path[-1]] = other_than(here[path[-1]])
        where = "/".join(map(str, path))
        try:
            found = found_in(web, answer)
        except InvalidInput:
            continue
        if not found.differences and not NOT_TRAFFIC.search(where):
            silent.append(where)
    assert not silent, "\n".join(silent)
