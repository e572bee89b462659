"""`pointsman apply`, `delete`, `get`, `list`, `rollback`: the config."""

import os
import sys
from tempfile import TemporaryDirectory
from typing import Any

import click
import orjson

from pointsman.cli.command import command
from pointsman.cli.options import engine_on, notices_option, read_bytes, store_option, trust_domain_option
from pointsman.cli.orders import who
from pointsman.cli.output import progress
from pointsman.model.entries import KINDS, entry_json
from pointsman.model.errors import InvalidInput
from pointsman.model.keys import registration_key
from pointsman.model.loading import MOST_BYTES, load_bytes
from pointsman.model.names import DEFAULT_NAMESPACE
from pointsman.model.note import Note, checked_message
from pointsman.model.owner import Owned
from pointsman.model.registration import Registration
from pointsman.model.words import counted
from pointsman.pipeline.config import Config, load_root
from pointsman.pipeline.configure import Batch, Configured, configure, parse_documents
from pointsman.pipeline.configure import rollback as roll_back
from pointsman.pipeline.engine import Engine
from pointsman.store.protocol import StoreMissing

_KINDS = (*KINDS, "registration")

message_option = click.option(
    "--message", "-m", default="", metavar="TEXT", help="Why, in one line, for those who read `pointsman config log`."
)
"""`--message`, for commands that write config."""


@command()
@store_option
@notices_option
@trust_domain_option
@click.option("--dry-run", is_flag=True, help="Validate only; change nothing.")
@message_option
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def apply(store: str, notices: str, trust_domain: str, dry_run: bool, message: str, files: tuple[str, ...]) -> None:
    """Write config entries and registrations, all of them or none.

    FILEs are JSON, YAML or HCL, in Consul's shapes; "-" is standard input. They are one batch, validated by the state
    that it leads to. The command ends when the batch is durable and its snapshots are published.

    \b
      pointsman apply --store pointsman.db s2-resolver.hcl sidecars.json
      pointsman apply --store pointsman.db --message "dc3 takes over s2 as well" s2-resolver.hcl
      cat entries.yaml | pointsman apply --store s3://my-mesh -
    """
    note = _note(message)
    documents: list[dict[str, Any]] = []
    for name in files:
        documents += load_bytes(read_bytes(name, MOST_BYTES), name)
    batch = parse_documents(documents)
    try:
        done = _apply(store, batch, trust_domain, dry_run, note, notices=notices)
    except StoreMissing as missing:
        # Validated before a store is created: a refused batch leaves no store behind.
        with TemporaryDirectory() as scratch:
            done = _apply(os.path.join(scratch, "empty.db"), batch, trust_domain, True, note, create=True)
        if dry_run:
            click.echo(f"{missing}; validated as the first config", err=True)
        else:
            done = _apply(store, batch, trust_domain, False, note, notices=notices, create=True)
    _tell(done, dry_run, len(batch.entries) + len(batch.registrations))


def _note(message: str) -> Note:
    """Who writes, and the message. Raises InvalidInput."""
    return Note(who(), checked_message(message))


def _apply(
    store: str, batch: Batch, trust_domain: str, dry_run: bool, note: Note, *, notices: str = "", create: bool = False
) -> Configured:
    with engine_on(store, create=create, writes=not dry_run, notices=notices) as engine:
        return configure(engine, batch, trust_domain=trust_domain, dry_run=dry_run, note=note, progress=progress())


def _tell(done: Configured, dry_run: bool, number: int) -> None:
    documents = counted(number, "document")
    if dry_run:
        click.echo(f"valid: {documents}, {'a change' if done.changed else 'no change'}; nothing was written")
    elif done.changed:
        published = counted(len(done.settled.moved), "snapshot")
        click.echo(f"generation {done.generation}: {documents}, {published} published")
    else:
        click.echo(f"generation {done.generation}: nothing to change")
    for warning in done.settled.warnings:
        click.echo(f"pointsman: {warning}", err=True)
    for failure in done.settled.failures():
        click.echo(f"cannot be computed and stays unchanged: {failure}", err=True)


