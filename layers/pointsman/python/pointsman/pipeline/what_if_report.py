"""What would happen, as JSON for programs (docs/what-if.md, "For programs")."""

from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from typing import Any, Final

from pointsman.chain.plan import Plan, SidecarPlan, plan_json
from pointsman.model.differing import differing
from pointsman.model.duration import duration_text
from pointsman.model.entries import entry_json, thing_of
from pointsman.model.keys import cluster_of, datacenter_of
from pointsman.model.registration import registration_json
from pointsman.pipeline.difference import Difference
from pointsman.pipeline.what_if import Answer, Fate

VERSION: Final = 1
"""The version of the shape; it grows when a field changes its meaning or goes."""

MOST_TOLD: Final = 10_000
"""Documents, plans, clusters and receivers, of each, that an answer has; the others are counted."""

MOST_FIELDS: Final = 100
"""Fields of a document or a plan that an answer has; the others are counted."""

_DURATIONS: Final = frozenset({"ConnectTimeout", "RequestTimeout", "FailbackAfter", "TTL"})
"""Fields whose value is a number of nanoseconds."""


def what_if_json(answer: Answer) -> dict[str, Any]:
    """`answer` as plain JSON values."""
    order = {"falls": 2, "stays": 1}
    fates = sorted(answer.fates, key=lambda each: (not each.stranded, order.get(each.change, 0)))
    difference = answer.supposition.difference
    documents = difference_json(difference) if difference else []
    parts: dict[str, list[Any]] = {
        "documents": list(islice(documents, MOST_TOLD)),
        "plans": [_plan_json(answer, key, *pair) for key, pair in islice(answer.changed.items(), MOST_TOLD)],
        "clusters": [_fate_json(each) for each in fates[:MOST_TOLD]],
        "receivers": [asdict(each) for each in answer.receivers[:MOST_TOLD]],
    }
    numbers = {
        "documents": len(difference.entries) + len(difference.registrations) if difference else 0,
        "plans": len(answer.changed),
        "clusters": len(fates),
        "receivers": len(answer.receivers),
    }
    return {
        "version": VERSION,
        "generation": answer.generation,
        "result": "stranded" if answer.stranded else "changes" if answer.changes else "nothing",
        "down": [str(each) for each in answer.supposition.down],
        "orders": [*map(str, answer.supposition.subjects), *(f"end {each}" for each in answer.supposition.ended)],
        "counts": {
            "evaluated": answer.evaluated,
            "stranded": len(answer.stranded),
            **{change: len(answer.of(change)) for change in ("moves", "comes", "goes", "falls")},
            **numbers,
        },
        **parts,
    }


def difference_json(difference: Difference) -> Iterator[dict[str, Any]]:
    """The documents that two configs do not have alike, each with the fields that differ."""
    for (kind, namespace, name), (old, new) in difference.entries.items():
        thing = thing_of({"Kind": kind, "Namespace": namespace, "Name": name})
        yield {"thing": thing, **_changed(entry_json(old) if old else None, entry_json(new) if new else None)}
    for key, (was, now) in difference.registrations.items():
        yield {
            "thing": f"registration {key}",
            **_changed(registration_json(was) if was else None, registration_json(now) if now else None),
        }


def _changed(before: dict[str, Any] | None, after: dict[str, Any] | None) -> dict[str, Any]:
    change = "changed" if before and after else "added" if after else "removed"
    fields = list(differing(_with_durations(before or {}), _with_durations(after or {})))
    told = [each.json() for each in fields[:MOST_FIELDS]]
    return {"change": change, "fields": told, "more_fields": len(fields) - len(told)}


def _with_durations(value: Any) -> Any:
    """A document with its durations as people write them."""
    if isinstance(value, list):
        return [_with_durations(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: duration_text(each) if key in _DURATIONS and isinstance(each, int) else _with_durations(each)
        for key, each in value.items()
    }


def _plan_json(answer: Answer, key: str, old: Plan | None, new: Plan | None) -> dict[str, Any]:
    whose = "sidecars" if isinstance(old or new, SidecarPlan) else "gateways"
    before, after = (_shown(each, answer.trust_domain) if each else None for each in (old, new))
    return {"cluster": cluster_of(key), "datacenter": datacenter_of(key), "of": whose, **_changed(before, after)}


def _shown(plan: Plan, trust_domain: str) -> dict[str, Any]:
    """A plan as an operator looks at it: its targets by their ids, with the server names that callers ask for."""
    body = {name: value for name, value in plan_json(plan).items() if name not in ("kind", "datacenter")}
    if isinstance(plan, SidecarPlan):
        body["targets"] = [
            {
                "target": each.target.id,
                "server_name": each.target.sni(trust_domain),
                **{name: value for name, value in (("filter", each.filter), ("gateways", each.mode)) if value},
                **({"only_passing": True} if each.only_passing else {}),
            }
            for each in plan.targets
        ]
    return body


def _fate_json(fate: Fate) -> dict[str, Any]:
    return {"change": fate.change, **fate.effect.json(), "stranded": fate.stranded, "proxies": fate.proxies}
