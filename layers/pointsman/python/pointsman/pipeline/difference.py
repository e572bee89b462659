"""What differs between two configs: their documents, their plans and what each proxy has."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pointsman.chain.plan import Plan
from pointsman.model.entries import Entry, EntryKey
from pointsman.model.registration import Registration
from pointsman.pipeline.codecs import PlanEntry, SidecarOrGateway
from pointsman.pipeline.config import Config

if TYPE_CHECKING:
    from pointsman.pipeline.build import Built

_K = TypeVar("_K")
_V = TypeVar("_V")

Pairs = Mapping[_K, tuple[_V | None, _V | None]]
"""By key, what was and what will be there; None if nothing."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What is not the same in the config `before` and in another one, by the keys of its maps."""

    before: Config
    entries: Pairs[EntryKey, Entry] = field(default_factory=dict)
    registrations: Pairs[str, Registration] = field(default_factory=dict)
    plans: Pairs[str, Plan] = field(default_factory=dict)
    manifests: Pairs[str, SidecarOrGateway] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether any document differs."""
        return bool(self.entries or self.registrations)


def between(one: Config, other: Config) -> Difference:
    """What is not the same in two stored configs. Reads only what differs."""

    def pairs(name: str) -> dict[Any, tuple[Any, Any]]:
        old, new = one.maps[name], other.maps[name]
        return {key: (old.get(key), new.get(key)) for key in sorted(old.differing(new))}

    return Difference(one, pairs("entries"), pairs("registrations"), _of_plans(pairs("plans")), pairs("manifests"))


def of_build(old: Config, built: "Built") -> Difference:
    """What is not the same in `old` and in what was `built` on it, which is not stored."""

    def pairs(name: str) -> dict[Any, tuple[Any, Any]]:
        changed, known = built.changed[name], old.maps[name]
        known.read_ahead(changed)
        found = {key: (known.get(key), changed[key]) for key in sorted(changed)}
        return {key: each for key, each in found.items() if each != (None, None)}

    return Difference(old, pairs("entries"), pairs("registrations"), _of_plans(pairs("plans")), pairs("manifests"))


def _of_plans(pairs: Pairs[str, PlanEntry]) -> dict[str, tuple[Plan | None, Plan | None]]:
    plans = {key: (old.plan if old else None, new.plan if new else None) for key, (old, new) in pairs.items()}
    return {key: (old, new) for key, (old, new) in plans.items() if old != new}
