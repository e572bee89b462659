"""What every store promises, whatever keeps the objects."""

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pointsman.store import s3, sqlite
from pointsman.store.protocol import Forgetful, Listed, Store, Stored, StoreError, Write, Written

Open = Callable[[], Store]


def put(store: Store, key: str, data: bytes) -> str:
    """Write `data` over whatever is there; the new etag."""
    there = store.get(key)
    etag = store.put(Write(key, data, there.etag if there else None)).etag
    assert etag is not None
    return etag


def test_what_was_written_is_read_and_what_was_not_is_none(store: Store, open_again: Open) -> None:
    assert store.get("heads/a") is None
    data = bytes(range(256)) * 300
    written = store.put(Write("heads/a", data, None))
    assert store.get("heads/a") == open_again().get("heads/a") == Stored("heads/a", data, str(written.etag))
    empty = store.put(Write("heads/empty", b"", None))
    assert store.get("heads/empty") == Stored("heads/empty", b"", str(empty.etag))
    assert store.get("heads") is None


def test_a_write_wins_only_over_what_its_writer_saw(store: Store, open_again: Open) -> None:
    other = open_again()
    first = store.put(Write("k", b"1", None)).etag
    assert first is not None
    assert other.put(Write("k", b"2", None)) == Written("k", None), "somebody was first"
    second = other.put(Write("k", b"2", first)).etag
    assert second not in (None, first)
    assert store.put(Write("k", b"3", first)) == Written("k", None), "seen too long ago"
    assert store.put(Write("absent", b"3", second)) == Written("absent", None), "nothing there to write over"
    assert store.put(Write("k", b"3", '"no such etag"')) == Written("k", None)
    assert store.get("k") == Stored("k", b"2", str(second))
    assert store.get("absent") is None


def test_writes_made_together_win_or_lose_each_by_itself(store: Store) -> None:
    old = put(store, "b", b"b1")
    put(store, "c", b"c1")
    outcome = store.put_many(
        [
            Write("d", b"d1", None),
            Write("c", b"c2", None),
            Write("b", b"b2", old),
            Write("missing", b"m", old),
            Write("a", b"a1", None),
        ]
    )
    assert [(written.key, written.etag is not None) for written in outcome] == [
        ("d", True),
        ("c", False),
        ("b", True),
        ("missing", False),
        ("a", True),
    ]
    found = store.get_many(["a", "b", "c", "d", "missing"])
    assert {key: stored.data for key, stored in found.items()} == {"a": b"a1", "b": b"b2", "c": b"c1", "d": b"d1"}
    assert all(found[written.key].etag == written.etag for written in outcome if written.etag)
    assert store.put_many([]) == []
    assert [store.put_many([Write("one", b"1", None)])[0].etag] == [found.etag for found in store.list("one")]


def test_many_are_read_together_and_the_absent_are_left_out(store: Store) -> None:
    keys = [f"services/{number:03}" for number in range(120)]
    written = store.put_many([Write(key, key.encode(), None) for key in keys])
    found = store.get_many([*keys, "services/999", keys[7]])
    assert found == {one.key: Stored(one.key, one.key.encode(), str(one.etag)) for one in written}
    assert store.get_many([]) == store.get_many(["services"]) == {}


def test_a_list_has_all_with_the_prefix_and_nothing_else(store: Store) -> None:
    """In any order: stores that keep objects in directories list one after the other."""
    keys = ["a/B", "a/b", "a/b%", "a/b_", "a/bz", "a/c/d", "a/c/e/f", "a/é", "a/ﬀ", "a/😀", "a0", "b", "A/b"]
    etags = {one.key: one.etag for one in store.put_many([Write(key, b"", None) for key in keys])}
    for prefix in ["", "a", "a/", "a/b", "a/c", "a/c/", "a/b_", "a/é", "a/😀", "b", "c", "A"]:
        found = sorted(store.list(prefix), key=lambda listed: listed.key)
        assert found == [Listed(key, str(etags[key])) for key in sorted(keys) if key.startswith(prefix)], prefix


def test_a_list_is_whole_however_many_pages_it_takes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_LIST_PAGE", 20)
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "20")
    keys = [f"n/{number:04}" for number in range(60)]
    put(store, "m", b"")
    put(store, "o", b"")
    store.put_many([Write(key, b"", None) for key in keys])
    assert sorted(listed.key for listed in store.list("n/")) == keys
    assert sorted(listed.key for listed in store.list("")) == ["m", *keys, "o"]


