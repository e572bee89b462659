"""What differs between two configs: their documents, their plans and what each proxy has."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pointsman.chain.plan import Plan
from pointsman.model.entries import Entry, EntryKey, entry_json, thing_of
from pointsman.model.registration import Registration, registration_json
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


@dataclass(frozen=True, slots=True)
class Change:
    """A config entry or registration that two configs do not have alike: `before` and `after` are its documents, None
    where it is not there."""

    thing: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None

    @property
    def what(self) -> str:
        """What became of it: new, changed or gone."""
        return "new" if self.before is None else "gone" if self.after is None else "changed"

    def json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"thing": self.thing, "what": self.what, "before": self.before, "after": self.after}


def changes_in(entries: Pairs[EntryKey, Entry], registrations: Pairs[str, Registration]) -> Iterator[Change]:
    """The documents of entries and registrations before and after."""
    for key, (old, new) in entries.items():
        thing = thing_of(dict(zip(("Kind", "Namespace", "Name"), key, strict=True)))
        yield Change(thing, entry_json(old) if old else None, entry_json(new) if new else None)
    for name, (was, now) in registrations.items():
        documents = (registration_json(each) if each else None for each in (was, now))
        yield Change(f"registration {name}", *documents)


def between(one: Config, other: Config) -> Difference:
    """What is not the same in two stored configs. Reads only what differs."""

    def pairs(name: str) -> dict[Any, tuple[Any, Any]]:
        return pairs_between(one, other, name)

    return Difference(one, pairs("entries"), pairs("registrations"), _of_plans(pairs("plans")), pairs("manifests"))


def pairs_between(one: Config, other: Config, name: str) -> dict[Any, tuple[Any, Any]]:
    """What two stored configs do not have alike in their maps of this name. Reads only what differs."""
    old, new = one.maps[name], other.maps[name]
    return {key: (old.get(key), new.get(key)) for key in sorted(old.differing(new))}


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
