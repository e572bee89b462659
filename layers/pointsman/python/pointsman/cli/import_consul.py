"""`pointsman import consul`."""

import os
from collections.abc import Sequence

import click

from pointsman.cli.command import command
from pointsman.cli.documents import files_of
from pointsman.cli.imported import check_out, deliver, out_option, pairs, report_option
from pointsman.cli.options import read_bytes, read_text
from pointsman.cli.output import progress
from pointsman.importers.consul import import_consul
from pointsman.importers.consul_api import Api, Sources
from pointsman.importers.consul_sources import read_consul_file
from pointsman.model.errors import InvalidInput
from pointsman.model.loading import MOST_BYTES
from pointsman.model.tokens import LONGEST_NAME
from pointsman.model.words import counted
from pointsman.serve.access import Access


@command("consul")
@out_option
@report_option
@click.option(
    "--url",
    default="",
    metavar="URL",
    help="Ask this Consul: http(s)://HOST:PORT or unix:PATH (or CONSUL_HTTP_ADDR, if there are no FILEs).",
)
@click.option(
    "--token-file",
    envvar="CONSUL_HTTP_TOKEN_FILE",
    default="",
    metavar="FILE",
    help="A file with a token of Consul's ACLs (or CONSUL_HTTP_TOKEN_FILE; CONSUL_HTTP_TOKEN has the token itself).",
)
@click.option(
    "--ca",
    envvar="CONSUL_CACERT",
    default="",
    metavar="FILE",
    help="The CAs that vouch for Consul (PEM; or CONSUL_CACERT); default: the system's.",
)
@click.option(
    "--cert",
    envvar="CONSUL_CLIENT_CERT",
    default="",
    metavar="FILE",
    help="A client certificate to show (PEM; or CONSUL_CLIENT_CERT).",
)
@click.option(
    "--key", envvar="CONSUL_CLIENT_KEY", default="", metavar="FILE", help="Its private key (PEM; or CONSUL_CLIENT_KEY)."
)
@click.option("--datacenters", default="", metavar="DC,...", help="With --url: sidecars and gateways of these alone.")
@click.option("--dc", default="", metavar="DC", help="With FILEs: the datacenter of registrations that name none.")
@click.option("--name", "names", multiple=True, metavar="OLD=NEW", help="Call the service or datacenter OLD NEW.")
@click.option("--watches", metavar="DIR", help="Also write watches for Consul's agents, a file for each datacenter.")
@click.option(
    "--to",
    default="http://127.0.0.1:8420",
    show_default=True,
    metavar="URL",
    help="With --watches: the `pointsman up` that they tell.",
)
@click.argument("files", nargs=-1, metavar="FILE|DIR...")
def consul(
    out: str,
    report_file: str | None,
    url: str,
    token_file: str,
    ca: str,
    cert: str,
    key: str,
    datacenters: str,
    dc: str,
    names: Sequence[str],
    watches: str | None,
    to: str,
    files: Sequence[str],
) -> int:
    """Make config of what a running Consul or its files have, as a directory that `pointsman apply` reads.

    From --url come all config entries, intentions, and the sidecars and mesh gateways of all datacenters. Consul is
    only read.

    FILEs are config entries as they are written or as `consul config read` prints them, service definitions and other
    files of its agents, Kubernetes resources, what is sent to /v1/catalog/register, and answers of its API; "-" is
    standard input. Of a directory all files are read that end in .hcl, .json, .yaml or .yml.

    Whatever is not converted is named, with its place and what to do instead; docs/from-consul.md has the whole way.

    Exit codes: 0 all is converted; 1 refused or not reached, nothing is written; 3 written, and something that could
    not be converted is named.

    \b
      pointsman import consul --url http://127.0.0.1:8500 --out config/
      pointsman import consul --url https://consul.example:8501 --token-file token --ca ca.pem --out config/
      pointsman import consul --url http://127.0.0.1:8500 --out config/ --watches watches/ --to http://10.1.0.5:8420
      pointsman import consul entries/ /etc/consul.d/ --dc dc1 --out config/
      pointsman apply --store pointsman.db --plan config/
    """
    if url and files:
        raise click.UsageError("give either --url or FILEs")
    url = url or ("" if files else os.environ.get("CONSUL_HTTP_ADDR", ""))
    if not url and not files:
        raise click.UsageError("give --url, or FILEs")
    if files and datacenters:
        raise click.UsageError("--datacenters is for --url")
    for directory in (out, watches):
        check_out(directory)
    if url:
        access = Access(_token(token_file), ca, cert, key)
        sources = _asked(url, access, [each for each in datacenters.split(",") if each])
    else:
        sources = [(path, read_consul_file(read_bytes(path, MOST_BYTES), path)) for path in files_of(files)]
    imported = import_consul(sources, datacenter=dc, names=pairs("--name", names), url=to if watches else "")
    return deliver(out, report_file, imported, (watches, imported.watches, "file", "with watches for Consul's agents"))


def _token(path: str) -> str:
    token = (read_text(path) if path else os.environ.get("CONSUL_HTTP_TOKEN", "")).strip()
    if (path and not token) or len(token) > LONGEST_NAME or not token.isascii() or (token and not token.isprintable()):
        raise InvalidInput.single("--token-file", "", f"{path or 'CONSUL_HTTP_TOKEN'} holds no token of Consul's")
    return token


def _asked(url: str, access: Access, wanted: Sequence[str]) -> Sources:
    """What the Consul at `url` answers."""
    api = Api(url, access, progress())
    found = api.who()
    if unknown := sorted({*wanted} - {*found.datacenters}):
        reason = f"{unknown[0]} is none of its datacenters: {', '.join(found.datacenters)}"
        raise InvalidInput.single("--datacenters", "", reason)
    version = f"Consul {found.version}" if found.version else "a Consul that does not say its version"
    click.echo(f"{found.url}: {version}, {counted(len(found.datacenters), 'datacenter')}", err=True)
    return api.all_of(found, wanted or found.datacenters)
