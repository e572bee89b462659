"""The config dump of an Envoy that Consul configures (1.14 and later), and the config that says the same here.

web in dc1 calls api (HTTP: routes, a split, headers), db (TCP: fails over to dc2 through its mesh gateway, as an
aggregate cluster) and cache (TCP: two instances, one of them ill).
"""

from typing import Any

from pointsman.store.protocol import Store

from tests.adapter.control import Control, Document, defaults, instance, proxy_defaults, resolver
from tests.adapter.published import TRUST_DOMAIN

JSON = dict[str, Any]

API, DB, CACHE = 9191, 9192, 9193
PUBLIC, APP = 20000, 8080
TYPES = "type.googleapis.com/envoy"
_CA = {"inline_string": "PEM"}
_CERTIFICATE = {"certificate_chain": {"inline_string": "PEM"}, "private_key": {"inline_string": "[redacted]"}}
_FILTERS = f"{TYPES}.extensions.filters"


def configure(store: Store) -> None:
    """Write what says the same here, and report the same health."""
    control = Control(store)
    v2 = [instance("api", (f"10.0.0.{number}", 20000), version="2") for number in (2, 3)]
    control.report("api", instance("api", ("10.0.0.1", 20000), version="1"), *v2)
    control.report("db", instance("db", ("10.0.0.4", 20000)), instance("db", ("10.0.0.5", 20000)))
    control.report("db", instance("db", ("10.2.0.4", 20000)), dc="dc2")
    control.report("cache", instance("cache", ("10.0.0.6", 20000)), instance("cache", ("10.0.0.7", 20000), "critical"))
    control.report_gateways({"gw": ("10.2.0.9", 8443)}, dc="dc2")
    control.apply(
        proxy_defaults("remote"),
        defaults("api", Protocol="http"),
        resolver(
            "api",
            Subsets={f"v{version}": {"Filter": f"Service.Meta.version == {version}"} for version in (1, 2)},
        ),
        _splitter(),
        _router(),
        resolver("db", Failover={"*": {"Datacenters": ["dc2"]}}, ConnectTimeout="3s"),
        _web(),
    )


def _splitter() -> Document:
    first = {"Weight": 90, "ServiceSubset": "v1", "ResponseHeaders": {"Set": {"x-version": "1"}}}
    return {"Kind": "service-splitter", "Name": "api", "Splits": [first, {"Weight": 10, "ServiceSubset": "v2"}]}


def _router() -> Document:
    retries = {"NumRetries": 2, "RetryOnConnectFailure": True, "RetryOnStatusCodes": [503, 429]}
    headers = [{"Name": "x-debug", "Exact": "1"}, {"Name": "x-user", "Present": True}]
    return {
        "Kind": "service-router",
        "Name": "api",
        "Routes": [
            {
                "Match": {
                    "HTTP": {"PathPrefix": "/admin", "Header": headers, "QueryParam": [{"Name": "q", "Exact": "a"}]}
                },
                "Destination": {"ServiceSubset": "v2", "RequestTimeout": "3s", **retries},
            },
            {"Match": {"HTTP": {"PathPrefix": "/adm"}}, "Destination": {"ServiceSubset": "v1", "PrefixRewrite": "/"}},
            {
                "Match": {"HTTP": {"PathExact": "/health"}},
                "Destination": {"ServiceSubset": "v1", "RequestHeaders": {"Add": {"x-from": "web"}}},
            },
        ],
    }


def _web() -> Document:
    upstreams = [
        {"DestinationName": name, "LocalBindPort": port} for name, port in (("api", API), ("db", DB), ("cache", CACHE))
    ]
    proxy = {"DestinationServiceName": "web", "LocalServicePort": APP, "Upstreams": upstreams}
    service = {"Kind": "connect-proxy", "ID": "web-sidecar", "Address": "10.0.0.20", "Port": PUBLIC, "Proxy": proxy}
    return {"Datacenter": "dc1", "Service": service}


def dump() -> JSON:
    """What the Envoy's admin answers."""
    made = whole(_clusters(), _assignments(), _listeners())
    made["configs"].append(
        {
            "@type": f"{TYPES}.admin.v3.RoutesConfigDump",
            "dynamic_route_configs": [{"version_info": "3d", "route_config": _routes()}],
        }
    )
    return made


