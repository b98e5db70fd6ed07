"""The page of `tenuto compare`: the table, and accuracy against latency and against size as a picture."""

from __future__ import annotations

import base64
import io
from datetime import datetime
from pathlib import Path
from typing import Any

from tenuto.learning.comparison.table import Comparison, Front, Row, sentences
from tenuto.reporting import pages

_COLOURS = {"frozen": "#1f6f8b", "fine-tuned": "#3d7a3a", "from scratch": "#b5532a"}
_AXES: tuple[tuple[Front, str], ...] = (("latency", "p50_ms"), ("size", "size_mb"))
_NAMES = {"p50_ms": "milliseconds a clip, median", "size_mb": "megabytes"}
_PICTURE_DPI = 150


def write(found: Comparison, path: Path, *, name: str, made_at: datetime, picture: bytes) -> Path:
    """The page at `path`, written whole or not at all; it loads nothing from outside."""
    text = (
        pages.environment()
        .get_template("compare.html.j2")
        .render(
            found=found,
            name=name,
            made_at=made_at,
            sentences=sentences(found),
            picture=base64.b64encode(picture).decode() if found.finished else "",
        )
    )
    return pages.write(text, path)


def draw(found: Comparison) -> bytes:
    """The picture as PNG: macro-F1 with its interval against latency, and against size; the front is a line."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FormatStrFormatter, LogLocator

    # a Figure of its own: pyplot would keep every figure and wants a display
    figure = Figure(figsize=(7.2, 7.6), layout="constrained")
    both = figure.subplots(2, 1)
    for axes, (front, cost) in zip(both, _AXES, strict=True):
        _draw_points(axes, found.finished, cost)
        _draw_front(axes, [row for row in found.finished if front in row.fronts], cost)
        axes.set_xscale("log")
        # plain numbers, and not so many that they run into one another
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.minorticks_off()
        axes.margins(0.08)
        axes.set_xlabel(_NAMES[cost])
        axes.set_ylabel("macro-F1 on the test clips")
        axes.set_title(f"accuracy against {front}", loc="left", fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
    # both have the same rows
    figure.legend(*both[0].get_legend_handles_labels(), loc="outside lower left", ncols=2, fontsize=9, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=_PICTURE_DPI)
    return buffer.getvalue()


def _draw_points(axes: Any, rows: tuple[Row, ...], cost: str) -> None:
    """Each row with its interval and a number, and the numbers' meaning in the legend."""
    for number, row in enumerate(rows, start=1):
        assert row.figures and row.macro_f1
        at, score = getattr(row.figures, cost), row.macro_f1
        # matplotlib reads a dollar sign as mathematics
        title = f"{number}  {row.choice.backbone}, {row.choice.head}".replace("$", r"\$")
        colour = _COLOURS[row.choice.way]
        axes.errorbar(
            at,
            score.value,
            yerr=[[score.value - score.low], [score.high - score.value]],
            fmt="o",
            color=colour,
            markersize=5,
            elinewidth=1,
            capsize=2,
            label=title,
        )
        # heads of one backbone cost alike: their numbers stand on either side, and above one another
        side, step = (1 if number % 2 else -1), (number - 1) // 2 % 3
        axes.annotate(
            str(number),
            (at, score.value),
            textcoords="offset points",
            xytext=(7 * side, 4 - 11 * step),
            ha="left" if side > 0 else "right",
            color=colour,
            fontweight="bold",
        )


def _draw_front(axes: Any, rows: list[Row], cost: str) -> None:
    """A step line through what nothing beats, and a ring around each."""
    points = sorted((getattr(r.figures, cost), r.macro_f1.value) for r in rows if r.figures and r.macro_f1)
    costs, scores = [at for at, _ in points], [score for _, score in points]
    axes.step(costs, scores, where="post", color="#444444", linewidth=1, linestyle="--", zorder=0)
    axes.plot(costs, scores, "o", markersize=11, markerfacecolor="none", markeredgecolor="#444444", zorder=1)
