"""What SQLiteStore promises beyond the contract: several processes, crashes, prompt waits, no scans, no lost writes."""

import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from pointsman.store import sqlite, sqlite_wakeup
from pointsman.store.protocol import Changes, Stored, StoreError, StoreUnavailable, Write, Written
from pointsman.store.sqlite import SQLiteStore

PRELUDE = """
import os, sys, time
from pointsman.store.protocol import StoreError, Write
from pointsman.store.sqlite import SQLiteStore
path = sys.argv[1]
"""


@contextmanager
def child(script: str, path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another Python process that runs `script` on the store in `path`; it does not outlive the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: "subprocess.Popen[str]", text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(text + "\n")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def test_processes_that_open_a_new_file_at_once_count_together_and_lose_nothing(path: Path) -> None:
    script = """
print("ready", flush=True); input()
store = SQLiteStore(path)
for _ in range(50):
    while True:
        there = store.get("counter")
        number = int(there.data) if there else 0
        if store.put(Write("counter", b"%d" % (number + 1), there.etag if there else None)).etag: break
print("done", flush=True)
"""
    with child(script, path) as a, child(script, path) as b, child(script, path) as c, child(script, path) as d:
        for process in (a, b, c, d):
            assert line(process) == "ready"
        for process in (a, b, c, d):
            tell(process, "go")
        for process in (a, b, c, d):
            assert line(process) == "done"
    with closing(SQLiteStore(path)) as store:
        assert int(store.get_many(["counter"])["counter"].data) == 200


def test_a_killed_writer_loses_nothing_that_was_acknowledged(path: Path) -> None:
    script = """
store = SQLiteStore(path)
there = store.get("counter")
number = int(there.data) if there else 0
etag = there.etag if there else None
while True:
    number += 1
    written = store.put_many([Write("counter", b"%d" % number, etag), Write(f"log/{number:06}", bytes(9000), None)])
    etag = written[0].etag
    print(number, flush=True)
"""
    acknowledged = 0
    for enough in (1, 7, 40, 90):
        with child(script, path) as process:
            for _ in range(enough):
                acknowledged = int(line(process))
            process.kill()
            assert process.stdout is not None
            # It wrote and spoke on until the signal came; a line cut off in the middle was no acknowledgment.
            rest = process.stdout.read().splitlines(keepends=True)
            acknowledged = max([acknowledged, *(int(each) for each in rest if each.endswith("\n"))])
        with closing(SQLiteStore(path)) as store:
            count = int(store.get_many(["counter"])["counter"].data)
            assert count in (acknowledged, acknowledged + 1), "what was being written is there whole or not at all"
            assert [one.key for one in store.list("log/")] == [f"log/{number:06}" for number in range(1, count + 1)]
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_write_is_synced_before_it_is_acknowledged(path: Path) -> None:
    with closing(SQLiteStore(path)) as store, store._connection() as first, store._connection() as second:
        for connection in (first, second):
            assert connection.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_write_of_another_process_is_noticed_within_milliseconds(path: Path) -> None:
    script = """
store = SQLiteStore(path)
print("ready", flush=True)
for number, _ in enumerate(sys.stdin):
    store.put(Write(f"k{number}", b"", None))
    print(time.monotonic(), flush=True)
"""

    def wait(store: SQLiteStore, cursor: str) -> tuple[bool, float]:
        return store.wait(cursor, 10), time.monotonic()

    delays = []
    with child(script, path) as process, closing(SQLiteStore(path)) as store:
        assert line(process) == "ready"
        for _ in range(15):
            cursor = store.changes({}).cursor
            with ThreadPoolExecutor(1) as pool:
                noticed = pool.submit(wait, store, cursor)
                tell(process, "write")
                told, when = noticed.result()
            assert told
            delays.append(when - float(line(process)))
    quarter = statistics.quantiles(delays, n=4)[0]  # a busy machine may be late, but not every time
    assert quarter < 0.01


def test_a_write_of_this_process_wakes_all_who_wait_without_anyone_looking_unless_it_is_of_catalogs_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_wakeup, "POLL_PERIOD_S", 60)
    alias = path.with_name("alias.db")
    alias.symlink_to(path)
    with closing(SQLiteStore(path)) as one, closing(SQLiteStore(alias)) as other, ThreadPoolExecutor(4) as pool:
        cursor = one.changes({}).cursor
        waiting = [pool.submit(store.wait, cursor, 30) for store in (one, other, one, other)]
        began = time.monotonic()
        other.put(Write("k", b"", None))
        assert [told.result() for told in waiting] == [True] * 4
        assert time.monotonic() - began < 10
        one.put_many([Write("catalog/dc1/a", b"", None), Write("catalog/dc1/b", b"", None)])
        assert one._wakeup._latest == 1, "nobody follows catalogs alone"
        one.put_many([Write("catalog/dc1/c", b"", None), Write("snapshots/dc1/a", b"", None)])
        assert one._wakeup._latest == 5


