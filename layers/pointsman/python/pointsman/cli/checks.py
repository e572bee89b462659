"""What `pointsman doctor` looks at besides what a control plane finds itself: traffic, Envoys, clocks, certificates."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from pointsman.model.duration import duration_text
from pointsman.model.findings import Finding, Severity

MOST_NAMED: Final = 50
"""Envoys, and clusters, of one control plane that are named; the others are counted."""

MOST_CLOCK_SECONDS: Final = 30.0
"""Seconds by which two clocks may differ: a round trip is among them."""

ENDS_WITHIN_SECONDS: Final = 14 * 86_400.0
"""Seconds before the end of a certificate from which it is a finding."""

_NANOSECONDS: Final = 1_000_000_000

_DO: Final = {
    "rejecting": "correct the config; the reason is Envoy's, and its log has more",
    "behind": "look at the Envoy, then at the log and /readyz of its adapter",
    "ahead": "wait for its adapter to read the store; if it stays, the adapter does not reach it",
    "retired": "stop it, or register it again with `pointsman apply`",
}


def traffic(where: str, status: Mapping[str, Any], here: float) -> Iterator[Finding]:
    """Of what `GET /v1/status` answered: who has nowhere to go, what is not published as it should be, gateways that
    are missing on a way, and what was published later than `here` (seconds since 1970). The worst first,
    MOST_NAMED at most; the others are counted."""
    found = [*_clusters(where, status["resolvers"], here)]
    yield from found[:MOST_NAMED]
    if len(found) > MOST_NAMED:
        says = f"{len(found) - MOST_NAMED} more findings on what is published"
        yield Finding("traffic", Severity.WARNING, where, says, "`pointsman status` shows all, the worst first")
    yield from _gateways(where, status["resolvers"])


def _clusters(where: str, resolvers: Iterable[Mapping[str, Any]], here: float) -> Iterator[Finding]:
    for each in resolvers:
        name = f"{each['namespace']}/{each['service']}"
        callers = f"{where}: {name} for callers in {each['datacenter']}"
        if not each["served"]:
            do = f"pointsman instances {each['service']} says which instance is ill, and what its check printed"
            yield Finding("traffic", Severity.WARNING, callers, f"nobody serves: {each['why']}", do)
        if each["trouble"]:
            do = f"pointsman status {each['service']} says more; pointsman reconcile repairs what can be"
            yield Finding("published", Severity.WARNING, callers, each["trouble"], do)
        if each["published"] and (later := _moment(each["published"]) - here) > MOST_CLOCK_SECONDS:
            says = f"it was published {_long(later)} from now"
            yield Finding("clock", Severity.WARNING, callers, says, "let NTP set the clocks of all who write the store")


def _gateways(where: str, resolvers: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
    gateways: dict[str, str] = {}
    for each in resolvers:
        for target in each["targets"]:
            for way in target["gateways"]:
                if not way["usable"]:
                    gateways.setdefault(way["datacenter"], f"{target['id']} is reached through none of {way['known']}")
    for datacenter, says in sorted(gateways.items()):
        do = f"pointsman instances mesh-gateway --dc {datacenter}; is there none, register one and tell of its health"
        yield Finding("gateways", Severity.WARNING, f"{where}: mesh gateways of {datacenter}", says, do)


def probed(where: str, known: bool) -> Iterator[Finding]:
    """Whether somebody has tried if a bucket keeps conditional writes."""
    if not known:
        says = "nobody has tried whether this bucket keeps conditional writes, on which everything rests"
        yield Finding(
            "probe", Severity.WARNING, where, says, "the first command that writes tries it: pointsman reconcile"
        )


def envoys(where: str, found: Mapping[str, Any]) -> Iterator[Finding]:
    """Envoys that lack something, of what `GET /v1/proxies` answered; the worst first."""
    ill = [each for each in found["envoys"] if each["state"] in _DO]
    for each in ill[:MOST_NAMED]:
        why = [*(lack["reason"] for lack in each["lacks"] if lack["reason"]), *each["problems"]]
        late = f" for {_long(each['behind_s'])}" if each["behind_s"] >= 1 else ""
        says = f"{each['node'] or 'its files'} is {each['state']}{late}, says {each['adapter']}"
        says += "".join(f": {_plain(reason)}" for reason in why[:1])
        yield Finding("envoy", Severity.WARNING, f"{where}: {each['proxy']}", says, _DO[each["state"]])
    if len(ill) > MOST_NAMED:
        says = f"{len(ill) - MOST_NAMED} more Envoys lack something"
        yield Finding("envoy", Severity.WARNING, where, says, "`pointsman proxies` shows all")


def clock(where: str, found: Mapping[str, Any], here: float) -> Iterator[Finding]:
    """Whether the clock of a control plane, as it answered just now, differs from the one `here` (seconds since
    1970)."""
    off = _moment(found["now"]) - here
    if abs(off) > MOST_CLOCK_SECONDS:
        way = "ahead of" if off > 0 else "behind"
        says = f"its clock is {_long(abs(off))} {way} the one of this machine"
        yield Finding("clock", Severity.WARNING, where, says, "let NTP set the clocks of both: times are compared")


def certificate(path: Path, end: float, now: float) -> Iterator[Finding]:
    """Whether the certificate in `path`, which ends at `end`, ends soon or has ended; both in seconds since 1970."""
    left = end - now
    if left < ENDS_WITHIN_SECONDS:
        says = f"it ends in {_long(left)}" if left > 0 else f"it ended {_long(-left)} ago"
        yield Finding("certificate", Severity.WARNING, str(path), says, "put a new one in its place")


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _long(seconds: float) -> str:
    if seconds >= 2 * 86_400:
        return f"{seconds / 86_400:.0f} days"
    return duration_text(round(seconds) * _NANOSECONDS)


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)
