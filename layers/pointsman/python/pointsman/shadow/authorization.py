"""Who may connect, and ask for what: Envoy's RBAC filters as text that is equal if they allow the same."""

from collections.abc import Mapping
from typing import Any

from pointsman.shadow.plain import in_order, text_of

_FILTERS = ("envoy.extensions.filters.network.rbac.v3.RBAC", "envoy.extensions.filters.http.rbac.v3.RBAC")
_LISTS = ("principals", "permissions", "ids", "rules")


def is_authorization(kind: str) -> bool:
    """Whether a filter of this type decides who may connect."""
    return kind in _FILTERS


def rules_text(config: Mapping[str, Any]) -> str:
    """The rules of an RBAC filter: neither the names of its policies count, nor their order. "" if it has none, and so
    lets everybody in."""
    rules = config.get("rules")
    if rules is None:
        return text_of({"matcher": config["matcher"]}) if "matcher" in config else ""
    action = rules.get("action", "ALLOW")
    policies = in_order(_sorted(each) for each in rules.get("policies", {}).values())
    if action == "DENY" and not policies:
        return ""
    return f"{action} {' or '.join(map(text_of, policies)) or 'nobody'}"


def _sorted(value: Any) -> Any:
    """`value` with every list in it whose order does not count in one order."""
    if isinstance(value, Mapping):
        return {
            name: in_order(map(_sorted, each)) if name in _LISTS and isinstance(each, list) else _sorted(each)
            for name, each in value.items()
        }
    return [_sorted(each) for each in value] if isinstance(value, list) else value
