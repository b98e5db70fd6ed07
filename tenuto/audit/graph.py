"""The graph of an answer: boxes in layers, from source files to aliases, and where each box and line goes.

Two drawings of the same graph, from left to right where there is room and from top to bottom on a phone. Positions are
computed here and not by a browser, so that the page needs no script.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

BOX_WIDTH = 196.0
_LINE_HEIGHT = 17.0
_PADDING = 11.0
_GAP = {"across": 74.0, "down": 46.0}
_BETWEEN = 18.0
_WIDEST = 14.0
_CHARACTERS = 27
"""What fits on a line of a box."""


@dataclass(frozen=True)
class Box:
    """A node: a heading, some lines below it, and what kind of thing it is (a CSS class)."""

    name: str
    heading: str
    lines: tuple[str, ...] = ()
    kind: str = ""

    @property
    def height(self) -> float:
        return 2 * _PADDING + (1 + len(self.lines)) * _LINE_HEIGHT


@dataclass(frozen=True)
class Link:
    """A line between two boxes, as thick as its share of `clips`; a thin one for none."""

    start: str
    end: str
    clips: int = 0
    kind: str = ""


@dataclass(frozen=True)
class Graph:
    """Boxes by layer, the first layer being what came first, and the lines between them."""

    layers: tuple[tuple[Box, ...], ...]
    links: tuple[Link, ...]


@dataclass(frozen=True)
class Placed:
    """A box with its place, in pixels, and its texts cut to what fits."""

    box: Box
    x: float
    y: float
    width: float
    texts: list[tuple[str, str, float]] = field(default_factory=list)  # text as it fits, as it is, and its y

    @property
    def height(self) -> float:
        return self.box.height


@dataclass(frozen=True)
class Line:
    """A link as an SVG path with its width."""

    path: str
    width: float
    kind: str


@dataclass(frozen=True)
class Drawing:
    """A graph laid out: its size in pixels, its boxes and its lines."""

    width: float
    height: float
    boxes: list[Placed]
    lines: list[Line]


def across(graph: Graph) -> Drawing:
    """The graph from left to right, each layer a column, centred."""
    layers = [layer for layer in graph.layers if layer]
    height = max(sum(box.height for box in layer) + _BETWEEN * (len(layer) - 1) for layer in layers)
    placed: list[Placed] = []
    for column, layer in enumerate(layers):
        x = column * (BOX_WIDTH + _GAP["across"])
        y = (height - sum(box.height for box in layer) - _BETWEEN * (len(layer) - 1)) / 2
        for box in layer:
            placed.append(_placed(box, x, y, BOX_WIDTH))
            y += box.height + _BETWEEN
    width = len(layers) * BOX_WIDTH + (len(layers) - 1) * _GAP["across"]
    return Drawing(width, height, placed, _lines(graph, placed, _across))


def down(graph: Graph, width: float = 350.0) -> Drawing:
    """The graph from top to bottom, each layer one or more rows of at most two boxes."""
    placed: list[Placed] = []
    y = 0.0
    for layer in (layer for layer in graph.layers if layer):
        for start in range(0, len(layer), 2):
            row = layer[start : start + 2]
            box_width = min(BOX_WIDTH, (width - _BETWEEN * (len(row) - 1)) / len(row)) if len(row) > 1 else width * 0.62
            left = (width - len(row) * box_width - _BETWEEN * (len(row) - 1)) / 2
            for place, box in enumerate(row):
                placed.append(_placed(box, left + place * (box_width + _BETWEEN), y, box_width))
            y += max(box.height for box in row) + _BETWEEN
        y += _GAP["down"] - _BETWEEN
    return Drawing(width, max(y - _GAP["down"], 0.0), placed, _lines(graph, placed, _down))


def _placed(box: Box, x: float, y: float, width: float) -> Placed:
    fitting = int(_CHARACTERS * width / BOX_WIDTH)
    texts = [(_cut(text, fitting), text) for text in (box.heading, *box.lines)]
    first = y + _PADDING + _LINE_HEIGHT * 0.75
    return Placed(box, x, y, width, [(cut, whole, first + _LINE_HEIGHT * i) for i, (cut, whole) in enumerate(texts)])


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _lines(graph: Graph, placed: Sequence[Placed], path: object) -> list[Line]:
    at = {place.box.name: place for place in placed}
    most = max((link.clips for link in graph.links), default=0)
    lines = []
    for link in graph.links:
        if link.start in at and link.end in at:
            width = max(1.5, _WIDEST * link.clips / most) if most else 1.5
            assert callable(path)
            lines.append(Line(path(at[link.start], at[link.end]), width, link.kind))
    return lines


def _across(start: Placed, end: Placed) -> str:
    x1, y1 = start.x + start.width, start.y + start.height / 2
    x2, y2 = end.x, end.y + end.height / 2
    middle = (x1 + x2) / 2
    return f"M{x1:.1f} {y1:.1f}C{middle:.1f} {y1:.1f} {middle:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"


def _down(start: Placed, end: Placed) -> str:
    x1, y1 = start.x + start.width / 2, start.y + start.height
    x2, y2 = end.x + end.width / 2, end.y
    middle = (y1 + y2) / 2
    return f"M{x1:.1f} {y1:.1f}C{x1:.1f} {middle:.1f} {x2:.1f} {middle:.1f} {x2:.1f} {y2:.1f}"
