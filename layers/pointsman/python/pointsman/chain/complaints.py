"""Errors of entries that do not fit together, worded so that the author of any of them can correct it
(docs/semantics.md, section 2)."""

from collections.abc import Sequence
from typing import NamedTuple

from pointsman.chain.graph import ChainError, Culprit
from pointsman.model.entries import EntryKey, thing_of
from pointsman.model.names import DEFAULT_NAMESPACE, ServiceName, Target
from pointsman.model.resolver import ServiceResolver

CATCH_ALL = "Routes"
"""The field for the last route, which every router has."""

PROXY_DEFAULTS: EntryKey = ("proxy-defaults", DEFAULT_NAMESPACE, "global")


class Place(NamedTuple):
    """A place in an entry that leads to a service: the entry's key and the path of the field (`Splits[1]`)."""

    key: EntryKey
    field: str


class Spoken(NamedTuple):
    """A service's protocol, the entry that decides it (None if there is none), and the place that led to the service.

    `said` is whether that entry sets one.
    """

    service: ServiceName
    protocol: str
    source: EntryKey | None
    said: bool
    place: Place | None


def thing(key: EntryKey) -> str:
    """How messages name the entry under `key`."""
    kind, namespace, name = key
    return thing_of({"Kind": kind, "Name": name, "Namespace": namespace})


def shown(service: ServiceName) -> str:
    """How messages name a service: `"web"`, with its namespace if it is not the default one."""
    place = "" if service.namespace == DEFAULT_NAMESPACE else f' in namespace "{service.namespace}"'
    return f'"{service.name}"{place}'


def missing_subset(chain: ServiceName, target: Target, resolver: ServiceResolver, asked: Place | None) -> ChainError:
    """The error for a `target` with a subset that its resolver does not define; `asked` is the field that names it."""
    names = ", ".join(f'"{name}"' for name in sorted(resolver.subsets))
    lacks = f'service {shown(target.name)} does not have a subset named "{target.subset}"; it has {names or "none"}'
    asker = f", {asked.field} of {thing(asked.key)}" if asked else ""
    defining = ("service-resolver", target.namespace, target.service)
    culprits = [Culprit(defining, "Subsets", f'"{target.subset}" is needed by discovery chain {shown(chain)}{asker}')]
    if asked:
        reason = f"{lacks}; define it in {thing(defining)} first"
        culprits.insert(0, Culprit(asked.key, f"{asked.field}.ServiceSubset", reason))
    return ChainError(f"discovery chain {shown(chain)}{asker}: {lacks}", culprits)


def inconsistent_protocols(chain: ServiceName, one: Spoken, other: Spoken) -> ChainError:
    """The error for two services of a chain with different protocols."""
    said = ", ".join(f'service {shown(each.service)} has "{each.protocol}" ({_source(each)})' for each in (one, other))
    text = (
        f"discovery chain {shown(chain)} uses inconsistent protocols: {said}; "
        "give all services of a chain one protocol, in service-defaults or proxy-defaults"
    )
    places = [Culprit(each.place.key, each.place.field, text) for each in (one, other) if each.place]
    # A router's catch-all comes last: nobody wrote it.
    places.sort(key=lambda culprit: culprit.field == CATCH_ALL)
    return ChainError(text, [*places, *_protocol_culprits(text, one, other)])


def not_http(chain: ServiceName, spoken: Spoken, advanced: Sequence[EntryKey]) -> ChainError:
    """The error for a chain with routers or splitters (`advanced`) and a protocol without requests."""
    text = (
        f'discovery chain {shown(chain)} uses the protocol "{spoken.protocol}" ({_source(spoken)}), which does not '
        f"permit {' and '.join(thing(key) for key in advanced)}; "
        "set http, http2 or grpc in service-defaults or proxy-defaults first"
    )
    fields = {"service-router": "Routes", "service-splitter": "Splits"}
    places = [Culprit(key, fields[key[0]], text) for key in advanced]
    return ChainError(text, [*places, *_protocol_culprits(text, spoken)])


def needs_requests(spoken: Spoken, intentions: EntryKey, field: str) -> ChainError:
    """The error for permissions about requests, at `field` of `intentions`, and a protocol without requests."""
    text = (
        f'they are about requests, and service {shown(spoken.service)} has the protocol "{spoken.protocol}" '
        f"({_source(spoken)}); set http, http2 or grpc in service-defaults or proxy-defaults"
    )
    whole = f"{field} of {thing(intentions)}: {text}, or an Action in their place"
    own = Culprit(intentions, field, f"{text} first, or an Action in their place")
    return ChainError(whole, [own, *_protocol_culprits(whole, spoken)])


def _protocol_culprits(text: str, *spoken: Spoken) -> list[Culprit]:
    defaults = [("service-defaults", each.service.namespace, each.service.name) for each in spoken]
    return [*(Culprit(key, "Protocol", text) for key in defaults), Culprit(PROXY_DEFAULTS, "Config.protocol", text)]


def _source(spoken: Spoken) -> str:
    if spoken.source is None:
        return "no entry sets one"
    return f"from {thing(spoken.source)}" if spoken.said else f"{thing(spoken.source)} sets none"


def circular_redirect(around: Sequence[Target]) -> ChainError:
    """The error for redirects that lead from the last of `around` back to its first."""
    text = f"detected circular resolver redirect: {_circle([target.id for target in around])}"
    text += "; remove one of these redirects"
    keys = [("service-resolver", target.namespace, target.service) for target in around]
    return ChainError(text, [Culprit(key, "Redirect", text) for key in dict.fromkeys(keys)])


def circular_splitters(around: Sequence[Place]) -> ChainError:
    """The error for splits that lead from the last of `around` back to its first."""
    text = f"detected circular reference of splitters: {_circle([place.key[2] for place in around])}"
    text += "; remove one of these splits"
    return ChainError(text, [Culprit(place.key, place.field, text) for place in around])


def too_deep(chain: ServiceName, passed: Sequence[EntryKey], limit: int) -> ChainError:
    """The error for more than `limit` splitters in a row; `passed` are those on the way."""
    text = f"discovery chain {shown(chain)} goes through more than {limit} splitters, one after another"
    return ChainError(text, [Culprit(key, "Splits", text) for key in reversed(passed)])


def too_many_redirects(chain: ServiceName, passed: Sequence[Target], limit: int) -> ChainError:
    """The error for more than `limit` redirects in a row; `passed` are the targets on the way."""
    text = f"discovery chain {shown(chain)} follows more than {limit} redirects, one after another"
    keys = [("service-resolver", target.namespace, target.service) for target in passed]
    return ChainError(text, [Culprit(key, "Redirect", text) for key in dict.fromkeys(keys)])


def too_large(chain: ServiceName, place: Place, limit: str) -> ChainError:
    """The error for a chain that exceeds `limit` at `place`."""
    text = f"discovery chain {shown(chain)} has more than {limit}; make several services of it"
    return ChainError(text, [Culprit(place.key, place.field, text)])


def _circle(names: Sequence[str]) -> str:
    """A circle as text, starting from its smallest name, so that equal circles give equal texts."""
    start = names.index(min(names))
    return f"[{' -> '.join([*names[start:], *names[:start], names[start]])}]"
