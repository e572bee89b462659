"""Uploaded config entries: S3 sends an event for an object under the prefix, and the object is applied.

The event is `Object Created` as EventBridge delivers it:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html. Only bucket and key are used; the object counts as
it is when it is read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Required

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic takes the one of `typing` from Python 3.12 on only

from pointsman.model.errors import InvalidInput
from pointsman.model.loading import Document, load_bytes
from pointsman.model.sources.refusal import shape_refusal, shown

DETAIL_TYPE = "Object Created"
MAX_UPLOAD_BYTES = 6 * 1024 * 1024
"""Bytes of the largest upload: the same as for the configure URL."""


class _Bucket(TypedDict):
    name: Annotated[str, Field(strict=True, min_length=1, max_length=63)]


class _Object(TypedDict):
    key: Annotated[str, Field(strict=True, min_length=1, max_length=1024)]


class _Created(TypedDict, total=False):
    bucket: Required[_Bucket]
    object: Required[_Object]


@cache
def _created() -> TypeAdapter[_Created]:
    return TypeAdapter(_Created)


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


def read_upload(raw: Any, bucket: str, prefix: str) -> Upload | None:
    """The upload in the event `raw` (parsed JSON); None for another event.

    Raises InvalidInput for an object that is not in `bucket` under `prefix`: nothing else is read.
    """
    if not isinstance(raw, Mapping) or raw.get("detail-type") != DETAIL_TYPE:
        return None
    try:
        created = _created().validate_python(raw.get("detail"))
    except ValidationError as error:
        raise shape_refusal(error, "event", "detail") from None
    found, key = created["bucket"]["name"], created["object"]["key"]
    if found != bucket:
        reason = f'"{shown(found)}" is not this stack\'s bucket, "{bucket}"; no other is read'
        raise InvalidInput.single("event", "detail.bucket.name", reason)
    if not key.startswith(prefix) or not key.isprintable() or len(key.encode(errors="replace")) > 1024:
        reason = f'"{shown(key)}" is not a key under "{prefix}"; config is read from there only'
        raise InvalidInput.single("event", "detail.object.key", reason)
    return Upload(found, key)
