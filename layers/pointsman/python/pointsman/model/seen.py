"""What an adapter saw of its Envoys: which fetch from it, and what each lacks. It is for people alone.

Nothing is computed from it. An adapter writes it into the store, so that whoever reads the store can say which Envoy is
behind (`overview/proxies.py`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from pointsman.model.stored import Body, Damaged, Kind, check_kind, mapping, number, shown, tagged, text, texts

TOLD_EVERY_SECONDS: Final = 60
"""An adapter writes what it saw at most this often."""

TOLD_AGAIN_SECONDS: Final = 300
"""After so long it writes although nothing changed, so that one sees that it is there."""

GONE_SECONDS: Final = 900
"""An adapter that wrote nothing for so long is gone, and its Envoys are not shown any more."""

MOST_ENVOYS: Final = 5000
"""Envoys of one adapter that are named, those that lack something first; the rest is counted."""

MOST_LACKS: Final = 5
"""Things that one Envoy lacks and that are named, and problems of one proxy."""

LONGEST_REASON: Final = 300
"""Characters of a reason; the log has all."""


class Why(StrEnum):
    """Why an Envoy does not have what its adapter has, the worst first."""

    REJECTED = "rejected"
    """It rejected it, and keeps what it had."""
    UNANSWERED = "unanswered"
    """It was sent it, and has neither taken nor rejected it."""
    UNWRITTEN = "unwritten"
    """Its files could not be written."""
    STATIC = "static"
    """Intentions do not reach it: its bootstrap has its public listener."""
    AHEAD = "ahead"
    """It has something newer than the adapter, for which the store has not been read yet."""
    RETIRED = "retired"
    """Its registration was deleted."""


class State(StrEnum):
    """How an Envoy is, the worst first."""

    REJECTING = "rejecting"
    BEHIND = "behind"
    AHEAD = "ahead"
    RETIRED = "retired"
    UNSEEN = "unseen"
    CHANGING = "changing"
    CURRENT = "current"


@dataclass(frozen=True, slots=True)
class Lack:
    """What an Envoy lacks: `kind` is clusters, endpoints or listeners, `name` the resource's ("" for all of a kind),
    `reason` the words there are for it, and `since` when that was first seen (RFC 3339, UTC)."""

    why: Why
    kind: str
    name: str
    reason: str
    since: str


@dataclass(frozen=True, slots=True)
class SeenEnvoy:
    """An Envoy: its `node` ("" if only its files are known), the `way` it fetches (`ads`, `rest`, `files`), since when
    this adapter has it (RFC 3339, UTC), and what it lacks."""

    node: str
    way: str
    since: str
    lacks: tuple[Lack, ...] = ()


@dataclass(frozen=True, slots=True)
class SeenProxy:
    """What an adapter has for a proxy, by the key of its registration, and the Envoys that fetch as it.

    `manifests` and `clusters` are digests: equal ones are equal content. `newest` is when the newest of its clusters
    was published (RFC 3339, UTC; "" if none is). `problems` say why it does not get what the store has.
    """

    key: str
    manifests: str
    clusters: str
    newest: str
    problems: tuple[str, ...] = ()
    envoys: tuple[SeenEnvoy, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What one adapter saw `at` a moment (RFC 3339, UTC). `adapter` is its name for people. `more` Envoys are not
    named."""

    adapter: str
    at: str
    proxies: tuple[SeenProxy, ...]
    more: int = 0


def bounded(seen: Seen) -> Seen:
    """`seen` without what is beyond the bounds: of the Envoys, those that lack nothing go first."""
    proxies = [_shortened(each) for each in seen.proxies]
    count = sum(len(each.envoys) for each in proxies)
    if count > MOST_ENVOYS:
        ranked = sorted(
            (
                (not envoy.lacks, not proxy.problems, at, number)
                for at, proxy in enumerate(proxies)
                for number, envoy in enumerate(proxy.envoys)
            )
        )
        kept = {(at, number) for *_, at, number in ranked[:MOST_ENVOYS]}
        proxies = [
            replace(proxy, envoys=tuple(each for number, each in enumerate(proxy.envoys) if (at, number) in kept))
            for at, proxy in enumerate(proxies)
        ]
        proxies = [each for each in proxies if each.envoys]
    return replace(seen, proxies=tuple(proxies), more=max(0, count - MOST_ENVOYS))


