"""What people say of an adapter's process."""

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
    """Where to serve, "" or None for nowhere: `files` below a directory, for Envoys of `envoy_version` (None: unknown)
    and later, for `group` to read (None: the process's own); `http` and `grpc` for Envoys that ask, `ops` for operators
    (IP:PORT or unix:PATH).

    `proxies` are served from the start, others when they are registered (files: in one of the `datacenters`, empty for
    all) or ask. `trust_domain` is that of clients' certificates, "" the store's. `refresh_delay_ms` is between two
    requests over HTTP for the same endpoints. `admins` are the Envoys to watch for what they reject. `sds` is how
    Envoys' secrets come, None: they are in their bootstraps. `hosts` are names of this machine under which its pages
    are asked for; `max_connections` is how many Envoys' connections are held over HTTP.
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