def test_a_wait_without_news_ends_in_time_and_says_so(path: Path) -> None:
    with closing(SQLiteStore(path)) as store, ThreadPoolExecutor(3) as pool:
        store.put(Write("k", b"", None))
        cursor = store.changes({}).cursor
        began = time.monotonic()
        waiting = [pool.submit(store.wait, cursor, timeout) for timeout in (0.02, 0.05, 0.08)]
        assert [told.result() for told in waiting] == [False] * 3
        assert 0.08 <= time.monotonic() - began < 5


def test_who_waits_on_learns_of_other_processes_after_the_one_who_looked_left(path: Path) -> None:
    with closing(SQLiteStore(path)) as store, ThreadPoolExecutor(3) as pool:
        cursor = store.changes({}).cursor
        looking = pool.submit(store.wait, cursor, 0.3)
        deadline = time.monotonic() + 10
        while not store._wakeup._looked_after:
            assert time.monotonic() < deadline
        patient = [pool.submit(store.wait, cursor, 20) for _ in range(2)]
        assert looking.result() is False
        with child("SQLiteStore(path).put(Write('k', b'', None))", path) as process:
            assert process.wait(20) == 0
            assert [told.result(10) for told in patient] == [True, True]


def test_no_statement_looks_through_the_whole_table(path: Path) -> None:
    texts = [value for name, value in vars(sqlite).items() if name[1:].isupper() and isinstance(value, str)]
    statements = [text for text in texts if "objects" in text]
    assert len(statements) >= 8
    with closing(SQLiteStore(path)) as store, store._connection() as connection:
        for statement in statements:
            parameters = ["[]"] * statement.count("?")
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            assert not [step for step in plan if re.match(r"SCAN objects\b", step)], statement


def test_a_new_file_under_the_old_path_shares_no_etag_and_no_cursor_with_the_old_one(path: Path) -> None:
    def fill() -> tuple[str | None, Changes]:
        with closing(SQLiteStore(path)) as store:
            return store.put(Write("k", b"1", None)).etag, store.changes({})

    etag, changes = fill()
    path.unlink()
    assert fill()[0] != etag
    with closing(SQLiteStore(path)) as store:
        assert store.put(Write("k", b"2", etag)).etag is None
        assert [one.key for one in store.changes({"k": etag}, changes.cursor).objects] == ["k"]
        assert store.wait(changes.cursor, 30) is True


def test_a_file_taken_away_while_open_is_an_error_not_a_lost_write(path: Path) -> None:
    aside = path.with_name("aside.db")
    with closing(SQLiteStore(path)) as store:
        path.rename(aside)
        with pytest.raises(StoreUnavailable, match="put the file back, or restart"):
            store.put(Write("k", b"", None))
        aside.rename(path)
        assert store.put(Write("k", b"", None)).etag
        path.rename(aside)
        with pytest.raises(StoreError, match=r"the file is gone, and its log .* is there"):
            SQLiteStore(path)
        shutil.copy(aside, path)
        with pytest.raises(StoreError, match="another file stands there than was opened"):
            store.get("k")


def test_a_store_opened_before_a_fork_is_refused_after_it(path: Path) -> None:
    script = """
store = SQLiteStore(path)
if os.fork() == 0:
    try: store.get("k")
    except StoreError as error: print(error, flush=True)
    SQLiteStore(path).put(Write("k", b"", None))
    os._exit(0)
os.wait()
print(store.get("k") is not None, flush=True)
"""
    with child(script, path) as process:
        assert "opened before a fork: open it again" in line(process)
        assert line(process) == "True"


