"""What S3Store promises beyond the contract: S3's doubtful answers are settled, its refusals told in one line."""

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import NoCredentialsError
from pointsman.store import s3
from pointsman.store.own_writes import MOST_OWN_WRITES
from pointsman.store.protocol import Store, Stored, StoreError, StoreUnavailable, Write
from pointsman.store.s3 import PAUSES, S3Store

from tests.store.wire import Fault, Wire, after, refusal, refusal_though_done, silence, silence_though_done

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

THROTTLED = refusal(503, "SlowDown")


@pytest.fixture
def pauses() -> list[float]:
    """The pauses that the store made."""
    return []


@pytest.fixture
def store(s3_client: "S3Client", bucket: str, pauses: list[float]) -> Store:
    return S3Store(s3_client, bucket, sleep=pauses.append)


@pytest.fixture
def rival(s3_client: "S3Client", bucket: str) -> Store:
    """Another writer to the same bucket."""
    return S3Store(s3_client, bucket)


CONFLICT = "ConditionalRequestConflict"
WON: dict[str, tuple[Fault, ...]] = {
    "409 though it was written": (refusal_though_done(409, CONFLICT),),
    "409, and it was not written": (refusal(409, CONFLICT),),
    "OperationAborted twice, and it was not written": (refusal(409, "OperationAborted"),) * 2,
    "no answer though it was written, so 412 the next time": (silence_though_done,),
    "no answer, and it was not written": (silence,),
    "no answer, then throttled, then no answer though it was written": (silence, THROTTLED, silence_though_done),
    "500 though it was written": (refusal_though_done(500, "InternalError"),),
    "SlowDown three times": (THROTTLED,) * 3,
}


@pytest.mark.parametrize("over", [False, True], ids=["a new object", "over an old one"])
@pytest.mark.parametrize("faults", WON.values(), ids=WON.keys())
def test_a_write_that_stands_in_the_end_has_won(
    store: Store, wire: Wire, pauses: list[float], faults: tuple[Fault, ...], over: bool
) -> None:
    old = store.put(Write("k", b"old", None)).etag if over else None
    wire.will("PUT", *faults)
    written = store.put(Write("k", b"mine", old))
    assert store.get("k") == Stored("k", b"mine", str(written.etag))
    assert pauses == list(PAUSES[: len(pauses)])


LOST: dict[str, Callable[[Callable[[], object]], Fault]] = {
    "409 because of another's write": lambda write: after(write, refusal(409, CONFLICT)),
    "no answer, and another wrote": lambda write: after(write, silence),
    "throttled, and another wrote": lambda write: after(write, THROTTLED),
}


@pytest.mark.parametrize("over", [False, True], ids=["a new object", "over an old one"])
@pytest.mark.parametrize("fault", LOST.values(), ids=LOST.keys())
def test_a_write_that_does_not_stand_in_the_end_is_lost(
    store: Store, rival: Store, wire: Wire, fault: Callable[[Callable[[], object]], Fault], over: bool
) -> None:
    old = store.put(Write("k", b"old", None)).etag if over else None
    wire.will("PUT", fault(lambda: rival.put(Write("k", b"theirs", old))))
    assert store.put(Write("k", b"mine", old)).etag is None
    assert store.get_many(["k"])["k"].data == b"theirs"


def test_a_client_that_tries_again_by_itself_does_not_lose_its_own_write(
    bucket: str, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda seconds: None))
    client = boto3.client("s3", region_name="us-east-1", config=Config(retries={"total_max_attempts": 3}))
    store = S3Store(client, bucket)
    wire.will("PUT", silence_though_done)
    written = store.put(Write("k", b"mine", None))
    assert store.get("k") == Stored("k", b"mine", str(written.etag))
    assert wire.statuses == [("PUT", 412), ("GET", 200), ("GET", 200)]


def test_a_race_that_is_plainly_lost_costs_one_more_request_without_a_body(
    store: Store, rival: Store, wire: Wire
) -> None:
    etag = rival.put(Write("k", b"theirs", None)).etag
    rival.put(Write("k", b"theirs again", etag))
    wire.statuses.clear()
    assert store.put(Write("k", b"mine", etag)).etag is None
    assert store.put(Write("k", b"mine", None)).etag is None
    assert wire.statuses == [("PUT", 412), ("PUT", 412)], "a race costs nothing more"


def test_an_etag_is_sent_without_quotes_as_all_stores_take_it(store: Store, wire: Wire) -> None:
    etag = str(store.put(Write("k", b"1", None)).etag)
    assert store.put(Write("k", b"2", etag)).etag
    assert etag.startswith('"')
    bare = etag.removeprefix('"').removesuffix('"')
    assert wire.conditions == ["If-None-Match: *", f"If-Match: {bare}"]