def _shortened(proxy: SeenProxy) -> SeenProxy:
    problems = tuple(each[:LONGEST_REASON] for each in proxy.problems[:MOST_LACKS])
    return replace(proxy, problems=problems, envoys=tuple(map(_short, proxy.envoys)))


def _short(envoy: SeenEnvoy) -> SeenEnvoy:
    if not envoy.lacks:
        return envoy
    worst = sorted(envoy.lacks, key=lambda each: (list(Why).index(each.why), each.since, each.kind, each.name))
    cut = (replace(each, reason=each.reason[:LONGEST_REASON], name=each.name[:LONGEST_REASON]) for each in worst)
    return replace(envoy, lacks=tuple(cut)[:MOST_LACKS])


def seen_json(seen: Seen) -> Body:
    """What an adapter saw as plain JSON values; `read_seen` is its inverse."""
    proxies = [
        {
            "key": each.key,
            "manifests": each.manifests,
            "clusters": each.clusters,
            "newest": each.newest,
            "problems": list(each.problems),
            "envoys": [_envoy_json(envoy) for envoy in each.envoys],
        }
        for each in seen.proxies
    ]
    return tagged(Kind.SEEN, {"adapter": seen.adapter, "at": seen.at, "proxies": proxies, "more": seen.more})


def _envoy_json(envoy: SeenEnvoy) -> Body:
    lacks = [[each.why.value, each.kind, each.name, each.reason, each.since] for each in envoy.lacks]
    return {"node": envoy.node, "way": envoy.way, "since": envoy.since} | ({"lacks": lacks} if lacks else {})


def read_seen(body: object) -> Seen:
    """What `seen_json` wrote. Raises Damaged or NewerSchema for anything else."""
    body = check_kind(body, Kind.SEEN)
    proxies = tuple(_read_proxy(each) for each in _objects(body, "proxies"))
    return Seen(text(body, "adapter"), text(body, "at"), proxies, number(body, "more"))


def _read_proxy(body: Body) -> SeenProxy:
    return SeenProxy(
        text(body, "key"),
        text(body, "manifests"),
        text(body, "clusters"),
        text(body, "newest"),
        texts(body, "problems"),
        tuple(map(_read_envoy, _objects(body, "envoys"))),
    )


def _read_envoy(body: Body) -> SeenEnvoy:
    lacks = body.get("lacks", [])
    if type(lacks) is not list:
        raise Damaged(f"its lacks are {shown(lacks)}, which is no list")
    return SeenEnvoy(text(body, "node"), text(body, "way"), text(body, "since"), tuple(map(_read_lack, lacks)))


def _read_lack(found: object) -> Lack:
    match found:
        case [str(why), str(kind), str(name), str(reason), str(since)] if why in list(Why):
            return Lack(Why(why), kind, name, reason, since)
    raise Damaged(f"what an Envoy lacks is {shown(found)}")


def _objects(body: Body, field: str) -> Sequence[Body]:
    found = body.get(field)
    if type(found) is not list:
        raise Damaged(f"its {field} are {shown(found)}, which is no list")
    return [mapping({field: each}, field) for each in found]


def same(before: Seen | None, now: Seen) -> bool:
    """Whether nothing changed but the moment."""
    return before is not None and replace(before, at=now.at) == now


def worst(lacks: Iterable[Lack]) -> Lack | None:
    """The one that matters most, None without any."""
    return min(lacks, key=lambda each: (list(Why).index(each.why), each.since), default=None)
