"""Base for the shapes of Consul's config: CamelCase fields, snake_case accepted, unknown fields refused by name."""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import (
    AliasChoices,
    AliasGenerator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pointsman.model.complaints import shown
from pointsman.model.hcl import Blocks

_ACRONYMS = {"http": "HTTP", "id": "ID", "sni": "SNI", "ip": "IP", "ttl": "TTL"}


def camel(field: str) -> str:
    """`connect_timeout` as Consul writes it: `ConnectTimeout`."""
    return "".join(_ACRONYMS.get(part, part.capitalize()) for part in field.split("_"))


class Shape(BaseModel):
    """A structure of Consul's config. Immutable; serializes with CamelCase names. A null is a field that is not set, as
    in Consul's answers, which users write back."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=False,
        # A process that takes in health events needs none of these; each is built when it is first used.
        defer_build=True,
        alias_generator=AliasGenerator(
            validation_alias=lambda field: AliasChoices(camel(field), field), serialization_alias=camel
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and None in value.values():
            known = _names(cls)
            return {key: inner for key, inner in value.items() if inner is not None or key not in known}
        return value


def build_shapes() -> None:
    """Build the validators of all imported shapes now instead of at their first use."""
    todo = [Shape]
    while todo:
        shape = todo.pop()
        shape.model_rebuild()
        todo += shape.__subclasses__()


@cache
def _names(shape: type[Shape]) -> frozenset[str]:
    return frozenset(name for field in shape.model_fields for name in (field, camel(field)))


def _no_switch(value: Any) -> Any:
    """Refuse booleans: Python accepts true as 1."""
    if isinstance(value, bool):
        raise PydanticCustomError("number", f"must be a number, not {str(value).lower()}")
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


def block_list(value: Any) -> Any:
    """A list of the one mapping: so HCL reads a single block inside an object (`Match = { HTTP = { Header { … } }
    }`)."""
    return [value] if isinstance(value, Mapping) else value


Whole = Annotated[int, BeforeValidator(_no_switch)]
"""A whole number, also digits in quotes, as in HCL; not true or false."""

Number = Annotated[float, BeforeValidator(_no_switch)]
"""A number, read in the same way."""

Block = BeforeValidator(single_block)
BlockMap = BeforeValidator(block_map)
BlockList = BeforeValidator(block_list)
AnyMap = Annotated[dict[str, Any], BeforeValidator(plain_map)]
StringMap = Annotated[dict[str, str], BeforeValidator(merged)]
