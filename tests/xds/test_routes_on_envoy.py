"""A real Envoy on a sidecar's upstream listeners sends every request where the config entries say."""

import http.client
import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from pointsman.chain.graph import Chain, ResolverNode
from pointsman.chain.plan import cluster_name, sidecar_plans
from pointsman.model.headers import COMMANDS
from pointsman.xds.cluster import sidecar_cluster

from tests.fleet.envoy import Envoy
from tests.fleet.process import Ports
from tests.xds.route_backends import Backends
from tests.xds.route_entries import (
    JSON,
    TRUST_DOMAIN,
    as_json,
    chains_and_listeners,
    cluster,
    hashed,
    resolver,
    router,
    splitter,
    upstream,
)


@dataclass(frozen=True)
class Answer:
    """What came back, and what the backend says that it received. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    by: str = ""
    instance: int = 0
    path: str = ""
    received: dict[str, str] = field(default_factory=dict)


class Mesh:
    """An Envoy on the listeners of MESH, with a backend for each of their clusters."""

    def __init__(self, envoy: Envoy, ports: dict[str, int]) -> None:
        self.envoy, self.ports = envoy, ports
        self.http_port, self.tcp_port = ports["http"], ports["tcp"]

    def ask(self, request: str, headers: dict[str, str] | None = None, port: int = 0) -> Answer:
        """One request (`GET /path`) on a connection of its own, to `port` or else to the HTTP listener."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.http_port, timeout=10)
        try:
            return self.send(connection, request, headers or {})
        finally:
            connection.close()

    @staticmethod
    def send(connection: http.client.HTTPConnection, request: str, headers: dict[str, str]) -> Answer:
        """One request on `connection`."""
        connection.request(*request.split(" ", 1), headers=headers)
        response = connection.getresponse()
        body = response.read()
        back = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, back, **(json.loads(body) if body.startswith(b"{") else {}))


def to(service: str, match: JSON, **destination: Any) -> JSON:
    return {"Match": {"HTTP": match}, "Destination": {"Service": service, **destination}}


def header(name: str, **condition: Any) -> JSON:
    return {"Header": [{"Name": name, **condition}]}


def parameter(name: str, **condition: Any) -> JSON:
    return {"QueryParam": [{"Name": name, **condition}]}


SHARES = {"big": 70.0, "middle": 25.0, "small": 5.0}
CONFIGS: dict[str, JSON] = {
    "http": {},
    "tcp": {"protocol": "tcp"},
    "full": {"limits": {"max_concurrent_requests": 0}},
    "ejecting": {"passive_health_check": {"interval": "50ms", "max_failures": 2, "max_ejection_percent": 100}},
}
"""The upstreams, all of them `web`, each with its `Config`."""
VARIABLES = {f"x-variable-{number}": f"<%{name}%>" for number, name in enumerate(COMMANDS)}
MESH: list[JSON] = [
    {"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http"}},
    resolver("web", "v1", "v2", DefaultSubset="v1"),
    {**resolver("moved"), "Redirect": {"Service": "elsewhere", "Datacenter": "dc2"}},
    splitter(
        "split",
        *(
            {
                "Weight": weight,
                "Service": name,
                "RequestHeaders": {"Set": {"x-share": name}},
                "ResponseHeaders": {"Add": {"x-share": name}},
            }
            for name, weight in SHARES.items()
        ),
    ),
    hashed(
        "sticky",
        {"Field": "header", "FieldValue": "x-user", "Terminal": True},
        {"Field": "cookie", "FieldValue": "lasting", "CookieConfig": {"TTL": "500ms", "Path": "/sticky"}},
    ),
    router(
        to("exact", {"PathExact": "/exact"}, PrefixRewrite="/rewritten"),
        to("prefix", {"PathPrefix": "/prefix/"}, PrefixRewrite="/"),
        to("regex", {"PathRegex": "/v[0-9]+"}),
        to("present", header("x-present", Present=True)),
        to("header-exact", header("x-exact", Exact="1")),
        to("header-prefix", header("x-prefix", Prefix="ab")),
        to("header-suffix", header("x-suffix", Suffix="yz")),
        to("header-regex", header("x-regex", Regex="[0-9]+")),
        to("inverted", {"PathPrefix": "/inverted", **header("x-keep", Exact="yes", Invert=True)}),
        to("lacking", {"PathPrefix": "/lacking", **header("x-keep", Present=True, Invert=True)}),
        to("both", {"PathPrefix": "/both", "Header": [{"Name": n, "Exact": "1"} for n in ("x-one", "x-two")]}),
        to("query-present", parameter("present", Present=True)),
        to("query-exact", parameter("exact", Exact="1")),
        to("query-regex", parameter("regex", Regex="[a-c]")),
        to("writing", {"PathPrefix": "/write", "Methods": ["POST", "PUT"]}),
        to("", {"PathPrefix": "/subset"}, ServiceSubset="v2"),
        to("moved", {"PathPrefix": "/moved"}),
        to("split", {"PathPrefix": "/split"}),
        to("sticky", {"PathPrefix": "/sticky"}),
        to("retried", {"PathPrefix": "/retried"}, NumRetries=2, RetryOnStatusCodes=[503]),
        to("again", {"PathPrefix": "/again"}, NumRetries=2, RetryOn=["5xx", "reset"]),
        to("idle", {"PathPrefix": "/idle"}, IdleTimeout="50ms"),
        to("any-case", {"PathExact": "/Any/Case", "CaseInsensitive": True}, PrefixRewrite="/x"),
        to(
            "headed",
            {"PathPrefix": "/headed"},
            RequestHeaders={
                "Add": {"x-two": "b"},
                "Set": {"x-one": "b", "x-path": "%REQ(:PATH):4%", **VARIABLES},
                "Remove": ["x-gone"],
            },
            ResponseHeaders={"Set": {"x-percent": "100%%"}, "Remove": ["x-envoy-upstream-service-time"]},
        ),
        to("down", {"PathPrefix": "/down"}, NumRetries=3, RetryOnConnectFailure=True),
        to("slow", {"PathPrefix": "/slow"}, RequestTimeout="50ms"),
        to("absent", {"PathPrefix": "/absent"}),
    ),
]