def test_only_what_is_not_as_it_was_known_is_reported(store: Store) -> None:
    same, moved = put(store, "same", b"1"), put(store, "moved", b"1")
    put(store, "new", b"1")
    put(store, "stranger", b"1")
    put(store, "moved", b"2")
    known = {"same": same, "moved": moved, "new": None, "absent": None}
    for cursor in ["", "not-a-cursor-of-this-store"]:
        changes = store.changes(known, cursor)
        assert {(one.key, one.data) for one in changes.objects} == {("moved", b"2"), ("new", b"1")}
        assert all(store.get(one.key) == one for one in changes.objects)
    known |= {one.key: one.etag for one in changes.objects}
    quiet = store.changes(known, changes.cursor)
    assert not quiet.objects
    put(store, "stranger", b"2")
    assert not store.changes(known, quiet.cursor).objects
    put(store, "absent", b"1")
    assert [one.key for one in store.changes(known, quiet.cursor).objects] == ["absent"]
    assert not store.changes({}, "").objects


def test_what_somebody_took_away_is_told_once_and_what_is_put_there_again_is_news(
    store: Store, take_away: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    known: dict[str, str | None] = {"a": put(store, "a", b"1"), "b": put(store, "b", b"1"), "never": None}
    cursor = store.changes(known).cursor
    take_away("a")
    assert store.changes(known).gone == {"a"}
    monkeypatch.setattr(sqlite, "_COMPARED_S", 0.0)  # as a minute later
    monkeypatch.setattr(s3, "COMPARED_SECONDS", 0.0)
    found = store.changes(known, cursor)
    assert (found.objects, found.gone) == ([], {"a"})
    known["a"] = None
    found = store.changes(known, found.cursor)
    assert (found.objects, found.gone) == ([], set())
    put(store, "a", b"1")
    found = store.changes(known, found.cursor)
    assert ([one.key for one in found.objects], found.gone) == (["a"], set())


def test_what_was_taken_away_is_noticed_within_a_minute_of_following(
    store: Store, take_away: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    known: dict[str, str | None] = {"a": put(store, "a", b"1"), "b": put(store, "b", b"1")}
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    cursor = store.changes(known).cursor
    take_away("a")
    gone = []
    for second in range(62):
        now += second and 1.0
        found = store.changes(known, cursor)
        gone += [second] * ("a" in found.gone)
        cursor = found.cursor
    assert gone
    assert gone[0] <= 61


def test_who_can_forget_removes_with_the_swap_or_not_at_all(store: Store, open_again: Open) -> None:
    if not isinstance(store, Forgetful):
        pytest.skip("a bucket has lifecycle rules instead")
    old, other = put(store, "head", b"1"), open_again()
    for number in range(4):
        put(store, f"old/{number}", b"")
    assert store.remove(["old/0", "old/none"]) is None
    newer = put(other, "head", b"2")
    assert store.remove(["old/1"], Write("head", b"3", old)) == Written("head", None)
    assert [listed.key for listed in store.list("")] == ["head", "old/1", "old/2", "old/3"]
    swapped = store.remove(["old/1", "old/2"], Write("head", b"3", newer))
    assert swapped is not None
    assert other.get("head") == Stored("head", b"3", str(swapped.etag))
    assert [listed.key for listed in other.list("old/")] == ["old/3"]
    # Of what may be written again meanwhile, only what nobody has written since.
    etag = put(other, "old/4", b"")
    (third,) = (listed.etag for listed in other.list("old/3"))
    assert other.put_many([Write("old/3", b"anew", third)])[0].etag
    assert store.remove(["old/3", "old/4"], if_etags={"old/3": third, "old/4": etag}) is None
    assert [listed.key for listed in other.list("old/")] == ["old/3"]
    put(other, "old/0", b"again")
    assert [stored.data for stored in store.get_many(["old/0", "old/1"]).values()] == [b"again"]
    while store.tidy():
        pass


_numbers = itertools.count()


@given(
    rounds=st.lists(st.lists(st.sampled_from("abcdef"), max_size=12), max_size=6), seen=st.sets(st.sampled_from("abcd"))
)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_who_follows_by_cursor_has_what_is_there(store: Store, rounds: list[list[str]], seen: set[str]) -> None:
    place = f"example-{next(_numbers)}/"
    replica: dict[str, bytes] = {}
    known: dict[str, str | None] = {place + key: None for key in seen}
    cursor = ""
    for number, keys in enumerate(rounds):
        for key in keys:
            put(store, place + key, b"%d" % number)
        changes = store.changes(known, cursor)
        cursor = changes.cursor
        for one in changes.objects:
            replica[one.key], known[one.key] = one.data, one.etag
        there = store.get_many([*known])
        assert replica == {key: stored.data for key, stored in there.items()}


def test_no_etag_ever_names_other_bytes_also_after_a_copy_was_put_back(
    open_again: Open, put_back: Callable[[], Callable[[], None]]
) -> None:
    """A cache that asks with an old etag gets the current object, and a writer does not overwrite it."""
    known: dict[str | None, bytes] = {}
    before: list[Stored] = []

    def live(name: str) -> tuple[str, dict[str, Stored]]:
        store = open_again()
        for number in range(8):
            data = f"{name} {number}".encode()
            etag = put(store, f"k{number % 3}", data)
            assert known.setdefault(etag, data) == data
        found, cursor = store.get_many(["k0", "k1", "k2"]), store.changes({}).cursor
        store.close()
        return cursor, found

    live("at first")
    restore = put_back()
    for name in ("then", "restored", "restored once more"):
        cursor, found = live(name)
        before += found.values()
        restore()
        store = open_again()
        there = store.get_many(["k0", "k1", "k2"])
        assert {stored.data for stored in there.values()} == {b"at first 5", b"at first 6", b"at first 7"}
        asked = store.changes({key: stored.etag for key, stored in found.items()}, cursor).objects
        assert {stored.key: stored for stored in asked} == there, "a cursor of what was does not hide what is"
        assert store.wait(cursor, 0.2), "nor has who waits with it seen all"
        for stored in before:
            assert store.put(Write(stored.key, b"", stored.etag)).etag is None, "seen in what is no more"
        store.close()


def test_who_follows_a_busy_writer_misses_nothing_and_never_goes_back(
    open_again: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "COMPARED_SECONDS", 0.0)  # as if each call were a second after the one before
    writing, following = open_again(), open_again()
    keys, last = [f"k{number}" for number in range(5)], 20

    def write() -> None:
        for serial in range(1, last + 1):
            for key in (keys[serial % 5], keys[serial % 3]):
                put(writing, key, b"%d" % serial)
        for key in keys:
            put(writing, key, b"%d" % (last + 1))

    replica = dict.fromkeys(keys, 0)
    known: dict[str, str | None] = dict.fromkeys(keys)
    cursor = ""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(write)
        while True:
            was_done = done.done()
            changes = following.changes(known, cursor)
            cursor = changes.cursor
            for one in changes.objects:
                assert int(one.data) >= replica[one.key]
                replica[one.key], known[one.key] = int(one.data), one.etag
            if was_done:
                break
        done.result()
    assert set(replica.values()) == {last + 1}


def test_eight_threads_count_together_and_lose_nothing(open_again: Open) -> None:
    stores = [open_again(), open_again()]
    start = threading.Barrier(8)

    def count(store: Store) -> None:
        start.wait(10)
        for _ in range(25):
            while True:
                there = store.get("counter")
                number = int(there.data) if there else 0
                if store.put(Write("counter", b"%d" % (number + 1), there.etag if there else None)).etag:
                    break

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(count, stores[number % 2]) for number in range(8)]:
            done.result()
    found = stores[0].get("counter")
    assert found is not None
    assert found.data == b"200"


def test_who_waits_is_told_that_another_wrote(open_again: Open) -> None:
    waiting, writing = open_again(), open_again()
    cursor = waiting.changes({}).cursor
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(waiting.wait, cursor, 0.5)
        put(writing, "k", b"1")
        assert told.result() is True
    assert waiting.wait(cursor, 0.01) is True, "it was written before the wait began"


def test_who_waits_is_let_go_when_the_store_is_closed(open_again: Open) -> None:
    store = open_again()
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(store.wait, store.changes({}).cursor, 60)
        store.close()
        # Closed before the wait began, it is a call to a closed store; else it ends without news.
        assert isinstance(told.exception(10), StoreError) or told.result() is False


CALLS: dict[str, Callable[[Store], object]] = {
    "get": lambda store: store.get("k"),
    "get_many": lambda store: store.get_many(["k", "l"]),
    "put": lambda store: store.put(Write("k", b"", None)),
    "put_many": lambda store: store.put_many([Write("k", b"", None), Write("l", b"", None)]),
    "list": lambda store: list(store.list("")),
    "changes": lambda store: store.changes({"k": None}),
    "wait": lambda store: store.wait("", 0),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_closed_store_says_so(store: Store, call: Callable[[Store], object]) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed already: open it again"):
        call(store)
