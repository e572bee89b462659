"""xDS files written by hand: what the harness is tested with, without a control plane."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.access_loggers.file.v3 import file_pb2 as _file  # noqa: F401 (the types inside Any)
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2 as _inspector  # noqa: F401
from envoy.extensions.filters.network.sni_cluster.v3 import sni_cluster_pb2 as _sni  # noqa: F401
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2 as _tcp  # noqa: F401
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2 as _tls  # noqa: F401
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse
from google.protobuf.json_format import ParseDict

_TYPE = "type.googleapis.com/envoy.extensions"


def write_response(path: Path, resources: Sequence[Cluster | Listener | ClusterLoadAssignment]) -> None:
    """Put `resources` where an Envoy reads them, in one rename."""
    response = DiscoveryResponse(version_info="1")
    for resource in resources:
        response.resources.add().Pack(resource)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_bytes(response.SerializeToString())
    os.replace(beside, path)


def cluster(name: str, assignment: Path, *, sni: str = "", spiffe_id: str = "") -> Cluster:
    """A cluster whose endpoints come from the file `assignment`; with `sni`, over mutual TLS to `spiffe_id`."""
    config: dict[str, Any] = {
        "name": name,
        "type": "EDS",
        "connect_timeout": "5s",
        "eds_cluster_config": {
            "eds_config": {"path_config_source": {"path": str(assignment)}, "resource_api_version": "V3"}
        },
    }
    if sni:
        config["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{_TYPE}.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": sni,
                "common_tls_context": {
                    "tls_certificate_sds_secret_configs": [{"name": "identity"}],
                    "combined_validation_context": {
                        "default_validation_context": {
                            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": spiffe_id}}]
                        },
                        "validation_context_sds_secret_config": {"name": "trust"},
                    },
                },
            },
        }
    return ParseDict(config, Cluster())


def assignment(name: str, endpoints: Sequence[tuple[str, int]]) -> ClusterLoadAssignment:
    """One group of endpoints, all of them healthy."""
    hosts = [{"endpoint": {"address": _address(ip, port)}, "health_status": "HEALTHY"} for ip, port in endpoints]
    return ParseDict({"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}]}, ClusterLoadAssignment())


def upstream_listener(name: str, ip: str, port: int, cluster_name: str) -> Listener:
    """A sidecar's listener for one upstream."""
    return ParseDict(
        {
            "name": name,
            "address": _address(ip, port),
            "filter_chains": [{"filters": [_tcp_proxy(cluster_name)]}],
        },
        Listener(),
    )


def gateway_listener(ip: str, port: int, access_log: Path) -> Listener:
    """A mesh gateway's listener that takes the cluster named by the SNI, and logs it."""
    log = {
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": f"{_TYPE}.access_loggers.file.v3.FileAccessLog",
            "path": str(access_log),
            "log_format": {
                "json_format": {
                    "start_time": "%START_TIME%",
                    "sni": "%REQUESTED_SERVER_NAME%",
                    "upstream_cluster": "%UPSTREAM_CLUSTER%",
                    "upstream_host": "%UPSTREAM_HOST%",
                }
            },
        },
    }
    sni_cluster = {
        "name": "envoy.filters.network.sni_cluster",
        "typed_config": {"@type": f"{_TYPE}.filters.network.sni_cluster.v3.SniCluster"},
    }
    inspector = {
        "name": "envoy.filters.listener.tls_inspector",
        "typed_config": {"@type": f"{_TYPE}.filters.listener.tls_inspector.v3.TlsInspector"},
    }
    proxy = _tcp_proxy("")
    proxy["typed_config"]["access_log"] = [log]
    return ParseDict(
        {
            "name": "gateway",
            "address": _address(ip, port),
            "listener_filters": [inspector],
            "filter_chains": [{"filters": [sni_cluster, proxy]}],
        },
        Listener(),
    )


def _tcp_proxy(cluster_name: str) -> dict[str, Any]:
    config = {
        "@type": f"{_TYPE}.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "upstream",
        "cluster": cluster_name,
    }
    return {"name": "envoy.filters.network.tcp_proxy", "typed_config": config}


def _address(ip: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": ip, "port_value": port}}
