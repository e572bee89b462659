"""`pointsman apply`, `delete`, `get`, `list`, `rollback`: the config."""

import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import click
import orjson

from pointsman.cli.command import command
from pointsman.cli.compared import named
from pointsman.cli.documents import read_documents
from pointsman.cli.everywhere import tell_behind, try_all, write_all
from pointsman.cli.options import engine_on, trust_domain_option
from pointsman.cli.orders import who
from pointsman.cli.output import progress
from pointsman.cli.place import Place, place_options
from pointsman.cli.plans import may_go, planned, tell_plans
from pointsman.cli.remote import Away, Missing, Remote
from pointsman.model.entries import KINDS
from pointsman.model.errors import InvalidInput
from pointsman.model.names import DEFAULT_NAMESPACE
from pointsman.model.note import Note, checked_message
from pointsman.model.words import counted
from pointsman.pipeline.configure import Batch, Configured, configure, parse_documents
from pointsman.store.protocol import StoreMissing

_KINDS = (*KINDS, "registration")

message_option = click.option(
    "--message", "-m", default="", metavar="TEXT", help="Why, in one line, for those who read `pointsman config log`."
)
"""`--message`, for commands that write config."""


@command()
@place_options(writes=True, several=True)
@trust_domain_option
@click.option(
    "--owner", default="", metavar="NAME", help="Change only what has this owner, or is new (then it has it)."
)
@click.option("--dry-run", is_flag=True, help="Validate only; change nothing.")
@click.option("--dc", default="", metavar="DC", help="The datacenter of registrations that name none.")
@click.option("--plan", is_flag=True, help="Show what would change and what that does to traffic; change nothing.")
@click.option("--prune", is_flag=True, help="What the owner (without --owner: nobody) has and the FILEs do not, goes.")
@click.option("--yes", is_flag=True, help="With --prune: do not ask before something goes.")
@click.option(
    "--generation",
    type=click.IntRange(min=0),
    metavar="NUMBER",
    help="Only if the config is still this generation, as --plan showed it.",
)
@click.option("--json", "as_json", is_flag=True, help="With --plan: for programs.")
@message_option
@click.argument("files", nargs=-1, required=True, metavar="FILE|DIR...")
def apply(
    place: Place,
    trust_domain: str,
    owner: str,
    dry_run: bool,
    dc: str,
    plan: bool,
    prune: bool,
    yes: bool,
    generation: int | None,
    as_json: bool,
    message: str,
    files: tuple[str, ...],
) -> int:
    """Write config entries and registrations, all of them or none.

    FILEs are JSON, YAML or HCL, in Consul's shapes: also what its API answers, its agents' files, and its Kubernetes
    resources. "-" is standard input. Of a directory all files are read that end in .hcl, .json, .yaml or .yml, also
    those in directories below. All are one batch, validated by the state that it leads to. The command ends when the
    batch is durable and its snapshots are published.

    With --prune the FILEs are the whole config of the owner: what else has that owner goes, after it was shown and you
    said yes. Without --owner that is what belongs to nobody; what agents registered stays.

    With several --url the batch goes to each of these control planes. If one that answers refuses it, it is written
    nowhere. One that does not answer is named; the same command, run again later, brings it up to date.

    Exit codes: 0 done; 1 refused or failed, nothing was written; 5 written, but one of several --url is behind. With
    --plan: 0 nothing would change; 4 something would, and everybody would have somewhere to go; 3 somebody would have
    nowhere to go; 1 refused or failed.

    \b
      pointsman apply --store pointsman.db s2-resolver.hcl sidecars.json
      pointsman apply --store pointsman.db --plan s2-resolver.hcl
      pointsman apply --store pointsman.db --prune config/
      pointsman apply --store pointsman.db --message "dc3 takes over s2 as well" s2-resolver.hcl
      cat entries.yaml | pointsman apply --store s3://my-mesh -
      pointsman apply --url https://10.1.0.5:8443 --url https://10.2.0.5:8443 --token-file token --ca ca.pem *.hcl
    """
    if plan and (dry_run or generation is not None):
        raise click.UsageError("--plan changes nothing: leave --dry-run and --generation out")
    if as_json and not plan:
        raise click.UsageError("--json is for --plan")
    note = _note(message)
    if prune and "-" in files and not (yes or plan or dry_run):
        raise click.UsageError("--prune asks on standard input, from which - reads documents: give --yes")
    documents = read_documents(files, dc)
    meant: dict[str, int] | None = None
    if plan or (prune and not dry_run):
        plans = planned(place, documents, owner=owner, prune=prune, trust_domain=trust_domain)
        if plan:
            return tell_plans(plans, as_json)
        if not may_go(plans, yes):
            click.echo("nothing was written", err=True)
            return 1
        # What goes is what was shown, and no more.
        meant = None if yes else {url: told["generation"] for url, told in plans.items()}
    if generation is not None:
        meant = dict.fromkeys(place.urls or ("",), generation)
    if place.urls:
        query = {"owner": owner, "prune": "1" if prune else ""} | _noted(message)
        return _apply_remotely(place.remotes, documents, query, meant, dry_run)
    batch = parse_documents(documents, owner=owner)
    only = None if meant is None else meant[""]
    write = partial(_apply, batch=batch, trust_domain=trust_domain, note=note, prune=prune, generation=only)
    try:
        done = write(place.store, dry_run=dry_run, notices=place.notices)
    except StoreMissing as missing:
        # Validated before a store is created: a refused batch leaves no store behind.
        with TemporaryDirectory() as scratch:
            done = write(os.path.join(scratch, "empty.db"), dry_run=True, create=True)
        if dry_run:
            click.echo(f"{missing}; validated as the first config", err=True)
        else:
            done = write(place.store, dry_run=False, notices=place.notices, create=True)
    _tell(done.json(), dry_run, len(documents))
    return 0