def backend_cluster(name: str, ports: list[int]) -> JSON:
    places = [{"socket_address": {"address": "127.0.0.1", "port_value": port}} for port in ports]
    endpoints = [{"endpoint": {"address": place}} for place in places]
    return {
        "name": name,
        "type": "STATIC",
        "lb_policy": "MAGLEV" if len(ports) > 1 else "ROUND_ROBIN",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    }


def resolver_clusters(chain: Chain) -> Iterator[str]:
    return (cluster_name(chain, node, TRUST_DOMAIN) for node in chain.nodes.values() if isinstance(node, ResolverNode))


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with Ports() as ports, Backends() as backends:
        admin, nobody = ports.take("127.0.0.1"), ports.take("127.0.0.1")
        taken = {name: ports.take("127.0.0.1") for name in CONFIGS}
        upstreams = [upstream(port, Config=CONFIGS[name]) for name, port in taken.items()]
        clusters, found = [], []
        for chain, listener in chains_and_listeners(MESH, *upstreams):
            found.append(listener)
            computed = {plan.cluster_name(TRUST_DOMAIN): plan for plan in sidecar_plans(chain)}
            for name in resolver_clusters(chain):
                if name == cluster("down"):
                    clusters.append(backend_cluster(name, [nobody]))
                elif name != cluster("absent"):
                    ours = as_json(sidecar_cluster(computed[name], 0, TRUST_DOMAIN))
                    limits = {
                        key: ours[key]
                        for key in ("circuit_breakers", "outlier_detection", "common_lb_config")
                        if ours.get(key)
                    }
                    instances = backends.add(name, 2 if name == cluster("sticky") else 1)
                    clusters.append(backend_cluster(name, instances) | limits)
        bootstrap = {
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
            "static_resources": {"listeners": [as_json(each) for each in found], "clusters": clusters},
        }
        with Envoy("sidecar", bootstrap, tmp_path_factory.mktemp("routes")) as envoy:
            envoy.wait_ready()
            yield Mesh(envoy, taken)


