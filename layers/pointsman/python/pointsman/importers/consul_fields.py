"""What becomes of each field of Consul's entries and registrations: the decoder's own tables decide."""

from collections.abc import Mapping
from typing import Any, Final

from pointsman.importers.pieces import Ledger, Piece
from pointsman.model.consul_documents import USED_OF_CONFIG
from pointsman.model.consul_fields import Other, says_nothing
from pointsman.model.shape import Field, Shape, bare, fields_of

LEFT_OUT: Final = object()
"""In the place of what is left out as a whole."""

DENIED: Final = "denied as a whole"
WRITE_INTENTIONS: Final = "write it by hand (docs/config.md#service-intentions); until then nobody is let in by it"

SAYS_NOTHING: Final = "says nothing"

_NOT_SUPPORTED: Final = "is not supported by Pointsman"

_ABOUT_WHOM: Final = frozenset(
    (
        *("Partition", "Peer", "PeerName", "SamenessGroup", "EnterpriseMeta"),
        *("DestinationPartition", "DestinationPeer", "LocalBindSocketPath", "LocalBindSocketMode", "SocketPath"),
    )
)
"""Fields without which the rest would be about somebody else."""

_CONDITIONS: Final = frozenset(("Match", "HTTPMatch", "HeaderMatch", "QueryMatch"))
"""Shapes that would hold for more requests without one of their fields."""

_PERMISSIONS: Final = frozenset(("Permission", "HTTPPermission", "HeaderPermission"))
_GUARDS: Final = frozenset((*_PERMISSIONS, "SourceIntention", "ServiceIntentions"))
"""Shapes that say who may call, so that nothing may be left out of them: what cannot be said is denied."""

_GOES_WITH: Final = {
    **dict.fromkeys(_PERMISSIONS, "SourceIntention"),
    **dict.fromkeys((*_CONDITIONS, "Destination"), "Route"),
    **dict.fromkeys(("RegisteredService", "Proxy"), "Registration"),
    "Split": "ServiceSplitter",
}
"""By shape: the one around it that is left out with it. Any other goes alone."""

_NAMES: Final = {
    **dict.fromkeys(("ServiceDefaults", "ServiceResolver", "ServiceRouter", "ServiceSplitter"), ("Name",)),
    **dict.fromkeys(("ServiceIntentions", "SourceIntention"), ("Name",)),
    **dict.fromkeys(("Destination", "Split"), ("Service",)),
    **dict.fromkeys(("Redirect", "FailoverTarget"), ("Service", "Datacenter")),
    "Failover": ("Service", "Datacenters"),
    "UpstreamConfig": ("Name",),
    "Registration": ("Datacenter",),
    "Proxy": ("DestinationServiceName",),
    "Upstream": ("DestinationName", "Datacenter"),
}
"""Where the names of services and datacenters stand."""

_INSTEAD: Final = (
    ("envoy_mesh_gateway", "give the registration the Address and the Port at which it listens"),
    ("envoy_", "add it to what `pointsman bootstrap` prints"),
    ("protocol", "set Protocol in the service-defaults of its service"),
    ("bind_", "say where it listens: `pointsman bootstrap --public IP:PORT`"),
)
_ELSE: Final = "see what `pointsman bootstrap --help` has for it"


class _LeftOutError(Exception):
    """What is to be left out with the shape `until`, or denied by it, and why."""

    def __init__(self, until: str, reason: str, instead: str, *, denies: bool = False) -> None:
        self.until, self.reason, self.instead, self.denies = until, reason, instead, denies


