"""`pointsman adapter`: how Envoys fetch, in a process of its own."""

import logging
import signal
import socket
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
from pointsman.model.names import is_label
from pointsman.store import keys
from pointsman.store.open import open_store
from pointsman.store.protocol import Store

_Command = TypeVar("_Command", bound=Callable[..., Any])

_DISCOVERY_SECONDS = 0.5


@click.group()
def adapter() -> None:
    """Bring what is published to Envoys: by files, over HTTP, or over gRPC.

    An adapter reads the store and nothing else. While the store is away it serves what it has; while the adapter is
    away, Envoys serve on with what they have.

    A bucket does not tell of what is written, so it is looked at four times a second. With --notices what is written
    comes by itself: the adapter has an SQS queue of its own for as long as it runs, and reads the bucket once a minute
    or so, for certainty.
    """


def _proxy_option(command: _Command) -> _Command:
    return click.option(
        "--proxy",
        "proxies",
        multiple=True,
        metavar="DC/NAMESPACE/SERVICE|DC/gateways/ID",
        help="A proxy to serve; may be repeated (default: all, as they come).",
    )(command)


def _notices_options(command: _Command) -> _Command:
    for option in (
        click.option(
            "--dc",
            "datacenters",
            multiple=True,
            metavar="DC",
            help="Hear of (for files: serve) this datacenter alone; may be repeated (default: of --proxy, or all).",
        ),
        click.option(
            "--notices",
            envvar="POINTSMAN_NOTICES",
            default="",
            metavar="ARN",
            help="With a bucket: the topic that tells what is written, the stack's NoticesArn (or POINTSMAN_NOTICES).",
        ),
    ):
        command = option(command)
    return command


def _network_options(command: _Command) -> _Command:
    for option in reversed(
        (
            store_option,
            _notices_options,
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
@_notices_options
@click.option("--files", "directory", required=True, metavar="DIR", help="Keep the proxies' xDS files under DIR.")
@click.option(
    "--envoy-version",
    default="",
    metavar="X.Y.Z",
    help="The oldest Envoy that reads the files; 1.40 and later switch targets without a change of clusters.",
)
@_proxy_option
def files(
    store: str,
    notices: str,
    datacenters: tuple[str, ...],
    directory: str,
    envoy_version: str,
    proxies: tuple[str, ...],
) -> None:
    """Keep the files that Envoys on this machine watch.

    Each proxy has a directory: DIR/DC/NAMESPACE/SERVICE for a sidecar, DIR/DC/gateways/ID for a mesh gateway.

    \b
      pointsman adapter files --store pointsman.db --files envoys
      pointsman adapter files --store s3://bucket --notices arn:aws:sns:eu-central-1:111122223333:pointsman-notices \\
        --files envoys --proxy dc1/default/web
    """
    from pointsman.adapter.files.adapter import FilesAdapter
    from pointsman.adapter.follow.follower import Follower

    version = _version(envoy_version)
    followed = _proxies(proxies)
    stop = _stopping()
    opened, _ = _open(store, notices, datacenters, followed)
    try:
        following = Follower(opened, followed, datacenters=frozenset(datacenters))
        kept = FilesAdapter(following, Path(directory), version)
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
      pointsman adapter http --store s3://bucket --unix /run/pointsman.sock --dc dc1 \\
        --notices arn:aws:sns:eu-central-1:111122223333:pointsman-notices
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
    notices: str,
    datacenters: tuple[str, ...],
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
    if datacenters and not notices:
        raise click.UsageError("--dc chooses among notices here: give --notices as well")
    followed = _proxies(proxies)
    settings = NetworkSettings(http, grpc, ops, tls, trust_domain, followed, refresh_delay)
    stop = _stopping()
    opened, hearing = _open(store, notices, datacenters, followed)
    try:
        NetworkAdapter(opened, settings, hearing).run(stop, _ready)
    finally:
        opened.close()


def _open(
    store: str, notices: str, datacenters: tuple[str, ...], followed: tuple[ProxyId, ...]
) -> tuple[Store, Callable[[], bool] | None]:
    """The store to follow, and whether notices are heard, where there are any. Closing it removes their queue."""
    for name in datacenters:
        if not is_label(name):
            raise InvalidInput.single("--dc", "", f'"{name}" is not the name of a datacenter')
    if not notices:
        return open_store(store), None
    # Who has no use for notices does not load what they take.
    from pointsman.adapter.follow.noticed import noticed
    from pointsman.pipeline.topic import read_topic

    topic = read_topic(notices, "--notices")
    if not store.startswith("s3://"):
        raise click.UsageError("--notices goes with a bucket (--store s3://...): files tell what is written anyway")
    wanted = frozenset(datacenters) or frozenset(proxy.datacenter for proxy in followed)
    opened = open_store(store)
    try:
        told = noticed(opened, topic, wanted, socket.gethostname())
        told.start()
    except BaseException:
        opened.close()
        raise
    return told, lambda: told.hearing


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
