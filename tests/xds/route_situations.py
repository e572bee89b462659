"""Named situations: config entries, and the routes that a sidecar in dc1 with the upstream `web` gets for them."""

from dataclasses import dataclass

from tests.xds.route_entries import JSON, TRUST_DOMAIN, cluster, hashed, resolver, router, speaking, splitter


@dataclass(frozen=True)
class Situation:
    """`entries` in Consul's shape; `routes` in proto3 JSON, in order."""

    name: str
    entries: list[JSON]
    routes: list[JSON]


def matching(*matches: JSON) -> list[JSON]:
    """The entries of a router with one route to `api` per match."""
    to_api = [{"Match": {"HTTP": each}, "Destination": {"Service": "api"}} for each in matches]
    return [*speaking("web", "api"), router(*to_api)]


def to_api(*matches: JSON) -> list[JSON]:
    """The routes that become of `matching`: one to `api` per match, and the catch-all."""
    return [*({"match": each, "route": {"cluster": cluster("api")}} for each in matches), _CATCH_ALL]


def destined(*destinations: JSON) -> list[JSON]:
    """The entries of a router with one route to `api` per destination."""
    routes = [{"Match": {"HTTP": {"PathPrefix": "/x"}}, "Destination": {"Service": "api"} | e} for e in destinations]
    return [*speaking("web", "api"), router(*routes)]


def actions(*details: JSON) -> list[JSON]:
    """The routes that become of `destined`, and the catch-all."""
    to = {"cluster": cluster("api")}
    return [*({"match": {"prefix": "/x"}, "route": to | each} for each in details), _CATCH_ALL]


def always(action: JSON) -> list[JSON]:
    """One route, for every request."""
    return [{"match": {"prefix": "/"}, "route": action}]


def weighted(**weights: int) -> JSON:
    return {"weighted_clusters": {"clusters": [{"name": cluster(k), "weight": v} for k, v in weights.items()]}}


def added(name: str, value: str) -> JSON:
    """A header beside one of that name."""
    return {"header": {"key": name, "value": value}}


