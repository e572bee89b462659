"""`pointsman render`: prints what a proxy would get, from files alone."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click
import orjson

from pointsman.chain.entryset import EntrySet
from pointsman.chain.validate import validate
from pointsman.cli.command import command
from pointsman.cli.options import read_bytes, trust_domain_option
from pointsman.cli.situation import as_json, rendered_lines
from pointsman.model.consul_documents import config_documents
from pointsman.model.entries import key_of
from pointsman.model.errors import InvalidInput
from pointsman.model.keys import gateway_key, sidecar_key
from pointsman.model.loading import MOST_BYTES, load_bytes
from pointsman.model.names import DEFAULT_NAMESPACE, ServiceName, is_trust_domain
from pointsman.model.registration import Registration, is_registration, registration_thing
from pointsman.pipeline.configure import DEFAULT_TRUST_DOMAIN, parse_documents
from pointsman.xds.rendered import instances_of, render_gateway, render_sidecar


@command()
@click.option("--jsonl", is_flag=True, help="Read recorded situations from standard input, one per line.")
@click.option("--dc", default="", metavar="DC", help="The proxy's datacenter.")
@click.option("--namespace", default=DEFAULT_NAMESPACE, show_default=True)
@click.option("--gateway", is_flag=True, help="PROXY is a mesh gateway's id, not a service.")
@click.option("--proxy", default="", metavar="PROXY", help="The service whose sidecar it is, or a gateway's id.")
@trust_domain_option
@click.argument("files", nargs=-1, metavar="[FILE]...")
def render(
    jsonl: bool, dc: str, namespace: str, gateway: bool, proxy: str, trust_domain: str, files: tuple[str, ...]
) -> None:
    """Print the clusters, load assignments and listeners that a proxy would get, as proto3 JSON. Needs no store.

    FILEs hold config entries and registrations in Consul's shapes. The registrations also serve as the instances; their
    Checks are the health.

    With --jsonl every line of standard input is one situation (writes, registrations, proxy or gateway, datacenter,
    trust_domain), and the output has one line of resources for each. A line that cannot be rendered is answered with an
    `error`; the run goes on.

    \b
      pointsman render --proxy s1 --dc dc1 entries.hcl catalog.json
      pointsman render --jsonl < situations.jsonl > resources.jsonl
    """
    if jsonl:
        if files or proxy:
            raise click.UsageError("--jsonl reads standard input and takes neither FILEs nor --proxy")
        out = sys.stdout.buffer
        for line in rendered_lines(sys.stdin.buffer):
            out.write(line + b"\n")
        out.flush()
        return
    if not (files and proxy and dc):
        raise click.UsageError("give --proxy, --dc and the FILEs, or --jsonl")
    documents = [document for name in files for document in load_bytes(read_bytes(name, MOST_BYTES), name)]
    answer = _render(
        documents, proxy, dc=dc, namespace=namespace, gateway=gateway, trust_domain=trust_domain or DEFAULT_TRUST_DOMAIN
    )
    click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())


def _render(
    documents: Sequence[Mapping[str, Any]], proxy: str, *, dc: str, namespace: str, gateway: bool, trust_domain: str
) -> dict[str, Any]:
    if not is_trust_domain(trust_domain):
        raise InvalidInput.single("trust domain", "", f'"{trust_domain}" cannot stand in an SNI and a SPIFFE id')
    documents, _ = config_documents(documents, datacenter=dc)
    registered = [document for document in documents if is_registration(document)]
    batch = parse_documents([document for document in documents if not is_registration(document)])
    entries = EntrySet.of(batch.entries)
    if problems := validate(entries, map(key_of, batch.entries)):
        raise InvalidInput(problems)
    registration = _find(registered, proxy, dc=dc, namespace=namespace, gateway=gateway)
    by_datacenter: dict[str, list[Mapping[str, Any]]] = {}
    for document in registered:
        by_datacenter.setdefault(str(document.get("Datacenter", "")), []).append(document)
    rendered = (render_gateway if gateway else render_sidecar)(
        entries, registration, instances_of(by_datacenter), trust_domain
    )
    for error in rendered.errors:
        click.echo(f"pointsman: {error}", err=True)
    return as_json(rendered)


def _find(
    documents: Sequence[Mapping[str, Any]], proxy: str, *, dc: str, namespace: str, gateway: bool
) -> Registration:
    wanted = gateway_key(dc, proxy) if gateway else sidecar_key(dc, ServiceName(namespace, proxy))
    found: dict[str, Registration] = {}
    problems: list[str] = []
    for document in documents:
        try:
            batch = parse_documents([document])
        except InvalidInput as error:
            problems += [str(error)]
            continue
        found |= {each.key: each for each in batch.registrations}
    if wanted not in found:
        what = f"no registration is {wanted}"
        known = ", ".join(sorted(found)) or "none"
        unread = f"; {registration_thing(documents[0])} and others cannot be read: {problems[0]}" if problems else ""
        raise InvalidInput.single("render", "--proxy", f"{what}; the files register {known}{unread}")
    return found[wanted]
