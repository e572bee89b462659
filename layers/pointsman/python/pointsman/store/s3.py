"""Objects in a bucket, of AWS or of any store that speaks S3 and makes conditional writes."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

from pointsman.store.own_writes import OwnWrites
from pointsman.store.protocol import Changes, Listed, Stored, StoreError, StoreUnavailable, Write, Written
from pointsman.store.s3_errors import Refusal, code_of, explained, refusal_of, was_retried

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_A = TypeVar("_A")
_B = TypeVar("_B")

PAUSES = (0.05, 0.1, 0.2, 0.4)
"""Seconds between the attempts of a request that S3 throttles or does not answer; one attempt more than pauses."""

MOST_LOST = 1_024
"""Keys for which it is known with which etag a write lost last."""

COMPARED_SECONDS = 1.0
"""Seconds after which a follower compares everything, for the writes of other processes."""


class S3Store:
    """A Store in a general purpose bucket, by S3's conditional requests.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html: a write whose condition no longer
    holds gets 412, or 404 if it names an etag and there is no object. After a 409, an error of the service or a broken
    connection, or a 412 to a repeated request, the outcome is unknown: then the object is read back, and the write won
    if its own bytes are there. (If it won and another writer has written over it since, it counts as lost: the writer
    has to read again in both cases.)

    A write names the etag without its quotes. AWS takes both forms, and Ceph only this one:
    https://github.com/versity/versitygw/pull/1715, https://github.com/slatedb/slatedb/issues/1818.

    The store retries by itself, so the client need not: give it `retries={"total_max_attempts": 1}`, timeouts of a few
    seconds, and as many `max_pool_connections` as requests at a time.
    """

    def __init__(
        self,
        client: "S3Client",
        bucket: str,
        prefix: str = "",
        *,
        max_workers: int = 16,
        pauses: Sequence[float] = PAUSES,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Use `bucket` through `client`, with `prefix` (as it is: end it with a slash) before every key.

        At most `max_workers` requests run at a time, fewer if the client has fewer connections. `pauses` are the
        seconds to wait between attempts, and `sleep` waits. Sends no request yet.
        """
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._pauses = tuple(pauses)
        self._sleep = sleep
        self._lost_with: dict[str, str] = {}
        self._closed = threading.Event()
        self._own, self._id = OwnWrites(), uuid4().hex[:16]
        connections: int = client.meta.config.max_pool_connections  # type: ignore[attr-defined]
        self._workers = ThreadPoolExecutor(min(max_workers, connections), thread_name_prefix="s3-store")

    def get(self, key: str) -> Stored | None:
        """The object under `key`, or None."""
        found = self._read(key, None)
        return found if isinstance(found, Stored) else None

    def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        """The objects that exist under `keys`, read at the same time (each as of its own moment)."""
        found = self._together(self.get, dict.fromkeys(keys))
        return {stored.key: stored for stored in found if stored is not None}

    def beginning(self, key: str, most: int) -> bytes | None:
        """The first `most` bytes of the object under `key`, all of a shorter one; None if it is absent or empty."""

        def read() -> bytes | None:
            try:
                answer = self._client.get_object(
                    Bucket=self._bucket, Key=self._prefix + key, Range=f"bytes=0-{most - 1}"
                )
            except ClientError as error:
                if refusal_of(error) is Refusal.ABSENT or code_of(error) == "InvalidRange":  # an empty one has no range
                    return None
                raise
            return answer["Body"].read()

        return self._ask(self._where(key), read)

    def put(self, write: Write) -> Written:
        """One conditional write, durable when it returns. If it raises, it may have been made or not."""
        written = self._put(write)
        if written.etag is not None:
            self._own.note(write.key)
        return written

    def _put(self, write: Write) -> Written:
        where = self._where(write.key)
        request = partial(self._client.put_object, Bucket=self._bucket, Key=self._prefix + write.key, Body=write.data)
        perhaps_made = False
        for pause in (*self._pauses, None):
            self._check_open()
            try:
                answer = (
                    request(IfNoneMatch="*") if write.if_etag is None else request(IfMatch=_unquoted(write.if_etag))
                )
                return Written(write.key, answer["ETag"])
            except (ClientError, BotoCoreError) as error:
                refusal, last = refusal_of(error), error
                perhaps_made = perhaps_made or was_retried(error)
            if refusal is Refusal.LOST or (refusal is Refusal.ABSENT and write.if_etag is not None):
                return self._read_back(write) if perhaps_made else self._lost(write)
            if refusal is Refusal.CONFLICT:
                settled = self._settle_conflict(write)
                if settled is not None:
                    return settled
            elif refusal is not Refusal.UNKNOWN:
                raise explained(where, last) from last
            perhaps_made = True
            if pause is not None:
                self._sleep(pause)
        raise self._gave_up(where, last) from last

    def put_many(self, writes: Sequence[Write]) -> list[Written]:
        """Independent conditional writes, made at the same time; outcomes in the order of `writes`.

        If this raises, each may have been made or not.
        """
        return [*self._together(self.put, writes)]

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object whose key starts with `prefix`, in the order in which the bucket lists them."""
        start: dict[str, Any] = {}
        while True:
            request = partial(self._client.list_objects_v2, Bucket=self._bucket, Prefix=self._prefix + prefix, **start)
            page = self._ask(self._where(prefix), request)
            for entry in page.get("Contents", ()):
                yield Listed(entry["Key"].removeprefix(self._prefix), entry["ETag"], entry["LastModified"].timestamp())
            if not page.get("IsTruncated"):
                return
            start = {"ContinuationToken": page["NextContinuationToken"]}

    def changes(self, known: Mapping[str, str | None], cursor: str = "") -> Changes:
        """Of the keys of `known`, the objects whose etag is not the known one, in the order of `known`.

        One conditional read per key, at the same time; an unchanged object is not sent. S3 has no log of writes. With a
        cursor that is younger than COMPARED_SECONDS, only what this store wrote since is read, which no other process
        knows; otherwise everything is compared.
        """
        now, position = time.monotonic(), self._own.position
        since, compared = self._read_cursor(cursor)
        own = self._own.since(since) if now - compared < COMPARED_SECONDS else None
        asked = known.items() if own is None else [(key, etag) for key, etag in known.items() if key in own]
        found = self._together(lambda item: self._read(*item), asked)
        gone = {key for (key, etag), each in zip(asked, found, strict=True) if each is Refusal.ABSENT and etag}
        after = f"{self._id} {position} {now if own is None else compared}"
        return Changes([each for each in found if isinstance(each, Stored)], after, gone)

    def wait(self, cursor: str, timeout: float) -> bool:
        """Block until this store wrote something since `cursor`, at most `timeout` seconds. Returns True also then,
        because S3 does not report what others write; False, at once, if closed meanwhile."""
        self._check_open()
        since, _ = self._read_cursor(cursor)
        self._own.wait(self._own.position if since < 0 else since, timeout, self._closed.is_set)
        return not self._closed.is_set()

    def _read_cursor(self, cursor: str) -> tuple[int, float]:
        """How many writes of this store it has seen, and when everything was compared; (-1, never) if it is of another
        store."""
        match cursor.split(" "):
            case [identity, position, compared] if identity == self._id:
                return int(position), float(compared)
        return -1, float("-inf")

    def close(self) -> None:
        """End the threads, after the running requests. The client stays open, because it came from outside."""
        self._closed.set()
        self._own.wake()
        self._workers.shutdown()

    def _read(self, key: str, etag: str | None) -> Stored | Refusal:
        """The object under `key`; ABSENT if there is none, UNCHANGED if its etag is still `etag`."""
        request = partial(self._client.get_object, Bucket=self._bucket, Key=self._prefix + key)

        def read() -> Stored | Refusal:
            try:
                answer = request() if etag is None else request(IfNoneMatch=etag)
            except ClientError as error:
                refusal = refusal_of(error)
                if refusal in (Refusal.ABSENT, Refusal.UNCHANGED):
                    return refusal
                raise
            return Stored(key, answer["Body"].read(), answer["ETag"])

        return self._ask(self._where(key), read)

    def _lost(self, write: Write) -> Written:
        """The outcome of a write that lost. Raises StoreError if it cannot have lost: nobody has written since.

        Only a writer that read again and lost with the same etag looks: an honest race costs no request for that.
        """
        if write.if_etag is not None:
            if self._lost_with.get(write.key) == write.if_etag and self._etag(write.key) == write.if_etag:
                raise self._refused_for_nothing(write)
            if len(self._lost_with) >= MOST_LOST:
                self._lost_with.clear()
            self._lost_with[write.key] = write.if_etag
        return Written(write.key, None)

    def _etag(self, key: str) -> str | None:
        """The etag of the object under `key`; None if it is absent."""

        def read() -> str | None:
            try:
                return self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)["ETag"]
            except ClientError as error:
                if refusal_of(error) is Refusal.ABSENT:
                    return None
                raise

        return self._ask(self._where(key), read)

    def _read_back(self, write: Write) -> Written:
        """The outcome of a write that may have been made, after its condition stopped being true."""
        there = self.get(write.key)
        if there is None:
            return Written(write.key, None)
        if there.etag == write.if_etag:
            raise self._refused_for_nothing(write)
        return Written(write.key, there.etag if there.data == write.data else None)

    def _settle_conflict(self, write: Write) -> Written | None:
        """The outcome of a write that met another one; None if its condition is still true, so it was not made."""
        there = self.get(write.key)
        if there is not None and there.data == write.data:
            return Written(write.key, there.etag)
        holds = (there.etag if there is not None else None) == write.if_etag
        return None if holds else Written(write.key, None)

    def _ask(self, where: str, request: Callable[[], _A]) -> _A:
        """The answer to a request that changes nothing, repeated while S3 cannot answer."""
        for pause in (*self._pauses, None):
            self._check_open()
            try:
                return request()
            except (ClientError, BotoCoreError) as error:
                refusal, last = refusal_of(error), error
            if refusal is not Refusal.UNKNOWN:
                raise explained(where, last) from last
            if pause is not None:
                self._sleep(pause)
        raise self._gave_up(where, last) from last

    def _together(self, request: Callable[[_A], _B], items: Iterable[_A]) -> Sequence[_B]:
        """`request` of each of `items` at the same time, answers in their order.

        If one raises, those not begun are dropped, the running ones are awaited, and the first error is raised.
        """
        self._check_open()
        items = [*items]
        if len(items) == 1:
            return [request(items[0])]
        failed = threading.Event()

        def unless_failed(item: _A) -> _B:
            if failed.is_set():
                raise CancelledError
            try:
                return request(item)
            except BaseException:
                failed.set()
                raise

        try:
            futures = [self._workers.submit(unless_failed, item) for item in items]
        except RuntimeError:
            self._check_open()  # closed between the look above and now
            raise
        wait(futures)
        return [future.result() for future in futures]  # they begin in order: no dropped one before one that failed

    def _gave_up(self, where: str, error: ClientError | BotoCoreError) -> StoreUnavailable:
        return StoreUnavailable(
            f"store {where}: S3 did not do it in {len(self._pauses) + 1} attempts ({code_of(error)}): try again later"
        )

    def _refused_for_nothing(self, write: Write) -> StoreError:
        return StoreError(
            f"store {self._where(write.key)}: the write was refused (412), although the object still has the etag that "
            f"it named, {write.if_etag}: If-Match does not work in this store; docs/object-stores.md names stores "
            "where it does"
        )

    def _where(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._prefix}{key}"

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise StoreError(f"store {self._where('')}: closed already: open it again")


def _unquoted(etag: str) -> str:
    return etag.removeprefix('"').removesuffix('"')
