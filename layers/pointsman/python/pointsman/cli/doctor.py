"""`pointsman doctor`: what is wrong, and where control planes that stand side by side differ."""

import contextlib
import math
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import orjson

from pointsman.cli.checks import certificate, clock, envoys, probed, traffic
from pointsman.cli.command import command
from pointsman.cli.compared import Seen, examine
from pointsman.cli.denied import denied
from pointsman.cli.everywhere import ask_all
from pointsman.cli.place import Local, Place, place_options
from pointsman.cli.remote import Missing, Remote
from pointsman.model.errors import InvalidInput
from pointsman.model.findings import Finding, Severity
from pointsman.model.words import counted
from pointsman.serve.certificate import certificate_end
from pointsman.store.bucket_url import read_bucket_url
from pointsman.store.probe import mark


@command()
@place_options(several=True)
@click.option(
    "--cert-file",
    "certificates",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Look also whether this certificate (PEM) ends soon; repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(place: Place, certificates: tuple[Path, ...], as_json: bool) -> int:
    """Say what is wrong, and what to do about it; and where control planes differ that each have a store of their own.

    It looks at what `status` warns of and notes, services that nobody serves, snapshots that are behind, mesh gateways
    that are missing or ill, upstreams that intentions deny, Envoys that are behind, ahead, or reject something, clocks,
    certificates, and whether a bucket was tried. With several --url it says what is not the same everywhere: the
    config, the orders in force, who tells of health, and the trust domain; and which control planes do not answer.

    Exit codes: 0 nothing is wrong, at most notes; 1 something is.

    \b
      pointsman doctor --store pointsman.db
      pointsman doctor --url http://10.1.0.5:8420 --url http://10.2.0.5:8420
      pointsman doctor --url https://10.1.0.5:8443 --url https://10.2.0.5:8443 --token-file token --ca ca.pem --json
    """
    findings: list[Finding] = []
    if place.urls:
        outcomes = ask_all(place.remotes, lambda remote: _look(remote, remote.url))
        seen = [each.told for each in outcomes if each.error is None]
        findings += [
            Finding("reachable", Severity.WARNING, each.url, str(each.error), "start it, or give what lets you in")
            for each in outcomes
            if each.error is not None
        ]
    else:
        with place.asked() as local:
            seen = [_look(local, place.store)]
            findings += _probed(local, place.store)
    findings += examine(seen)
    for each in seen:
        findings += traffic(each.url, each.status, time.time())
        findings += denied(each.url, each.config)
        if each.proxies is not None:
            findings += envoys(each.url, each.proxies)
            findings += clock(each.url, each.proxies, each.asked)
    for path in certificates:
        findings += certificate(path, _end_of(path), time.time())
    findings.sort(key=lambda each: each.severity is Severity.NOTE)
    wrong = any(each.severity is Severity.WARNING for each in findings)
    if as_json:
        planes = [
            {
                "url": each.url,
                "generation": each.status["generation"],
                "documents": len(each.config),
                "digest": each.digest,
            }
            for each in seen
        ]
        body = {"control_planes": planes, "findings": [each.json() for each in findings]}
        click.echo(orjson.dumps(body, option=orjson.OPT_INDENT_2).decode())
        return 1 if wrong else 0
    for each in seen:
        documents = counted(len(each.config), "document")
        click.echo(f"{each.url}  generation {each.status['generation']}, {documents}, digest {each.digest}")
    for finding in findings:
        _show(finding)
    if not wrong:
        click.echo("nothing is wrong" + (", and they agree" if len(seen) > 1 else ""))
    return 1 if wrong else 0


def _look(asked: Remote | Local, url: str) -> Seen:
    def read(name: str) -> Any:
        return asked.ask("GET", (name,))

    seen = Seen(url, read("config"), read("orders"), read("sources"), read("status"))
    with contextlib.suppress(Missing):  # an older control plane does not have it
        return replace(seen, proxies=read("proxies"), asked=time.time())
    return seen


def _probed(local: Remote | Local, store: str) -> Iterable[Finding]:
    if not isinstance(local, Local) or not store.startswith("s3://"):
        return ()
    key, _ = mark(read_bucket_url(store))
    return probed(store, local.engine.store.get(key) is not None)


def _end_of(path: Path) -> float:
    end = certificate_end(path)
    if not math.isnan(end):
        return end
    raise InvalidInput.single("doctor", "--cert-file", f"{path} has no certificate (PEM), or cannot be read")


def _show(finding: Finding) -> None:
    note, color = ("", "red") if finding.severity is Severity.WARNING else ("note: ", None)
    line = click.style(f"{note}{finding.what}: {finding.where}: {finding.says}", fg=color)
    click.echo(line, color=None if sys.stdout.isatty() else False)
    click.echo(f"    {finding.do}")
