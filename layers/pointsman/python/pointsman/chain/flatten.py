"""Passes over the nodes of a chain that is assembled: splitters are made flat, and what nothing reaches goes."""

from collections.abc import Mapping
from dataclasses import replace

from pointsman.chain.complaints import Place, circular_splitters
from pointsman.chain.graph import ChainTarget, Node, ResolverNode, RouterNode, SplitterNode
from pointsman.model.splitter import share


def flatten_splitters(nodes: Mapping[str, Node], start: str, namespace: str) -> dict[str, Node]:
    """`nodes`, with each split that leads to a splitter replaced by that splitter's own splits.

    Raises ChainError, which names the entries in `namespace`, for circular splitters: flattening them would never end.
    Consul multiplies in the random order of a Go map, so any order will do.
    """
    flat = dict(nodes)
    for key in _innermost_first(nodes, start, namespace):
        node = flat[key]
        if isinstance(node, SplitterNode):
            splits: list[tuple[int, str]] = []
            for weight, following in node.splits:
                inner = flat[following]
                if isinstance(inner, SplitterNode):
                    splits.extend((share(weight, part), last) for part, last in inner.splits)
                else:
                    splits.append((weight, following))
            flat[key] = replace(node, splits=_merged(splits))
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


def _merged(splits: list[tuple[int, str]]) -> tuple[tuple[int, str], ...]:
    """The shares, added up by node: otherwise nested splitters that meet again would double with every level."""
    shares: dict[str, int] = {}
    for weight, key in splits:
        shares[key] = shares.get(key, 0) + weight
    return tuple((weight, key) for key, weight in shares.items())


def _next_nodes(node: Node) -> list[str]:
    if isinstance(node, RouterNode):
        return [key for _, key in node.routes]
    if isinstance(node, SplitterNode):
        return [key for _, key in node.splits]
    return []
