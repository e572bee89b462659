"""`pointsman up`: everything on one machine, in one process."""

from pathlib import Path

import click

from pointsman.cli.command import command
from pointsman.cli.ecs_tasks import ecs_tasks_option, read_ecs_tasks
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
    trust_domain_option,
)


@command()
@store_option
@trust_domain_option
@click.option(
    "--listen",
    default="127.0.0.1:8420",
    show_default=True,
    metavar="IP:PORT|unix:PATH[?mode=0660]",
    help="Where to answer the HTTP API (health events, config, orders); port 0 picks a free one. A unix socket accepts"
    " the users that its mode allows; an address accepts every process on this machine.",
)
@host_option
@click.option("--files", default="", metavar="DIR", help="Keep every registered proxy's xDS files under DIR.")
@group_option
@click.option(
    "--grpc", default="", metavar="IP:PORT|unix:PATH", help="Serve every registered proxy over gRPC (ADS) as well."
)
@click.option(
    "--http", default="", metavar="IP:PORT|unix:PATH", help="Serve every registered proxy over HTTP (REST xDS) as well."
)
@refresh_delay_option
@max_connections_option
@envoy_admin_option
@sds_option
@click.option(
    "--envoy-version",
    default="",
    metavar="X.Y.Z",
    help="The oldest Envoy that reads the files; 1.40 and later switch targets without changing clusters.",
)
@click.option(
    "--datacenters",
    envvar="POINTSMAN_DATACENTERS",
    default="",
    metavar="DC,...",
    help="Compute only for the Envoys of these (or POINTSMAN_DATACENTERS; default: of all), and refuse others, so that"
    " they go on to their next address. All config and all events are accepted either way.",
)
@click.option(
    "--reconcile-every",
    default=60,
    show_default=True,
    type=click.IntRange(min=1),
    metavar="SECONDS",
    help="How often everything is recomputed and repaired.",
)
@keep_option("nothing is kept")
@ecs_tasks_option
@log_format_option
@click.option(
    "--remote",
    default="",
    metavar="IP:PORT",
    help="Also answer it to other machines, over TLS, with tokens and their roles (`pointsman token make`).",
)
@click.option("--tls-cert", default="", metavar="FILE", help="Certificate chain (PEM), with --remote.")
@click.option("--tls-key", default="", metavar="FILE", help="Its private key (PEM).")
@click.option(
    "--client-ca",
    default="",
    metavar="FILE",
    help="The CAs of client certificates (PEM), with --remote: who shows one needs no token (`pointsman token make"
    " --certificate`).",
)
def up(
    store: str,
    trust_domain: str,
    listen: str,
    hosts: tuple[str, ...],
    files: str,
    group: str,
    grpc: str,
    http: str,
    refresh_delay: int,
    max_connections: int,
    envoy_admins: tuple[str, ...],
    sds: str,
    envoy_version: str,
    datacenters: str,
    reconcile_every: int,
    keep: str,
    ecs_tasks: str,
    log_format: str,
    remote: str,
    tls_cert: str,
    tls_key: str,
    client_ca: str,
) -> None:
    """Run the whole control plane on one machine: events in, snapshots in the store, files or streams for Envoys.

    When it is ready, it prints one line of JSON on stdout: {"ready": true, "url": ..., "files": ..., "grpc": ...,
    "http": ..., "store": ...}. Besides events, --listen serves the API (/v1), a page for browsers (/), /metrics,
    /readyz, /config_dump and /rejections. Acknowledged events survive a kill at any moment; Envoys keep serving while
    it is away. SIGTERM answers the held polls and ends it with exit code 0. If one of its parts fails, it exits with 1:
    let a supervisor restart it.

    \b
      pointsman up --store pointsman.db --files envoys --listen 127.0.0.1:8420
      pointsman up --store s3://BUCKET --grpc unix:/run/pointsman.sock --keep /var/lib/pointsman
      pointsman up --store pointsman.db --http 127.0.0.1:8421 --grpc unix:/run/pointsman.sock
      curl -H 'content-type: application/json' --data @event.json http://127.0.0.1:8420/v1/events
      pointsman up --store pointsman.db --listen 'unix:/run/pointsman/events.sock?mode=0600'
      pointsman up --store pointsman.db --remote 10.1.0.5:8443 --tls-cert chain.pem --tls-key key.pem
    """
    # Imported only when needed: the web server is large.
    from pointsman.machine.machine import Machine, MachineSettings
    from pointsman.serve.log import LogFormat
    from pointsman.serve.tls import TlsFiles

    if len({bool(each) for each in (remote, tls_cert, tls_key)}) > 1:
        raise click.UsageError("give --remote, --tls-cert and --tls-key together")
    if client_ca and not remote:
        raise click.UsageError("--client-ca is for --remote")
    settings = MachineSettings.read(
        store=store,
        trust_domain=trust_domain,
        listen=listen,
        files=files,
        envoy_version=envoy_version,
        reconcile_every=reconcile_every,
        grpc=grpc,
        http=http,
        admins=envoy_admins,
        refresh_delay_ms=refresh_delay,
        datacenters=datacenters,
        sds=sds,
        group=group,
        hosts=hosts,
        max_connections=max_connections,
        keep=keep,
        tasks=read_ecs_tasks(ecs_tasks),
        remote=remote,
        tls=TlsFiles(Path(tls_cert), Path(tls_key), Path(client_ca) if client_ca else None, optional=True)
        if remote
        else None,
        log_format=LogFormat(log_format),
    )
    Machine(settings).run()