@command()
@store_option
@notices_option
@click.option("--namespace", default=DEFAULT_NAMESPACE, show_default=True)
@click.option("--dc", default="", metavar="DC", help="The datacenter of a registration.")
@message_option
@click.argument("kind", type=click.Choice(_KINDS))
@click.argument("name")
def delete(store: str, notices: str, namespace: str, dc: str, message: str, kind: str, name: str) -> None:
    """Delete a config entry or a registration, unless the rest of the config needs it.

    Name a sidecar's registration by its service, a mesh gateway's by "gateway/ID".

    \b
      pointsman delete --store pointsman.db service-resolver s2
      pointsman delete --store pointsman.db --dc dc1 registration s1
      pointsman delete --store pointsman.db --dc dc1 registration gateway/gateway-1
    """
    note = _note(message)
    if kind == "registration":
        batch = Batch(delete_registrations=[_registration_key(dc, namespace, name)])
    else:
        batch = Batch(delete_entries=[(kind, namespace, name)])
    with engine_on(store, writes=True, notices=notices) as engine:
        done = configure(engine, batch, note=note, progress=progress())
    _tell(done, False, 1)


def _registration_key(dc: str, namespace: str, name: str) -> str:
    if not dc:
        raise click.UsageError("a registration needs --dc")
    return registration_key(dc, namespace, name)


def _current(engine: Engine) -> Config:
    return engine.config(load_root(engine.objects, engine.refresh().root))


def _print(value: Any) -> None:
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode())


def _registration_json(registration: Registration) -> dict[str, Any]:
    return registration.model_dump(by_alias=True, exclude_defaults=True)


@command()
@store_option
@click.option("--namespace", default=DEFAULT_NAMESPACE, show_default=True)
@click.option("--dc", default="", metavar="DC", help="The datacenter of a registration.")
@click.argument("kind", type=click.Choice(_KINDS))
@click.argument("name")
def get(store: str, namespace: str, dc: str, kind: str, name: str) -> None:
    """Print a config entry or a registration as JSON.

    \b
      pointsman get --store pointsman.db service-resolver s2
      pointsman get --store pointsman.db --dc dc1 registration s1
    """
    with engine_on(store) as engine:
        config = _current(engine)
        if kind == "registration":
            registration = config.registrations.get(_registration_key(dc, namespace, name))
            found = _registration_json(registration) if registration else None
        else:
            entry = config.entries.get((kind, namespace, name))
            found = entry_json(entry) if entry else None
    if found is None:
        raise InvalidInput.single(f'{kind} "{name}"', "", "does not exist; `pointsman list` shows what does")
    _print(found)


@command("list")
@store_option
@click.option("--json", "as_json", is_flag=True, help="The whole config, as JSON that `apply` accepts.")
@click.argument("kind", type=click.Choice(_KINDS), required=False)
def list_(store: str, as_json: bool, kind: str | None) -> None:
    """List config entries and registrations, all or those of one KIND.

    \b
      pointsman list --store pointsman.db
      pointsman list --store pointsman.db --json service-resolver > resolvers.json
    """
    with engine_on(store) as engine:
        config = _current(engine)
        entries = [entry for entry in config.entries if kind in (None, entry.kind)]
        registrations = list(config.registrations.items()) if kind in (None, "registration") else []
    if as_json:
        _print([*map(entry_json, entries), *(_registration_json(each) for _, each in registrations)])
        return
    for entry in entries:
        click.echo(f"{entry.kind}\t{entry.namespace}/{entry.name}{_owner(entry)}")
    for key, registration in registrations:
        click.echo(f"registration\t{key}{_owner(registration)}")
    if not entries and not registrations and sys.stderr.isatty():
        click.echo("nothing is configured yet; start with `pointsman apply`", err=True)


def _owner(document: Owned) -> str:
    return f"\t{document.owner}" if document.owner else ""


@command()
@store_option
@notices_option
@message_option
@click.argument("generation", type=click.IntRange(min=1))
def rollback(store: str, notices: str, message: str, generation: int) -> None:
    """Make an earlier config GENERATION the config again, as a new, higher generation.

    A file keeps the last 20 generations, and up to 200 of the last 90 days; a bucket keeps all.

    \b
      pointsman rollback --store pointsman.db 41
    """
    note = _note(message)
    with engine_on(store, writes=True, notices=notices) as engine:
        done = roll_back(engine, generation, note=note, progress=progress())
    _tell(done, False, len(done.settled.moved))
