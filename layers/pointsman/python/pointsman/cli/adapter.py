"""`pointsman adapter`: delivers to Envoys, in a process of its own."""

import logging
import os
import re
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import orjson

from pointsman.cli.command import Group
from pointsman.cli.options import (
    envoy_admin_option,
    group_option,
    host_option,
    keep_option,
    log_format_option,
    max_connections_option,
    refresh_delay_option,
    sds_option,
    store_option,
)
from pointsman.discovery.proxy import ProxyId, read_proxy
from pointsman.model.errors import InvalidInput
from pointsman.model.names import is_label
from pointsman.store.keys import CONFIG_HEAD
from pointsman.store.late import LateStore
from pointsman.store.protocol import Store, StoreError, StoreUnavailable

if TYPE_CHECKING:
    from pointsman.adapter.admin.client import Admin
    from pointsman.adapter.follow.saved import Saved
    from pointsman.delivery.secret_source import Sds
    from pointsman.machine.settings import AdapterSettings

_Command = TypeVar("_Command", bound=Callable[..., Any])


@click.group(cls=Group)
def adapter() -> None:
    """Deliver published snapshots to Envoys: as files, over HTTP, or over gRPC.

    An adapter reads the store and nothing else. While the store is away, it serves what it has; if it starts then, what
    it keeps on disk. While the adapter is away, Envoys keep serving with what they have.

    A bucket sends no notices by itself, so the adapter polls it once a second. With --notices the adapter creates
    an SQS queue of its own, receives changes there, and reads the bucket only about once a minute. It deletes the queue
    when it ends.
    """


def _proxy_option(command: _Command) -> _Command:
    return click.option(
        "--proxy",
        "proxies",
        multiple=True,
        metavar="DC/sidecar/NAMESPACE/SERVICE|DC/gateway/ID",
        help="A proxy to serve; repeatable (default: all, also later ones).",
    )(command)


def _notices_options(command: _Command) -> _Command:
    for option in (
        click.option(
            "--dc",
            "datacenters",
            multiple=True,
            metavar="DC",
            help="Serve only the Envoys of this datacenter; repeatable (default: of all). Others are refused, so that"
            " they go on to their next address.",
        ),
        click.option(
            "--notices",
            envvar="POINTSMAN_NOTICES",
            default="",
            metavar="ARN",
            help="With a bucket: the topic with notices of writes, the stack's NoticesArn (or POINTSMAN_NOTICES).",
        ),
    ):
        command = option(command)
    return command


def _ops_option(command: _Command) -> _Command:
    pages = "/healthz, /readyz, /metrics, /config_dump and /rejections."
    return click.option("--ops", default="", metavar="IP:PORT|unix:PATH", help=pages)(command)


def _network_options(command: _Command) -> _Command:
    for option in reversed(
        (
            store_option,
            _notices_options,
            click.option(
                "--listen", default="", metavar="IP:PORT", help="Where Envoys connect; port 0 picks a free one."
            ),
            click.option("--unix", default="", metavar="PATH", help="Or a unix socket for Envoys on this machine."),
            _ops_option,
            host_option,
            max_connections_option,
            click.option("--tls-cert", default="", metavar="FILE", help="Certificate chain (PEM), with --listen."),
            click.option("--tls-key", default="", metavar="FILE", help="Its private key (PEM)."),
            click.option(
                "--client-ca", default="", metavar="FILE", help="The CAs that sign the Envoys' certificates (PEM)."
            ),
            click.option(
                "--trust-domain",
                default="",
                metavar="NAME",
                help="Accept only certificates of this trust domain (default: the store's).",
            ),
            refresh_delay_option,
            keep_option("systemd's STATE_DIRECTORY if set, else nothing is kept"),
            envoy_admin_option,
            sds_option,
            log_format_option,
            _proxy_option,
        )
    ):
        command = option(command)
    return command


