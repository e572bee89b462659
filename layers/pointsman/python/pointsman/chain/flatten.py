"""Passes over the nodes of a chain that is assembled: splitters are made flat, and what nothing reaches goes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from pointsman.chain.complaints import Place, circular_splitters
from pointsman.chain.graph import ChainTarget, Headers, Node, ResolverNode, RouterNode, SplitterNode, headers_of
from pointsman.model.splitter import share

if TYPE_CHECKING:
    from pointsman.model.headers import HeaderModifiers

Share = tuple[int, str, Headers]


def flatten_splitters(nodes: Mapping[str, Node], start: str, namespace: str) -> dict[str, Node]:
    """`nodes`, with each split that leads to a splitter replaced by that splitter's own splits.

    Raises ChainError, which names the entries in `namespace`, for circular splitters: flattening them would never end.
    Consul multiplies in the random order of a Go map, so any order will do.
    """
    flat = dict(nodes)
    for key in _innermost_first(nodes, start, namespace):
        node = flat[key]
        if isinstance(node, SplitterNode):
            shares: list[Share] = []
            for weight, following, headers in node.shares():
                inner = flat[following]
                if isinstance(inner, SplitterNode):
                    shares += [(share(weight, part), last, _both(headers, own)) for part, last, own in inner.shares()]
                else:
                    shares.append((weight, following, headers))
            flat[key] = _merged(node, shares)
    return flat


def reached_nodes(nodes: Mapping[str, Node], start: str) -> dict[str, Node]:
    """Those of `nodes` that `start` reaches, by key, sorted."""
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        key = waiting.pop()
        if key not in reached:
            reached.add(key)
            waiting.extend(_next_nodes(nodes[key]))
    return {key: nodes[key] for key in sorted(reached)}


def used_targets(nodes: Mapping[str, Node], targets: Mapping[str, ChainTarget]) -> dict[str, ChainTarget]:
    """Those of `targets` that `nodes` send to, failing over or not, by id, sorted."""
    used: set[str] = set()
    for node in nodes.values():
        if isinstance(node, ResolverNode):
            used |= {node.target, *node.failover}
    return {key: targets[key] for key in sorted(used)}


def _innermost_first(nodes: Mapping[str, Node], start: str, namespace: str) -> list[str]:
    """The keys of all nodes that `start` reaches, each after those that it leads to."""
    path: list[tuple[str, int]] = []
    done: dict[str, None] = {}

    def place(key: str, split: int) -> Place:
        return Place(("service-splitter", namespace, nodes[key].name), f"Splits[{split}]")

    def visit(key: str) -> None:
        keys = [each for each, _ in path]
        if key in keys:
            raise circular_splitters([place(each, i) for each, i in path[keys.index(key) :]])
        if key in done:
            return
        for i, following in enumerate(_next_nodes(nodes[key])):
            path.append((key, i))
            visit(following)
            path.pop()
        done[key] = None

    visit(start)
    return list(done)


def _both(outer: Headers, inner: Headers) -> Headers:
    """What becomes of headers on the way through two splitters: what happens later holds, to a request at the inner
    one, to a response at the outer one."""
    (request, response), (own_request, own_response) = outer, inner
    return _one_after(request, own_request), _one_after(own_response, response)


def _one_after(first: "HeaderModifiers | None", then: "HeaderModifiers | None") -> "HeaderModifiers | None":
    return first.merged(then) if first and then else first or then


def _merged(node: SplitterNode, shares: list[Share]) -> SplitterNode:
    """`node` with these shares, added up by node and headers: otherwise nested splitters that meet again would double
    with every level."""
    added: list[Share] = []
    places: dict[str, list[int]] = {}
    for weight, key, headers in shares:
        for place in places.setdefault(key, []):
            if added[place][2] == headers:
                added[place] = (added[place][0] + weight, key, headers)
                break
        else:
            places[key].append(len(added))
            added.append((weight, key, headers))
    splits = tuple((weight, key) for weight, key, _ in added)
    return replace(node, splits=splits, headers=headers_of(each for _, _, each in added))


def _next_nodes(node: Node) -> list[str]:
    if isinstance(node, RouterNode):
        return [key for _, key in node.routes]
    if isinstance(node, SplitterNode):
        return [key for _, key in node.splits]
    return []
