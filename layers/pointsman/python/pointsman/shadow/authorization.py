"""Who may call: Envoy's RBAC filters, compared by what they decide and not by how they say it.

Callers are known by the SPIFFE id in their certificate, of the mesh's own trust domain: no other may connect. For every
service that either side names, and for one that neither does, both decide: everything, nothing, or requests that meet
conditions. Conditions are compared as functions of their parts, whatever their order and nesting.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from pointsman.model.regex import RegexError, searcher
from pointsman.shadow.plain import in_order, text_of
from pointsman.shadow.route import header_text
from pointsman.shadow.tls import matcher_text

MOST_CALLERS: Final = 500
"""Services that two sets of rules may name to be compared one by one."""

MOST_CONDITIONS: Final = 10
"""Different conditions of requests in what one caller may do, to be compared as functions."""

EVERYTHING, NOTHING = "everything", "nothing"

_FILTERS = ("envoy.extensions.filters.network.rbac.v3.RBAC", "envoy.extensions.filters.http.rbac.v3.RBAC")
_STRANGER = "any-other"

Rules = tuple[Mapping[str, Any], ...]
"""The `rules` of the RBAC filters that a connection passes, one after the other."""


class _NotUnderstood(Exception):
    """A principal that is known by something else than its certificate."""


@dataclass(frozen=True, slots=True)
class Differing:
    """Callers for whom two sets of rules decide differently, and what each decides."""

    callers: tuple[str, ...]
    today: str
    pointsman: str


def is_authorization(kind: str) -> bool:
    """Whether a filter of this type decides who may call."""
    return kind in _FILTERS


def rules_of(config: Mapping[str, Any]) -> Rules:
    """The rules of one filter; none if it lets everybody in."""
    if config.get("matcher"):
        return ({"matcher": config["matcher"]},)
    rules = config.get("rules")
    return () if rules is None else (rules,)


def differing(today: Rules, pointsman: Rules, trust_domain: str) -> list[Differing]:
    """Where the rules of `today` and those of `pointsman` decide differently."""
    try:
        callers = _callers((*today, *pointsman), trust_domain)
        found: dict[tuple[str, str], list[str]] = {}
        same: dict[tuple[str, str], bool] = {}
        for name, spiffe_id in callers.items():
            before, after = _decided(today, spiffe_id), _decided(pointsman, spiffe_id)
            said = str(before), str(after)
            if said not in same:
                same[said] = said[0] == said[1] or _same(before, after)
            if not same[said]:
                found.setdefault(said, []).append(name)
    except (_NotUnderstood, RegexError):
        texts = [" and ".join(text_of(_sorted(each)) for each in rules) or EVERYTHING for rules in (today, pointsman)]
        return [] if texts[0] == texts[1] else [Differing(("callers",), *texts)]
    return [Differing(tuple(names), *said) for said, names in found.items()]


# --- callers ---


def _callers(rules: Rules, trust_domain: str) -> dict[str, str]:
    """A SPIFFE id of each service that the rules name, in each namespace that they name, and of some that they do not,
    by what they are called. Raises _NotUnderstood if there are more than MOST_CALLERS."""
    namespaces, names = {"default", _STRANGER}, {_STRANGER}
    for pattern in _patterns(list(rules)):
        parts = pattern.replace("[^/]+", "*").removeprefix("^").removesuffix("$").split("/")
        if "ns" in parts and parts[-2:-1] == ["svc"]:
            namespaces.add(_literal(parts[parts.index("ns") + 1]))
            # Pointsman's expressions have several names in one.
            names.update(map(_literal, parts[-1].removeprefix("(").removesuffix(")").split("|")))
    if len(namespaces) * len(names) > MOST_CALLERS:
        raise _NotUnderstood
    return {
        f"{namespace}/{name}".replace(
            _STRANGER, "any other"
        ): f"spiffe://{trust_domain}/ns/{namespace}/dc/dc1/svc/{name}"
        for namespace, name in product(sorted(namespaces), sorted(names))
    }


def _literal(part: str) -> str:
    """A part of a pattern that stands for one name; else a name that nobody has."""
    return part if part.replace("-", "").isalnum() else _STRANGER


def _patterns(value: Any) -> Iterator[str]:
    """What the rules say of names of callers."""
    if isinstance(value, list):
        for each in value:
            yield from _patterns(each)
    elif isinstance(value, Mapping):
        name = value.get("principal_name")
        if isinstance(name, Mapping):
            yield str(name.get("exact") or name.get("safe_regex", {}).get("regex", ""))
        for each in value.values():
            yield from _patterns(each)


def _only(message: Mapping[str, Any]) -> tuple[str, Any]:
    """The one field of a message, and its value. Raises _NotUnderstood."""
    if len(message) != 1:
        raise _NotUnderstood
    ((kind, value),) = message.items()
    return kind, value


def _is(principal: Mapping[str, Any], spiffe_id: str) -> bool:
    """Whether the caller with this id is `principal`. Raises _NotUnderstood."""
    kind, value = _only(principal)
    if kind == "any":
        return bool(value)
    if kind in ("and_ids", "or_ids"):
        return (all if kind == "and_ids" else any)([_is(each, spiffe_id) for each in value.get("ids", [])])
    if kind == "not_id":
        return not _is(value, spiffe_id)
    if kind == "authenticated":
        name = value.get("principal_name")
        return name is None or _matches(name, spiffe_id)
    raise _NotUnderstood


def _matches(matcher: Mapping[str, Any], text: str) -> bool:
    if matcher.get("ignore_case"):
        raise _NotUnderstood
    if "exact" in matcher:
        return bool(text == matcher["exact"])
    if "prefix" in matcher:
        return text.startswith(matcher["prefix"])
    if "suffix" in matcher:
        return text.endswith(matcher["suffix"])
    if "safe_regex" in matcher:
        # Envoy compares the whole text.
        return searcher(f"^(?:{matcher['safe_regex'].get('regex', '')})$")(text)
    raise _NotUnderstood


# --- what they may do ---


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a request has to be: a condition ("is", with its text), or "all", "any" or "not" of `parts`. All of no parts
    is every request."""

    kind: str
    text: str = ""
    parts: tuple["_Asked", ...] = ()

    def holds(self, known: Mapping[str, bool]) -> bool:
        """Whether it is met where these conditions are."""
        if self.kind == "is":
            return known[self.text]
        if self.kind == "not":
            return not self.parts[0].holds(known)
        return (all if self.kind == "all" else any)([each.holds(known) for each in self.parts])

    def conditions(self) -> Iterator[str]:
        """The conditions in it."""
        if self.kind == "is":
            yield self.text
        for each in self.parts:
            yield from each.conditions()

    def __str__(self) -> str:
        if self.kind == "is":
            return self.text
        if self.kind == "not":
            return f"not {self.parts[0]}"
        words = (" and " if self.kind == "all" else " or ").join(in_order(map(str, self.parts)))
        return (f"({words})" if len(self.parts) > 1 else words) if self.parts else _EMPTY[self.kind]