@adapter.command("files")
@store_option
@_notices_options
@click.option("--files", "directory", required=True, metavar="DIR", help="Keep the proxies' xDS files under DIR.")
@group_option
@click.option(
    "--envoy-version",
    default="",
    metavar="X.Y.Z",
    help="The oldest Envoy that reads the files; 1.40 and later switch targets without changing clusters.",
)
@_ops_option
@host_option
@keep_option("DIR/.pointsman/kept below --files")
@envoy_admin_option
@sds_option
@log_format_option
@_proxy_option
def files(
    store: str,
    notices: str,
    datacenters: tuple[str, ...],
    directory: str,
    group: str,
    envoy_version: str,
    ops: str,
    hosts: tuple[str, ...],
    keep: str,
    envoy_admins: tuple[str, ...],
    sds: str,
    log_format: str,
    proxies: tuple[str, ...],
) -> None:
    """Keep the files that Envoys on this machine watch.

    Each proxy has a directory: DIR/DC/sidecar/NAMESPACE/SERVICE for a sidecar, DIR/DC/gateway/ID for a mesh gateway.

    One process at a time writes them. To replace it without a gap, start the new one first: it waits, and takes over
    when the old one ends (SIGTERM). The files stay.

    \b
      pointsman adapter files --store pointsman.db --files envoys
      pointsman adapter files --store s3://bucket --notices arn:aws:sns:eu-central-1:111122223333:pointsman-notices \\
        --files envoys --proxy dc1/sidecar/default/web
      pointsman adapter files --store s3://bucket/dc1 --files /var/lib/envoys --ops 127.0.0.1:8423 \\
          --envoy-admin 127.0.0.1:9901
    """
    from pointsman.adapter.files.files_adapter import OURS
    from pointsman.disk.access import read_group, shared_directory
    from pointsman.machine.settings import AdapterSettings

    readers = read_group(group)
    # Before anything is created below it: this directory is shared with others.
    where = shared_directory(Path(directory), readers)
    settings = AdapterSettings(
        ops=ops,
        hosts=hosts,
        files=where,
        group=readers,
        envoy_version=_version(envoy_version),
        proxies=_proxies(proxies),
        datacenters=frozenset(datacenters),
        admins=_admins(envoy_admins),
        sds=_sds(sds),
    )
    _run(store, notices, settings, keep or str(where / OURS / "kept"), log_format)


@adapter.command("http")
@_network_options
@click.option("--grpc", default="", metavar="IP:PORT|unix:PATH", help="Serve gRPC as well, from the same process.")
def http(listen: str, unix: str, grpc: str, **others: Any) -> None:
    """Serve Envoys over HTTP (REST xDS, long polls).

    /healthz, /readyz, /metrics and /config_dump are on the same address. On any address but loopback or a unix socket,
    Envoys need certificates, each may fetch only the resources of the proxy that its certificate names, and
    /config_dump is only on --ops.

    \b
      pointsman adapter http --store pointsman.db --listen 127.0.0.1:8421
      pointsman adapter http --store s3://bucket --unix /run/pointsman.sock --dc dc1 \\
        --notices arn:aws:sns:eu-central-1:111122223333:pointsman-notices
      pointsman adapter http --store s3://bucket/dc1 --unix /run/pointsman.sock --keep /var/lib/pointsman
    """
    _serve(http=_place(listen, unix), grpc=grpc, **others)


@adapter.command("grpc")
@_network_options
@click.option("--http", default="", metavar="IP:PORT|unix:PATH", help="Serve HTTP as well, from the same process.")
def grpc(listen: str, unix: str, http: str, **others: Any) -> None:
    """Serve Envoys over gRPC (ADS): for hundreds of clusters, or for many Envoys.

    \b
      pointsman adapter grpc --store pointsman.db --listen 127.0.0.1:8422 --ops 127.0.0.1:8423
      pointsman adapter grpc --store s3://bucket/dc1 --unix /run/pointsman.sock --keep /var/lib/pointsman
    """
    _serve(http=http, grpc=_place(listen, unix), **others)


def _serve(
    *,
    store: str,
    notices: str,
    datacenters: tuple[str, ...],
    http: str,
    grpc: str,
    ops: str,
    hosts: tuple[str, ...],
    max_connections: int,
    tls_cert: str,
    tls_key: str,
    client_ca: str,
    trust_domain: str,
    refresh_delay: int,
    keep: str,
    envoy_admins: tuple[str, ...],
    sds: str,
    log_format: str,
    proxies: tuple[str, ...],
) -> None:
    # Imported only when needed: the web servers are large.
    from pointsman.machine.settings import AdapterSettings
    from pointsman.serve.tls import TlsFiles

    given = (tls_cert, tls_key, client_ca)
    if any(given) and not all(given):
        raise click.UsageError("give --tls-cert, --tls-key and --client-ca together")
    settings = AdapterSettings(
        http=http,
        grpc=grpc,
        ops=ops,
        hosts=hosts,
        max_connections=max_connections,
        tls=TlsFiles(Path(tls_cert), Path(tls_key), Path(client_ca)) if all(given) else None,
        trust_domain=trust_domain,
        proxies=_proxies(proxies),
        datacenters=frozenset(datacenters),
        refresh_delay_ms=refresh_delay,
        admins=_admins(envoy_admins),
        sds=_sds(sds),
    )
    # https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html#RuntimeDirectory=
    state, _, _ = os.environ.get("STATE_DIRECTORY", "").partition(":")
    _run(store, notices, settings, keep or (state and os.path.join(state, "kept")), log_format)