def _note(message: str) -> Note:
    """Who writes, and the message. Raises InvalidInput."""
    return Note(who(), checked_message(message))


def _apply(
    store: str,
    *,
    batch: Batch,
    trust_domain: str,
    dry_run: bool,
    note: Note,
    prune: bool,
    generation: int | None,
    notices: str = "",
    create: bool = False,
) -> Configured:
    with engine_on(store, create=create, writes=not dry_run, notices=notices) as engine:
        return configure(
            engine,
            batch,
            prune=prune,
            generation=generation,
            trust_domain=trust_domain,
            dry_run=dry_run,
            note=note,
            progress=progress(),
        )


def _apply_remotely(
    remotes: Sequence[Remote],
    documents: Sequence[Mapping[str, Any]],
    query: Mapping[str, str],
    meant: Mapping[str, int] | None,
    dry_run: bool,
) -> int:
    """Write `documents` to each; if generations are `meant`, by URL, only where the config is still that one."""

    def write(remote: Remote, only_try: bool) -> Any:
        if meant is not None and remote.url not in meant:
            raise Away(f"{remote.url} did not answer when it was asked what goes")
        only = {} if meant is None else {"generation": str(meant[remote.url])}
        return remote.ask("PUT", ("config",), {**query, **only, "dry_run": "1" if only_try else ""}, documents)

    if len(remotes) == 1:
        _tell(write(remotes[0], dry_run), dry_run, len(documents))
        return 0
    outcomes = try_all(remotes, write) if dry_run else write_all(remotes, write)
    for each in outcomes:
        if each.error is None:
            _tell(each.told, dry_run, len(documents), f"{each.url}: ")
    return tell_behind(outcomes)


def _tell(told: Mapping[str, Any], dry_run: bool, number: int, where: str = "") -> None:
    documents = counted(number, "document")
    if dry_run:
        what = f"valid: {documents}, {'a change' if told['changed'] else 'no change'}; nothing was written"
    elif told["changed"]:
        snapshots, manifests = counted(len(told["published"]), "snapshot"), counted(len(told["manifests"]), "manifest")
        what = f"generation {told['generation']}: {documents}, {snapshots} and {manifests} published"
    else:
        what = f"generation {told['generation']}: nothing to change"
    click.echo(f"{where}{what}")
    for warning in told.get("warnings", ()):
        click.echo(f"pointsman: {where}{warning}", err=True)
    for failure in told.get("failed", ()):
        click.echo(f"{where}cannot be computed and stays unchanged: {failure}", err=True)