def whole(clusters: list[JSON], assignments: list[JSON], listeners: list[JSON]) -> JSON:
    """A dump with these, and what is in any Envoy of Consul's."""
    return {
        "configs": [
            {"@type": f"{TYPES}.admin.v3.BootstrapConfigDump", "bootstrap": _bootstrap()},
            {
                "@type": f"{TYPES}.admin.v3.ClustersConfigDump",
                "version_info": "00000007",
                "static_clusters": [{"cluster": _local("local_agent", 8502)}],
                "dynamic_active_clusters": [{"version_info": "1f", "cluster": each} for each in clusters],
            },
            {
                "@type": f"{TYPES}.admin.v3.EndpointsConfigDump",
                "static_endpoint_configs": [{"endpoint_config": _local_endpoints("local_agent", 8502)}],
                "dynamic_endpoint_configs": [{"endpoint_config": each} for each in assignments],
            },
            {
                "@type": f"{TYPES}.admin.v3.ListenersConfigDump",
                "static_listeners": [{"listener": _ready_listener()}],
                "dynamic_listeners": [
                    {"name": each["name"], "active_state": {"version_info": "2e", "listener": each}}
                    for each in listeners
                ],
            },
            {"@type": f"{TYPES}.admin.v3.SecretsConfigDump"},
        ]
    }


def _bootstrap() -> JSON:
    return {
        "node": {
            "id": "web-sidecar-proxy",
            "cluster": "web",
            "user_agent_name": "envoy",
            "user_agent_build_version": {"version": {"major_number": 1, "minor_number": 33, "patch": 2}},
        },
        "dynamic_resources": {"lds_config": {"ads": {}}, "cds_config": {"ads": {}}},
    }


def sni(target: str) -> str:
    """The server name of a target, which is the name of its cluster too."""
    return f"{target}.internal.{TRUST_DOMAIN}"


def of_targets(target: str, targets: list[str], service: str) -> list[JSON]:
    """The clusters of the `targets` behind the aggregate cluster of `target`."""
    return [eds(f"failover-target~{number}~{sni(target)}", each, service) for number, each in enumerate(targets)]


def aggregate(target: str, members: list[JSON]) -> tuple[JSON, str]:
    """The aggregate cluster of `target`, and its name."""
    name = sni(target)
    made = {
        "@type": f"{TYPES}.config.cluster.v3.Cluster",
        "name": name,
        "alt_stat_name": name,
        "connect_timeout": "5s",
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {
            "name": "envoy.clusters.aggregate",
            "typed_config": {
                "@type": f"{TYPES}.extensions.clusters.aggregate.v3.ClusterConfig",
                "clusters": [each["name"] for each in members],
            },
        },
    }
    return made, name


def _clusters() -> list[JSON]:
    db = of_targets("db.default.dc1", ["db.default.dc1", "db.default.dc2"], "db")
    for each in db:
        each["connect_timeout"] = "3s"
    return [
        _local("local_app", APP),
        *(eds(sni(f"{subset}.api.default.dc1"), f"{subset}.api.default.dc1", "api") for subset in ("v1", "v2")),
        aggregate("db.default.dc1", db)[0],
        *db,
        eds(sni("cache.default.dc1"), "cache.default.dc1", "cache"),
    ]


def eds(name: str, target: str, service: str) -> JSON:
    """A cluster of a target whose endpoints are fetched."""
    dc = target.rpartition(".")[2]
    # Consul's older form of the names, without their type, is read as well.
    names: JSON = {"match_subject_alt_names": [{"exact": f"spiffe://{TRUST_DOMAIN}/ns/default/dc/{dc}/svc/{service}"}]}
    return {
        "@type": f"{TYPES}.config.cluster.v3.Cluster",
        "name": name,
        "alt_stat_name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"}},
        "connect_timeout": "5s",
        "circuit_breakers": {},
        "outlier_detection": {},
        "common_lb_config": {"healthy_panic_threshold": {}},
        "transport_socket": {
            "name": "tls",
            "typed_config": {
                "@type": f"{TYPES}.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": sni(target),
                "common_tls_context": {
                    "tls_params": {},
                    "tls_certificates": [_CERTIFICATE],
                    "validation_context": {"trusted_ca": _CA, **names},
                },
            },
        },
    }


def _local(name: str, port: int) -> JSON:
    return {
        "@type": f"{TYPES}.config.cluster.v3.Cluster",
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [_endpoint("127.0.0.1", port)]}]},
    }


def _local_endpoints(name: str, port: int) -> JSON:
    return assignment(name, [("127.0.0.1", port, "HEALTHY")])


def _assignments() -> list[JSON]:
    return [
        assignment(sni("v1.api.default.dc1"), [("10.0.0.1", 20000, "HEALTHY")]),
        assignment(sni("v2.api.default.dc1"), [(f"10.0.0.{number}", 20000, "HEALTHY") for number in (2, 3)]),
        assignment(sni("cache.default.dc1"), [("10.0.0.6", 20000, "HEALTHY"), ("10.0.0.7", 20000, "UNHEALTHY")]),
        assignment(
            f"failover-target~0~{sni('db.default.dc1')}", [(f"10.0.0.{number}", 20000, "HEALTHY") for number in (4, 5)]
        ),
        assignment(f"failover-target~1~{sni('db.default.dc1')}", [("10.2.0.9", 8443, "HEALTHY")]),
        {"@type": f"{TYPES}.config.endpoint.v3.ClusterLoadAssignment", "cluster_name": sni("db.default.dc1")},
    ]


