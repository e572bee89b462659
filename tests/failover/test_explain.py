"""`explain` says where the traffic of a service goes, and why, in words and for programs."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from pointsman.chain.compiler import compile_chain
from pointsman.chain.entryset import EntrySet
from pointsman.chain.graph import ChainError, Overrides
from pointsman.chain.upstream import overrides
from pointsman.failover.callers import callers_of
from pointsman.failover.explain import explain, explain_json, inputs
from pointsman.failover.explain_text import explain_text
from pointsman.model.duration import duration_text, parse_duration
from pointsman.model.entries import parse_entry
from pointsman.model.names import ServiceName
from pointsman.model.registration import Upstream, parse_registration
from pointsman.xds.rendered import instances_of

from tests.entry_strategies import gateway, instance

JSON = dict[str, Any]
WEB = ServiceName("default", "web")
HTTP = {"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http"}, "MeshGateway": {"Mode": "local"}}


def running(
    service: str, datacenter: str, *statuses: str, version: str = "v1", namespace: str = "default"
) -> list[JSON]:
    return [instance(namespace, service, i, datacenter, version, status) for i, status in enumerate(statuses)]


@dataclass(frozen=True)
class Situation:
    name: str
    entries: list[JSON]
    text: str
    catalog: dict[str, list[JSON]] = field(default_factory=dict)
    service: ServiceName = WEB
    datacenter: str = "dc1"
    used_from: str = ""
    overrides: Overrides = field(default_factory=Overrides)


SITUATIONS = [
    Situation(
        "a service without entries, all well",
        [],
        """
        "web" in dc1: tcp
        resolver web.default.dc1 (connect timeout 5s)
         * web.default.dc1  2 of 2 healthy, active  direct, in the same datacenter
           dc1: 2 of 2 healthy
        """,
        {"dc1": running("web", "dc1", "passing", "warning")},
    ),
    Situation(
        "a service that nobody knows",
        [],
        """
        "web" in dc1: tcp
        resolver web.default.dc1 (connect timeout 5s)
         * web.default.dc1  0 of 0 healthy, active  direct, in the same datacenter
           dc1: no instances; there is no other target
        """,
    ),
    Situation(
        "a failover through the local gateways",
        [
            {"Kind": "service-defaults", "Name": "web", "MeshGateway": {"Mode": "local"}},
            {"Kind": "service-resolver", "Name": "web", "Failover": {"*": {"Datacenters": ["dc2", "dc3"]}}},
        ],
        """
        "web" in dc1: tcp
        resolver web.default.dc1 (connect timeout 5s)
           web.default.dc1  0 of 3 healthy          direct, in the same datacenter
         * web.default.dc2  1 of 2 healthy, active  through 2 local gateways in dc1 (service-defaults)
           web.default.dc3  1 of 1 healthy          through 2 local gateways in dc1 (service-defaults)
           dc1: 0 of 3 healthy; dc2: first with a healthy instance, through the local gateways
        """,
        {
            "dc1": [*running("web", "dc1", "critical", "critical", "critical"), gateway(0, "dc1"), gateway(1, "dc1")],
            "dc2": running("web", "dc2", "critical", "passing"),
            "dc3": running("web", "dc3", "passing"),
        },
    ),
    Situation(
        "nothing healthy anywhere, and no gateway on the way",
        [
            {"Kind": "proxy-defaults", "Name": "global", "MeshGateway": {"Mode": "remote"}},
            {"Kind": "service-resolver", "Name": "web", "Redirect": {"Datacenter": "dc2"}},
        ],
        """
        "web" in dc1: tcp
        resolver web.default.dc2 (connect timeout 5s)
         * web.default.dc2  0 of 1 healthy, active  through no remote gateways in dc2 (proxy-defaults)
           dc2: 0 of 1 healthy; there is no other target
           no mesh gateway is known on the way: nothing arrives until an event reports one
        """,
        {"dc2": running("web", "dc2", "critical")},
    ),
    Situation(
        "tiers among which Envoy chooses, one by one or with another service",
        [
            {
                "Kind": "service-resolver",
                "Name": "web",
                "Failover": {"*": {"Targets": [{"Datacenter": "dc2"}, {"Service": "api"}]}},
            },
            {"Kind": "service-resolver", "Name": "api", "Subsets": {"v2": {}}, "DefaultSubset": "v2"},
        ],
        """
        "web" in dc1: tcp
        resolver web.default.dc1 (connect timeout 5s)
           web.default.dc1     0 of 1 healthy          direct, in the same datacenter
           web.default.dc2     0 of 0 healthy          direct, no mode is set
         * v2.api.default.dc1  1 of 1 healthy, active  direct, in the same datacenter
           web.default.dc1: 0 of 1 healthy; web.default.dc2: no instances; v2.api.default.dc1: first with a healthy instance, reached directly; Envoy itself chooses among these tiers
        """,  # noqa: E501
        {"dc1": [*running("web", "dc1", "critical"), *running("api", "dc1", "passing")]},
    ),
    Situation(
        "a policy of the service, and too few healthy instances in the first target",
        [
            {"Kind": "proxy-defaults", "Name": "global", "MeshGateway": {"Mode": "local"}},
            {"Kind": "service-resolver", "Name": "web", "Failover": {"*": {"Datacenters": ["dc2", "dc3"]}}},
            {"Kind": "failover-policy", "Name": "web", "HealthyThreshold": "50%", "FailbackAfter": "90s"},
            {"Kind": "failover-policy", "Name": "global", "HealthyThreshold": 3, "OnSwitch": "drain"},
        ],
        """
        "web" in dc1: tcp
        resolver web.default.dc1 (connect timeout 5s, failover policy "web": 50% healthy, failback after 1m30s)
           web.default.dc1  1 of 3 healthy, 2 needed  direct, in the same datacenter
           web.default.dc2  0 of 1 healthy            through 1 local gateway in dc1 (proxy-defaults)
         * web.default.dc3  1 of 2 healthy, active    through 1 local gateway in dc1 (proxy-defaults)
           dc1: 1 of 3 healthy, but 2 are needed; dc2: 0 of 1 healthy; dc3: first with a healthy instance, and enough of them, through the local gateways
        """,  # noqa: E501
        {
            "dc1": [*running("web", "dc1", "passing", "critical", "critical"), gateway(0, "dc1")],
            "dc2": running("web", "dc2", "critical"),
            "dc3": running("web", "dc3", "critical", "passing"),
        },
    ),
    Situation(
        "a policy for all, and tiers with too few healthy instances",
        [
            {"Kind": "service-resolver", "Name": "web", "Failover": {"*": {"Datacenters": ["dc2"]}}},
            {"Kind": "failover-policy", "Name": "global", "HealthyThreshold": 2, "Gateways": "ignore"},
        ],
        """
        "web" in dc1: tcp
        resolver web.default.dc1 (connect timeout 5s, failover policy "global": 2 healthy, gateways ignore)
         * web.default.dc1  1 of 3 healthy, 2 needed, active  direct, in the same datacenter
           web.default.dc2  1 of 1 healthy, 2 needed          direct, no mode is set
           dc1: 1 of 3 healthy, but 2 are needed; Envoy itself chooses among these tiers
        """,
        {
            "dc1": running("web", "dc1", "passing", "critical", "critical"),
            "dc2": running("web", "dc2", "passing"),
        },
    ),
    Situation(
        "a registration that overrides mode and protocol",
        [
            {"Kind": "service-defaults", "Name": "web", "MeshGateway": {"Mode": "local"}},
            {
                "Kind": "service-resolver",
                "Name": "web",
                "ConnectTimeout": "250ms",
                "Failover": {"*": {"Datacenters": ["dc3"]}},
            },
        ],
        """
        "web" in dc2, as the sidecars of dc1 use it: http, customized by its registration (54fb7bbb)
        resolver web.default.dc2 (connect timeout 250ms)
           web.default.dc2  0 of 0 healthy          through no remote gateways in dc2 (upstream override)
         * web.default.dc3  1 of 1 healthy, active  through 1 remote gateway in dc3 (upstream override)
           dc2: no instances; dc3: first with a healthy instance, through the gateways of dc3
        """,
        {"dc3": [*running("web", "dc3", "passing"), gateway(0, "dc3")]},
        datacenter="dc2",
        used_from="dc1",
        overrides=Overrides(mode="remote", mode_source="upstream override", protocol="http"),
    ),
    Situation(
        "another namespace",
        [
            {"Kind": "namespace", "Name": "team"},
            {"Kind": "service-resolver", "Name": "web", "Failover": {"*": {"Service": "web", "Namespace": "team"}}},
            {"Kind": "service-resolver", "Name": "web", "Namespace": "team", "ConnectTimeout": "1m30s"},
        ],
        """
        "web" in namespace "team" in dc1: tcp
        resolver web.team.dc1 (connect timeout 1m30s)
         * web.team.dc1  1 of 1 healthy, active  direct, in the same datacenter
           dc1: 1 of 1 healthy
        """,
        {"dc1": [*running("web", "dc1", "passing", namespace="team"), *running("web", "dc1", "passing")]},
        service=ServiceName("team", "web"),
    ),
    Situation(
        "a router, a splitter, and subsets",
        [
            HTTP,
            {"Kind": "service-defaults", "Name": "admin", "Protocol": "http", "MeshGateway": {"Mode": "none"}},
            {
                "Kind": "service-router",
                "Name": "web",
                "Routes": [
                    {
                        "Match": {
                            "HTTP": {
                                "PathPrefix": "/admin",
                                "Header": [
                                    {"Name": "x-debug", "Present": True},
                                    {"Name": "x-user", "Prefix": "root", "Invert": True},
                                ],
                                "QueryParam": [{"Name": "v", "Exact": "2"}],
                                "Methods": ["get", "put"],
                            }
                        },
                        "Destination": {
                            "Service": "admin",
                            "PrefixRewrite": "/",
                            "RequestTimeout": "1.5s",
                            "NumRetries": 3,
                            "RetryOnConnectFailure": True,
                            "RetryOnStatusCodes": [502],
                        },
                    },
                    {
                        "Match": {"HTTP": {"PathRegex": "/v[12]/.*"}},
                        "Destination": {
                            "Service": "admin",
                            "RequestTimeout": "-1s",
                            "IdleTimeout": "5s",
                            "NumRetries": 2,
                            "RetryOn": ["5xx", "reset"],
                            "ResponseHeaders": {"Remove": ["x"]},
                        },
                    },
                    {"Match": {"HTTP": {"PathExact": "/ping"}}, "Destination": {"RetryOnStatusCodes": [503]}},
                ],
            },
            {
                "Kind": "service-splitter",
                "Name": "web",
                "Splits": [{"Weight": 90.5, "ServiceSubset": "v1"}, {"Weight": 9.5, "ServiceSubset": "v2"}],
            },
            {
                "Kind": "service-resolver",
                "Name": "web",
                "RequestTimeout": "10s",
                "LoadBalancer": {"Policy": "maglev"},
                "Subsets": {"v1": {"Filter": "Service.Meta.version == v1"}, "v2": {"OnlyPassing": True}},
                "Failover": {
                    "v1": {"ServiceSubset": "v2"},
                    "v2": {"Datacenters": ["dc2"]},
                },
            },
            {"Kind": "service-resolver", "Name": "admin", "Failover": {"*": {"Datacenters": ["dc2"]}}},
        ],
        """
        "web" in dc1: http
        router web
        ├─ path prefix /admin, header x-debug present, header x-user not prefix "root", query v exact "2", method GET or PUT: rewritten to /, timeout 1.5s, 3 retries on connect failure or 502
        │  resolver admin.default.dc1 (connect timeout 5s)
        │   * admin.default.dc1  0 of 0 healthy, active  direct, in the same datacenter
        │     admin.default.dc2  0 of 0 healthy          direct, mode none (service-defaults)
        │     dc1: no instances; dc2: no instances; no target has a healthy instance, so the primary stays; Envoy itself chooses among these tiers
        ├─ path regex /v[12]/.*: timeout none, idle timeout 5s, 2 retries on 5xx or reset, response headers changed
        │  resolver admin.default.dc1, as above
        ├─ path /ping: 1 retry on 503
        │  splitter web
        │  ├─ 90.5 %
        │  │  resolver v1.web.default.dc1 (connect timeout 5s, request timeout 10s, maglev)
        │  │   * v1.web.default.dc1  1 of 1 healthy, active  direct, in the same datacenter (where Service.Meta.version == v1)
        │  │     v2.web.default.dc1  1 of 2 healthy          direct, in the same datacenter (passing ones only)
        │  │     v1.web.default.dc1: 1 of 1 healthy; Envoy itself chooses among these tiers
        │  └─ 9.5 %
        │     resolver v2.web.default.dc1 (connect timeout 5s, request timeout 10s, maglev, passing ones only)
        │      * v2.web.default.dc1  1 of 2 healthy, active  direct, in the same datacenter
        │        v2.web.default.dc2  0 of 0 healthy          through no local gateways in dc1 (proxy-defaults)
        │        dc1: 1 of 2 healthy
        └─ every other request
           splitter web, as above
        """,  # noqa: E501
        {
            "dc1": [
                *running("web", "dc1", "passing"),
                instance("default", "web", 1, "dc1", "v2", "warning"),
            ]
        },
    ),
]


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda each: each.name)
def test_a_chain_is_explained_as_a_tree(situation: Situation) -> None:
    explanation = explain(
        EntrySet.of(map(parse_entry, situation.entries)),
        situation.service,
        situation.datacenter,
        instances_of(situation.catalog),
        overrides=situation.overrides,
        used_from=situation.used_from,
    )

    wanted = "\n".join(line.removeprefix("        ") for line in situation.text.strip("\n").splitlines()[:-1])
    assert explain_text(explanation) == wanted


def test_programs_get_the_same_tree() -> None:
    entries = [
        HTTP,
        {"Kind": "service-router", "Name": "web", "Routes": [{"Destination": {"Service": "api"}}]},
        {"Kind": "service-splitter", "Name": "web", "Splits": [{"Weight": 99.99}, {"Weight": 0.01, "Service": "api"}]},
        {"Kind": "service-resolver", "Name": "web", "RequestTimeout": "2.5ms", "LoadBalancer": {"Policy": "random"}},
        {"Kind": "service-resolver", "Name": "api", "Failover": {"*": {"Datacenters": ["dc2"]}}},
    ]
    catalog = {"dc1": [gateway(0, "dc1")], "dc2": running("api", "dc2", "passing", "critical")}
    primary: JSON = {
        "id": "api.default.dc1",
        "service": "api",
        "subset": "",
        "namespace": "default",
        "datacenter": "dc1",
        "filter": "",
        "only_passing": False,
        "mode": "",
        "mode_source": "",
        "gateways": None,
        "ill_gateways": 0,
        "cut_gateways": 0,
        "healthy": 0,
        "total": 0,
        "active": False,
        "silent": False,
        "drained": "",
        "pinned": "",
        "needed": 1,
        "calm_in_ms": 0,
        "rank": {
            "healthy": False,
            "reachable": True,
            "undrained": True,
            "heard": False,
            "pinned": True,
            "enough": True,
            "calm": True,
        },
    }
    serves = {"healthy": True, "heard": True}
    api = {
        "kind": "resolver",
        "key": "resolver:api.default.dc1",
        "cluster": "api.default.dc1",
        "connect_timeout_ms": 5000,
        "request_timeout_ms": 0,
        "policy": "",
        "failover_policy": {
            "of": "",
            "threshold": 1,
            "percent": False,
            "failback_after_ms": 0,
            "gateways": "avoid",
            "on_switch": "keep",
        },
        "chosen_by": "pointsman",
        "targets": [
            primary,
            primary
            | {"id": "api.default.dc2", "datacenter": "dc2", "mode": "local", "mode_source": "proxy-defaults"}
            | {"gateways": 1, "healthy": 1, "total": 2, "active": True, "rank": primary["rank"] | serves},
        ],
        "why": "dc1: no instances; dc2: first with a healthy instance, through the local gateways",
    }
    web = api | {
        "key": "resolver:web.default.dc1",
        "cluster": "web.default.dc1",
        "request_timeout_ms": 2.5,
        "policy": "random",
        "chosen_by": "",
        "targets": [primary | {"id": "web.default.dc1", "service": "web", "active": True}],
        "why": "dc1: no instances; there is no other target",
    }
    splitter = {
        "kind": "splitter",
        "key": "splitter:web",
        "splits": [{"percent": 99.99, "to": web}, {"percent": 0.01, "to": api}],
    }

    explanation = explain(EntrySet.of(map(parse_entry, entries)), WEB, "dc1", instances_of(catalog))

    assert explain_json(explanation) == {
        "service": "web",
        "namespace": "default",
        "datacenter": "dc1",
        "used_from": "dc1",
        "protocol": "http",
        "customization": "",
        "chain": {
            "kind": "router",
            "key": "router:web",
            "routes": [
                {"Destination": {"Service": "api"}, "to": api},
                {"Match": {"HTTP": {"PathPrefix": "/"}}, "Destination": {}, "to": splitter},
            ],
        },
        "callers": [],
    }


@pytest.mark.parametrize(
    ("upstream", "proxy", "service", "defaults", "source"),
    [
        ("remote", "local", "local", "local", "upstream override"),
        ("", "remote", "local", "local", "proxy override"),
        ("", "", "remote", "local", "service-defaults"),
        ("", "", "", "remote", "proxy-defaults"),
    ],
)
def test_a_mode_is_told_with_who_set_it(upstream: str, proxy: str, service: str, defaults: str, source: str) -> None:
    entries = [
        {"Kind": "proxy-defaults", "Name": "global", "MeshGateway": {"Mode": defaults}},
        {"Kind": "service-defaults", "Name": "web", "MeshGateway": {"Mode": service}},
    ]
    body = {"DestinationName": "web", "LocalBindPort": 9191, "Datacenter": "dc2", "MeshGateway": {"Mode": upstream}}
    registered = {"DestinationServiceName": "client", "MeshGateway": {"Mode": proxy}, "Upstreams": [body]}
    sidecar = parse_registration(
        {"Datacenter": "dc1", "Service": {"Kind": "connect-proxy", "Proxy": registered}},
    )
    only: Upstream = sidecar.service.proxy.upstreams[0]
    state = EntrySet.of(map(parse_entry, entries))

    found = explain(state, WEB, "dc2", {}, overrides=overrides(state, sidecar, only), used_from="dc1")

    (target,) = explain_json(found)["chain"]["targets"]
    assert (target["mode"], target["mode_source"]) == ("remote", source)


def test_only_what_the_inputs_name_is_asked_for() -> None:
    for situation in SITUATIONS:
        entries = EntrySet.of(map(parse_entry, situation.entries))
        whole = instances_of(situation.catalog)
        arguments = (situation.service, situation.datacenter)
        asked = inputs(compile_chain(entries, *arguments, situation.used_from or "dc1", overrides=situation.overrides))
        few = {key: each for key, each in whole.items() if key in asked}
        more: JSON = {"overrides": situation.overrides, "used_from": situation.used_from}
        assert explain(entries, *arguments, few, **more) == explain(entries, *arguments, whole, **more)


def test_what_does_not_compile_is_not_explained() -> None:
    with pytest.raises(ChainError, match="does not permit"):
        explain(EntrySet.of([parse_entry({"Kind": "service-router", "Name": "web"})]), WEB, "dc1", {})


def test_durations_are_written_in_a_form_that_is_read() -> None:
    written = {"0s": "0s", "1500ms": "1.5s", "250000us": "250ms", "1us": "1µs", "90s": "1m30s", "7200s": "2h"}
    written |= {"-1500us": "-1.5ms", "7ns": "7ns", "1h0m0.5s": "1h0.5s"}

    assert {text: duration_text(parse_duration(text)) for text in written} == written
    assert all(parse_duration(duration_text(parse_duration(text))) == parse_duration(text) for text in written)


READ = [
    {"Action": "deny", "HTTP": {"PathPrefix": "/admin", "Methods": ["get", "put"]}},
    {"Action": "allow", "HTTP": {"Header": [{"Name": "x-team", "Contains": "ops", "IgnoreCase": True}]}},
]
WHO_CALLS: list[JSON] = [
    HTTP,
    {"Kind": "namespace", "Name": "team"},
    {"Kind": "service-splitter", "Name": "web", "Splits": [{"Weight": 50}, {"Weight": 50, "Service": "api"}]},
    {
        "Kind": "service-intentions",
        "Name": "api",
        "Sources": [{"Name": "*", "Action": "allow"}, {"Name": "shop", "Permissions": READ}],
    },
    {"Kind": "service-intentions", "Name": "*", "Sources": [{"Name": "*", "Namespace": "team", "Action": "deny"}]},
]


def who_calls(caller: ServiceName | None) -> tuple[list[str], JSON]:
    """What is said of who may call the services that `web` ends at, as text and for programs."""
    entries = EntrySet.of(map(parse_entry, WHO_CALLS))
    chain = compile_chain(entries, WEB, "dc1", "dc1")
    callers = callers_of(entries, chain, caller)
    lines = explain_text(replace(explain(entries, WEB, "dc1", {}), callers=callers)).splitlines()
    first = next(i for i, line in enumerate(lines) if " call" in line)
    return lines[first:], explain_json(replace(explain(entries, WEB, "dc1", {}), callers=callers))["callers"]


def test_who_may_call_is_explained_for_each_service_that_a_chain_ends_at() -> None:
    lines, told = who_calls(None)

    all_of_team = 'every service of namespace "team": denied, by service-intentions "*"'
    assert lines == [
        'who may call "api":',
        '   "shop": path prefix /admin, method GET or PUT denied; header x-team contains "ops" in any case allowed; '
        'every other request allowed, by service-intentions "api"',
        '   every service of namespace "default": allowed, by service-intentions "api"',
        f"   {all_of_team}",
        "   everybody else: allowed, by no intention",
        'who may call "web":',
        f"   {all_of_team}",
        "   everybody else: allowed, by no intention",
    ]
    assert [(each["service"], [one["source"] for one in each["intentions"]]) for each in told] == [
        ("api", ["default/shop", "default/*", "team/*"]),
        ("web", ["team/*"]),
    ]
    assert told[0]["intentions"][0] == {
        "source": "default/shop",
        "permissions": [READ[0] | {"HTTP": {"PathPrefix": "/admin", "Methods": ["GET", "PUT"]}}, READ[1]],
        "otherwise": "allow",
        "entry": 'service-intentions "api"',
    }


def test_whether_a_caller_may_call_is_explained_with_the_intention_that_decides() -> None:
    assert who_calls(ServiceName("team", "shop"))[0] == [
        '"shop" in namespace "team" calls "api": denied, by service-intentions "*"',
        '"shop" in namespace "team" calls "web": denied, by service-intentions "*"',
    ]
    assert who_calls(ServiceName("default", "other"))[0] == [
        '"other" calls "api": allowed, by service-intentions "api"',
        '"other" calls "web": allowed, by no intention',
    ]
