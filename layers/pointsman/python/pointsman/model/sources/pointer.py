"""Lists that are too long for the bus: the event names an object that holds its list.

EventBridge takes 256 KB per entry, about 130 instances as Consul lists them. A producer writes a longer list to the
stack's bucket first, and sends the event with `InstancesAt` (a Consul watch with `ResultAt`) in the place of the list.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Required

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic takes the one of `typing` from Python 3.12 on only

from pointsman.model.errors import InvalidInput
from pointsman.model.sources.refusal import shape_refusal, shown
from pointsman.model.sources.text import read_json

_LISTS = ("Instances", "Result")


class _At(TypedDict, total=False):
    Bucket: Annotated[str, Field(strict=True, min_length=1, max_length=63)] | None
    Key: Required[Annotated[str, Field(strict=True, min_length=1, max_length=1024)]]


@cache
def _at() -> TypeAdapter[_At]:
    return TypeAdapter(_At)


@dataclass(frozen=True, slots=True)
class ListsAt:
    """Where lists may be: in `bucket`, under keys that start with `prefix`. Nothing else is fetched."""

    bucket: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Pointer:
    """An object that holds the list of an event. `event` is the original event, `list` the field to fill."""

    bucket: str
    key: str
    event: Mapping[str, Any]
    list: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def filled(self, content: bytes | None) -> dict[str, Any]:
        """The event with the list in it, to be read again; `content` is the object's, None if it does not exist.

        Raises InvalidInput if it is no list, or longer than MOST_BYTES: read at most one byte more of it than that.
        """
        if content is None:
            raise self._refusal("is not there, or empty; write the object before its event")
        found = read_json(content, shown(str(self)))
        if not isinstance(found, list):
            raise self._refusal(f"does not hold a list; the object is the value of {self.list} as JSON")
        return with_list(self.event, self.list, found)

    def _refusal(self, reason: str) -> InvalidInput:
        return InvalidInput.single(shown(str(self)), "", reason)


def read_pointer(raw: Mapping[str, Any], allowed: ListsAt | None) -> Pointer | None:
    """Where the list of the event `raw` (an envelope or a bare detail) is; None if the event contains it.

    Without a bucket in the event it is the stack's own. Raises InvalidInput for an object outside of `allowed` (None:
    nothing is fetched here).
    """
    body = raw.get("detail", raw)
    if not isinstance(body, Mapping):
        return None
    name = next((name for name in _LISTS if body.get(f"{name}At") is not None), None)
    if name is None:
        return None
    field = f"{name}At"
    if body.get(name) is not None:
        raise InvalidInput.single("event", field, f"goes in the place of {name}, not with it")
    try:
        at = _at().validate_python(body[field])
    except ValidationError as error:
        raise shape_refusal(error, "event", field) from None
    if allowed is None:
        raise InvalidInput.single("event", field, f"no objects are fetched here; send the {name} themselves")
    bucket, key = at.get("Bucket") or allowed.bucket, at["Key"]
    if bucket != allowed.bucket:
        reason = f'"{shown(bucket)}" is not this stack\'s bucket, "{allowed.bucket}"; no other is read'
        raise InvalidInput.single("event", f"{field}.Bucket", reason)
    if not key.startswith(allowed.prefix) or not key.isprintable() or len(key.encode(errors="replace")) > 1024:
        reason = f'"{shown(key)}" is not a key under "{allowed.prefix}"; lists are read from there only'
        raise InvalidInput.single("event", f"{field}.Key", reason)
    return Pointer(bucket, key, raw, name)


def with_list(raw: Mapping[str, Any], name: str, value: list[Any]) -> dict[str, Any]:
    """The event `raw` with its list in the place of the pointer to it."""
    if "detail" not in raw:
        return {key: item for key, item in raw.items() if key != f"{name}At"} | {name: value}
    return {**raw, "detail": with_list(raw["detail"], name, value)}