_DEFAULT = cluster("v1.web")
REQUESTS: dict[str, tuple[str, dict[str, str], str, str]] = {
    # what it shows: (request, its headers, the cluster that gets it, the path that arrives there)
    "nothing in particular": ("GET /a/b?c=d", {}, _DEFAULT, "/a/b?c=d"),
    "the exact path, rewritten as a whole": ("GET /exact", {}, cluster("exact"), "/rewritten"),
    "the exact path with a query": ("GET /exact?a=1", {}, cluster("exact"), "/rewritten?a=1"),
    "more than the exact path": ("GET /exact/b", {}, _DEFAULT, "/exact/b"),
    "the exact path in capitals": ("GET /EXACT", {}, _DEFAULT, "/EXACT"),
    "a prefix, replaced": ("GET /prefix/a?b=1", {}, cluster("prefix"), "/a?b=1"),
    "less than the prefix": ("GET /prefix", {}, _DEFAULT, "/prefix"),
    "a regular expression": ("GET /v12?a=1", {}, cluster("regex"), "/v12?a=1"),
    "more than the regular expression": ("GET /v12/a", {}, _DEFAULT, "/v12/a"),
    "a header": ("GET /", {"x-present": ""}, cluster("present"), "/"),
    "the first of two routes that match": ("GET /v1", {"x-present": "1"}, cluster("regex"), "/v1"),
    "a header's value": ("GET /", {"x-exact": "1"}, cluster("header-exact"), "/"),
    "another value": ("GET /", {"x-exact": "11"}, _DEFAULT, "/"),
    "a header's beginning": ("GET /", {"x-prefix": "abc"}, cluster("header-prefix"), "/"),
    "another beginning": ("GET /", {"x-prefix": "xab"}, _DEFAULT, "/"),
    "a header's end": ("GET /", {"x-suffix": "xyz"}, cluster("header-suffix"), "/"),
    "another end": ("GET /", {"x-suffix": "yzx"}, _DEFAULT, "/"),
    "a header's expression": ("GET /", {"x-regex": "12"}, cluster("header-regex"), "/"),
    "more than the header's expression": ("GET /", {"x-regex": "12a"}, _DEFAULT, "/"),
    "an inverted condition that does not hold": ("GET /inverted", {"x-keep": "yes"}, _DEFAULT, "/inverted"),
    "an inverted condition that holds": ("GET /inverted", {"x-keep": "no"}, cluster("inverted"), "/inverted"),
    "an inverted condition without its header": ("GET /inverted", {}, _DEFAULT, "/inverted"),
    "a header that must not be there": ("GET /lacking", {"x-keep": "1"}, _DEFAULT, "/lacking"),
    "a header that is not there": ("GET /lacking", {}, cluster("lacking"), "/lacking"),
    "both headers": ("GET /both", {"x-one": "1", "x-two": "1"}, cluster("both"), "/both"),
    "one of both headers": ("GET /both", {"x-one": "1"}, _DEFAULT, "/both"),
    "a parameter": ("GET /?present", {}, cluster("query-present"), "/?present"),
    "a parameter's value": ("GET /?a=1&exact=1", {}, cluster("query-exact"), "/?a=1&exact=1"),
    "another value of a parameter": ("GET /?exact=2", {}, _DEFAULT, "/?exact=2"),
    "a parameter's expression": ("GET /?regex=b", {}, cluster("query-regex"), "/?regex=b"),
    "more than the parameter's expression": ("GET /?regex=bb", {}, _DEFAULT, "/?regex=bb"),
    "a path in any capitals": ("GET /aNY/cASE", {}, cluster("any-case"), "/x"),
    "a method": ("PUT /write", {}, cluster("writing"), "/write"),
    "another method": ("GET /write", {}, _DEFAULT, "/write"),
    "a subset": ("GET /subset", {}, cluster("v2.web"), "/subset"),
    "a redirect": ("GET /moved", {}, f"elsewhere.default.dc2.internal.{TRUST_DOMAIN}", "/moved"),
}


@pytest.mark.envoy
def test_envoy_routes_requests_as_the_entries_say(mesh: Mesh) -> None:
    expected = {shown: (200, by, path) for shown, (_, _, by, path) in REQUESTS.items()}
    answers = {shown: mesh.ask(request, headers) for shown, (request, headers, _, _) in REQUESTS.items()}

    assert {shown: (each.status, each.by, each.path) for shown, each in answers.items()} == expected
    for shown, (_, headers, _, _) in REQUESTS.items():
        assert headers.items() <= answers[shown].received.items(), shown


