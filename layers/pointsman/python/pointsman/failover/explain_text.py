"""An explained chain as a tree of text, for people."""

from collections.abc import Iterator, Sequence

from pointsman.chain.complaints import shown
from pointsman.failover.callers import callers_text
from pointsman.failover.conditions_text import conditions_text
from pointsman.failover.explain import (
    Explained,
    ExplainedResolver,
    ExplainedRouter,
    ExplainedTarget,
    Explanation,
)
from pointsman.model.duration import duration_text
from pointsman.model.policy import NO_POLICY
from pointsman.model.router import Destination, Route

_Branch = tuple[str, Explained]


def explain_text(explanation: Explanation) -> str:
    """`explanation` as lines, without a final line feed. A node that was shown before is only named."""
    head = f"{shown(explanation.service)} in {explanation.datacenter}"
    if explanation.used_from != explanation.datacenter:
        head += f", as the sidecars of {explanation.used_from} use it"
    head += f": {explanation.protocol}"
    if explanation.customization:
        head += f", customized by its registration ({explanation.customization})"
    return "\n".join([head, *_node(explanation, explanation.start, set()), *callers_text(explanation.callers)])


def _node(explanation: Explanation, node: Explained, seen: set[str]) -> Iterator[str]:
    name = node.key.replace(":", " ", 1)
    if node.key in seen:
        yield f"{name}, as above"
        return
    seen.add(node.key)
    if isinstance(node, ExplainedResolver):
        yield f"{name} ({', '.join(_settings(node))})"
        yield from _table(explanation, node.targets)
        yield f"   {node.why}"
        if any(each.active and each.gateways == 0 for each in node.targets):
            yield "   no mesh gateway is known on the way: nothing arrives until an event reports one"
        return
    yield name
    branches = branches_of(node)
    for i, (label, to) in enumerate(branches):
        last = i == len(branches) - 1
        yield f"{'└─' if last else '├─'} {label}"
        for line in _node(explanation, to, seen):
            yield f"{'  ' if last else '│ '} {line}"


def branches_of(node: Explained) -> list[_Branch]:
    """Where the requests of a router or splitter go: for each branch, which requests or how many, and the node."""
    if isinstance(node, ExplainedRouter):
        return _routes(node)
    return [] if isinstance(node, ExplainedResolver) else _splits(node.splits)


def _splits(splits: Sequence[tuple[int, Explained]]) -> list[_Branch]:
    return [(f"{hundredths / 100:g} %", to) for hundredths, to in splits]


def _routes(router: ExplainedRouter) -> list[_Branch]:
    last = len(router.routes) - 1
    return [
        (_route(route, "every other request" if i == last else ""), to) for i, (route, to) in enumerate(router.routes)
    ]


def _settings(node: ExplainedResolver) -> Iterator[str]:
    yield f"connect timeout {duration_text(node.connect_timeout_ms * 1_000_000)}"
    if node.request_timeout:
        yield f"request timeout {_limit(node.request_timeout)}"
    if node.policy:
        yield node.policy
    if node.policy_of:
        yield f'failover policy "{node.policy_of}"{_policy(node)}'
    if shared := _shared_filter(node.targets):
        yield shared


def _policy(node: ExplainedResolver) -> str:
    """What the policy sets, with a colon before it; "" if nothing."""
    policy = node.failover_policy
    parts = []
    if policy.threshold != 1 or policy.percent:
        parts.append(f"{policy.threshold}{'%' if policy.percent else ''} healthy")
    if policy.failback_after_ms:
        parts.append(f"failback after {duration_text(policy.failback_after_ms * 1_000_000)}")
    if policy.gateways != NO_POLICY.gateways:
        parts.append(f"gateways {policy.gateways}")
    if policy.on_switch != NO_POLICY.on_switch:
        parts.append(f"on switch {policy.on_switch}")
    return f": {', '.join(parts)}" if parts else ""