@pytest.mark.parametrize("before", [(), (silence,)], ids=["at once", "after no answer"])
def test_a_store_that_refuses_what_nobody_contends_for_is_named_as_broken(
    store: Store, wire: Wire, before: tuple[Fault, ...]
) -> None:
    etag = store.put(Write("k", b"1", None)).etag
    wire.will("PUT", *before, refusal(412, "PreconditionFailed"))
    if not before:
        assert store.put(Write("k", b"2", etag)).etag is None
        wire.will("PUT", refusal(412, "PreconditionFailed"))
    with pytest.raises(StoreError, match=r"although the object still has the etag .*: If-Match does not work") as error:
        store.put(Write("k", b"2", etag))
    assert not isinstance(error.value, StoreUnavailable)
    assert store.get("k") == Stored("k", b"1", str(etag))


def test_of_so_many_lost_writes_is_known_with_which_etag_they_lost(
    store: Store, monkeypatch: pytest.MonkeyPatch, wire: Wire
) -> None:
    monkeypatch.setattr(s3, "MOST_LOST", 2)
    for number in range(5):
        store.put(Write(f"k{number}", b"1", None))
        wire.will("PUT", refusal(412, "PreconditionFailed"))
        assert store.put(Write(f"k{number}", b"2", store.get(f"k{number}").etag)).etag is None  # type: ignore[union-attr]
    assert len(store._lost_with) <= 2  # type: ignore[attr-defined]


CALLS: dict[str, tuple[str, Callable[[Store], object]]] = {
    "put": ("PUT", lambda store: store.put(Write("k", b"", None))),
    "put_many": ("PUT", lambda store: store.put_many([Write(f"k{number}", b"", None) for number in range(40)])),
    "get": ("GET", lambda store: store.get("k")),
    "get_many": ("GET", lambda store: store.get_many([f"k{number}" for number in range(40)])),
    "changes": ("GET", lambda store: store.changes({"k": '"etag"'})),
    "list": ("GET", lambda store: list(store.list("k"))),
}


@pytest.mark.parametrize("fault", [THROTTLED, silence], ids=["throttled", "silent"])
@pytest.mark.parametrize(("method", "call"), CALLS.values(), ids=CALLS.keys())
def test_an_s3_that_never_recovers_is_unavailable_after_a_bounded_time(
    store: Store, wire: Wire, pauses: list[float], method: str, call: Callable[[Store], object], fault: Fault
) -> None:
    wire.always(method, fault)
    with pytest.raises(StoreUnavailable, match=r"^store s3://objects-\d+/k\d*: .* in 5 attempts .*: try again later$"):
        call(store)
    assert set(pauses) == set(PAUSES)
    assert wire.met[method] <= 16 * 5, "what had not begun when the first gave up was dropped"


@pytest.mark.parametrize("fault", [THROTTLED, silence], ids=["throttled", "silent"])
@pytest.mark.parametrize(("method", "call"), CALLS.values(), ids=CALLS.keys())
def test_an_s3_that_recovers_is_waited_for(
    store: Store, wire: Wire, pauses: list[float], method: str, call: Callable[[Store], object], fault: Fault
) -> None:
    wire.will(method, *[fault] * 3)
    call(store)
    assert sum(pauses) > 0
    assert not wire.faults[method]


REFUSED = {
    "denied": (refusal(403, "AccessDenied"), "access denied: allow s3:GetObject and s3:PutObject .* s3:ListBucket"),
    "elsewhere": (refusal(400, "AuthorizationHeaderMalformed"), "the bucket is in another region: set AWS_REGION"),
    "expired": (refusal(400, "ExpiredToken"), "the credentials have expired: renew them"),
    "unknown": (refusal(400, "SomethingNew"), "SomethingNew: .*as the test says"),
}


