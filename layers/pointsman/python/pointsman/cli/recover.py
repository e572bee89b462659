"""`pointsman recover`: run after a store was restored from a copy."""

import click

from pointsman.cli.command import command
from pointsman.cli.options import engine_on, store_option
from pointsman.cli.output import progress
from pointsman.model.words import counted


@command()
@store_option
def recover(store: str) -> int:
    """Make a restored store count as newer than everything that was published after the copy was made.

    The store gets a new identity and a greater epoch, and everything is computed and published anew. Run it once after
    a restore, before or after `pointsman up` or the functions use the store again. Adapters and Envoys then take what
    the store holds, even where it is older than what they have. Then have every source send its full lists again:
    events between the copy and the restore are not in the store.

    The exit code is 1 if something cannot be published.

    \b
      cp backup.db pointsman.db
      pointsman recover --store pointsman.db
      pointsman status --store pointsman.db
    """
    from pointsman.pipeline.recover import recover as recover_store

    with engine_on(store, writes=True) as engine:
        done = recover_store(engine, progress())
    before, after, found = done.before, done.after, done.reconciled
    clusters, manifests = counted(found.checked, "cluster"), counted(found.manifests, "manifest")
    click.echo(
        f"epoch {after.epoch} (was {before.epoch}), identity {after.identity} (was {before.identity}): "
        f"{clusters} checked, {found.moved} moved, {manifests} written, "
        f"{found.retired} retired"
    )
    for line in found.warnings:
        click.echo(f"pointsman: {line}", err=True)
    for line in found.failed:
        click.echo(f"cannot be published and stays unchanged: {line}", err=True)
    return 1 if found.failed else 0