def _run(store: str, notices: str, settings: "AdapterSettings", keep: str, log_format: str) -> None:
    from pointsman.adapter.follow.saved import Saved
    from pointsman.machine.garbage import keep_what_is
    from pointsman.machine.parts import stop_on_signals
    from pointsman.machine.process import AdapterProcess
    from pointsman.serve.files import allow_files
    from pointsman.serve.log import LogFormat, start_log

    start_log(LogFormat(log_format), "adapter")
    allow_files()
    stop = stop_on_signals()
    kept = Saved(Path(keep), store) if keep else None
    opened, hearing = _open(store, notices, settings, kept)

    def ready(where: dict[str, str]) -> None:
        keep_what_is()
        _ready(where | ({"keep": str(kept)} if kept else {}))

    try:
        AdapterProcess(opened, settings, kept, hearing).run(stop, ready)
    finally:
        opened.close()


def _open(
    store: str, notices: str, settings: "AdapterSettings", kept: "Saved | None"
) -> tuple[Store, Callable[[], bool] | None]:
    """The store to follow, and a function that returns whether notices arrive (None without notices). Closing the store
    removes their queue."""
    for name in sorted(settings.datacenters):
        if not is_label(name):
            raise InvalidInput.single("--dc", "", f'"{name}" is not the name of a datacenter')
    if not notices:
        return _open_store(store, kept), None
    # Imported only with notices: the AWS client is large.
    from pointsman.aws.noticed import noticed
    from pointsman.aws.topic import read_topic

    topic = read_topic(notices, "--notices")
    if not store.startswith("s3://"):
        raise click.UsageError("--notices needs a bucket (--store s3://...): a file needs no notices")
    wanted = settings.datacenters or frozenset(proxy.datacenter for proxy in settings.proxies)
    opened = _open_store(store, kept)
    try:
        told = noticed(opened, topic, wanted, socket.gethostname())
        told.start()
    except BaseException:
        opened.close()
        raise
    return told, lambda: told.hearing


def _open_store(store: str, kept: "Saved | None") -> Store:
    """The store. If it cannot be opened but there are saved snapshots to serve, it is opened later."""
    opened, kept_any = LateStore(store), kept is not None and bool(kept.proxies())
    try:
        opened.open()
    except StoreError as error:
        if kept is None or not kept.proxies():
            raise
        logging.getLogger(__name__).warning("%s; serving what is kept in %s", error, kept)
    if not kept_any:
        # With saved snapshots to serve, starting does not wait for the store.
        with suppress(StoreUnavailable):
            opened.get(CONFIG_HEAD)
    return opened


def _place(listen: str, unix: str) -> str:
    if bool(listen) == bool(unix):
        raise click.UsageError("give either --listen IP:PORT or --unix PATH")
    return listen or f"unix:{unix}"


def _proxies(texts: tuple[str, ...]) -> tuple[ProxyId, ...]:
    found = [read_proxy(text) for text in texts]
    for proxy, text in zip(found, texts, strict=True):
        if proxy is None:
            raise InvalidInput.single(
                "--proxy", "", f'"{text}" is neither DC/sidecar/NAMESPACE/SERVICE nor DC/gateway/ID'
            )
    return tuple(proxy for proxy in found if proxy is not None)


def _admins(texts: tuple[str, ...]) -> "list[Admin]":
    from pointsman.adapter.admin.client import Admin

    return [Admin.read(text) for text in texts]


def _sds(text: str) -> "Sds | None":
    from pointsman.delivery.secret_source import read_sds

    return read_sds(text) if text else None


def _version(text: str) -> tuple[int, int, int] | None:
    if not text:
        return None
    parts = text.split(".")
    if len(parts) not in (2, 3) or not all(re.fullmatch("[0-9]{1,4}", part) for part in parts):
        raise InvalidInput.single("--envoy-version", "", f'"{text}" is not a version like 1.40.0')
    major, minor, patch = (*map(int, parts), 0)[:3]
    return major, minor, patch


def _ready(addresses: dict[str, str]) -> None:
    sys.stdout.buffer.write(orjson.dumps({"ready": True, **addresses}) + b"\n")
    sys.stdout.flush()