def put(name: str, value: str) -> JSON:
    """A header instead of one of that name."""
    return added(name, value) | {"append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


_CATCH_ALL = {"match": {"prefix": "/"}, "route": {"cluster": cluster("web")}}

SITUATIONS = [
    Situation(
        "no entry but the protocol: everything to the service", speaking("web"), always({"cluster": cluster("web")})
    ),
    Situation(
        "a path is matched exactly, by prefix or by a whole regular expression",
        matching({"PathExact": "/one"}, {"PathPrefix": "/two/"}, {"PathRegex": "/v[0-9]+"}),
        to_api({"path": "/one"}, {"prefix": "/two/"}, {"safe_regex": {"regex": "/v[0-9]+"}}),
    ),
    Situation(
        "a route without a match, or with an empty one, takes every request",
        [*speaking("web", "api"), router({"Destination": {"Service": "api"}}, {"Match": {"HTTP": {}}}, {"Match": {}})],
        [{"match": {"prefix": "/"}, "route": {"cluster": cluster("api")}}, _CATCH_ALL, _CATCH_ALL, _CATCH_ALL],
    ),
    Situation(
        "headers are matched in five ways, each of which can be inverted",
        matching(
            {
                "PathPrefix": "/h",
                "Header": [
                    {"Name": "x-a", "Present": True},
                    {"Name": "x-b", "Exact": "b"},
                    {"Name": "x-c", "Prefix": "c"},
                    {"Name": "x-d", "Suffix": "d"},
                    {"Name": "x-e", "Regex": "e+"},
                ],
            },
            {"Header": [{"Name": "x-a", "Present": True, "Invert": True}]},
            {"Header": [{"Name": "x-b", "Exact": "b", "Invert": True}]},
        ),
        to_api(
            {
                "prefix": "/h",
                "headers": [
                    {"name": "x-a", "present_match": True},
                    {"name": "x-b", "string_match": {"exact": "b"}},
                    {"name": "x-c", "string_match": {"prefix": "c"}},
                    {"name": "x-d", "string_match": {"suffix": "d"}},
                    {"name": "x-e", "string_match": {"safe_regex": {"regex": "e+"}}},
                ],
            },
            {"prefix": "/", "headers": [{"name": "x-a", "present_match": True, "invert_match": True}]},
            {"prefix": "/", "headers": [{"name": "x-b", "string_match": {"exact": "b"}, "invert_match": True}]},
        ),
    ),
    Situation(
        "query parameters are matched in three ways",
        matching(
            {
                "QueryParam": [
                    {"Name": "a", "Present": True},
                    {"Name": "b", "Exact": "1"},
                    {"Name": "c", "Regex": "[0-9]"},
                ]
            }
        ),
        to_api(
            {
                "prefix": "/",
                "query_parameters": [
                    {"name": "a", "present_match": True},
                    {"name": "b", "string_match": {"exact": "1"}},
                    {"name": "c", "string_match": {"safe_regex": {"regex": "[0-9]"}}},
                ],
            }
        ),
    ),
    Situation(
        "methods are one more header condition, and no regular expressions",
        matching({"Methods": ["get", "M-SEARCH"], "Header": [{"Name": "x-a", "Present": True}]}),
        to_api(
            {
                "prefix": "/",
                "headers": [
                    {"name": "x-a", "present_match": True},
                    {"name": ":method", "string_match": {"safe_regex": {"regex": r"GET|M\-SEARCH"}}},
                ],
            }
        ),
    ),
    Situation(
        "a route rewrites its prefix and limits its time; what is below a millisecond does not become no limit, and"
        " what is below zero does",
        destined(
            {"PrefixRewrite": "/y"},
            {"RequestTimeout": "1m30s"},
            {"RequestTimeout": "250ms"},
            {"RequestTimeout": "9ns"},
            {"RequestTimeout": "-1s", "IdleTimeout": "-1ns"},
        ),
        actions(
            {"prefix_rewrite": "/y"},
            {"timeout": "90s"},
            {"timeout": "0.250s"},
            {"timeout": "0.001s"},
            {"timeout": "0s", "idle_timeout": "0s"},
        ),
    ),
    Situation(
        "retries: on a connection that fails, on some statuses, on both; a number alone retries on nothing",
        destined(
            {"RetryOnConnectFailure": True},
            {"NumRetries": 2, "RetryOnStatusCodes": [502, 503]},
            {"NumRetries": 5, "RetryOnConnectFailure": True, "RetryOnStatusCodes": [500]},
            {"NumRetries": 3},
        ),
        actions(
            {"retry_policy": {"retry_on": "connect-failure"}},
            {
                "retry_policy": {
                    "retry_on": "retriable-status-codes",
                    "num_retries": 2,
                    "retriable_status_codes": [502, 503],
                }
            },
            {
                "retry_policy": {
                    "retry_on": "connect-failure,retriable-status-codes",
                    "num_retries": 5,
                    "retriable_status_codes": [500],
                }
            },
            {"retry_policy": {"num_retries": 3}},
        ),
    ),
    Situation(
        "retries in Envoy's own words, each once; a limit on silence",
        destined(
            {"RetryOn": ["5xx", "refused-stream", "5xx"], "RetryOnStatusCodes": [409]},
            {"RetryOn": ["connect-failure"], "RetryOnConnectFailure": True},
            {"IdleTimeout": "60s"},
        ),
        actions(
            {
                "retry_policy": {
                    "retry_on": "5xx,refused-stream,retriable-status-codes",
                    "retriable_status_codes": [409],
                }
            },
            {"retry_policy": {"retry_on": "connect-failure"}},
            {"idle_timeout": "60s"},
        ),
    ),
    Situation(
        "a path in any capitals",
        matching({"PathExact": "/One", "CaseInsensitive": True}, {"PathPrefix": "/Two", "CaseInsensitive": True}),
        to_api({"path": "/One", "case_sensitive": False}, {"prefix": "/Two", "case_sensitive": False}),
    ),
    Situation(
        "a route adds headers, sets them and removes them, in both directions",
        destined(
            {
                "RequestHeaders": {"Add": {"x-b": "1", "x-a": "2"}, "Set": {"x-c": "%PROTOCOL%"}, "Remove": ["x-d"]},
                "ResponseHeaders": {"Remove": ["server"], "Set": {"x-e": "100%%"}},
            }
        ),
        [
            {
                "match": {"prefix": "/x"},
                "route": {"cluster": cluster("api")},
                "request_headers_to_add": [added("x-a", "2"), added("x-b", "1"), put("x-c", "%PROTOCOL%")],
                "request_headers_to_remove": ["x-d"],
                "response_headers_to_add": [put("x-e", "100%%")],
                "response_headers_to_remove": ["server"],
            },
            _CATCH_ALL,
        ],
    ),
    Situation(
        "splitters in a row change headers: of a request the inner one last, of a response the outer one",
        [
            *speaking("web", "api"),
            splitter(
                "web",
                {
                    "Weight": 100,
                    "Service": "api",
                    "RequestHeaders": {"Set": {"x-a": "outer", "x-b": "outer"}},
                    "ResponseHeaders": {"Set": {"x-a": "outer"}},
                },
            ),
            splitter(
                "api",
                {"Weight": 50, "ServiceSubset": "v1", "RequestHeaders": {"Set": {"x-a": "inner"}, "Remove": ["x-c"]}},
                {"Weight": 50, "ServiceSubset": "v2", "ResponseHeaders": {"Set": {"x-a": "inner", "x-d": "inner"}}},
            ),
            resolver("api", "v1", "v2"),
        ],
        always(
            {
                "weighted_clusters": {
                    "clusters": [
                        {
                            "name": cluster("v1.api"),
                            "weight": 5000,
                            "request_headers_to_add": [put("x-a", "inner"), put("x-b", "outer")],
                            "request_headers_to_remove": ["x-c"],
                            "response_headers_to_add": [put("x-a", "outer")],
                        },
                        {
                            "name": cluster("v2.api"),
                            "weight": 5000,
                            "request_headers_to_add": [put("x-a", "outer"), put("x-b", "outer")],
                            "response_headers_to_add": [put("x-a", "outer"), put("x-d", "inner")],
                        },
                    ]
                }
            }
        ),
    ),
    Situation(
        "a splitter becomes weights in hundredths of a percent",
        [
            *speaking("web"),
            resolver("web", "v1", "v2", "v3"),
            splitter(
                "web",
                {"Weight": 99.98, "ServiceSubset": "v1"},
                {"Weight": 0.02, "ServiceSubset": "v2"},
                {"Weight": 0, "ServiceSubset": "v3"},
            ),
        ],
        always(weighted(**{"v1.web": 9998, "v2.web": 2, "v3.web": 0})),
    ),
    Situation(
        "splitters in a row multiply, and shares of one cluster add up",
        [
            *speaking("web", "api", "old"),
            splitter("web", {"Weight": 60, "Service": "api"}, {"Weight": 40, "Service": "old"}),
            splitter("api", {"Weight": 12.5, "Service": "old"}, {"Weight": 87.5, "Service": "api"}),
        ],
        always(weighted(old=4750, api=5250)),
    ),
    Situation(
        "a router leads to a subset, to a splitter with what the route says, and at last to the service",
        [
            *speaking("web", "api"),
            resolver("web", "v1", "v2", DefaultSubset="v1"),
            splitter("api", {"Weight": 75}, {"Weight": 25, "Service": "web"}),
            router(
                {"Match": {"HTTP": {"PathExact": "/2"}}, "Destination": {"ServiceSubset": "v2"}},
                {"Match": {"HTTP": {"PathPrefix": "/a"}}, "Destination": {"Service": "api", "PrefixRewrite": "/b"}},
            ),
        ],
        [
            {"match": {"path": "/2"}, "route": {"cluster": cluster("v2.web")}},
            {
                "match": {"prefix": "/a"},
                "route": weighted(**{"api": 7500, "v1.web": 2500}) | {"prefix_rewrite": "/b"},
            },
            {"match": {"prefix": "/"}, "route": {"cluster": cluster("v1.web")}},
        ],
    ),
    Situation(
        "a redirected service is reached under the name of where it went",
        [*speaking("web", "api"), {**resolver("web"), "Redirect": {"Service": "api", "Datacenter": "dc2"}}],
        always({"cluster": f"api.default.dc2.internal.{TRUST_DOMAIN}"}),
    ),
    Situation(
        "a resolver's time limit holds where the chain starts at it",
        [*speaking("web"), resolver("web", RequestTimeout="2s")],
        always({"cluster": cluster("web"), "timeout": "2s"}),
    ),
    Situation(
        "a resolver's time limit does not hold behind a router",
        [*speaking("web", "api"), resolver("web", RequestTimeout="2s"), router()],
        [_CATCH_ALL],
    ),
    Situation(
        "what a resolver hashes is hashed on its routes",
        [
            *speaking("web"),
            hashed(
                "web",
                {"Field": "header", "FieldValue": "x-user", "Terminal": True},
                {"Field": "query_parameter", "FieldValue": "user"},
                {"Field": "cookie", "FieldValue": "theirs"},
                {"Field": "cookie", "FieldValue": "session", "CookieConfig": {"Session": True, "Path": "/app"}},
                {"Field": "cookie", "FieldValue": "lasting", "CookieConfig": {"TTL": "1h0.5s"}},
                {"SourceIP": True},
            ),
        ],
        always(
            {
                "cluster": cluster("web"),
                "hash_policy": [
                    {"header": {"header_name": "x-user"}, "terminal": True},
                    {"query_parameter": {"name": "user"}},
                    {"cookie": {"name": "theirs"}},
                    {"cookie": {"name": "session", "ttl": "0s", "path": "/app"}},
                    {"cookie": {"name": "lasting", "ttl": "3601s"}},
                    {"connection_properties": {"source_ip": True}},
                ],
            }
        ),
    ),
    Situation(
        "a splitter hashes as the first of its resolvers that hashes at all",
        [
            *speaking("web", "a", "b"),
            hashed("a", {"Field": "header", "FieldValue": "x-a"}),
            hashed("b", {"Field": "header", "FieldValue": "x-b"}),
            splitter("web", {"Weight": 80}, {"Weight": 15, "Service": "a"}, {"Weight": 5, "Service": "b"}),
        ],
        always(weighted(web=8000, a=1500, b=500) | {"hash_policy": [{"header": {"header_name": "x-a"}}]}),
    ),
]
