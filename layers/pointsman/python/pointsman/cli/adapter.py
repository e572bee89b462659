"""`pointsman adapter`: how Envoys fetch, in a process of its own."""

import logging
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import orjson

from pointsman.cli.options import store_option
from pointsman.discovery.proxy import ProxyId, proxy_of
from pointsman.model.errors import InvalidInput
from pointsman.store import keys
from pointsman.store.open import open_store

_Command = TypeVar("_Command", bound=Callable[..., Any])

_DISCOVERY_SECONDS = 0.5


@click.group()
def adapter() -> None:
    """Bring what is published to Envoys: by files, over HTTP, or over gRPC.

    An adapter reads the store and nothing else. While the store is away it serves what it has; while the adapter is
    away, Envoys serve on with what they have.
    """


def _proxy_option(command: _Command) -> _Command:
    return click.option(
        "--proxy",
        "proxies",
        multiple=True,
        metavar="DC/NAMESPACE/SERVICE|DC/gateways/ID",
        help="A proxy to serve; may be repeated (default: all, as they come).",
    )(command)


def _network_options(command: _Command) -> _Command:
    for option in reversed(
        (
            store_option,
            click.option("--listen", default="", metavar="IP:PORT", help="Where Envoys come; port 0 picks a free one."),
            click.option("--unix", default="", metavar="PATH", help="Or a unix socket for those on this machine."),
            click.option("--ops", default="", metavar="IP:PORT", help="/metrics, /readyz and /config_dump."),
            click.option("--tls-cert", default="", metavar="FILE", help="Certificate chain (PEM), with --listen."),
            click.option("--tls-key", default="", metavar="FILE", help="Its private key (PEM)."),
            click.option("--client-ca", default="", metavar="FILE", help="The CAs of the Envoys' certificates (PEM)."),
            click.option(
                "--trust-domain", default="", metavar="NAME", help="Only certificates of this one (default: any)."
            ),
            click.option(
                "--refresh-delay",
                default=1000,
                show_default=True,
                type=click.IntRange(min=10),
                metavar="MS",
                help="Over HTTP, between two requests for a cluster's endpoints; longer for hundreds of clusters.",
            ),
            _proxy_option,
        )
    ):
        command = option(command)
    return command


@adapter.command("files")
@store_option
@click.option("--files", "directory", required=True, metavar="DIR", help="Keep the proxies' xDS files under DIR.")
@click.option(
    "--envoy-version",
    default="",
    metavar="X.Y.Z",
    help="The oldest Envoy that reads the files; 1.40 and later switch targets without a change of clusters.",
)
@_proxy_option
def files(store: str, directory: str, envoy_version: str, proxies: tuple[str, ...]) -> None:
    """Keep the files that Envoys on this machine watch.

    Each proxy has a directory: DIR/DC/NAMESPACE/SERVICE for a sidecar, DIR/DC/gateways/ID for a mesh gateway.

    \b
      pointsman adapter files --store pointsman.db --files envoys
    """
    from pointsman.adapter.files.adapter import FilesAdapter
    from pointsman.adapter.follow.follower import Follower

    version = _version(envoy_version)
    followed = _proxies(proxies)
    stop = _stopping()
    opened = open_store(store)
    try:
        kept = FilesAdapter(Follower(opened, followed), Path(directory), version)
        _ready({"files": str(Path(directory).resolve())})
        kept.run(stop, discovery_period=None if followed else _DISCOVERY_SECONDS)
    finally:
        opened.close()


@adapter.command("http")
@_network_options
@click.option("--grpc", default="", metavar="IP:PORT|unix:PATH", help="Serve gRPC as well, from the same process.")
def http(listen: str, unix: str, grpc: str, **others: Any) -> None:
    """Serve Envoys over HTTP (REST xDS, long polls).

    /healthz, /readyz, /metrics and /config_dump are on the same address. On anything but loopback or a unix socket,
    Envoys have to show certificates, each may fetch only what its own names, and /config_dump is on --ops alone.

    \b
      pointsman adapter http --store pointsman.db --listen 127.0.0.1:8421
      pointsman adapter http --store s3://bucket/dc1 --unix /run/pointsman.sock
    """
    _serve(http=_place(listen, unix), grpc=grpc, **others)


@adapter.command("grpc")
@_network_options
@click.option("--http", default="", metavar="IP:PORT|unix:PATH", help="Serve HTTP as well, from the same process.")
def grpc(listen: str, unix: str, http: str, **others: Any) -> None:
    """Serve Envoys over gRPC (ADS): for hundreds of clusters, or for many Envoys.

    \b
      pointsman adapter grpc --store pointsman.db --listen 127.0.0.1:8422 --ops 127.0.0.1:8423
    """
    _serve(http=http, grpc=_place(listen, unix), **others)


def _serve(
    store: str,
    http: str,
    grpc: str,
    ops: str,
    tls_cert: str,
    tls_key: str,
    client_ca: str,
    trust_domain: str,
    refresh_delay: int,
    proxies: tuple[str, ...],
) -> None:
    # Web servers and what they bring are imported when they are wanted.
    from pointsman.adapter.network import NetworkAdapter, NetworkSettings
    from pointsman.adapter.serve.tls import TlsFiles

    given = (tls_cert, tls_key, client_ca)
    if any(given) and not all(given):
        raise click.UsageError("give --tls-cert, --tls-key and --client-ca together")
    tls = TlsFiles(Path(tls_cert), Path(tls_key), Path(client_ca)) if all(given) else None
    settings = NetworkSettings(http, grpc, ops, tls, trust_domain, _proxies(proxies), refresh_delay)
    stop = _stopping()
    opened = open_store(store)
    try:
        NetworkAdapter(opened, settings).run(stop, _ready)
    finally:
        opened.close()


def _place(listen: str, unix: str) -> str:
    if bool(listen) == bool(unix):
        raise click.UsageError("give either --listen IP:PORT or --unix PATH")
    return listen or f"unix:{unix}"


def _proxies(texts: tuple[str, ...]) -> tuple[ProxyId, ...]:
    found = [proxy_of(keys.MANIFESTS + text) for text in texts]
    for proxy, text in zip(found, texts, strict=True):
        if proxy is None:
            raise InvalidInput.single("--proxy", "", f'"{text}" is neither DC/NAMESPACE/SERVICE nor DC/gateways/ID')
    return tuple(proxy for proxy in found if proxy is not None)


def _version(text: str) -> tuple[int, int, int] | None:
    if not text:
        return None
    parts = text.split(".")
    if len(parts) not in (2, 3) or not all(part.isdecimal() for part in parts):
        raise InvalidInput.single("--envoy-version", "", f'"{text}" is not a version like 1.40.0')
    major, minor, patch = (*map(int, parts), 0)[:3]
    return major, minor, patch


def _stopping() -> threading.Event:
    """Set when somebody asks this process to end."""
    logging.basicConfig(format="pointsman: %(message)s", level=logging.WARNING, stream=sys.stderr)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _ready(addresses: dict[str, str]) -> None:
    sys.stdout.buffer.write(orjson.dumps({"ready": True, **addresses}) + b"\n")
    sys.stdout.flush()
