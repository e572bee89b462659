"""The options of an adapter's process."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pointsman.adapter.admin.client import Admin
from pointsman.delivery.deliver import EnvoyVersion
from pointsman.delivery.secret_source import Sds
from pointsman.discovery.proxy import ProxyId
from pointsman.serve.crowd import MOST_CONNECTIONS
from pointsman.serve.tls import TlsFiles


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """Where to serve ("" or None: not at all): `files` below a directory, for Envoys of `envoy_version` (None: unknown)
    and later, readable by `group` (None: the process's own); `http` and `grpc` for Envoys, `ops` for operators (IP:PORT
    or unix:PATH).

    `proxies` are served from the start, others when they are registered (files) or when they ask; only those in one of
    the `datacenters` (empty: all). `trust_domain` is the one required of clients' certificates, "" the store's.
    `refresh_delay_ms` is the pause between two requests over HTTP for the same endpoints. `admins` are the admins of
    Envoys to watch for rejections. `sds` is the source of Envoys' secrets, None: their bootstraps. `hosts` are names of
    this machine for its pages; `max_connections` limits Envoys' connections over HTTP.
    """

    http: str = ""
    grpc: str = ""
    ops: str = ""
    files: Path | None = None
    group: int | None = None
    envoy_version: EnvoyVersion | None = None
    tls: TlsFiles | None = None
    trust_domain: str = ""
    proxies: Sequence[ProxyId] = ()
    datacenters: frozenset[str] = frozenset()
    refresh_delay_ms: int = 1000
    admins: Sequence[Admin] = ()
    sds: Sds | None = None
    hosts: Sequence[str] = ()
    max_connections: int = MOST_CONNECTIONS
