"""A copy of the store in an SQLite file, taken while others write to it."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from pointsman.store.place import new_file
from pointsman.store.protocol import StoreError, StoreUnavailable
from pointsman.store.sqlite_file import open_file, raise_explained

_STEP_PAGES = 1024
_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Copied:
    """The size of a copy: its objects, and its bytes."""

    objects: int
    size: int


def back_up(path: str, copy: str, progress: Callable[[str], None] = lambda text: None) -> Copied:
    """Copy the store in the file `path` to `copy`, with everything that was acknowledged before this call.

    The copy shows one moment. Readers and writers continue meanwhile, only their log grows. The copy is made page by
    page, checked and synced, and only then gets its name, readable by this user alone. It can replace a store as it is.
    `progress` gets a text now and then. Raises StoreError; then no copy exists.
    """
    copy = os.path.abspath(copy)
    opened = open_file(os.path.abspath(path), _PATIENCE_S, create=False)
    with closing(opened.connection) as source:
        try:
            with new_file(copy, _PATIENCE_S) as unfinished, closing(sqlite3.connect(unfinished)) as target:
                return _copy(source, target, opened.identity, progress)
        except FileExistsError:
            raise StoreError(f"{copy}: it exists and stays as it is: name another file") from None
        except TimeoutError as error:
            raise StoreUnavailable(f"{copy}: {error}: try again") from None
        except OSError as error:
            raise StoreError(f"{copy}: {error.strerror}: name a file in a directory that can be written") from error
        except sqlite3.Error as error:
            raise_explained(copy, _PATIENCE_S, error)


def _copy(
    source: sqlite3.Connection, target: sqlite3.Connection, identity: str, progress: Callable[[str], None]
) -> Copied:
    def told(status: int, remaining: int, total: int) -> None:
        progress(f"{total - remaining} of {total} pages copied")

    source.execute("BEGIN")  # one snapshot: without it, each write of somebody else would begin the copy anew
    source.execute("SELECT identity FROM store").fetchone()
    source.backup(target, pages=_STEP_PAGES, progress=told, sleep=0.0)
    source.execute("COMMIT")
    # Marks it as a copy: beside the log of a former file it is refused (`sqlite_file`).
    target.execute("PRAGMA journal_mode=DELETE")
    progress("checking the copy")
    (found,) = target.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok" or target.execute("SELECT identity FROM store").fetchone() != (identity,):
        raise StoreError(
            f"the copy is damaged ({found}), so the store may be: look at it with `PRAGMA integrity_check`"
        )
    (objects,) = target.execute("SELECT count(*) FROM objects").fetchone()
    (pages,) = target.execute("PRAGMA page_count").fetchone()
    (page,) = target.execute("PRAGMA page_size").fetchone()
    return Copied(objects, pages * page)
