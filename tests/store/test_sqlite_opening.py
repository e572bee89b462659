"""What SQLiteStore says where it cannot open a store: clear words at the door, and nothing touched."""

import os
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from pointsman.store import sqlite_file
from pointsman.store.protocol import StoreError, Write
from pointsman.store.sqlite import SQLiteStore


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.touch()
    with closing(SQLiteStore(path)) as store:
        assert store.put(Write("k", b"", None)).etag


def of_something_else(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE songs (title)")


def marked_by_something_else(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id=1")


def newer(path: Path) -> None:
    SQLiteStore(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version={sqlite_file.SCHEMA + 1}")


def damaged(path: Path) -> None:
    SQLiteStore(path).close()
    path.write_bytes(path.read_bytes()[:100].ljust(20000, b"\xaa"))


REFUSED: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no directory": ("no/store.db", lambda path: None, "there is no directory .*/no: make it .*, or name another path"),
    "below a file": ("f/x", lambda path: path.parent.touch(), ".*/f is not a directory: name another path"),
    "a directory": (
        "store",
        lambda path: path.mkdir(),
        "a directory: name a file in it, .*/store/pointsman.db",
    ),
    "a pipe": ("pipe", os.mkfifo, "not a regular file: name another path"),
    "a text": ("notes.txt", lambda path: path.write_text("hello"), "not an SQLite database: name another path"),
    "another's tables": (
        "a.db",
        of_something_else,
        "an SQLite database of something else, left as it is: name",
    ),
    "another mark": ("b.db", marked_by_something_else, "an SQLite database of something else, left as it is: name"),
    "a newer schema": ("c.db", newer, r"written by a newer Pointsman \(schema 2, known here: 1\): upgrade Pointsman"),
    "damaged": ("d.db", damaged, "damaged .*: restore it from a copy, or move it away"),
}


@pytest.mark.parametrize(("name", "prepare", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_a_store_is_refused_in_one_line_and_left_alone(
    tmp_path: Path, name: str, prepare: Callable[[Path], object], said: str
) -> None:
    path = tmp_path / name
    prepare(path)
    before = path.read_bytes() if path.is_file() else None
    files = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreError) as error:
        SQLiteStore(path)
    assert re.match(f"store {re.escape(str(path))}: {said}", str(error.value))
    assert "\n" not in str(error.value)
    assert (path.read_bytes() if path.is_file() else None) == before
    assert sorted(tmp_path.rglob("*")) == files


@contextmanager
def unprivileged() -> Iterator[None]:
    """As somebody whom file modes bind: root is not."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize(
    ("file_mode", "directory_mode", "said"),
    [
        (None, 0o555, "it cannot be made in .*: make that directory writable, or name another path"),
        (0o444, 0o555, r"it cannot be written \(.*\): make it and its directory writable, or name another path"),
        (0o444, 0o777, r"it cannot be written \(.*\): make it and its directory writable, or name another path"),
        (0o666, 0o555, r"it cannot be written \(.*\): make it and its directory writable, or name another path"),
        (0o000, 0o777, r"it cannot be written \(.*\): make it and its directory writable, or name another path"),
    ],
)
def test_a_read_only_place_is_refused_when_the_store_is_opened(
    file_mode: int | None, directory_mode: int, said: str
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "store.db")
        if file_mode is not None:
            SQLiteStore(path).close()
            path.chmod(file_mode)
        Path(directory).chmod(directory_mode)
        with unprivileged(), pytest.raises(StoreError) as error:
            SQLiteStore(path)
        assert re.match(f"store {re.escape(str(path))}: {said}$", str(error.value)), str(error.value)
        Path(directory).chmod(0o777)
