"""The answer to the sender of an event, over HTTP and on the command line."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pointsman.model.events import HealthEvent
from pointsman.model.sources.reading import Reading
from pointsman.model.stale import stale_line
from pointsman.model.words import counted
from pointsman.pipeline.ingest import Ingested
from pointsman.pipeline.recording import catalog_key

IGNORED = "ignored: "
"""Prefix of a remark that is no trouble: the event says nothing here."""


def answer(reading: Reading, done: Sequence[Ingested]) -> dict[str, Any]:
    """The outcome of the events of `reading`, one `done` each, as JSON values (docs/events.md, "The answer")."""
    return {
        "revision": done[-1].revision if done and not reading.events[-1].is_alive else None,
        "new": any(each.new for each in done),
        "changed": any(each.changed for each in done),
        "moved": [f"{head.plan_key} v{head.version}" for each in done for head in each.moved],
        "refused": [one.json() for event in reading.events for one in event.refused],
        "stale": [each.stale.json() for each in done if each.stale],
        "warnings": [line for event, each in zip(reading.events, done, strict=True) for line in _warnings(event, each)],
        "ignored": list(reading.ignored),
    }


def _warnings(event: HealthEvent, done: Ingested) -> Iterator[str]:
    if done.doubt:
        yield done.doubt
    if done.shared:
        yield done.shared
    yield from done.warnings
    if done.heard_again:
        yield f"{event.source} in {event.datacenter} was silent, and is heard again"
    for plan, error in done.failed.items():
        yield f"{plan} cannot be computed and stays unchanged: {error}"
    if done.vanished:
        lost = counted(done.vanished, "instance")
        verb = "is" if done.vanished == 1 else "are"
        where = f"{lost} of {catalog_key(event)} {verb} not in the list that {event.source} sent"
        yield f"most of a catalog vanished at once: {where}"


def remarks(told: Mapping[str, Any]) -> list[str]:
    """A line for everything in an `answer` beyond plain success."""
    return [
        *(f"{IGNORED}{reason}" for reason in told.get("ignored", ())),
        *(refused_line(each) for each in told.get("refused", ())),
        *(stale_line(each) for each in told.get("stale", ())),
        *told.get("warnings", ()),
    ]


def refused_line(refused: Mapping[str, Any]) -> str:
    """A refused instance, as one line for a person."""
    place = f"[{refused['index']}]" + (f".{refused['field']}" if refused["field"] else "")
    which = f'"{refused["id"]}" on node "{refused["node"]}"' if refused["id"] and refused["node"] else "an instance"
    return f"refused: {which}: {place}: {refused['reason']}; the others were accepted"


def effect(told: Mapping[str, Any]) -> str:
    """What an `answer` says was done, as text for a person."""
    moved = told["moved"]
    if told["changed"]:
        what = "took effect"
    elif told["new"]:
        what = "recorded, and changes nothing"
    else:
        what = "is stale, and changes nothing" if told["stale"] else "said nothing new"
    count = counted(len(moved), "snapshot")
    if told["revision"] is None:
        what, about = "renews the lease of its source" if told["new"] else "renews nothing: it is not newer", "heard"
    else:
        about = f"revision {told['revision']}"
    return f"{about}: {what}; {count} moved" + "".join(f"\n  {each}" for each in moved)
