"""Probes a bucket, once, before anybody writes to it: of many who write one key at once, exactly one must win.

Everything that Pointsman promises rests on that. Some stores speak S3 and ignore the conditions of a write, or check
them and write later: two writers are then both told that they won, and what one of them was acknowledged for is gone.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import uuid4

from pointsman.model.canonical import canonical
from pointsman.model.stored import Damaged, Kind, NewerSchema, check_kind, parse, tagged
from pointsman.store import keys
from pointsman.store.bucket_url import BucketUrl, read_bucket_url
from pointsman.store.protocol import Store, Stored, StoreError, StoreUnavailable, Write, Written

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from pointsman.store.s3 import S3Store

WRITERS = 32
"""Writers of one key at once."""

ROUNDS = 10
"""Keys that are created and written over so. One round may hide a store that checks first and writes later."""

_AT_ONCE = 128
"""Requests at a time. The rounds overlap, because some stores let the losers of a race wait for seconds."""

Progress = Callable[[str], None]


def probe(url: str, store: Store, progress: Progress = lambda text: None) -> None:
    """Probe the bucket that `url` names, unless that was done; `store` is opened on it. Does nothing for a file.

    A bucket that passed is remembered in it, for each endpoint. Raises StoreError if it does not pass, does not exist
    or cannot be used, and StoreUnavailable if it cannot be told now; then nothing is changed, except that the objects
    of the probe stay where the credentials do not allow to delete them.
    """
    if not url.startswith("s3://"):
        return
    place = read_bucket_url(url)
    key, data = mark(place)
    there = store.get(key)
    if _has_passed(there):
        return
    progress(f"{url}: trying whether of many writers at once exactly one wins; this is done once")
    with _opened(place) as (racing, client):
        _check_exists(url, place, client)
        names = [keys.race(f"{uuid4().hex[:16]}-{number}") for number in range(1 + ROUNDS)]
        try:
            _check_alone(url, racing, names[0])
            _race(url, racing, names[1:])
        finally:
            for name in names:
                # Best effort: operators may forbid deleting, and the objects are small.
                with suppress(Exception):
                    client.delete_object(Bucket=place.name, Key=place.prefix + name)
    store.put(Write(key, data, there.etag if there else None))


def mark(place: BucketUrl) -> tuple[str, bytes]:
    """The object that says that this bucket passed: its key and its bytes."""
    body = {"endpoint": place.endpoint, "writers": WRITERS, "rounds": ROUNDS}
    return keys.probed(sha256(place.endpoint.encode()).hexdigest()[:32]), canonical(tagged(Kind.PROBE, body))


def _has_passed(there: Stored | None) -> bool:
    if there is None:
        return False
    try:
        check_kind(parse(there.data), Kind.PROBE)
    except NewerSchema:
        return True
    except Damaged:
        return False
    return True


@contextmanager
def _opened(place: BucketUrl) -> "Iterator[tuple[S3Store, S3Client]]":
    """The bucket once more, with a connection for each request at a time, and its client."""
    from pointsman.store.s3 import S3Store
    from pointsman.store.session import new_session, s3_client

    client = s3_client(new_session(), place, connections=_AT_ONCE)
    with closing(S3Store(client, place.name, place.prefix)) as store:
        yield store, client


def _check_exists(url: str, place: BucketUrl, client: "S3Client") -> None:
    """Raise StoreError if the bucket does not exist: some stores make it with the first write, which hides a typing
    error."""
    from botocore.exceptions import BotoCoreError, ClientError

    from pointsman.store.s3_errors import NO_BUCKET, Refusal, explained, refusal_of

    try:
        client.head_bucket(Bucket=place.name)
    except (BotoCoreError, ClientError) as error:
        refusal = refusal_of(error)
        if refusal is Refusal.ABSENT:
            raise StoreError(f"store {url}: {NO_BUCKET}") from error
        if refusal is Refusal.UNKNOWN:
            raise StoreUnavailable(f"store {url}: it does not answer ({error}): try again later") from error
        raise explained(url, error) from error


def _check_alone(url: str, store: Store, name: str) -> None:
    """Raise StoreError if the store ignores conditions even where nobody contends."""
    first = store.put(Write(name, _body(0), None)).etag
    if first is None or store.put(Write(name, _body(1), None)).etag is not None:
        raise _broken(url, "If-None-Match", "an object that existed was created once more")
    if store.put(Write(name, _body(2), first)).etag is None:
        raise _broken(url, "If-Match", "a writer that had seen the newest object was refused")
    if store.put(Write(name, _body(3), first)).etag is not None:
        raise _broken(url, "If-Match", "an object was written over by a writer that had seen an older one")


def _race(url: str, store: Store, names: Sequence[str]) -> None:
    """Create each of these objects by many writers at once, then write over each of them so. Raises StoreError."""
    with ThreadPoolExecutor(_AT_ONCE, "probe") as pool:

        def together(etags: Sequence[str | None]) -> list[list[Future[Written]]]:
            begun = [
                [pool.submit(store.put, Write(name, _body(number), etag)) for number in range(WRITERS)]
                for name, etag in zip(names, etags, strict=True)
            ]
            wait(each for race in begun for each in race)
            return begun

        created = together([None] * len(names))
        etags = [_winner(url, store, name, race, "If-None-Match") for name, race in zip(names, created, strict=True)]
        for name, race in zip(names, together(etags), strict=True):
            _winner(url, store, name, race, "If-Match")


def _body(number: int) -> bytes:
    return b"writer %d %s" % (number, uuid4().hex.encode())


def _winner(url: str, store: Store, name: str, race: Sequence[Future[Written]], condition: str) -> str:
    """The etag that the one winner of a race was given. Raises StoreError if there is not exactly one, or if the object
    is not the winner's."""
    won = [etag for each in race if (etag := each.result().etag) is not None]
    there = store.get(name)
    if len(won) == 1 and there is not None and there.etag == won[0]:
        return won[0]
    what = f"{len(won)} were told that they won" if len(won) != 1 else "the object is not the winner's"
    raise _broken(url, condition, f"{len(race)} wrote one key at once, each unless another had, and {what}")


def _broken(url: str, condition: str, what: str) -> StoreError:
    return StoreError(
        f"store {url}: {condition} does not work in this store: {what}. Writers would undo each other's changes "
        "without a word, so it is not used; docs/object-stores.md names stores that work"
    )
