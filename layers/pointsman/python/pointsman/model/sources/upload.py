"""Uploaded config entries: S3 notifies of an object under the prefix, and the object is applied.

The notification is S3's own: https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html.
Only bucket and key are used; the object counts as it is when it is read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Required
from urllib.parse import unquote_plus

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic takes the one of `typing` from Python 3.12 on only

from pointsman.model.errors import InvalidInput
from pointsman.model.loading import Document, load_bytes
from pointsman.model.sources.refusal import shape_refusal, shown

SOURCE = "aws:s3"
TEST = "s3:TestEvent"
"""The event that S3 sends once, when notifications are switched on."""

MAX_UPLOAD_BYTES = 6 * 1024 * 1024
"""Bytes of the largest upload: the same as for the configure URL."""


LONGEST_KEY_BYTES = 1024
"""Bytes of the longest key: S3's own limit."""


class _Bucket(TypedDict):
    name: Annotated[str, Field(strict=True, min_length=1, max_length=63)]


class _Object(TypedDict):
    key: Annotated[str, Field(strict=True, min_length=1, max_length=3 * LONGEST_KEY_BYTES)]


class _Created(TypedDict, total=False):
    bucket: Required[_Bucket]
    object: Required[_Object]


class _Record(TypedDict, total=False):
    s3: Required[_Created]


class _Notification(TypedDict, total=False):
    # S3 sends one record in each.
    Records: Required[Annotated[list[_Record], Field(min_length=1, max_length=1)]]


@cache
def _notification() -> TypeAdapter[_Notification]:
    return TypeAdapter(_Notification)


@dataclass(frozen=True, slots=True)
class Upload:
    """An object that holds config entries or registrations, in the format that its key's ending names."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder as the S3 console makes one: a key that ends in a slash, without content."""
        return self.key.endswith("/")

    def documents(self, content: bytes | None) -> list[Document]:
        """The documents in the object; `content` is what it holds, None if it is not there any more.

        Raises InvalidInput if they cannot be read (`load_bytes`), or are longer than MAX_UPLOAD_BYTES: read at most one
        byte more of the object than that.
        """
        name = shown(str(self))
        if content is None:
            raise InvalidInput.single(name, "", "is not there any more, or empty; upload it again")
        if len(content) > MAX_UPLOAD_BYTES:
            reason = f"is longer than {MAX_UPLOAD_BYTES} bytes; split it, whatever refers to each other in one object"
            raise InvalidInput.single(name, "", reason)
        return load_bytes(content, self.key)


def is_test(raw: Any) -> bool:
    """Whether `raw` (parsed JSON) is what S3 sends to see whether its notifications arrive."""
    return isinstance(raw, Mapping) and raw.get("Event") == TEST


def read_upload(raw: Any, bucket: str, prefix: str) -> Upload | None:
    """The upload in the notification `raw` (parsed JSON); None for an event.

    Raises InvalidInput for an object that is not in `bucket` under `prefix`: nothing else is read.
    """
    if not isinstance(raw, Mapping) or not _is_of_s3(raw.get("Records")):
        return None
    try:
        created = _notification().validate_python(raw)["Records"][0]["s3"]
    except ValidationError as error:
        raise shape_refusal(error, "notification", "") from None
    # S3 writes keys as in a form: a space is a plus.
    found, key = created["bucket"]["name"], unquote_plus(created["object"]["key"])
    if found != bucket:
        reason = f'"{shown(found)}" is not this stack\'s bucket, "{bucket}"; no other is read'
        raise InvalidInput.single("notification", "s3.bucket.name", reason)
    if not key.startswith(prefix) or not key.isprintable() or len(key.encode(errors="replace")) > LONGEST_KEY_BYTES:
        reason = f'"{shown(key)}" is not a key under "{prefix}"; config is read from there only'
        raise InvalidInput.single("notification", "s3.object.key", reason)
    return Upload(found, key)


def _is_of_s3(records: object) -> bool:
    first = records[0] if isinstance(records, list) and records else None
    return isinstance(first, Mapping) and first.get("eventSource") == SOURCE
