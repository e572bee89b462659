"""How the values of each map of a config are stored."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakKeyDictionary, ref

from pointsman.chain.plan import Plan, plan_json, read_plan
from pointsman.model.keys import is_gateways_key, is_paths_key
from pointsman.model.names import ServiceName
from pointsman.xds.manifest import GatewayManifest, SidecarManifest, manifest_json, read_manifest

if TYPE_CHECKING:
    from pointsman.model.entries import Entry, EntryKey
    from pointsman.model.registration import Registration

_K = TypeVar("_K")
_V = TypeVar("_V")

SidecarOrGateway = SidecarManifest | GatewayManifest


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """A plan and the config generation in which it last changed."""

    plan: Plan
    generation: int

    def json(self) -> dict[str, Any]:
        """As JSON values, as in the store."""
        return {"generation": self.generation, "plan": plan_json(self.plan)}

    @classmethod
    def of_json(cls, body: Mapping[str, Any]) -> "PlanEntry":
        """The inverse of `json`."""
        return cls(_one_of(read_plan(body["plan"])), body["generation"])


def _one_of(plan: Plan) -> Plan:
    """The one object for all plans that are equal to `plan`: the index has them beside the map of all, and every event
    compares what it finds with what is kept."""
    known = _plans.get(plan)
    found = known() if known is not None else None
    if found is None:
        found, _plans[plan] = plan, ref(plan)
    return found


_plans: "WeakKeyDictionary[Plan, ref[Plan]]" = WeakKeyDictionary()


def _same(text: str) -> str:
    return text


@dataclass(frozen=True, slots=True)
class Codec(Generic[_K, _V]):
    """How one map is stored: its keys as texts, its values as JSON values; with the inverse of both.

    Keys with the same `place` lie in the same bucket.
    """

    name_of: Callable[[_K], str]
    key_of: Callable[[str], _K]
    encode: Callable[[_K, _V], Any]
    decode: Callable[[_K, Any], _V]
    place: Callable[[str], str] = _same


def _entry_key(name: str) -> "EntryKey":
    kind, namespace, rest = name.split("/")
    return kind, namespace, rest


def _service(name: str) -> str:
    """The service of an entry: code that needs one entry of it needs the others too."""
    return name.partition("/")[2]


def _encode_entry(key: "EntryKey", entry: "Entry") -> Any:
    from pointsman.model.entries import entry_json

    return entry_json(entry)


def _decode_entry(key: "EntryKey", body: Any) -> "Entry":
    # Imported here, because health events read single plans and need no shapes of config.
    from pointsman.model.entries import parse_entry

    return parse_entry(body)


def _decode_registration(key: str, body: Any) -> "Registration":
    from pointsman.model.registration import parse_registration

    return parse_registration(body)


def _decode_manifest(key: str, body: Any) -> SidecarOrGateway:
    manifest = read_manifest(body)
    assert isinstance(manifest, SidecarManifest | GatewayManifest)
    return manifest


def index_body(source: str, entry: PlanEntry) -> dict[str, Any] | None:
    """What the index says of a plan that reads the catalog `source`: the plan itself, or None if nearly all plans read
    that catalog (see `load.readers_of`)."""
    return None if is_gateways_key(source) or is_paths_key(source) else entry.json()


Readers = Mapping[str, dict[str, Any] | None]
"""The plans that read a catalog, by their keys, as `index_body` writes them."""

ENTRIES: Codec["EntryKey", "Entry"] = Codec("/".join, _entry_key, _encode_entry, _decode_entry, place=_service)
REGISTRATIONS: Codec[str, "Registration"] = Codec(
    _same, _same, lambda _, each: each.model_dump(by_alias=True, exclude_defaults=True), _decode_registration
)
PLANS: Codec[str, PlanEntry] = Codec(_same, _same, lambda _, each: each.json(), lambda _, body: PlanEntry.of_json(body))
MANIFESTS: Codec[str, SidecarOrGateway] = Codec(_same, _same, lambda _, each: manifest_json(each), _decode_manifest)
INDEX: Codec[str, Readers] = Codec(_same, _same, lambda _, readers: readers, lambda _, body: body)
REFERRING: Codec[ServiceName, frozenset["EntryKey"]] = Codec(
    str, ServiceName.of, lambda _, keys: sorted(map("/".join, keys)), lambda _, body: frozenset(map(_entry_key, body))
)
USERS: Codec[ServiceName, frozenset[str]] = Codec(
    str, ServiceName.of, lambda _, keys: sorted(keys), lambda _, body: frozenset(body)
)
