"""The shapes of Consul's config: CamelCase fields, snake_case accepted, unknown fields refused by name."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AliasChoices, AliasGenerator, BaseModel, BeforeValidator, ConfigDict, ValidationError

from pointsman.model.errors import Problem

_ACRONYMS = {"http": "HTTP", "id": "ID", "sni": "SNI", "ip": "IP", "ttl": "TTL"}


def camel(field: str) -> str:
    """`connect_timeout` as Consul writes it: `ConnectTimeout`."""
    return "".join(_ACRONYMS.get(part, part.capitalize()) for part in field.split("_"))


class Shape(BaseModel):
    """A structure of Consul's config. Immutable; serializes by its CamelCase names."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=False,
        alias_generator=AliasGenerator(
            validation_alias=lambda field: AliasChoices(camel(field), field), serialization_alias=camel
        ),
    )


def single_block(value: Any) -> Any:
    """A block written once in HCL (`subsets { … }`) reads as a list of one: here a mapping is meant."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping):
        return value[0]
    return value


def block_map(value: Any) -> Any:
    """Like `single_block`, also for the named blocks inside (`subsets { v1 { … } }`)."""
    value = single_block(value)
    return {key: single_block(inner) for key, inner in value.items()} if isinstance(value, Mapping) else value


Block = BeforeValidator(single_block)
BlockMap = BeforeValidator(block_map)
AnyMap = Annotated[dict[str, Any], Block]
StringMap = Annotated[dict[str, str], Block]


_REASONS = {
    "extra_forbidden": "is not a field here; remove it or check its spelling",
    "missing": "is required",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be a string",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
}


def path_of(location: tuple[str | int, ...]) -> str:
    """A place in a structure as a person writes it: `Failover["*"].Datacenters[0]`."""
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step.isidentifier() or not path:
            path += f".{step}" if path else step
        else:
            path += f'["{step}"]'
    return path


def problems_of(error: ValidationError, thing: str) -> list[Problem]:
    """Pydantic's complaints about `thing` in our words, one Problem each, in order."""
    out = []
    for item in error.errors(include_url=False):
        reason = _REASONS.get(item["type"])
        if reason is None:
            reason = item["msg"].removeprefix("Value error, ")
        elif item["type"] not in ("extra_forbidden", "missing"):
            reason += f", not {item['input']!r}"[:120]
        out.append(Problem(thing, path_of(item["loc"]), reason))
    return out
