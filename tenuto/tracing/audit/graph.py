"""The graph of an answer: boxes in layers, from source files to aliases, and where each box and line goes.

Two drawings of the same graph, from left to right where there is room and from top to bottom on a phone. Positions are
computed here and not by a browser, so that the page needs no script.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

BOX_WIDTH = 166.0
_LINE_HEIGHT = 17.0
_PADDING = 11.0
_GAP = {"across": 38.0, "down": 44.0}
_BETWEEN = 14.0
_ROW_GAP = 10.0
_WIDEST = 14.0
_CHARACTERS = 21
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
    frames: list[tuple[float, float, float, float]] = field(default_factory=list)  # x, y, width, height


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
    return Drawing(width, height, placed, _lines(graph, placed))


def down(graph: Graph, width: float = 350.0) -> Drawing:
    """The graph from top to bottom, two boxes a row; a layer of several boxes has a frame.

    Lines go from layer to layer, as thick as all clips between them: lines from box to box would cross other boxes.
    """
    placed: list[Placed] = []
    frames, spans = [], []
    y = 0.0
    for layer in (layer for layer in graph.layers if layer):
        top = y
        y += _BETWEEN if len(layer) > 1 else 0.0
        for start in range(0, len(layer), 2):
            row = layer[start : start + 2]
            left = (width - len(row) * BOX_WIDTH - _ROW_GAP * (len(row) - 1)) / 2
            placed += [_placed(box, left + i * (BOX_WIDTH + _ROW_GAP), y, BOX_WIDTH) for i, box in enumerate(row)]
            y += max(box.height for box in row) + _ROW_GAP
        y -= _ROW_GAP
        if len(layer) > 1:
            y += _BETWEEN
            frames.append((0.0, top, width, y - top))
        spans.append((top, y, {box.name for box in layer}))
        y += _GAP["down"]
    return Drawing(width, max(y - _GAP["down"], 0.0), placed, _spine(graph, spans, width / 2), frames)


def _spine(graph: Graph, spans: Sequence[tuple[float, float, set[str]]], x: float) -> list[Line]:
    """One line between every two layers that follow one another."""
    flows = [
        sum(link.clips for link in graph.links if link.start in above and link.end in below)
        for (_, _, above), (_, _, below) in pairwise(spans)
    ]
    most = max(flows, default=0)
    return [
        Line(f"M{x:.1f} {above[1]:.1f}V{below[0]:.1f}", _width(clips, most), "clips" if clips else "")
        for (above, below), clips in zip(pairwise(spans), flows, strict=True)
    ]


def _width(clips: int, most: int) -> float:
    return max(1.5, _WIDEST * clips / most) if most else 1.5


def _placed(box: Box, x: float, y: float, width: float) -> Placed:
    texts = [(_cut(text, _CHARACTERS), text) for text in (box.heading, *box.lines)]
    first = y + _PADDING + _LINE_HEIGHT * 0.75
    return Placed(box, x, y, width, [(cut, whole, first + _LINE_HEIGHT * i) for i, (cut, whole) in enumerate(texts)])


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _lines(graph: Graph, placed: Sequence[Placed]) -> list[Line]:
    at = {place.box.name: place for place in placed}
    most = max((link.clips for link in graph.links), default=0)
    lines = [
        Line(_curve(at[link.start], at[link.end]), _width(link.clips, most), link.kind)
        for link in graph.links
        if link.start in at and link.end in at
    ]
    return sorted(lines, key=lambda line: -line.width)  # thin ones on top


def _curve(start: Placed, end: Placed) -> str:
    x1, y1 = start.x + start.width, start.y + start.height / 2
    x2, y2 = end.x, end.y + end.height / 2
    middle = (x1 + x2) / 2
    return f"M{x1:.1f} {y1:.1f}C{middle:.1f} {y1:.1f} {middle:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