@pytest.mark.parametrize(("method", "call"), CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize(("fault", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_a_refusal_for_good_is_told_in_one_line_at_once(
    store: Store,
    wire: Wire,
    pauses: list[float],
    method: str,
    call: Callable[[Store], object],
    fault: Fault,
    said: str,
) -> None:
    wire.always(method, fault)
    with pytest.raises(StoreError, match=rf"^store s3://objects-\d+/k\d*: {said}") as error:
        call(store)
    assert not isinstance(error.value, StoreUnavailable)
    assert "\n" not in str(error.value)
    assert not pauses


@pytest.mark.parametrize(("method", "call"), CALLS.values(), ids=CALLS.keys())
def test_a_missing_bucket_is_an_error_not_a_missing_object(
    s3_client: "S3Client", wire: Wire, method: str, call: Callable[[Store], object]
) -> None:
    with pytest.raises(StoreError, match=r"the bucket does not exist: make it .aws s3 mb .*, or name another one"):
        call(S3Store(s3_client, "never-made"))
    over = Write("k", b"", '"etag"')
    with pytest.raises(StoreError, match="the bucket does not exist"):
        S3Store(s3_client, "never-made").put(over)


def test_missing_credentials_are_named(store: Store, wire: Wire) -> None:
    def without(passed: object) -> object:
        raise NoCredentialsError

    wire.will("GET", without)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="no AWS credentials were found: set AWS_PROFILE"):
        store.get("k")


def test_many_requests_are_under_way_at_once_but_no_more_than_the_client_has_connections(
    bucket: str, wire: Wire
) -> None:
    client = boto3.client("s3", region_name="us-east-1", config=Config(max_pool_connections=4))
    store, together = S3Store(client, bucket, max_workers=16), threading.Barrier(4)
    keys = [f"k{number}" for number in range(8)]
    under_way, most = threading.Semaphore(4), []

    def around() -> None:
        most.append(under_way.acquire(blocking=False))
        together.wait(10)  # four at a time, or this breaks
        under_way.release()

    wire.around = around
    store.put_many([Write(key, b"", None) for key in keys])
    assert set(store.get_many(keys)) == set(keys)
    assert len(store.changes(dict.fromkeys(keys)).objects) == 8
    assert most == [True] * 24


def test_what_did_not_change_is_not_sent_again(store: Store, wire: Wire) -> None:
    written = store.put_many([Write(f"k{number}", b"1", None) for number in range(5)])
    known = {one.key: one.etag for one in written} | {"absent": None, "gone": '"etag"'}
    store.put(Write("k3", b"2", known["k3"]))
    wire.statuses.clear()
    changes = store.changes(known)
    assert [(one.key, one.data) for one in changes.objects] == [("k3", b"2")]
    assert sorted(status for _, status in wire.statuses) == [200, 304, 304, 304, 304, 404, 404]


def test_a_prefix_keeps_stores_in_one_bucket_apart(s3_client: "S3Client", bucket: str) -> None:
    one, other, whole = (S3Store(s3_client, bucket, prefix) for prefix in ("one/", "other/", ""))
    one.put(Write("k", b"1", None))
    other.put(Write("k", b"2", None))
    assert [(listed.key, one.get(listed.key)) for listed in one.list("")] == [("k", one.get("k"))]
    assert [listed.key for listed in whole.list("o")] == ["one/k", "other/k"]


def test_what_others_wrote_is_looked_for_once_a_second(
    store: Store, rival: Store, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    known: dict[str, str | None] = {
        f"k{number}": rival.put(Write(f"k{number}", b"1", None)).etag for number in range(3)
    }
    cursor = store.changes(known).cursor
    rival.put(Write("k1", b"2", known["k1"]))
    wire.statuses.clear()
    found = []
    for _ in range(12):
        now += 0.25
        changes = store.changes(known, cursor)
        cursor = changes.cursor
        known |= {one.key: one.etag for one in changes.objects}
        found.append([one.key for one in changes.objects])
    assert found == [[], [], [], ["k1"], *[[]] * 8]
    assert len(wire.statuses) == 3 * len(known)


def test_what_this_store_wrote_is_told_at_once_and_nothing_else_is_read(
    store: Store, rival: Store, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    known: dict[str, str | None] = {
        f"k{number}": store.put(Write(f"k{number}", b"1", None)).etag for number in range(3)
    }
    cursor = store.changes(known).cursor
    store.put(Write("k2", b"2", known["k2"]))
    store.put(Write("stranger", b"", None))
    store.put(Write("k0", b"lost", '"no such etag"'))
    wire.statuses.clear()
    assert store.wait(cursor, 60.0) is True
    changes = store.changes(known, cursor)
    assert [(one.key, one.data) for one in changes.objects] == [("k2", b"2")]
    assert wire.statuses == [("GET", 200)]
    known["k2"] = changes.objects[0].etag
    assert not store.changes(known, changes.cursor).objects
    assert wire.statuses == [("GET", 200)]
    assert rival.changes(known, cursor).cursor != cursor, "a cursor of another store compares everything"
    assert len(wire.statuses) == 1 + len(known)


def test_who_fell_behind_what_this_store_wrote_compares_everything(
    store: Store, rival: Store, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    known: dict[str, str | None] = {
        f"k{number}": rival.put(Write(f"k{number}", b"1", None)).etag for number in range(3)
    }
    cursor = store.changes(known).cursor
    assert isinstance(store, S3Store)
    for written, read in ((MOST_OWN_WRITES, 0), (1, len(known))):
        for _ in range(written):
            store._own.note("stranger")
        wire.statuses.clear()
        assert not store.changes(known, cursor).objects
        assert len(wire.statuses) == read


def test_a_wait_ends_with_a_write_of_this_store_or_with_its_time_or_with_the_store(store: Store) -> None:
    assert store.wait("", 0.01) is True
    cursor = store.changes({}).cursor
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(store.wait, cursor, 600.0)
        store.put(Write("k", b"", None))
        assert waiting.result(60.0) is True
        waiting = pool.submit(store.wait, store.changes({}).cursor, 600.0)
        store.close()
        with contextlib.suppress(StoreError):  # it may not have begun to wait
            assert waiting.result(60.0) is False