@pytest.mark.envoy
def test_envoy_divides_requests_by_the_weights(mesh: Mesh) -> None:
    total = 2000
    connection = http.client.HTTPConnection("127.0.0.1", mesh.http_port, timeout=10)
    seen = Counter(mesh.send(connection, "GET /split", {}).by for _ in range(total))
    connection.close()

    assert seen.total() == total
    assert set(seen) == {cluster(name) for name in SHARES}
    for name, weight in SHARES.items():
        share = weight / 100
        # Eight standard deviations: a fair draw leaves them less than once in a billion runs.
        assert abs(seen[cluster(name)] - total * share) < 8 * math.sqrt(total * share * (1 - share)), seen


@pytest.mark.envoy
def test_envoy_changes_headers_as_the_entries_say(mesh: Mesh) -> None:
    answer = mesh.ask("GET /headed", {"x-one": "a", "x-two": "a", "x-gone": "1"})
    received = answer.received
    assert [received.get(name) for name in ("x-one", "x-two", "x-gone", "x-path")] == ["b", "b", None, "/hea"]
    assert VARIABLES.keys() <= received.keys()
    assert "<HTTP/1.1>" in received.values()
    assert answer.headers["x-percent"] == "100%"
    assert "x-envoy-upstream-service-time" not in answer.headers

    divided = [mesh.ask("GET /split") for _ in range(5)]
    assert all(each.by == cluster(each.headers["x-share"]) for each in divided)
    assert all(each.received["x-share"] == each.headers["x-share"] for each in divided)


@pytest.mark.envoy
def test_envoy_retries_and_gives_up_as_the_entries_say(mesh: Mesh) -> None:
    statuses = {
        "as often as the route says": mesh.ask("GET /retried", {"x-fail-times": "2"}).status,
        "on what else the route names": mesh.ask("GET /again", {"x-fail-times": "2"}).status,
        "until it is silent for too long": mesh.ask("GET /idle", {"x-stall": "1"}).status,
        "no more often": mesh.ask("GET /retried", {"x-fail-times": "3"}).status,
        "not at all where no route says so": mesh.ask("GET /", {"x-fail-times": "1"}).status,
        "until its time is over": mesh.ask("GET /slow", {"x-stall": "1"}).status,
        "where nobody listens": mesh.ask("GET /down").status,
        "where the cluster has not come yet": mesh.ask("GET /absent").status,
    }
    retries = f"cluster.{cluster('down')}.upstream_rq_retry"

    assert list(statuses.values()) == [200, 200, 504, 503, 503, 504, 503, 503], statuses
    assert mesh.envoy.stats([retries]) == {retries: 3}


@pytest.mark.envoy
def test_envoy_hashes_what_the_resolver_says(mesh: Mesh) -> None:
    users = [f"user-{number}" for number in range(40)]
    instances = [{mesh.ask("GET /sticky", {"x-user": user}).instance for _ in range(3)} for user in users]
    assert {len(each) for each in instances} == {1}
    assert set().union(*instances) == {0, 1}

    assert "set-cookie" not in mesh.ask("GET /sticky", {"x-user": "terminal"}).headers
    cookie = mesh.ask("GET /sticky").headers["set-cookie"]
    assert cookie.startswith("lasting=")
    assert "Max-Age=1;" in cookie
    assert "Path=/sticky" in cookie


@pytest.mark.envoy
def test_envoy_limits_a_caller_and_ejects_as_its_registration_says(mesh: Mesh) -> None:
    full = mesh.ask("GET /exact", port=mesh.ports["full"])
    failing = [mesh.ask("GET /exact", {"x-fail-times": "9"}, mesh.ports["ejecting"]) for _ in range(2)]
    ejected = mesh.ask("GET /exact", port=mesh.ports["ejecting"])

    assert (full.status, full.headers["x-envoy-overloaded"]) == (503, "true")
    assert [each.by.endswith(cluster("exact")) for each in failing] == [True, True]
    assert (ejected.status, ejected.by) == (503, "")
    assert mesh.ask("GET /exact").status == 200


@pytest.mark.envoy
def test_envoy_passes_on_what_is_not_a_plain_request(mesh: Mesh) -> None:
    raw = mesh.ask("GET /exact", port=mesh.tcp_port)
    switched = mesh.ask("GET /chat", {"upgrade": "websocket", "connection": "upgrade"})

    assert raw.path == "/exact"
    assert raw.by.endswith(f":{_DEFAULT}")
    assert (switched.status, switched.headers["upgrade"]) == (101, "websocket")
