"""`pointsman agent`: checks the services of a host, and tells control planes of them."""

import asyncio
import logging
import secrets
import socket
import sys
from pathlib import Path
from typing import Any

import click
import orjson

from pointsman.agent.definition import SHORTEST_INTERVAL_NS, Definitions
from pointsman.agent.files import Files
from pointsman.agent.registrations import document, registrations
from pointsman.agent.statement import Host
from pointsman.cli.command import command
from pointsman.cli.options import log_format_option
from pointsman.cli.remote import access_options, read_access
from pointsman.model.duration import parse_duration
from pointsman.model.errors import InvalidInput, PointsmanError
from pointsman.model.events import LONGEST_LEASE_MS, SHORTEST_LEASE_MS
from pointsman.model.names import is_identifier, is_ip, is_label
from pointsman.model.words import counted
from pointsman.serve.listen import Listen
from pointsman.serve.log import KIND, LogFormat, start_log

_log = logging.getLogger(__name__)


@command()
@click.option(
    "--to",
    "places",
    multiple=True,
    metavar="URL",
    help="Whom to tell: http(s)://HOST:PORT of `up`, eventbridge://BUS, sqs://HOST/ACCOUNT/QUEUE; repeatable.",
)
@click.option("--dc", required=True, metavar="DC", help="The datacenter of this host.")
@click.option("--node", default="", metavar="NAME", help="The name of this host, its own by default.")
@click.option("--address", required=True, metavar="IP", help="Where others reach this host.")
@click.option("--lease", default="30s", metavar="DURATION", help="How long what is said stands. (default: 30s)")
@click.option("--state", default="", metavar="DIR", help="Where the counter is kept, so that it never goes back.")
@click.option("--ttl", default="", metavar="IP:PORT", help="Where applications tell of their checks of kind TTL.")
@access_options
@log_format_option
@click.option("--validate", is_flag=True, help="Only read the files, and say what is in them.")
@click.option("--registrations", "show", is_flag=True, help="Only print what `pointsman apply` needs of them.")
@click.option("--no-register", is_flag=True, help="Send no registrations of the sidecars and gateways in the files.")
@click.option("--probe-gateways", "probe", is_flag=True, help="Probe the gateways of all other datacenters.")
@click.option("--gateway", "gateways", multiple=True, metavar="DC=HOST:PORT", help="Probe this gateway; repeatable.")
@click.option("--probe-interval", "every", default="5s", metavar="DURATION", help="How often. (default: 5s)")
@click.option("--probe-sni", "sni", default="", metavar="NAME", help="Probe by TLS, for this name; {dc} is in it.")
@click.option("--once", is_flag=True, help="Run each check once, send everything, and exit.")
@click.option("--stay", is_flag=True, help="Say nothing at the end: the instances stay until the lease is over.")
@click.argument("files", nargs=-1, required=True, metavar="FILE|DIR…", type=click.Path(path_type=Path))
def agent(
    places: tuple[str, ...],
    dc: str,
    node: str,
    address: str,
    lease: str,
    state: str,
    ttl: str,
    token_file: str,
    cert: str,
    key: str,
    ca: str,
    log_format: str,
    validate: bool,
    show: bool,
    no_register: bool,
    probe: bool,
    gateways: tuple[str, ...],
    every: str,
    sni: str,
    once: bool,
    stay: bool,
    files: tuple[Path, ...],
) -> int:
    """Check the services of this host, and tell control planes of them.

    The files are service definitions as Consul's agent reads them (`service`, `services`, `check`, `checks`; HCL, JSON
    or YAML), and are read again when they change. Each instance is told of with a lease: at once when it changes, and
    again and again. What cannot be sent waits. At an orderly end the instances are taken out. Sidecars and gateways are
    registered, as those of the owner "agent", and not unregistered.

    Exit codes: 0 done; 1 a file is refused or something cannot be sent.

    \b
      pointsman agent --dc dc1 --address 10.1.0.11 --validate /etc/pointsman/services
      pointsman agent --dc dc1 --address 10.1.0.11 --registrations /etc/pointsman/services > registrations.json
      pointsman agent --dc dc1 --address 10.1.0.11 --to https://10.1.0.5:8443 --token-file token --ca ca.pem \\
          --state /var/lib/pointsman /etc/pointsman/services
    """
    host = _host(dc, node or socket.gethostname().partition(".")[0], address, lease)
    found = Files(files, address)
    definitions = found.read()
    if show:
        found_here = [document(each) for each in registrations(host, definitions)]
        click.echo(orjson.dumps(found_here, option=orjson.OPT_INDENT_2).decode())
        return 0
    if validate:
        _show(definitions)
        return 0
    if not places:
        raise click.UsageError("give --to, or one of --validate and --registrations")
    listen = Listen.read(ttl, "--ttl") if ttl else None
    if listen is not None and not listen.local:
        raise InvalidInput.single("--ttl", "", f'"{ttl}" is not a loopback address; anybody could set the health there')
    if listen is None and any(each.definition.ttl for each in definitions.checks.values()):
        raise InvalidInput.single("--ttl", "", "is required: there are checks of kind TTL")
    if probe and not any(each.startswith(("http://", "https://")) for each in places):
        raise click.UsageError(
            "--probe-gateways asks the control planes in --to, over http(s); name gateways: --gateway"
        )
    start_log(LogFormat(log_format), "agent")
    try:
        # Imported here: reading and showing files needs none of it.
        from pointsman.agent.paths import Probing, read_gateway
        from pointsman.agent.start import Options, run

        options = Options(
            host=host,
            files=found,
            places=places,
            access=read_access(token_file, cert, key, ca),
            state=Path(state).absolute() if state else None,
            ttl=listen,
            registers=not no_register,
            gateways=tuple(map(read_gateway, gateways)),
            asks=probe,
            probing=Probing(_interval(every), sni),
            once=once,
            leaves=not stay,
        )
        return asyncio.run(run(options, report, _ready))
    except ImportError as error:
        raise PointsmanError(f"{error}; install it with pip install 'pointsman[agent]'") from None


