"""`pointsman reconcile`: everything is checked, and repaired where it has to be."""

import click

from pointsman.cli.command import command
from pointsman.cli.options import engine_on, store_option
from pointsman.cli.output import progress
from pointsman.model.words import counted


@command()
@store_option
def reconcile(store: str) -> int:
    """Check every snapshot and manifest against the config and the instances, and publish what is not right.

    `pointsman up` does this every minute. Run it to finish at once what an interrupted `pointsman apply` left, or where
    no `pointsman up` runs. The exit code is 1 if something cannot be published.

    \b
      pointsman reconcile --store pointsman.db
    """
    from pointsman.pipeline.reconcile import reconcile as reconcile_store

    with engine_on(store, writes=True) as engine:
        done = reconcile_store(engine, progress())
    checked, manifests = counted(done.checked, "cluster"), counted(done.manifests, "manifest")
    click.echo(f"{checked} checked, {done.moved} moved, {manifests} written, {done.retired} retired")
    for line in done.warnings:
        click.echo(f"pointsman: {line}", err=True)
    for line in done.failed:
        click.echo(f"cannot be published and stays unchanged: {line}", err=True)
    return 1 if done.failed else 0
