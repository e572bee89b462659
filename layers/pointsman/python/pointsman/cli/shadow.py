"""`pointsman shadow`: what would change for an Envoy's traffic if Pointsman configured it."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

import click
import orjson

from pointsman.adapter.admin.client import Admin
from pointsman.cli.command import command
from pointsman.cli.options import engine_on, read_bytes, store_option
from pointsman.discovery.proxy import GatewayId, ProxyId, SidecarId
from pointsman.discovery.whole import read_view
from pointsman.model.errors import InvalidInput
from pointsman.model.keys import sidecar_plan_key
from pointsman.model.names import DEFAULT_NAMESPACE, is_identifier, is_label
from pointsman.model.words import counted
from pointsman.pipeline.config import load_root
from pointsman.pipeline.standby import read_standby
from pointsman.shadow.difference import Difference, Findings, Kind
from pointsman.shadow.dump import DUMP_PATH, LARGEST_DUMP_BYTES, Dump, read_dump
from pointsman.shadow.shadowed import shadowed

DIFFERS: Final = 3
"""The exit code if something would change for traffic."""

SCHEMA: Final = 1
"""The number of the form of the JSON."""

ADMIN_SECONDS: Final = 60.0
"""Seconds for an Envoy to answer with its dump."""

MOST_DIFFERENCES: Final = 50
"""Differences of one Envoy that are shown on a terminal."""

LONGEST_SIDE: Final = 400
"""Characters of one side of a difference on a terminal."""

_COLORS = {Kind.SETTING: None, Kind.TIMEOUT: "yellow", Kind.FAILOVER: "yellow"}


@command()
@store_option
@click.option("--dc", required=True, metavar="DC", help="The proxy's datacenter.")
@click.option("--namespace", default=DEFAULT_NAMESPACE, show_default=True)
@click.option("--gateway", is_flag=True, help="PROXY is a mesh gateway's id, not a service.")
@click.option(
    "--admin",
    "admins",
    multiple=True,
    metavar="IP:PORT|unix:PATH",
    help="The admin of the Envoy as it runs now, on this machine; repeatable.",
)
@click.option(
    "--dump",
    "dumps",
    multiple=True,
    metavar="FILE",
    help=f'Or what its admin answered under {DUMP_PATH}, saved; "-" is standard input; repeatable.',
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.argument("proxy")
def shadow(
    store: str,
    dc: str,
    namespace: str,
    gateway: bool,
    admins: Sequence[str],
    dumps: Sequence[str],
    as_json: bool,
    proxy: str,
) -> int:
    """Show what would change for the traffic of an Envoy that something else configures, if Pointsman did.

    PROXY is a registered service, whose sidecar the Envoy is, or a mesh gateway's id. What the store would serve it now
    is compared with what it has, by meaning: where traffic goes, under which server name, by which routes, what takes
    over, who may connect, timeouts, settings; the worst first. Names, the order of what has none, and defaults that are
    written out are no difference. Nothing is changed anywhere.

    Exit codes: 0 the same for traffic; 3 something differs; 1 refused or failed.

    \b
      pointsman shadow web --dc dc1 --store pointsman.db --admin 127.0.0.1:19000
      curl -s '127.0.0.1:19000/config_dump?include_eds' > web.json
      pointsman shadow web --dc dc1 --store pointsman.db --dump web.json
      pointsman shadow gateway-1 --gateway --dc dc1 --store pointsman.db --dump gateway.json --json
    """
    if not admins and not dumps:
        raise click.UsageError("give --admin IP:PORT or --dump FILE")
    who = _proxy(dc, namespace, proxy, gateway=gateway)
    sources = [*((each, Admin.read(each, "--admin")) for each in admins), *((each, None) for each in dumps)]
    with engine_on(store) as engine:
        config = engine.config(load_root(engine.objects, engine.refresh().root))
        if who.key not in config.registrations:
            known = ", ".join(config.registrations) or "none"
            raise InvalidInput.single("shadow", "PROXY", f"{who} is not registered; registered are: {known}")
        trust_domain = config.root.trust_domain
        view = read_view(engine.store, who)
        standby = read_standby(engine, config, [sidecar_plan_key(dc, each) for each in view.snapshots])
    found = []
    for name, admin in sources:
        content = admin.body(DUMP_PATH, timeout=ADMIN_SECONDS) if admin else read_bytes(name, LARGEST_DUMP_BYTES)
        dump = read_dump(content, name, trust_domain)
        found.append((name, dump, shadowed(who, view, dump, trust_domain, standby)))
    if as_json:
        envoys = [_json(name, dump, findings) for name, dump, findings in found]
        answer = {"schema": SCHEMA, "proxy": str(who), "same": all(each["same"] for each in envoys), "envoys": envoys}
        click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
    else:
        for name, dump, findings in found:
            _show(who, name, dump, findings)
    return DIFFERS if any(findings.differences for _, _, findings in found) else 0


def _proxy(dc: str, namespace: str, name: str, *, gateway: bool) -> ProxyId:
    for field, value in (("--dc", dc), ("--namespace", namespace), *([] if gateway else [("PROXY", name)])):
        if not is_label(value):
            raise InvalidInput.single("shadow", field, f'"{value}" is not a lower-case DNS label')
    if gateway and not is_identifier(name):
        raise InvalidInput.single("shadow", "PROXY", f'"{name}" is not the ID of a mesh gateway\'s registration')
    return GatewayId(dc, name) if gateway else SidecarId(dc, namespace, name)


def _version(dump: Dump) -> str:
    return ".".join(map(str, dump.version)) if dump.version else ""


def _json(name: str, dump: Dump, found: Findings) -> dict[str, Any]:
    return {
        "source": name,
        "node": dump.node,
        "cluster": dump.service,
        "version": _version(dump),
        "same": not found.differences,
        "compared": {"listeners": found.listeners, "clusters": len(found.compared)},
        "differences": [
            {
                "kind": each.kind.label,
                "where": each.where,
                "what": each.what,
                "today": each.today,
                "pointsman": each.pointsman,
            }
            for each in sorted(found.differences)
        ],
        "own": [{"what": what, "where": sorted(where)} for what, where in sorted(found.own.items())],
        "not_compared": sorted(found.not_compared),
        "notes": sorted(found.notes),
    }


def _echo(line: str, color: str | None = None) -> None:
    click.echo(click.style(line, fg=color) if color else line, color=None if sys.stdout.isatty() else False)


def _show(who: ProxyId, name: str, dump: Dump, found: Findings) -> None:
    envoy = ", ".join(filter(None, (_version(dump) and f"Envoy {_version(dump)}", dump.node and f"node {dump.node}")))
    _echo(f"{who}, compared with {name}{f' ({_plain(envoy)})' if envoy else ''}")
    differences = sorted(found.differences)
    if differences:
        kinds = Counter(each.kind for each in differences)
        _echo(
            "would change: " + ", ".join(f"{kind.label} in {counted(kinds[kind], 'place')}" for kind in sorted(kinds)),
            "red",
        )
    else:
        _echo(f"the same for traffic: {_counts(found)} compared", "green")
    for each in differences[:MOST_DIFFERENCES]:
        for line, color in _lines(each):
            _echo(line, color)
    if len(differences) > MOST_DIFFERENCES:
        _echo(f"and {len(differences) - MOST_DIFFERENCES} more; --json shows all")
    if found.own:
        what = ", ".join(sorted({each.partition(".")[0].replace("_", " ") for each in found.own}))
        where = {each for places in found.own.values() for each in places}
        _echo(
            f"Pointsman's own, in {counted(len(where), 'place')}: {_plain(what)} (docs/envoy.md#limits; --json has all)"
        )
    for each_of in sorted(found.not_compared):
        _echo(f"not compared: {_plain(each_of)}", "yellow")
    for each_of in sorted(found.notes):
        _echo(f"note: {_plain(each_of)}")


def _counts(found: Findings) -> str:
    return f"{counted(found.listeners, 'listener')} and {counted(len(found.compared), 'cluster')}"


def _lines(each: Difference) -> Iterator[tuple[str, str | None]]:
    yield f"{each.kind.label}: {_plain(each.where)}: {_plain(each.what)}", _COLORS.get(each.kind, "red")
    yield f"    today           {_plain(each.today)}", None
    yield f"    with Pointsman  {_plain(each.pointsman)}", None


def _plain(text: str) -> str:
    """On one line, with nothing that speaks to the terminal, and not too long: the dump may hold anything."""
    shown = "".join(char if char.isprintable() else " " for char in text)
    return shown if len(shown) <= LONGEST_SIDE else f"{shown[:LONGEST_SIDE]}…"