def _ready(told: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(told) + b"\n")
    sys.stdout.flush()


def _interval(given: str) -> int:
    try:
        found = parse_duration(given)
    except ValueError as error:
        raise InvalidInput.single("--probe-interval", "", str(error)) from None
    if found < SHORTEST_INTERVAL_NS:
        raise InvalidInput.single("--probe-interval", "", f'"{given}" is not at least 1s')
    return found


def _host(dc: str, node: str, address: str, lease: str) -> Host:
    for option, wrong, value, what in (
        ("--dc", not is_label(dc), dc, "a lower-case DNS label"),
        ("--node", not is_identifier(node), node, "a name of a host (letters, digits and ._:@- inside)"),
        ("--address", not is_ip(address), address, "an IP address"),
    ):
        if wrong:
            raise InvalidInput.single(option, "", f'"{value[:80]}" is not {what}')
    try:
        lease_ns = parse_duration(lease)
    except ValueError as error:
        raise InvalidInput.single("--lease", "", str(error)) from None
    if not SHORTEST_LEASE_MS <= lease_ns // 1_000_000 <= LONGEST_LEASE_MS:
        raise InvalidInput.single("--lease", "", f'"{lease}" is not between 3s and 24h')
    return Host(dc, node, address, lease_ns, f"{node[:100]}/{secrets.token_hex(4)}")


def _show(definitions: Definitions) -> None:
    for key, service in definitions.services.items():
        beside = "a mesh gateway" if service.kind else "with a sidecar" if service.connect.sidecar_service else "native"
        click.echo(f"{key}: {service.name}, {beside}")
        for check in definitions.checks_of(key):
            click.echo(f"  {check.id}: {check.definition.kind.removesuffix('_service')}")
    for line in definitions.passed_over:
        click.echo(f"passed over: {line}")
    click.echo(f"{counted(len(definitions.services), 'service')}, {counted(len(definitions.checks), 'check')}")


def report(text: str) -> None:
    """Log one line, with a limit on similar lines."""
    _log.warning("%s", text, extra={KIND: text.partition(":")[0]})
