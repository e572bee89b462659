"""The part of a bootstrap that fetches from the discovery function's URL, without an adapter."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pointsman.bootstrap.http import rest_dynamic_resources
from pointsman.bootstrap.parts import TYPE, path_problems
from pointsman.bootstrap.server import no_limits
from pointsman.delivery.endpoint_source import XDS_CLUSTER

CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
"""The public CAs, at their path on Debian, Ubuntu, Alpine and in Envoy's own images."""

_HOST = re.compile(r"[a-z0-9]+\.lambda-url\.([a-z0-9-]+)\.on\.aws\Z")
_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-[0-9]+\Z")


@dataclass(frozen=True, slots=True)
class FetchFunction:
    """Poll the function at https://`host`, with requests that Envoy signs for IAM (SigV4) in `region`.

    The function holds no polls: `refresh_delay_ms` is the pause between an answer and the next poll for clusters and
    for listeners (Envoy waits once to twice as long); the function sets the pause for endpoints. `ca_bundle` is the
    file with the public CAs on the Envoy's machine.
    """

    host: str
    region: str
    refresh_delay_ms: int = 5000
    request_timeout_ms: int = 15_000
    ca_bundle: str = CA_BUNDLE


def region_of(host: str) -> str:
    """The region in the host of a function URL (https://docs.aws.amazon.com/lambda/latest/dg/urls-configuration.html);
    "" for any other host."""
    found = _HOST.match(host)
    return found[1] if found else ""


def function_dynamic_resources(fetch: FetchFunction) -> dict[str, Any]:
    """The sources of clusters and listeners; the clusters themselves name the source of their endpoints."""
    # Long enough for a second poll: at the first one, the credentials of the machine's role may not be loaded yet.
    return rest_dynamic_resources(fetch.refresh_delay_ms, fetch.request_timeout_ms, "15s")


def function_cluster(fetch: FetchFunction) -> dict[str, Any]:
    """The cluster for the function."""
    return {
        "name": XDS_CLUSTER,
        "type": "LOGICAL_DNS",
        # Function URLs have IPv4 and IPv6 addresses, and most networks reach only one of them: Envoy then tries both.
        "dns_lookup_family": "ALL",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": _http(fetch)},
        "circuit_breakers": no_limits(),
        "load_assignment": {
            "cluster_name": XDS_CLUSTER,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _place(fetch.host)}}]}],
        },
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": _tls(fetch)},
    }


def function_problems(fetch: FetchFunction) -> Iterator[tuple[str, str]]:
    """The problems of `fetch`: a field and a reason each."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", fetch.host):
        yield "function URL", f"{fetch.host!r} is not the host of one; use the stack's output DiscoveryURL"
    if not _REGION.match(fetch.region):
        yield "region", f"{fetch.region!r} is not an AWS region such as eu-central-1"
    yield from path_problems("CA bundle", fetch.ca_bundle)
    if fetch.refresh_delay_ms < 1000:
        yield "refresh delay", f"{fetch.refresh_delay_ms} ms: every poll costs money; give at least a second"
    if fetch.request_timeout_ms < 1000:
        yield "request timeout", f"{fetch.request_timeout_ms} ms: a function may have to start; give at least a second"


def _http(fetch: FetchFunction) -> dict[str, Any]:
    sign = {
        "@type": f"{TYPE}.filters.http.aws_request_signing.v3.AwsRequestSigning",
        "service_name": "lambda",
        "region": fetch.region,
        # Envoy uses the cluster's name as the host of its own fetches.
        "host_rewrite": fetch.host,
    }
    codec = {"@type": f"{TYPE}.filters.http.upstream_codec.v3.UpstreamCodec"}
    return {
        "@type": f"{TYPE}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http_protocol_options": {}},
        # The function's side closes idle connections after about a minute; a request that arrives just then is lost.
        "common_http_protocol_options": {"idle_timeout": "30s"},
        "http_filters": [
            {"name": "envoy.filters.http.aws_request_signing", "typed_config": sign},
            {"name": "envoy.filters.http.upstream_codec", "typed_config": codec},
        ],
    }


def _tls(fetch: FetchFunction) -> dict[str, Any]:
    return {
        "@type": f"{TYPE}.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": fetch.host,
        "common_tls_context": {
            "validation_context": {
                "trusted_ca": {"filename": fetch.ca_bundle},
                "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": fetch.host}}],
            },
            "alpn_protocols": ["http/1.1"],
        },
    }


def _place(host: str) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": 443}}
