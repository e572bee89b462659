"""A copy of a store in a file: taken under load, whole, private, and good to start from."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from pointsman.cli.main import run
from pointsman.store.protocol import Write
from pointsman.store.sqlite import SQLiteStore
from pointsman.store.sqlite_backup import back_up

from tests.store.test_sqlite import child, line

POINTSMAN = Path(sys.executable).parent / "pointsman"

WRITES = """
store = SQLiteStore(path)
number = 0
while True:
    one = Write(f"{os.getpid()}/{number:06}", bytes(20000), None)
    store.put_many([one, Write(f"twin/{number}/{os.getpid()}", b"", None)])
    print(number, flush=True)
    number += 1
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def test_a_copy_under_load_has_all_that_was_acknowledged_before_it_began_and_is_of_one_moment(path: Path) -> None:
    with closing(SQLiteStore(path)) as store:
        store.put_many([Write(f"filling/{number}", bytes(9000), None) for number in range(2000)])
    before = os.umask(0)
    try:
        with child(WRITES, path) as one, child(WRITES, path) as other:
            for number in range(3):
                acknowledged = [int(line(process)) for process in (one, other) for _ in range(15)][14::15]
                copy = path.with_name(f"copy{number}.db")
                done = subprocess.run(
                    [POINTSMAN, "backup", "--store", path, copy], capture_output=True, text=True, timeout=60, check=True
                )
                assert done.stdout.startswith(f"{copy}: ")
                assert line(one), "it writes on"
                assert copy.stat().st_mode & 0o777 == 0o600
                with closing(SQLiteStore(copy)) as store:
                    for process, last in zip((one, other), acknowledged, strict=True):
                        found = [listed.key for listed in store.list(f"{process.pid}/")]
                        assert found == [f"{process.pid}/{number:06}" for number in range(len(found))]
                        assert len(found) > last
                        assert all(store.get(f"twin/{each}/{process.pid}") for each in range(len(found)))
                        assert store.get(f"twin/{len(found)}/{process.pid}") is None
    finally:
        os.umask(before)
    assert {each.name for each in path.parent.iterdir()} >= {"copy0.db", "copy1.db", "copy2.db"}
    assert not list(path.parent.glob(".*"))


def test_a_copy_is_never_put_over_anything_and_a_failed_one_leaves_nothing(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(SQLiteStore(path)) as store:
        store.put(Write("k", b"", None))
    there, link = path.with_name("there"), path.with_name("link")
    there.write_text("mine")
    link.symlink_to("nowhere")
    damaged = path.with_name("damaged.db")
    with closing(SQLiteStore(damaged)) as store:
        store.put_many([Write(f"k{number}", bytes(9000), None) for number in range(100)])
    with damaged.open("r+b") as file:
        file.seek(40960)
        file.write(b"\xff" * 4096)
    files = sorted(path.parent.iterdir())
    for store_name, copy, said in (
        (str(path), str(there), "it exists and stays as it is: name another file"),
        (str(path), str(link), "it exists and stays as it is"),
        (str(path), str(path), "it exists and stays as it is"),
        (str(path), "no/such/directory/copy.db", "name a file in a directory that can be written"),
        (str(damaged), str(path.with_name("copy.db")), "damaged"),
        (
            "s3://bucket/mesh",
            str(path.with_name("copy.db")),
            "is a bucket, which keeps copies itself: switch versioning",
        ),
    ):
        assert run(["backup", "--store", store_name, copy]) == 1
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert sorted(path.parent.iterdir()) == files
    assert there.read_text() == "mine"


def test_a_copy_tells_how_far_it_is_and_does_not_hold_up_writers(path: Path) -> None:
    told = []
    with closing(SQLiteStore(path, patience=0.5)) as store:
        store.put_many([Write(f"k{number}", bytes(9000), None) for number in range(1500)])

        def write_meanwhile(text: str) -> None:
            told.append(text)
            assert store.put(Write(f"meanwhile/{len(told)}", b"", None)).etag

        copied = back_up(str(path), str(path.with_name("copy.db")), write_meanwhile)
    assert copied.objects == 1500
    assert len(told) >= 4
    with closing(sqlite3.connect(path.with_name("copy.db"))) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