def assignment(name: str, places: list[tuple[str, int, str]]) -> JSON:
    """The endpoints of a cluster: address, port, health."""
    return {
        "@type": f"{TYPES}.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": name,
        "endpoints": [
            {
                "locality": {},
                "lb_endpoints": [
                    {**_endpoint(ip, port), "health_status": health, "load_balancing_weight": 1}
                    for ip, port, health in places
                ],
            }
        ],
        "policy": {"overprovisioning_factor": 140},
    }


def _endpoint(ip: str, port: int) -> JSON:
    return {"endpoint": {"address": {"socket_address": {"address": ip, "port_value": port}}}}


def listener(name: str, ip: str, port: int, direction: str, chain: JSON) -> JSON:
    """A listener with one filter chain."""
    return {
        "@type": f"{TYPES}.config.listener.v3.Listener",
        "name": f"{name}:{ip}:{port}",
        "address": {"socket_address": {"address": ip, "port_value": port}},
        "filter_chains": [chain],
        "traffic_direction": direction,
    }


def tcp(cluster: str) -> JSON:
    """A TCP proxy to a cluster."""
    return {
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {
            "@type": f"{_FILTERS}.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "any",
            "cluster": cluster,
        },
    }


def _listeners() -> list[JSON]:
    manager = {
        "@type": f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "upstream.api.default.default.dc1",
        "rds": {"config_source": {"ads": {}, "resource_api_version": "V3"}, "route_config_name": "api"},
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{_FILTERS}.http.router.v3.Router"}}
        ],
        "tracing": {"random_sampling": {}},
        "upgrade_configs": [{"upgrade_type": "websocket"}],
    }
    http = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    nobody_denied = {"action": "DENY"}
    rbac = {
        "name": "envoy.filters.network.rbac",
        "typed_config": {
            "@type": f"{_FILTERS}.network.rbac.v3.RBAC",
            "rules": nobody_denied,
            "stat_prefix": "connect_authz",
        },
    }
    common = {"tls_params": {}, "tls_certificates": [_CERTIFICATE], "validation_context": {"trusted_ca": _CA}}
    tls = {
        "@type": f"{TYPES}.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": common,
        "require_client_certificate": True,
    }
    public = {
        "filters": [rbac, tcp("local_app")],
        "transport_socket": {"name": "tls", "typed_config": tls},
    }
    return [
        listener("api", "127.0.0.1", API, "OUTBOUND", http),
        listener("db", "127.0.0.1", DB, "OUTBOUND", {"filters": [tcp(sni("db.default.dc1"))]}),
        listener("cache", "127.0.0.1", CACHE, "OUTBOUND", {"filters": [tcp(sni("cache.default.dc1"))]}),
        listener("public_listener", "0.0.0.0", PUBLIC, "INBOUND", public),
    ]


def _ready_listener() -> JSON:
    return listener("envoy_ready_listener", "127.0.0.1", 21000, "INBOUND", {"filters": [tcp("local_agent")]})


def _routes() -> JSON:
    v1, v2 = sni("v1.api.default.dc1"), sni("v2.api.default.dc1")
    headers = [
        {"name": "x-debug", "string_match": {"exact": "1"}},
        {"name": "x-user", "present_match": True},
    ]
    added = {"header": {"key": "x-from", "value": "web"}, "append_action": "APPEND_IF_EXISTS_OR_ADD"}
    split = [
        {
            "name": v1,
            "weight": 9000,
            "response_headers_to_add": [
                {"header": {"key": "x-version", "value": "1"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            ],
        },
        {"name": v2, "weight": 1000},
    ]
    retries = {
        "retry_on": "connect-failure,retriable-status-codes",
        "num_retries": 2,
        "retriable_status_codes": [503, 429],
    }
    return {
        "@type": f"{TYPES}.config.route.v3.RouteConfiguration",
        "name": "api",
        "virtual_hosts": [
            {
                "name": "api",
                "domains": ["*"],
                "routes": [
                    {
                        "match": {
                            "prefix": "/admin",
                            "headers": headers,
                            "query_parameters": [{"name": "q", "string_match": {"exact": "a"}}],
                        },
                        "route": {"cluster": v2, "timeout": "3s", "retry_policy": retries},
                    },
                    {"match": {"prefix": "/adm"}, "route": {"cluster": v1, "prefix_rewrite": "/"}},
                    {"match": {"path": "/health"}, "route": {"cluster": v1}, "request_headers_to_add": [added]},
                    {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": split}}},
                ],
            }
        ],
        "validate_clusters": True,
    }
