"""Translates a compiled chain into Envoy's route configuration for an HTTP upstream.

The mapping is Consul's (agent/xds/routes.go and the pages of service-router, service-splitter and service-resolver).
"""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.config.route.v3.route_components_pb2 import (
    RetryPolicy,
    Route,
    RouteAction,
    VirtualHost,
    WeightedCluster,
)
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from pointsman.chain.graph import NO_HEADERS, Chain, Headers, ResolverNode, RouterNode, SplitterNode
from pointsman.chain.plan import cluster_name
from pointsman.model.errors import PointsmanError
from pointsman.model.headers import HeaderModifiers
from pointsman.model.resolver import HashPolicy
from pointsman.model.router import Destination
from pointsman.xds.pack import milliseconds
from pointsman.xds.route_match import every_request, route_match

_NANOSECONDS_PER_MILLISECOND = 1_000_000
_NANOSECONDS_PER_SECOND = 1_000_000_000


def route_configuration(chain: Chain, name: str, trust_domain: str) -> RouteConfiguration:
    """The routes of `chain`, in order, in one virtual host for every authority.

    A router's routes lead to clusters or, through a splitter, to clusters by weight (hundredths of a percent). A chain
    without a router has one route for every request. Without another timeout Envoy ends a request after 15 s.

    Raises PointsmanError for a chain that the compiler never makes: a node where its kind is impossible.
    """
    start = chain.nodes[chain.start]
    if isinstance(start, RouterNode):
        routes = [
            _headed(
                Route(match=route_match(route.match), route=_destined(chain, key, trust_domain, route.destination)),
                (route.destination.request_headers, route.destination.response_headers)
                if route.destination
                else NO_HEADERS,
            )
            for route, key in start.routes
        ]
    else:
        action = _action(chain, chain.start, trust_domain)
        if isinstance(start, ResolverNode) and start.request_timeout:
            # Only here: behind a splitter one route serves several resolvers, and a router has its own timeout.
            action.timeout.CopyFrom(_timeout(start.request_timeout))
        routes = [Route(match=every_request(), route=action)]
    return RouteConfiguration(
        name=name,
        virtual_hosts=[VirtualHost(name=name, domains=["*"], routes=routes)],
        # Clusters arrive separately by xDS: until one does, its requests get 503, and the listener works.
        validate_clusters=BoolValue(value=False),
    )


def _destined(chain: Chain, key: str, trust_domain: str, destination: Destination | None) -> RouteAction:
    action = _action(chain, key, trust_domain)
    if destination is None:
        return action
    action.prefix_rewrite = destination.prefix_rewrite
    if destination.request_timeout:
        action.timeout.CopyFrom(_timeout(destination.request_timeout))
    if destination.idle_timeout:
        action.idle_timeout.CopyFrom(_timeout(destination.idle_timeout))
    retries = destination.retry_on or destination.retry_on_connect_failure or destination.retry_on_status_codes
    if destination.num_retries or retries:
        action.retry_policy.CopyFrom(_retry_policy(destination))
    return action


def _action(chain: Chain, key: str, trust_domain: str) -> RouteAction:
    """The action for the cluster of a resolver node, or for those of a splitter node by weight.

    An action has one list of hash policies: for a splitter that of its first resolver that has any.
    """
    node = chain.nodes[key]
    if isinstance(node, ResolverNode):
        return RouteAction(cluster=cluster_name(chain, node, trust_domain), hash_policy=_hash_policies([node]))
    if not isinstance(node, SplitterNode):
        raise PointsmanError(f'discovery chain "{chain.service.name}": {key} cannot be where a route leads')
    shares = [(weight, _resolver(chain, following), headers) for weight, following, headers in node.shares()]
    clusters = [
        _headed(
            WeightedCluster.ClusterWeight(
                name=cluster_name(chain, resolver, trust_domain), weight=UInt32Value(value=weight)
            ),
            headers,
        )
        for weight, resolver, headers in shares
    ]
    return RouteAction(
        weighted_clusters=WeightedCluster(clusters=clusters),
        hash_policy=_hash_policies(resolver for _, resolver, _ in shares),
    )


_Headed = TypeVar("_Headed", Route, WeightedCluster.ClusterWeight)


def _headed(part: _Headed, headers: Headers) -> _Headed:
    """`part`, with what becomes of the headers of its requests and responses, in the order of their names."""
    request, response = headers
    if request:
        part.request_headers_to_add.extend(_added(request))
        part.request_headers_to_remove.extend(request.remove)
    if response:
        part.response_headers_to_add.extend(_added(response))
        part.response_headers_to_remove.extend(response.remove)
    return part


def _added(modifiers: HeaderModifiers) -> Iterator[HeaderValueOption]:
    actions = HeaderValueOption.HeaderAppendAction
    for values, action in (
        (modifiers.add, actions.APPEND_IF_EXISTS_OR_ADD),
        (modifiers.set, actions.OVERWRITE_IF_EXISTS_OR_ADD),
    ):
        for name, value in sorted(values.items()):
            yield HeaderValueOption(header=HeaderValue(key=name, value=value), append_action=action)


def _resolver(chain: Chain, key: str) -> ResolverNode:
    node = chain.nodes[key]
    if not isinstance(node, ResolverNode):
        raise PointsmanError(f'discovery chain "{chain.service.name}": {key} cannot be where a split leads')
    return node


def _retry_policy(destination: Destination) -> RetryPolicy:
    """Retries on the named conditions, on none if none is named; once without a number."""
    conditions: list[str] = list(dict.fromkeys(destination.retry_on))
    if destination.retry_on_connect_failure and "connect-failure" not in conditions:
        conditions.append("connect-failure")
    if destination.retry_on_status_codes:
        conditions.append("retriable-status-codes")
    return RetryPolicy(
        retry_on=",".join(conditions),
        num_retries=UInt32Value(value=destination.num_retries) if destination.num_retries else None,
        retriable_status_codes=destination.retry_on_status_codes,
    )


def _hash_policies(resolvers: Iterable[ResolverNode]) -> list[RouteAction.HashPolicy]:
    for resolver in resolvers:
        if resolver.load_balancer and resolver.load_balancer.hash_policies:
            return [_hash_policy(each) for each in resolver.load_balancer.hash_policies]
    return []


def _hash_policy(policy: HashPolicy) -> RouteAction.HashPolicy:
    out = RouteAction.HashPolicy(terminal=policy.terminal)
    if policy.source_ip:
        out.connection_properties.source_ip = True
    elif policy.field == "header":
        out.header.header_name = policy.field_value
    elif policy.field == "query_parameter":
        out.query_parameter.name = policy.field_value
    else:
        out.cookie.name = policy.field_value
        if config := policy.cookie_config:
            out.cookie.path = config.path
            if config.session or config.ttl:
                # Envoy sets a cookie only if there is a TTL; 0 makes a session cookie. It reads whole seconds: rounded
                # down, a TTL below one second would make a session cookie.
                out.cookie.ttl.CopyFrom(Duration(seconds=-(-config.ttl // _NANOSECONDS_PER_SECOND)))
    return out


def _timeout(nanoseconds: int) -> Duration:
    """`nanoseconds` rounded up: Envoy reads whole milliseconds, and takes 0 for no limit, as less than 0 is."""
    return milliseconds(max(0, -(-nanoseconds // _NANOSECONDS_PER_MILLISECOND)))