_EMPTY = {"all": EVERYTHING, "any": NOTHING}


def _asked(permission: Mapping[str, Any]) -> _Asked:
    """What a permission is for. Raises _NotUnderstood."""
    kind, value = _only(permission)
    if kind == "any":
        return _Asked("all")
    if kind == "not_rule":
        return _Asked("not", parts=(_asked(value),))
    if kind not in ("and_rules", "or_rules"):
        return _Asked("is", _condition(kind, value))
    parts = tuple(map(_asked, value.get("rules", [])))
    if kind == "and_rules" and len(parts) > 1 and all(each.kind == "is" for each in parts):
        # As one: a path with its method and its headers is mostly the same on both sides.
        return _Asked("is", " with ".join(in_order(each.text for each in parts)))
    return _Asked("all" if kind == "and_rules" else "any", parts=parts)


def _condition(kind: str, value: Any) -> str:
    if kind == "header":
        return header_text(value)
    if kind == "url_path":
        return f"path {matcher_text(value.get('path', {}))}"
    return f"{kind} {text_of(value)}"


def _decided(rules: Rules, spiffe_id: str) -> _Asked:
    """What a request of the caller with this id has to be to pass all `rules`. Raises _NotUnderstood."""
    parts = [each for each in (_passing(one, spiffe_id) for one in rules) if each != _Asked("all")]
    return parts[0] if len(parts) == 1 else _Asked("all", parts=tuple(parts))


def _passing(rules: Mapping[str, Any], spiffe_id: str) -> _Asked:
    action = rules.get("action", "ALLOW")
    if "matcher" in rules or action not in ("ALLOW", "DENY"):
        raise _NotUnderstood
    found: list[_Asked] = []
    for policy in rules.get("policies", {}).values():
        if not {*policy} <= {"principals", "permissions"}:
            raise _NotUnderstood
        if any(_is(each, spiffe_id) for each in policy.get("principals", [])):
            found += map(_asked, policy.get("permissions", []))
    whole = _Asked("all") in found
    if action == "ALLOW":
        return _Asked("all") if whole else _any(found)
    return _Asked("any") if whole else _Asked("not", parts=(_any(found),)) if found else _Asked("all")


def _any(parts: Sequence[_Asked]) -> _Asked:
    return parts[0] if len(parts) == 1 else _Asked("any", parts=tuple(parts))


def _same(before: _Asked, after: _Asked) -> bool:
    """Whether the same requests meet both. Raises _NotUnderstood if they have too many conditions for that."""
    conditions = sorted({*before.conditions(), *after.conditions()})
    if len(conditions) > MOST_CONDITIONS:
        raise _NotUnderstood
    every = (dict(zip(conditions, values, strict=True)) for values in product((False, True), repeat=len(conditions)))
    return all(before.holds(known) == after.holds(known) for known in every)


def _sorted(value: Any) -> Any:
    """`value` with every list in it in one order, and policies without their names."""
    if isinstance(value, Mapping):
        return {
            name: in_order(map(_sorted, each.values())) if name == "policies" else _sorted(each)
            for name, each in value.items()
        }
    return in_order(map(_sorted, value)) if isinstance(value, list) else value