class Decider:
    """Decides about the fields of entries and registrations; `names` are those that the user gives, by the old ones."""

    def __init__(self, ledger: Ledger, names: Mapping[str, str]) -> None:
        self._ledger = ledger
        self._names = names
        self.thing = ""
        """What the fields are of, for the report."""
        self.renamed: set[str] = set()
        """The old names that were found."""

    def decide(self, piece: Piece, shape: type[Shape]) -> Any:
        """What is kept of `piece`, which is meant as `shape`, as plain values; LEFT_OUT if nothing is.

        Tells the ledger of all the rest. What is kept is not told of yet.
        """
        if isinstance(piece.value, list):
            kept = [self.decide(each, shape) for each in piece.value]
            return [each for each in kept if each is not LEFT_OUT]
        if not isinstance(piece.value, dict):
            return piece.value
        try:
            return self._fields(piece, shape)
        except _LeftOutError as left:
            if left.until != shape.__name__:
                raise
            denied = denied_by(self._plain_names(piece, shape), shape) if left.denies else LEFT_OUT
            self._name(piece, left.reason, left.instead)
            return denied

    def _fields(self, piece: Piece, shape: type[Shape]) -> dict[str, Any]:
        known = fields_of(shape)
        out: dict[str, Any] = {}
        for key, child in piece.value.items():
            value = child.plain()
            field = known.get(key) or known.get(bare(key))
            if value is None or value in ("", []):
                self._ledger.pass_over(child, SAYS_NOTHING)
            elif field is None:
                self._unknown(child, key, shape)
            elif field.other is not None:
                self._other(child, field, field.other, shape)
            elif field.inner is not None:
                kept = self._map(child, field.inner) if field.of_map else self.decide(child, field.inner)
                out |= {} if kept is LEFT_OUT else {key: kept}
            elif field.name == "Config" and shape.__name__ in USED_OF_CONFIG:
                out[key] = self._config(child, USED_OF_CONFIG[shape.__name__])
            else:
                out[key] = self._named(value) if field.name in _NAMES.get(shape.__name__, ()) else value
        if shape.__name__ == "Upstream":
            _check_upstream(out)
        return out

    def _map(self, piece: Piece, inner: type[Shape]) -> Any:
        """A map of shapes; HCL writes it as a list of maps as well."""
        if isinstance(piece.value, list):
            return [self._map(each, inner) for each in piece.value]
        if not isinstance(piece.value, dict):
            return piece.value
        kept = {key: self.decide(each, inner) for key, each in piece.value.items()}
        return {key: each for key, each in kept.items() if each is not LEFT_OUT and not _is_nowhere(each, inner)}

    def _config(self, piece: Piece, used: frozenset[str]) -> Any:
        if isinstance(piece.value, list):
            return [self._config(each, used) for each in piece.value]
        if not isinstance(piece.value, dict):
            return piece.value
        out = {}
        for key, child in piece.value.items():
            if bare(key) in used:
                out[key] = child.plain()
            elif says_nothing(child.plain()):
                self._ledger.pass_over(child, SAYS_NOTHING)
            else:
                instead = next((way for start, way in _INSTEAD if key.lower().startswith(start)), _ELSE)
                self._name(child, "nothing here reads it; Consul hands it on to Envoy", instead)
        return out

    def _unknown(self, piece: Piece, key: str, shape: type[Shape]) -> None:
        if says_nothing(piece.plain()):
            self._ledger.pass_over(piece, SAYS_NOTHING)
            return
        reason = f"{key} is no field of Consul's that is known here"
        instead = "remove it, or correct its spelling"
        if shape.__name__ in _CONDITIONS:
            raise _LeftOutError(_GOES_WITH[shape.__name__], f"left out as a whole: {reason}", instead)
        if shape.__name__ in _GUARDS:
            raise self._denied(shape, reason)
        self._name(piece, reason, instead)

    def _other(self, piece: Piece, field: Field, other: Other, shape: type[Shape]) -> None:
        if not other.refused:
            self._ledger.pass_over(piece, other.why)
        elif other.says_nothing(piece.plain()):
            self._ledger.pass_over(piece, SAYS_NOTHING)
        else:
            reason, instead = reason_of(other.why)
            if field.name in _ABOUT_WHOM:
                until = _GOES_WITH.get(shape.__name__, shape.__name__)
                raise _LeftOutError(until, f"left out as a whole: {field.name}: {reason}", instead)
            if shape.__name__ in _GUARDS:
                raise self._denied(shape, f"{field.name} {reason}")
            self._name(piece, reason, instead)

    def _name(self, piece: Piece, reason: str, instead: str) -> None:
        self._ledger.name(piece, f"{self.thing}: {reason}" if self.thing else reason, instead)

    @staticmethod
    def _denied(shape: type[Shape], reason: str) -> _LeftOutError:
        until = _GOES_WITH.get(shape.__name__, shape.__name__)
        return _LeftOutError(until, f"{DENIED}: {reason}", WRITE_INTENTIONS, denies=True)

    def _plain_names(self, piece: Piece, shape: type[Shape]) -> dict[str, Any]:
        """The name and the namespace that it is about."""
        known = fields_of(shape)
        found = {}
        for key, child in piece.value.items():
            field = known.get(bare(key))
            if field is not None and field.name in ("Name", "Namespace", "Kind"):
                found[field.name] = self._named(child.plain())
        return found

    def _named(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._named(each) for each in value]
        if isinstance(value, str) and value in self._names:
            self.renamed.add(value)
            return self._names[value]
        return value


def denied_by(names: Mapping[str, Any], shape: type[Shape]) -> dict[str, Any]:
    """What denies all that an intention of this shape, about `names`, is about."""
    if shape.__name__ == "SourceIntention":
        return {**names, "Action": "deny"}
    return {**names, "Sources": [{"Name": "*", "Action": "deny"}]}


def reason_of(why: str) -> tuple[str, str]:
    """The reason in `why`, and what to do instead."""
    reason, _, instead = why.removesuffix(" instead").rpartition("; ")
    return (f"{_NOT_SUPPORTED}: {reason}", instead) if reason else (_NOT_SUPPORTED, why)


def _is_nowhere(kept: Any, shape: type[Shape]) -> bool:
    """Whether it is a failover of whose targets none is left."""
    return shape.__name__ == "Failover" and isinstance(kept, dict) and not any(kept.values())


def _check_upstream(upstream: Mapping[str, Any]) -> None:
    """Raises _LeftOutError for an upstream that no sidecar here listens for."""
    said = {bare(key): value for key, value in upstream.items()}
    if said.get("destinationtype") not in (None, "", "service"):
        reason = f"{_NOT_SUPPORTED}: there are no prepared queries"
        instead = "name the service itself; its service-resolver has its Failover"
        raise _LeftOutError("Upstream", reason, instead)
    if not said.get("localbindport"):
        reason = f"{_NOT_SUPPORTED}: it is for traffic that is captured, and none is"
        raise _LeftOutError("Upstream", reason, "give it a LocalBindPort, and the application that address")


def with_adds(kept: Any, adds: Mapping[str, Any]) -> Any:
    """What was kept of a unit, with what its source says in other words; LEFT_OUT if that is all."""
    if kept is LEFT_OUT or not isinstance(kept, dict):
        return kept
    out = dict(kept)
    for key, value in adds.items():
        mine = next((each for each in out if bare(each) == bare(key)), key)
        out[mine] = with_adds(out[mine], value) if isinstance(value, dict) and mine in out else value
    return out
