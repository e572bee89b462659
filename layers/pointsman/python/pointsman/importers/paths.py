"""The path that a gateway's route matches, before those of the routes that it leads to: a router leads to no other."""

from typing import Any

from pointsman.importers.matches import NoCounterpartError

JSON = dict[str, Any]

Rewritten = tuple[JSON, str]
"""What a match says of the path, and what the matched part is replaced by; "" for nothing."""


def joined(outer: JSON, rewrite: str, inner: JSON) -> list[Rewritten]:
    """What takes the requests that the path `outer` takes, and `inner` after `rewrite`, in the order to try them; none
    if there are no such requests.

    Raises NoCounterpartError where a regular expression is before or behind another path.
    """
    if _is_everything(inner):
        return [({"PathPrefix": path}, to) for path, to in _prefixes(outer, rewrite)] or [(outer, rewrite)]
    if _is_everything(outer) and not rewrite:
        return [(inner, "")]
    if "PathRegex" in outer or "PathRegex" in inner:
        reason = "a path before a regular expression, or behind one, is no path that a route can match"
        raise NoCounterpartError(reason, "write the routes of both as one, path by path")
    wanted = inner.get("PathExact") or inner["PathPrefix"]
    if exact := outer.get("PathExact"):
        after = rewrite or exact
        return [(outer, rewrite)] if after == wanted or ("PathPrefix" in inner and after.startswith(wanted)) else []
    kind = "PathPrefix" if "PathPrefix" in inner else "PathExact"
    prefix = outer.get("PathPrefix", "/")
    found: list[Rewritten] = []
    for path, to in _prefixes(outer, rewrite) or [(prefix, prefix)]:
        if (kind == "PathPrefix" and to.startswith(wanted)) or wanted == to:
            found.append(_whole(kind, path, to))
        elif wanted.startswith(to) and path.endswith("/") == to.endswith("/"):
            found.append(_whole(kind, path + wanted[len(to) :], wanted))
    return found


def _prefixes(outer: JSON, rewrite: str) -> list[tuple[str, str]]:
    """Prefixes and what they are replaced by, as App Mesh did: `/a` by `/` makes `/b` of `/a/b`, and not `//b`."""
    path = outer.get("PathPrefix", "")
    if not path or not rewrite:
        return []
    slash = [(f"{path}/", rewrite)] if rewrite.endswith("/") and not path.endswith("/") else []
    return [*slash, (path, rewrite)]


def _whole(kind: str, path: str, rewrite: str) -> Rewritten:
    return {kind: path}, rewrite if rewrite != path else ""


def _is_everything(path: JSON) -> bool:
    return path in ({}, {"PathPrefix": "/"})
