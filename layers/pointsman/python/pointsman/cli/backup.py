"""`pointsman backup`: a copy of a store while it is in use."""

import click

from pointsman.cli.command import command
from pointsman.cli.options import store_option
from pointsman.cli.output import progress
from pointsman.model.words import counted
from pointsman.store.open import file_of
from pointsman.store.protocol import StoreError


@command()
@store_option
@click.argument("file", metavar="FILE")
def backup(store: str, file: str) -> None:
    """Copy the store to FILE, while `pointsman up` goes on.

    The copy is consistent: it holds all that was acknowledged before the command began. It is checked, synced, readable
    for this user alone, and never overwrites another file. To restore it, stop everything that uses the store, remove
    STORE-wal and STORE-shm, replace STORE by the copy, start again, and run `pointsman recover`.

    \b
      pointsman backup --store pointsman.db pointsman-$(date +%F).db
    """
    path = file_of(store)
    if path is None:
        raise StoreError(
            f"{store} is a bucket, which keeps copies itself: switch versioning on (aws s3api put-bucket-versioning"
            " --bucket BUCKET --versioning-configuration Status=Enabled), or copy it (aws s3 sync)"
        )
    # Imported only when needed.
    from pointsman.store.sqlite_backup import back_up

    done = back_up(path, file, progress())
    click.echo(f"{file}: {counted(done.objects, 'object')}, {done.size / 1e6:.1f} MB")