def _table(explanation: Explanation, targets: Sequence[ExplainedTarget]) -> Iterator[str]:
    rows = [(each.target.id, health_of(each), way_of(explanation, each)) for each in targets]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for each, (name, health, way) in zip(targets, rows, strict=True):
        mark = "*" if each.active else " "
        own = "" if _shared_filter(targets) else _filter(each)
        yield f" {mark} {name:{widths[0]}}  {health:{widths[1]}}  {way}{f' ({own})' if own else ''}"


def health_of(each: ExplainedTarget) -> str:
    """How many instances of a target are healthy, and what counts against it."""
    return ", ".join([f"{each.healthy} of {each.total} healthy", *_notes(each), *(["active"] if each.active else [])])


def _notes(each: ExplainedTarget) -> Iterator[str]:
    """The places of its rank that count against it, without what the number of healthy instances says."""
    if not each.rank.reachable:
        yield "no way"
    if each.drained:
        yield f"drained ({each.drained})"
    if each.silent:
        yield "silent"
    if each.pinned:
        yield f"pinned ({each.pinned})"
    if not each.rank.enough:
        yield f"{each.needed} needed"
    if each.calm_in_ms:
        yield f"calm in {-(-each.calm_in_ms // 1000)} s"
    elif not each.rank.calm:
        yield "not for long enough"


def _shared_filter(targets: Sequence[ExplainedTarget]) -> str:
    """The filter of all targets, "" if they do not share one."""
    filters = {_filter(each) for each in targets}
    return filters.pop() if len(filters) == 1 else ""


def _filter(each: ExplainedTarget) -> str:
    kept = f"where {each.filter}" if each.filter else ""
    return ", ".join(part for part in (kept, "passing ones only" if each.only_passing else "") if part)


def way_of(explanation: Explanation, each: ExplainedTarget) -> str:
    """How the traffic of a target gets there: directly, or through which mesh gateways."""
    if each.target.datacenter == explanation.used_from:
        return "direct, in the same datacenter"
    by = f" ({each.mode_source})" if each.mode_source else ""
    if each.gateways is None:
        return f"direct, mode none{by}" if each.mode else "direct, no mode is set"
    where = explanation.used_from if each.mode == "local" else each.target.datacenter
    gateways = "gateway" if each.gateways == 1 else "gateways"
    ill = f", {each.ill_gateways} of them ill" if each.ill_gateways else ""
    cut = f", {each.cut_gateways} in {each.target.datacenter} not reached" if each.cut_gateways else ""
    return f"through {each.gateways or 'no'} {each.mode} {gateways} in {where}{ill}{cut}{by}"


def _route(route: Route, otherwise: str) -> str:
    http = route.match.http if route.match else None
    conditions = (", ".join(conditions_text(http)) if http else "") or otherwise or "every request"
    actions = ", ".join(_actions(route.destination or Destination()))
    return f"{conditions}: {actions}" if actions else conditions


def _actions(destination: Destination) -> Iterator[str]:
    if destination.prefix_rewrite:
        yield f"rewritten to {destination.prefix_rewrite}"
    if destination.request_timeout:
        yield f"timeout {_limit(destination.request_timeout)}"
    if destination.idle_timeout:
        yield f"idle timeout {_limit(destination.idle_timeout)}"
    conditions = ["connect failure"] if destination.retry_on_connect_failure else []
    conditions += destination.retry_on
    conditions += [str(code) for code in destination.retry_on_status_codes]
    if destination.num_retries or conditions:
        times = f"{destination.num_retries or 1} {'retries' if destination.num_retries > 1 else 'retry'}"
        yield f"{times} on {' or '.join(conditions) or 'nothing'}"
    for what, headers in (("request", destination.request_headers), ("response", destination.response_headers)):
        if headers:
            yield f"{what} headers changed"


def _limit(nanoseconds: int) -> str:
    """A timeout; one below zero is none."""
    return duration_text(nanoseconds) if nanoseconds > 0 else "none"
