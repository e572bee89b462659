"""What SQLiteStore says where it cannot open a store: clear words at the door, and nothing touched."""

import os
import re
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from pointsman.store import sqlite_file
from pointsman.store.protocol import StoreError, StoreMissing, Write
from pointsman.store.sqlite import SQLiteStore


def of_something_else(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE songs (title)")


def marked_by_something_else(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id=1")


def of_schema(path: Path, number: int) -> None:
    SQLiteStore(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version={number}")


def cut_to_nothing(path: Path) -> None:
    SQLiteStore(path).close()
    os.truncate(path, 0)


def without_its_file(path: Path) -> None:
    with closing(SQLiteStore(path)) as store:
        store.put(Write("k", b"", None))
        shutil.copy(f"{path}-wal", f"{path}-kept")
    path.unlink()
    os.rename(f"{path}-kept", f"{path}-wal")


def with_two_names(path: Path) -> None:
    SQLiteStore(path).close()
    os.link(path, path.with_name("other.db"))


def a_link_where_others_write(path: Path) -> None:
    SQLiteStore(path.with_name("real.db")).close()
    path.symlink_to("real.db")
    path.parent.chmod(0o1777)


def anothers_where_others_write(path: Path) -> None:
    SQLiteStore(path).close()
    path.parent.chmod(0o1777)
    if os.geteuid():
        pytest.skip("only root can give a file away")
    os.chown(path, 65534, 65534)


def a_copy_beside_a_log(path: Path) -> None:
    with closing(SQLiteStore(path)) as store:
        store.put(Write("k", b"", None))
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(path.with_name("copy"))) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
        shutil.copy(f"{path}-wal", f"{path}-kept")
    os.rename(path.with_name("copy"), path)
    os.rename(f"{path}-kept", f"{path}-wal")


def damaged(path: Path) -> None:
    SQLiteStore(path).close()
    path.write_bytes(path.read_bytes()[:100].ljust(20000, b"\xaa"))


REFUSED: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no directory": (
        "no/no/store.db",
        lambda path: None,
        "there is no directory .*/no: make it .*, or name",
    ),
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
    "a newer schema": (
        "c.db",
        lambda path: of_schema(path, sqlite_file.SCHEMA + 1),
        r"written by a newer Pointsman \(schema \d+, known here: \d+\): upgrade Pointsman",
    ),
    "an older schema": (
        "c.db",
        lambda path: of_schema(path, 1),
        r"written by an older Pointsman \(schema 1, .*left as",
    ),
    "cut to nothing": ("e.db", cut_to_nothing, "the file is empty, which no store is: put a copy there, or remove it"),
    "never written": ("e.db", Path.touch, "the file is empty, which no store is: put a copy there, or remove it"),
    "the log alone": ("f.db", without_its_file, "the file is gone, and its log .*-wal is there: put the file back"),
    "two names": ("g.db", with_two_names, r"the file has 2 names \(hard links\).*: remove the"),
    "a link where others write": ("h.db", a_link_where_others_write, "a symlink in .*, where others may write: name"),
    "another's where others write": (
        "i.db",
        anothers_where_others_write,
        "somebody else's file, in .*others",
    ),
    "a copy beside a log": (
        "j.db",
        a_copy_beside_a_log,
        "a copy was put there, and the log .*: remove .*-wal and",
    ),
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


def test_a_store_that_is_not_there_is_made_only_when_asked_for(tmp_path: Path) -> None:
    for path in (tmp_path / "typo.db", tmp_path / "no" / "typo.db"):
        with pytest.raises(StoreMissing, match=f"there is no store at {path}: `pointsman up` or `pointsman apply`"):
            SQLiteStore(path, create=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o777])
def test_a_store_is_its_owners_alone_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    path = tmp_path / "made" / "store.db"
    before = os.umask(mask)
    try:
        with closing(SQLiteStore(path)) as store:
            store.put(Write("k", b"", None))
            modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_what_a_crash_left_of_making_a_store_is_in_nobodys_way(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    for left in ("", "-wal", "-journal"):
        path.with_name(f".store.db.unfinished{left}").write_bytes(b"half")
    with closing(SQLiteStore(path)) as store:
        assert store.put(Write("k", b"", None)).etag
    assert [each.name for each in tmp_path.iterdir()] == ["store.db"]


@contextmanager
def unprivileged() -> Iterator[None]:
    """As a user to whom file modes apply, unlike root."""
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