def test_a_lock_that_is_held_too_long_is_named_and_the_write_works_after_it(path: Path) -> None:
    with closing(SQLiteStore(path, patience=0.05)) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            for write in (store.put, lambda write: store.put_many([write, write])):
                with pytest.raises(StoreUnavailable, match=r"locked by another writer for more than 0\.05 s: .*fuser"):
                    write(Write("k", b"", None))
            assert store.get("k") is None, "readers do not wait for writers"
            SQLiteStore(path, patience=0.05).close()
        assert store.put(Write("k", b"", None)).etag


def test_a_failed_batch_leaves_nothing(path: Path) -> None:
    with closing(SQLiteStore(path)) as store:
        with pytest.raises(StoreError):
            store.put_many([Write("k", b"", None), Write("l", None, None)])  # type: ignore[arg-type]
        assert not list(store.list(""))
        assert store.put(Write("k", b"", None)).etag


def test_threads_that_end_leave_no_connection_behind(path: Path) -> None:
    with closing(SQLiteStore(path)) as store:
        for _ in range(50):
            thread = threading.Thread(target=store.get, args=("k",))
            thread.start()
            thread.join()
        assert len(store._idle) == 1
    assert sorted(each.name for each in path.parent.iterdir()) == ["store.db"], "closed by the last one"


def test_what_is_removed_goes_with_the_swap_or_not_at_all_and_its_space_is_given_back(path: Path) -> None:
    with closing(SQLiteStore(path)) as store:
        head = store.put(Write("head", b"1", None)).etag
        store.put_many([Write(f"old/{number:04}", bytes(9000), None) for number in range(1000)])
        keys = [f"old/{number:04}" for number in range(1000)]
        newest = store.get("old/0999")
        assert store.remove(keys, Write("head", b"2", "0-nobody's")) == Written("head", None)
        assert len(list(store.list("old/"))) == 1000
        swapped = store.remove(keys[:998], Write("head", b"2", head))
        assert swapped is not None
        assert store.get("head") == Stored("head", b"2", str(swapped.etag))
        assert [listed.key for listed in store.list("old/")] == keys[998:]
        cursor = store.changes({}).cursor
        assert store.remove(["old/0998", "old/0999"]) is None
        assert not list(store.list("old/"))
        written = store.put(Write("old/0999", b"", None))
        assert written.etag not in (None, newest and newest.etag), "no number is given out again"
        assert [one.key for one in store.changes({"old/0999": None, "head": swapped.etag}, cursor).objects] == [
            "old/0999"
        ]
        size = path.stat().st_size
        while store.tidy():
            pass
    assert path.stat().st_size < size / 5
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA freelist_count").fetchone() == (sqlite._FREE_PAGES,)


def test_space_that_a_reader_kept_from_being_given_back_is_given_back_when_the_reader_is_gone(path: Path) -> None:
    old = [Write(f"old/{number:04}", bytes(9000), None) for number in range(1000)]
    with closing(SQLiteStore(path)) as store, closing(sqlite3.connect(path, isolation_level=None)) as reader:
        store.put_many(old)
        reader.execute("BEGIN")
        reader.execute("SELECT key FROM objects").fetchall()
        store.remove([write.key for write in old])
        size = path.stat().st_size
        while store.tidy():
            pass
        assert path.stat().st_size == size, "the reader still reads what was there"
        reader.execute("COMMIT")
        assert not store.tidy()
        assert path.stat().st_size <= (sqlite._FREE_PAGES + 10) * 4096 < size


def test_a_log_that_grew_while_somebody_read_is_cut_when_that_is_over(path: Path) -> None:
    with closing(SQLiteStore(path)) as store, closing(sqlite3.connect(path, isolation_level=None)) as reader:
        store.put(Write("k", b"", None))
        reader.execute("BEGIN")
        reader.execute("SELECT key FROM objects").fetchall()
        store.put_many([Write(f"k/{number}", bytes(500_000), None) for number in range(40)])
        store.tidy()
        assert path.with_name("store.db-wal").stat().st_size > sqlite._LONG_LOG_BYTES, "not under the reader's feet"
        reader.execute("COMMIT")
        store.tidy()
        assert path.with_name("store.db-wal").stat().st_size == 0
        assert store.put(Write("l", b"", None)).etag
        assert len(list(store.list("k/"))) == 40
