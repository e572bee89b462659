"""What would happen, as JSON for programs (docs/what-if.md, "For programs")."""

from collections.abc import Mapping
from dataclasses import asdict
from itertools import islice
from typing import Any, Final

from pointsman.chain.plan import Plan, SidecarPlan, plan_json
from pointsman.model.keys import cluster_of, datacenter_of
from pointsman.pipeline.calls import Call
from pointsman.pipeline.difference import Change, changes_in
from pointsman.pipeline.what_if import Answer, Fate

SCHEMA: Final = 1
"""The number of the form of an answer as JSON: it grows when a field goes or changes its meaning."""

MOST_TOLD: Final = 10_000
"""Documents, plans, clusters, receivers and calls, of each, that an answer has; the others are counted."""

_LATE: Final = {"stays": 1, "falls": 2}
"""What is said last of all that happens to clusters."""


def what_if_json(answer: Answer) -> dict[str, Any]:
    """`answer` as plain JSON values."""
    difference = answer.supposition.difference
    documents = changes_in(difference.entries, difference.registrations) if difference else iter(())
    fates = sorted(answer.fates, key=lambda each: (not each.stranded, _LATE.get(each.change, 0)))
    return {
        "schema": SCHEMA,
        "generation": answer.generation,
        "result": "nowhere" if answer.stranded else "changes" if answer.changes else "nothing",
        "down": [str(each) for each in answer.supposition.down],
        "orders": [*map(str, answer.supposition.subjects), *(f"end {each}" for each in answer.supposition.ended)],
        "documents": [each.json() for each in islice(documents, MOST_TOLD)],
        "plans": [_plan_json(answer, key, *pair) for key, pair in islice(answer.changed.items(), MOST_TOLD)],
        "clusters": [_fate_json(each) for each in fates[:MOST_TOLD]],
        "receivers": [asdict(each) for each in answer.receivers[:MOST_TOLD]],
        "calls": [_call_json(each) for each in answer.calls[:MOST_TOLD]],
        "counts": {
            "documents": len(difference.entries) + len(difference.registrations) if difference else 0,
            "plans": len(answer.changed),
            "clusters": len(fates),
            "receivers": len(answer.receivers),
            "calls": len(answer.calls),
            "stranded": len(answer.stranded),
            "unready": len(answer.unready),
            **{change: len(answer.of(change)) for change in ("moves", "comes", "goes", "falls")},
            "evaluated": answer.evaluated,
        },
    }


def _call_json(call: Call) -> dict[str, Any]:
    return {
        "caller": str(call.caller),
        "service": str(call.service),
        "before": call.before,
        "after": call.after,
        "by": call.by,
    }


def _fate_json(fate: Fate) -> dict[str, Any]:
    return {
        "change": fate.change,
        "stranded": fate.stranded,
        **fate.effect.json(),
        "registrations": fate.registrations,
    }


def _plan_json(answer: Answer, key: str, old: Plan | None, new: Plan | None) -> dict[str, Any]:
    before, after = (_shown(each, answer.trust_domain) if each else None for each in (old, new))
    return {
        "datacenter": datacenter_of(key),
        "cluster": cluster_of(key),
        "of": "sidecars" if isinstance(old or new, SidecarPlan) else "gateways",
        "what": Change(key, before, after).what,
        "before": before,
        "after": after,
    }


def _shown(plan: Plan, trust_domain: str) -> Mapping[str, Any]:
    """A plan as an operator looks at it: its targets by their ids, with the server names that callers ask for."""
    body = {name: value for name, value in plan_json(plan).items() if name not in ("kind", "datacenter")}
    if isinstance(plan, SidecarPlan):
        targets = {each.target.id: each for each in plan.targets}
        body["targets"] = list(targets)
        body["server_names"] = {name: each.target.sni(trust_domain) for name, each in targets.items()}
        body["gateways"] = {name: each.mode for name, each in targets.items() if each.mode}
        body["filters"] = {name: each.filter for name, each in targets.items() if each.filter}
        body["only_passing"] = [name for name, each in targets.items() if each.only_passing]
    return body
