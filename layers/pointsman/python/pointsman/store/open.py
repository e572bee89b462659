"""Opens the store that a URL or a path names."""

from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pointsman.store.bucket_url import read_bucket_url
from pointsman.store.protocol import Store, StoreError

if TYPE_CHECKING:
    from botocore.session import Session

    from pointsman.store.s3 import S3Store

_WAYS = "name a file (pointsman.db, sqlite:///var/lib/pointsman.db) or a bucket (s3://bucket/prefix)"

_AT_ONCE = 48
"""Requests of one call that run at a time, each in a thread of its own."""

_CALLERS = 16
"""Threads that may call at a time: each sends single requests itself."""


def open_store(url: str, *, create: bool = False, hurried: bool = False) -> Store:
    """The store that `url` names: a bucket (`s3://…`, see `read_bucket_url`), else a file, as a path or `sqlite:///path`.

    With `hurried`, it gives up on an unavailable bucket within four seconds instead of half a minute: for callers that
    are asked again anyway and pay for the time.

    A missing file is made only with `create` (for commands that change the config or run the control plane): a reader
    would mistake an empty store for the real one. `sqlite:///var/x.db` is the absolute path `/var/x.db`; a relative
    path is written without a scheme. AWS settings (region, credentials, `AWS_ENDPOINT_URL`) are botocore's own. A
    bucket is not contacted yet. Raises StoreError, with the way out, if the URL names no store or it cannot be opened;
    StoreMissing if the file does not exist.
    """
    path = file_of(url)
    return open_bucket(url, hurried=hurried) if path is None else _open_file(path, create)


def file_of(url: str) -> str | None:
    """The path of the file that `url` names; None if it names a bucket. Raises StoreError if neither."""
    scheme, separator, _ = url.partition("://")
    if not url.strip():
        raise StoreError(f"store: the name is empty: {_WAYS}")
    if not separator:
        return url
    if scheme == "sqlite":
        return _path(url)
    if scheme == "s3":
        return None
    raise StoreError(f"store {url}: there is no kind of store named {scheme}: {_WAYS}")


def _path(url: str) -> str:
    parts = urlsplit(url)
    if parts.netloc or len(parts.path) < 2 or parts.query or parts.fragment:
        raise StoreError(f"store {url}: not sqlite:///absolute/path: {_WAYS}")
    return unquote(parts.path)


def _open_file(path: str, create: bool) -> Store:
    from pointsman.store.sqlite import SQLiteStore

    return SQLiteStore(path, create=create)


def open_bucket(url: str, session: "Session | None" = None, *, hurried: bool = False) -> "S3Store":
    """The store in the bucket that `url` names, as `read_bucket_url` reads it; `hurried` as for `open_store`.

    `session` is botocore's (`store.session.new_session`), for callers that make more clients with it. Raises
    StoreError.
    """
    place = read_bucket_url(url)

    # Importing botocore takes a quarter of a second, which users of a file should not pay.
    from pointsman.store.s3 import PAUSES, S3Store
    from pointsman.store.session import new_session, s3_client

    client = s3_client(session or new_session(), place, connections=_AT_ONCE + _CALLERS, hurried=hurried)
    pauses = PAUSES[:1] if hurried else PAUSES
    return S3Store(client, place.name, place.prefix, max_workers=_AT_ONCE, pauses=pauses)
