"""What SQLiteStore does when another hand changes its files while it has them open: nothing acknowledged is lost."""

import os
import random
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from pointsman.store.protocol import StoreError, StoreUnavailable, Write
from pointsman.store.sqlite import SQLiteStore

from tests.store.test_sqlite import child, line, tell

WRITES_WHEN_TOLD = """
store = SQLiteStore(path, patience=60)
for number, _ in enumerate(sys.stdin):
    try:
        store.put(Write(f"k{number:04}/{os.getpid()}", bytes(60000), None))
        print("acknowledged", flush=True)
    except StoreError as error:
        print(type(error).__name__, error, flush=True)
"""

WRITES = """
store = SQLiteStore(path, patience=60)
number = 0
try:
    while True:
        store.put(Write(f"{os.getpid()}/{number:06}", bytes(60000), None))
        print(f"{os.getpid()}/{number:06}", flush=True)
        number += 1
except StoreError as error:
    print("refused:", error, flush=True)
time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def overwrite(path: Path, data: bytes) -> None:
    """As `cp` does: the same file, other content."""
    with path.open("wb") as file:
        file.write(data)


def replace(path: Path, data: bytes) -> None:
    """As `mv` does."""
    new = beside(path, "-new")
    new.write_bytes(data)
    new.rename(path)


def delete(*suffixes: str) -> "Hand":
    return lambda path, copy: [beside(path, suffix).unlink() for suffix in suffixes]


Hand = Callable[[Path, Path], object]

SAVED: dict[str, Hand] = {
    "the log deleted": delete("-wal"),
    "the index deleted": delete("-shm"),
    "log and index deleted": delete("-wal", "-shm"),
}
"""After these, whatever was acknowledged is in the file all the same."""

SPOILT: dict[str, Hand] = {
    "the log cut": lambda path, copy: os.truncate(beside(path, "-wal"), 0),
    "the log cut in the middle": lambda path, copy: os.truncate(beside(path, "-wal"), 40000),
    "the log overwritten": lambda path, copy: overwrite(beside(path, "-wal"), beside(copy, "-wal").read_bytes()),
    "the log replaced": lambda path, copy: replace(beside(path, "-wal"), beside(path, "-wal").read_bytes()),
    "the index replaced": lambda path, copy: replace(beside(path, "-shm"), beside(path, "-shm").read_bytes()),
    "the file cut": lambda path, copy: os.truncate(path, 0),
    "the file cut in the middle": lambda path, copy: os.truncate(path, 8192),
    "the file overwritten by a copy": lambda path, copy: overwrite(path, copy.read_bytes()),
    "the file overwritten by another store": lambda path, copy: overwrite(path, beside(copy, "-other").read_bytes()),
    "the file overwritten by something else": lambda path, copy: overwrite(path, b"hello" * 20000),
    "the file replaced": lambda path, copy: replace(path, copy.read_bytes()),
    "the directory replaced": lambda path, copy: (
        path.parent.rename(path.parent.with_name("aside")),
        shutil.copytree(copy.parent, path.parent),
        shutil.copy(copy, path),
    ),
}
"""After these the next process may find anything, so nothing more may be acknowledged."""


@pytest.mark.parametrize("name", [*SAVED, *SPOILT])
def test_nothing_is_acknowledged_that_the_next_process_does_not_find(tmp_path: Path, name: str) -> None:
    path, copy = tmp_path / "store" / "store.db", tmp_path / "copies" / "copy.db"
    copy.parent.mkdir()
    other = beside(copy, "-other")
    with closing(SQLiteStore(other)) as store:
        store.put_many([Write(f"other{number}", bytes(60000), None) for number in range(150)])
    with child(WRITES_WHEN_TOLD, path) as process:

        def write(count: int) -> list[str]:
            for _ in range(count):
                tell(process, "write")
            return [line(process) for _ in range(count)]

        assert set(write(10)) == {"acknowledged"}
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(FULL)")
        shutil.copy(path, copy)
        shutil.copy(beside(path, "-wal"), beside(copy, "-wal"))
        # Enough for the log to begin anew at least once, and some that stand in the log alone.
        assert set(write(80)) == {"acknowledged"}
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        assert set(write(10)) == {"acknowledged"}
        (SAVED | SPOILT)[name](path, copy)
        refused = write(2)
        assert all("restart" in text or "start again" in text for text in refused), refused
        process.send_signal(signal.SIGKILL)
        process.wait()
    if name in SAVED:
        with closing(SQLiteStore(path)) as store:
            assert len(list(store.list("k"))) == 100, "and no trace of what was refused"
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    elif name == "the file cut":
        with pytest.raises(StoreError, match="the file is empty"):
            SQLiteStore(path)


def test_a_log_deleted_in_the_midst_of_it_costs_nothing_that_was_acknowledged(path: Path) -> None:
    chance = random.Random(1)
    kept: set[str] = set()
    for _ in range(4):
        with child(WRITES, path) as process, child(WRITES, path) as other:
            processes = (process, other)
            for each in processes:
                for _ in range(chance.randrange(10, 60)):
                    kept.add(line(each))
            beside(path, "-wal").unlink()
            for each in processes:
                while not (said := line(each)).startswith("refused:"):
                    kept.add(said)
                assert "-wal was deleted while it was open" in said
            for each in processes:
                each.send_signal(signal.SIGKILL)
                each.wait()
        with closing(SQLiteStore(path)) as store:
            found = {listed.key for listed in store.list("")}
        assert kept <= found
        assert len(found - kept) <= 2 * 4, "what was written and not acknowledged, one of each process"


HOLDS = """
store = SQLiteStore(path)
store.put(Write("held", b"", None))
print("open", flush=True)
time.sleep(60)
"""

READS = """
import sqlite3
connection = sqlite3.connect(path, isolation_level=None)
connection.execute("BEGIN")
connection.execute("SELECT count(*) FROM objects").fetchall()
print("reads", flush=True)
input()
connection.execute("COMMIT")
print("done", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("notices", ["as it writes", "as it closes"])
def test_a_deleted_log_is_written_back_also_by_who_is_not_the_last_to_close(path: Path, notices: str) -> None:
    with child(HOLDS, path) as holder:
        assert line(holder) == "open"
        with closing(SQLiteStore(path)) as store:
            assert store.put(Write("acknowledged", b"", None)).etag
            beside(path, "-wal").unlink()
            if notices == "as it writes":
                with pytest.raises(StoreError, match="deleted while it was open"):
                    store.put(Write("refused", b"", None))
        holder.kill()
        holder.wait()
    with closing(SQLiteStore(path)) as store:
        assert [listed.key for listed in store.list("")] == ["acknowledged", "held"]


def test_a_deleted_log_that_cannot_be_written_back_yet_is_kept_until_it_can(path: Path) -> None:
    with closing(SQLiteStore(path, patience=0.1)) as store, child(READS, path) as reader:
        assert line(reader) == "reads"
        assert store.put(Write("acknowledged", b"", None)).etag
        beside(path, "-wal").unlink()
        with pytest.raises(StoreUnavailable, match="locked by another"):
            store.get("acknowledged")
        tell(reader, "go on")
        assert line(reader) == "done"
        with pytest.raises(StoreError, match="deleted while it was open"):
            store.get("acknowledged")
        reader.kill()
        reader.wait()
    with closing(SQLiteStore(path)) as store:
        assert [listed.key for listed in store.list("")] == ["acknowledged"]


def test_who_only_waits_notices_too_and_lets_go(path: Path) -> None:
    with closing(SQLiteStore(path)) as store:
        store.put(Write("k", b"", None))
        cursor = store.changes({}).cursor
        beside(path, "-wal").unlink()
        with pytest.raises(StoreError, match="deleted while it was open"):
            store.wait(cursor, 60)
        with closing(SQLiteStore(path)) as again:
            assert again.get("k")
        with pytest.raises(StoreError, match="deleted while it was open"):
            store.get("k")


def test_what_those_who_have_it_open_do_is_nobodys_alarm(path: Path) -> None:
    """Checkpoints of every kind, copies, a log that is cut as SQLite cuts it: by whatever process, all along."""
    SQLiteStore(path).close()
    meddle = """
import random, sqlite3
connection = sqlite3.connect(path, isolation_level=None, timeout=0.01)
number = 0
while True:
    number += 1
    try:
        kind = random.choice(["TRUNCATE", "RESTART", "FULL", "PASSIVE"])
        connection.execute(f"PRAGMA wal_checkpoint({kind})").fetchall()
        if number % 20 == 0:
            connection.execute("VACUUM INTO ?", (f"{path}-copy{number}",))
            os.unlink(f"{path}-copy{number}")
        if number % 7 == 0:
            os.chmod(path, 0o600)
    except sqlite3.OperationalError:
        pass
"""
    with (
        child(WRITES_WHEN_TOLD, path) as one,
        child(WRITES_WHEN_TOLD, path) as other,
        child(meddle, path),
        closing(SQLiteStore(path, patience=60)) as store,
    ):
        for number in range(60):
            for process in (one, other):
                tell(process, "write")
            assert store.put(Write(f"here/{number}", bytes(60000), None)).etag
            assert store.get(f"here/{number}")
            assert [line(process) for process in (one, other)] == ["acknowledged"] * 2
    with closing(SQLiteStore(path)) as store:
        assert len(list(store.list("here/"))) == 60
        assert sum(1 for _ in store.list("")) == 180


def test_nor_is_it_when_they_are_killed_while_they_write_forget_and_give_space_back(path: Path) -> None:
    churn = """
store = SQLiteStore(path, patience=60)
keys = [f"{os.getpid()}/{number}" for number in range(150)]
while True:
    store.put_many([Write(key, os.urandom(9000), None) for key in keys])
    store.remove(keys)
    while store.tidy(): pass
    print("round", flush=True)
"""
    chance = random.Random(2)
    reads = "BEGIN; SELECT max(seq) FROM objects"
    with (
        closing(SQLiteStore(path, patience=60)) as store,
        closing(sqlite3.connect(path, isolation_level=None)) as reader,
    ):
        written = 0
        for _ in range(8):
            with child(churn, path) as one, child(churn, path) as other:
                for process in (one, other):
                    assert line(process) == "round"
                for statement in reads.split(";"):
                    reader.execute(statement).fetchall()
                for _ in range(chance.randrange(1, 4)):
                    assert line(one) == "round"
                    assert store.put(Write(f"here/{written}", bytes(20000), None)).etag
                    written += 1
                reader.execute("COMMIT")
                assert len(list(store.list("here/"))) == written
                for process in (one, other):
                    process.kill()
                    process.wait()
        assert store.get("here/0")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_disk_that_fills_in_the_middle_of_a_batch_takes_all_of_it_or_nothing(path: Path) -> None:
    script = """
import resource, signal
store = SQLiteStore(path)
store.put(Write("before", b"", None))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
try:
    store.put_many([Write(f"batch/{number}", bytes(9000), None) for number in range(100)])
except StoreError as error:
    print(type(error).__name__, error, flush=True)
print(len(list(store.list("batch/"))), flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(store.put(Write("after", b"", None)).etag is not None, flush=True)
time.sleep(60)
"""
    with child(script, path) as process:
        assert line(process).startswith("StoreUnavailable store ")
        assert line(process) == "0"
        assert line(process) == "True"
        process.send_signal(signal.SIGKILL)
        process.wait()
    with closing(SQLiteStore(path)) as store:
        assert [listed.key for listed in store.list("")] == ["after", "before"]
