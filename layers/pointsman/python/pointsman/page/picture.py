"""The chain of a service as a picture: boxes in columns, from the service to its targets in the order of failover."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from pointsman.failover.explain import Explained, ExplainedResolver, ExplainedTarget, Explanation
from pointsman.failover.explain_text import branches_of, health_of, way_of
from pointsman.page.matrix import State

MOST_BOXES: Final = 150
"""Boxes in a picture; a larger chain is shown as text alone."""

LONGEST_LABEL: Final = 34
"""Characters of a line of a box; the picture's title has all."""

BOX_WIDTH: Final = 250
_GAP_WIDTH: Final = 150
_LINE: Final = 18
_PADDING: Final = 12
_GAP: Final = 14
_EDGE: Final = 8


@dataclass(frozen=True, slots=True)
class Box:
    """A box: its `kind` (router, splitter, resolver, target), its lines, of which the first is its name, and the
    `title` with all of it. Of a target, `state` says how it is; "" stands for other boxes."""

    kind: str
    x: int
    y: int
    height: int
    lines: tuple[str, ...]
    title: str
    state: str = ""
    active: bool = False


@dataclass(frozen=True, slots=True)
class Edge:
    """A line between two boxes, with a label in its middle. Requests go along it now if it is `active`."""

    x1: int
    y1: int
    x2: int
    y2: int
    label: str
    active: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn, and how large it is."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]


def picture_of(explanation: Explanation) -> Picture | None:
    """The picture of a chain; None if it is too large to be drawn."""
    drawing = _Drawing(explanation)
    if drawing.size(explanation.start, set()) > MOST_BOXES:
        return None
    drawing.draw(explanation.start, 0)
    boxes = tuple(drawing.boxes)
    width = max(each.x for each in boxes) + BOX_WIDTH + _EDGE
    height = max(each.y + each.height for each in boxes) + _EDGE
    return Picture(width, height, boxes, tuple(drawing.edges))


@dataclass(slots=True)
class _Drawing:
    """Draws each node once, from top to bottom; a node that several lead to stands where the first one put it."""

    explanation: Explanation
    boxes: list[Box] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    _drawn: dict[str, Box] = field(default_factory=dict)
    _bottom: int = _EDGE

    def size(self, node: Explained, seen: set[str]) -> int:
        """How many boxes there are from `node` on."""
        if node.key in seen:
            return 0
        seen.add(node.key)
        if isinstance(node, ExplainedResolver):
            return 1 + len(node.targets)
        return 1 + sum(self.size(to, seen) for _, to in branches_of(node))

    def draw(self, node: Explained, depth: int) -> Box:
        """Draw `node` and all behind it."""
        if node.key in self._drawn:
            return self._drawn[node.key]
        if isinstance(node, ExplainedResolver):
            behind = [self._target(node, i, depth + 1) for i in range(len(node.targets))]
            labels = [_ordinal(i, len(behind)) for i in range(len(behind))]
            goes = [each.active for each in node.targets]
            lines = ("resolver", node.key.partition(":")[2])
            title = node.why
        else:
            branches = branches_of(node)
            behind = [self.draw(to, depth + 1) for _, to in branches]
            labels, goes = [label for label, _ in branches], [True] * len(branches)
            kind, _, name = node.key.partition(":")
            lines, title = (kind, name), f"{kind} {name}"
        middle = sum(each.y + each.height // 2 for each in behind) // len(behind)
        height = _height(lines)
        box = self._put(Box(lines[0], _x(depth), max(middle - height // 2, _EDGE), height, _short(lines), title))
        self._drawn[node.key] = box
        for to, label, active in zip(behind, labels, goes, strict=True):
            middles = box.y + box.height // 2, to.y + to.height // 2
            self.edges.append(Edge(box.x + BOX_WIDTH, middles[0], to.x, middles[1], _cut(label), active))
        return box

    def _target(self, node: ExplainedResolver, i: int, depth: int) -> Box:
        each = node.targets[i]
        health, way = health_of(each), way_of(self.explanation, each)
        lines = (each.target.id, *_wrapped(health), *_wrapped(way))
        title = f"{each.target.id}: {health}; {way}"
        height = _height(lines)
        box = Box("target", _x(depth), self._bottom, height, _short(lines), title, _state(each, i), each.active)
        self._bottom += height + _GAP
        return self._put(box)

    def _put(self, box: Box) -> Box:
        self.boxes.append(box)
        return box


def _state(each: ExplainedTarget, i: int) -> str:
    if not each.healthy or not each.rank.reachable:
        return State.NOBODY.value
    if each.active:
        return (State.OVER if i else State.WELL).value
    return ""


def _ordinal(i: int, of: int) -> str:
    if of == 1:
        return ""
    return "first" if i == 0 else f"failover {i}"


def _x(depth: int) -> int:
    return _EDGE + depth * (BOX_WIDTH + _GAP_WIDTH)


def _height(lines: Iterable[str]) -> int:
    return 2 * _PADDING + _LINE * len(tuple(lines)) - 4


def _wrapped(text: str) -> list[str]:
    """`text` in lines that fit a box."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and len(lines[-1]) + 1 + len(word) <= LONGEST_LABEL:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _short(lines: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(_cut, lines))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…"
