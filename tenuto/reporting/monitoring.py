"""The page of `tenuto monitor`: what the last look found, and how each figure went over the looks before it.

Trends are drawn by the template itself, in the colours of the page and at any width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tenuto.monitoring.drift import MEANINGS, Signal
from tenuto.monitoring.looks import Look, sentences
from tenuto.records import Interval
from tenuto.reporting import pages

MOST_LOOKS = 60
_CEILING = 2.0


@dataclass(frozen=True)
class Dot:
    """A look in a picture, each side from 0 to 1, up and right; `low` and `high` are the ends of an interval."""

    x: float
    y: float
    is_found: bool = False
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Trend:
    """One signal over the looks. Its size is drawn in multiples of the size that is large, up to twice."""

    signal: Signal
    meaning: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class Answers:
    """Accuracy and the share of unknown over the looks, from 0 to 1."""

    accuracy: tuple[Dot, ...]
    unknown: tuple[Dot, ...]
    latest: Interval | None


def write(looks: Sequence[Look], path: Path, *, advice: str) -> Path:
    """The page at `path`, written whole or not at all; the last of `looks` (oldest first) is the one it is about.

    `advice` is what to do after a drop of quality.
    """
    shown = list(looks)[-MOST_LOOKS:]
    look = shown[-1]
    text = (
        pages.environment()
        .get_template("monitor.html.j2")
        .render(
            look=look,
            looks=shown,
            sentences=sentences(look),
            trends=[trend(signal, shown) for signal in look.signals],
            answers=_answers(shown),
            advice=advice,
        )
    )
    return pages.write(text, path)


def trend(signal: Signal, looks: Sequence[Look]) -> Trend:
    """The sizes of a signal at every look that judged it."""
    dots = []
    for look in looks:
        for one in look.signals:
            if one.name == signal.name:
                multiple = min(max(one.size, 0.0) / one.large, _CEILING) / _CEILING
                dots.append(Dot(_at(look.at, looks), multiple, one.is_found))
    return Trend(signal, MEANINGS[signal.name], tuple(dots))


def _answers(looks: Sequence[Look]) -> Answers:
    accuracy = [
        Dot(_at(look.at, looks), look.accuracy.value, "quality" in look.found, look.accuracy.low, look.accuracy.high)
        for look in looks
        if look.accuracy
    ]
    unknown = [
        Dot(_at(look.at, looks), look.unknown, "unknown" in look.found) for look in looks if look.unknown is not None
    ]
    return Answers(tuple(accuracy), tuple(unknown), looks[-1].accuracy)


def _at(when: datetime, looks: Sequence[Look]) -> float:
    span = (looks[-1].at - looks[0].at).total_seconds()
    return (when - looks[0].at).total_seconds() / span if span else 0.5