@command()
@place_options(writes=True)
@click.option("--namespace", default=DEFAULT_NAMESPACE, show_default=True)
@click.option("--dc", default="", metavar="DC", help="The datacenter of a registration.")
@click.option("--owner", default="", metavar="NAME", help="Only if it has this owner.")
@message_option
@click.argument("kind", type=click.Choice(_KINDS))
@click.argument("name")
def delete(place: Place, namespace: str, dc: str, owner: str, message: str, kind: str, name: str) -> None:
    """Delete a config entry or a registration, unless the rest of the config needs it.

    Name a sidecar's registration by its service, a mesh gateway's by "gateway/ID".

    \b
      pointsman delete --store pointsman.db service-resolver s2
      pointsman delete --store pointsman.db --dc dc1 registration s1
      pointsman delete --url http://127.0.0.1:8420 --dc dc1 registration gateway/gateway-1
    """
    query = _about(kind, dc, namespace) | {"owner": owner} | _noted(message)
    with place.asked(writes=True) as asked:
        try:
            told = asked.ask("DELETE", _path(kind, name), query)
        except Missing:
            raise _missing(kind, name) from None
    _tell(told, False, 1)


def _path(kind: str, name: str) -> tuple[str, ...]:
    """The route of an entry or a registration; a gateway's name is "gateway/ID"."""
    parts = name.split("/", 1) if kind == "registration" and name.startswith("gateway/") else [name]
    return ("config", kind, *parts)


def _about(kind: str, dc: str, namespace: str) -> dict[str, str]:
    if kind == "registration" and not dc:
        raise click.UsageError("a registration needs --dc")
    return {"dc": dc if kind == "registration" else "", "namespace": namespace}


def _missing(kind: str, name: str) -> InvalidInput:
    return InvalidInput.single(f'{kind} "{name}"', "", "does not exist; `pointsman list` shows what does")


def _noted(message: str) -> dict[str, str]:
    """Who writes, and the message, as parameters. Raises InvalidInput."""
    note = _note(message)
    return {"by": note.by, "message": note.message}


def _print(value: Any) -> None:
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode())


@command()
@place_options()
@click.option("--namespace", default=DEFAULT_NAMESPACE, show_default=True)
@click.option("--dc", default="", metavar="DC", help="The datacenter of a registration.")
@click.argument("kind", type=click.Choice(_KINDS))
@click.argument("name")
def get(place: Place, namespace: str, dc: str, kind: str, name: str) -> None:
    """Print a config entry or a registration as JSON.

    \b
      pointsman get --store pointsman.db service-resolver s2
      pointsman get --url http://127.0.0.1:8420 --dc dc1 registration s1
    """
    query = _about(kind, dc, namespace)
    with place.asked() as asked:
        try:
            found = asked.ask("GET", _path(kind, name), query)
        except Missing:
            raise _missing(kind, name) from None
    _print(found)


@command("list")
@place_options()
@click.option("--json", "as_json", is_flag=True, help="The whole config, as JSON that `apply` accepts.")
@click.argument("kind", type=click.Choice(_KINDS), required=False)
def list_(place: Place, as_json: bool, kind: str | None) -> None:
    """List config entries and registrations, all or those of one KIND.

    \b
      pointsman list --store pointsman.db
      pointsman list --url http://127.0.0.1:8420 --json service-resolver > resolvers.json
    """
    with place.asked() as asked:
        found = asked.ask("GET", ("config",), {"kind": kind or ""})
    if as_json:
        _print(found)
        return
    for each in found:
        owner = each.get("Owner")
        click.echo("\t".join([*named(each), *([owner] if owner else [])]))
    if not found and sys.stderr.isatty():
        click.echo("nothing is configured yet; start with `pointsman apply`", err=True)


@command()
@place_options(writes=True)
@message_option
@click.argument("generation", type=click.IntRange(min=1))
def rollback(place: Place, message: str, generation: int) -> None:
    """Make an earlier config GENERATION the config again, as a new, higher generation.

    A file keeps the last 20 generations, and up to 200 of the last 90 days; a bucket keeps all.

    \b
      pointsman rollback --store pointsman.db 41
    """
    query = _noted(message)
    with place.asked(writes=True) as asked:
        told = asked.ask("POST", ("rollback", str(generation)), query)
    _tell(told, False, len(told["published"]))
