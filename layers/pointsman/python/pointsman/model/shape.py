"""Base for the shapes of Consul's config: what its decoder forgives is forgiven, unknown fields are refused by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import (
    AliasChoices,
    AliasGenerator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pointsman.model.complaints import Told, shown
from pointsman.model.consul_fields import OTHERS, Other
from pointsman.model.go_literals import LiteralError, parse_int
from pointsman.model.hcl import Blocks
from pointsman.model.names import DEFAULT_NAMESPACE

_ACRONYMS = {"http": "HTTP", "id": "ID", "sni": "SNI", "ip": "IP", "ttl": "TTL"}
_COMPARED: Final = 64
_EXACT: Final = 2**53


def camel(field: str) -> str:
    """`connect_timeout` as Consul writes it: `ConnectTimeout`."""
    return "".join(_ACRONYMS.get(part, part.capitalize()) for part in field.split("_"))


class Shape(BaseModel):
    """A structure of Consul's config. Immutable; serializes with CamelCase names.

    It forgives what Consul's own decoder forgives: names in any capitals, with underscores or without; one value where
    a list is meant; numbers as text and the other way round. A null is a field that is not set, as in Consul's answers,
    which users write back, and so is an empty value of another kind than the field's. What else Consul has and
    Pointsman does not is dropped where it says nothing (`pointsman.model.consul_fields`), else refused with its reason.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=False,
        coerce_numbers_to_str=True,
        # A process that takes in health events needs none of these; each is built when it is first used.
        defer_build=True,
        alias_generator=AliasGenerator(
            validation_alias=lambda field: AliasChoices(camel(field), field), serialization_alias=camel
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _as_consul_decodes(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        known = fields_of(cls)
        out: dict[Any, Any] = {}
        for key, inner in value.items():
            field = (known.get(key) or known.get(bare(key))) if isinstance(key, str) else None
            if field is None:
                out[key] = Misspelled(cls)
            elif field.kind is type(inner) and field.name not in out:
                out[field.name] = inner  # by far the most
            elif inner is None:
                continue
            elif field.other:
                if not field.other.says_nothing(inner):
                    out[key] = field.other
            elif field.name in out:
                out[key] = Twice(field.name)
            elif not field.is_unset_by(inner):
                out[field.name] = field.converted(inner)
        return out


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a shape, by the name that is written, and the kind of value that it holds."""

    name: str
    kind: type | None = None
    of_shapes: bool = False  # a list of them
    other: Other | None = None
    inner: "type[Shape] | None" = None  # the shape that it holds, or that the values of its list or map are
    of_map: bool = False  # a map of such shapes, by names that the user chooses

    def is_unset_by(self, value: Any) -> bool:
        """Whether `value` is empty, and of another kind than the field's: it says nothing."""
        return not value and value in ("", [], {}) and not (self.kind and isinstance(value, self.kind))

    def converted(self, value: Any) -> Any:
        """`value` as the kind of the field: one value as a list, a number as text."""
        if self.kind is list and (isinstance(value, Mapping) or not (isinstance(value, list) or self.of_shapes)):
            return [value]
        return number_text(value) if self.kind is str else value


class Misspelled(Told):
    """In place of a value whose name nobody knows."""

    def __init__(self, shape: type[Shape]) -> None:
        self.shape = shape

    def reason(self, name: str) -> str:
        """What is told of `name`."""
        return f"is not a field here; remove it or check its spelling{_nearest(self.shape, name[:_COMPARED])}"


class Twice(Told):
    """In place of the second value of a field, under another spelling of its name."""

    def __init__(self, field: str) -> None:
        self.field = field

    def reason(self, name: str) -> str:
        """What is told of `name`."""
        return f"is {self.field} once more; keep one of the two"


def bare(name: str) -> str:
    """`name` as Consul compares names: without capitals and underscores."""
    return name.lower().replace("_", "")


def value_of(raw: Mapping[str, Any], name: str) -> Any:
    """The value of the field `name` of `raw`, however its name is written; None if it is not there."""
    if name in raw:
        return raw[name]
    wanted = bare(name)
    return next((value for key, value in raw.items() if isinstance(key, str) and bare(key) == wanted), None)


@cache
def fields_of(shape: type[Shape]) -> Mapping[str, Field]:
    """The fields of `shape` by their names and bare names: those that it reads, and the others that some Consul has."""
    fields = [Field(name, other=other) for name, other in OTHERS.get(shape.__name__, {}).items()]
    fields += [
        Field(
            info.serialization_alias or camel(field),
            _kind(info.annotation),
            of_shapes=any(_kind(each) is dict for each in get_args(info.annotation)),
            inner=shape_in(info.annotation)[1],
            of_map=shape_in(info.annotation)[0] == ".*",
        )
        for field, info in shape.model_fields.items()
    ]
    return {name: field for field in fields for name in (bare(field.name), field.name)}


def shape_in(annotation: Any) -> "tuple[str, type[Shape] | None]":
    """The shape that a field with this annotation holds, if any, and how a path goes on to it: "", `[]`, `.*`."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return shape_in(inside[0])
    if origin in (Union, UnionType):
        return next((found for found in map(shape_in, inside) if found[1]), ("", None))
    if origin in (list, dict):
        return "[]" if origin is list else ".*", shape_in(inside[-1])[1]
    return "", annotation if isinstance(annotation, type) and issubclass(annotation, Shape) else None


def _kind(annotation: Any) -> type:
    """What kind of value a field with this annotation holds: str, list, dict, or _Other."""
    inside = [each for each in get_args(annotation) if each is not NoneType]
    if get_origin(annotation) is Annotated:
        return _kind(inside[0])
    if get_origin(annotation) in (Union, UnionType) and len(inside) == 1:
        return _kind(inside[0])
    origin = get_origin(annotation) or annotation
    if isinstance(origin, type) and issubclass(origin, Shape):
        return dict
    return str if origin is Literal else origin if origin in (str, list, dict) else _Other


class _Other:
    """A kind that no empty value is of: numbers and switches."""


@cache
def _nearest(shape: type[Shape], name: str) -> str:
    """The field of `shape` whose name is most like `name`, as the end of a sentence; "" if none is."""
    fields = {key: field.name for key, field in fields_of(shape).items() if field.other is None}
    found = get_close_matches(bare(name), fields, n=1)
    return f"; the nearest is {fields[found[0]]}" if found else ""


def shape_json(shape: Shape | None) -> dict[str, Any] | None:
    """`shape` as JSON values with Consul's names, without what is at its default; None for none."""
    return shape.model_dump(by_alias=True, exclude_defaults=True) if shape else None


def build_shapes() -> None:
    """Build the validators of all imported shapes now instead of at their first use."""
    todo = [Shape]
    while todo:
        shape = todo.pop()
        shape.model_rebuild()
        todo += shape.__subclasses__()


def _no_switch(value: Any) -> Any:
    """Refuse booleans: Python accepts true as 1. Text is read as Go reads it: `010` is 8."""
    if isinstance(value, bool):
        raise PydanticCustomError("number", f"must be a number, not {str(value).lower()}")
    if isinstance(value, str):
        try:
            return parse_int(value)
        except LiteralError:
            return value
    return value


def number_text(value: Any) -> Any:
    """A number as the text that it is written as; true and false stay what they are, since Consul reads 1 and 0."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        value = int(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


def single_block(value: Any) -> Any:
    """The mapping in a list of one: so HCL reads a block that is written once (`redirect { … }`)."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping):
        return value[0]
    return value


def merged(value: Any) -> Any:
    """The mapping that several in a list are together, as blocks in HCL (`failover "v1" { … } failover "v2" { … }`)."""
    if not (isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value)):
        return value
    out: dict[Any, Any] = {}
    for each in value:
        for key in each:
            if key in out:
                raise PydanticCustomError("twice", f"has {shown(key)} twice; keep one")
        out.update(each)
    return out


def block_map(value: Any) -> Any:
    """Like `merged`, also for the named blocks inside (`subsets { v1 { … } }`); a null is an empty one."""
    value = merged(value)
    if not isinstance(value, Mapping):
        return value
    return {key: {} if inner is None else single_block(inner) for key, inner in value.items()}


def plain_map(value: Any) -> Any:
    """Like `merged`, for a mapping whose names nobody here knows: each single block in it is a mapping."""
    value = merged(value)
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Blocks) and len(value) == 1:
        value = value[0]
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


Whole = Annotated[int, BeforeValidator(_no_switch)]
"""A whole number, also digits in quotes, as in HCL; not true or false."""

Number = Annotated[float, BeforeValidator(_no_switch)]
"""A number, read in the same way."""

Block = BeforeValidator(single_block)
BlockMap = BeforeValidator(block_map)
AnyMap = Annotated[dict[str, Any], BeforeValidator(plain_map)]
StringMap = Annotated[dict[str, Annotated[str, BeforeValidator(number_text)]], BeforeValidator(merged)]
InNamespace = Annotated[str, BeforeValidator(lambda value: value or DEFAULT_NAMESPACE)]
"""The namespace that something is in, the default one where none is named."""
