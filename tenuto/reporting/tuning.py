"""The page of `tenuto tune`: how the search went, what the scores depend on, and every trial.

The history is drawn by the template itself, in the colours of the page and at any width.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tenuto.learning.tuning.study import Trial
from tenuto.reporting import pages

_HEADROOM = 0.08
_LEAST_HEIGHT = 0.01


@dataclass(frozen=True, kw_only=True)
class TuneInputs:
    """What is known at the end of a search."""

    name: str
    on: str
    started_at: datetime
    trials: tuple[Trial, ...]
    best: Trial
    present: Trial
    importances: dict[str, float]
    study: str
    mlflow_run: str


@dataclass(frozen=True)
class Dot:
    """A trial in the picture, each side from 0 to 1, up and right."""

    x: float
    y: float
    kind: str  # complete, pruned, present or best


@dataclass(frozen=True)
class History:
    """Macro-F1 of the trials in their order, with the best so far as a line of steps."""

    dots: tuple[Dot, ...]
    steps: tuple[tuple[float, float], ...]
    present: float | None
    low: float
    high: float
    below: int  # trials whose score lies under the picture, which ends where it is worth looking


def write(inputs: TuneInputs, path: Path) -> Path:
    """The page at `path`, written whole or not at all; it loads nothing from outside."""
    text = (
        pages.environment()
        .get_template("tune.html.j2")
        .render(
            run=inputs,
            history=history(inputs.trials, inputs.best, inputs.present),
            keys=list(inputs.importances) or sorted({key for trial in inputs.trials for key in trial.settings}),
            lines=lines(inputs.best.settings),
            value=value,
            ranked=ranked(inputs.trials),
            seconds=sum(trial.seconds for trial in inputs.trials),
        )
    )
    return pages.write(text, path)


def history(trials: Sequence[Trial], best: Trial, present: Trial) -> History:
    """The picture of the search; trials without a score are not in it.

    It goes from the best score down to the present one or the middle of all, whichever is lower: one bad trial would
    press all others into a line.
    """
    scored = [trial for trial in trials if trial.macro_f1 is not None]
    scores = sorted(_f1(trial) for trial in scored)
    high, low = scores[-1], min(scores[len(scores) // 2], _f1(present))
    room = max(_HEADROOM * (high - low), _LEAST_HEIGHT)
    low, high = max(low - room, 0.0), min(high + room, 1.0)

    def up(score: float) -> float:
        return (score - low) / (high - low)

    last = max(len(trials) - 1, 1)
    dots = tuple(Dot((trial.number - 1) / last, max(up(_f1(trial)), 0.0), _kind(trial, best)) for trial in scored)
    steps: list[tuple[float, float]] = []
    reached = float("-inf")
    for trial in scored:
        if trial.state == "complete" and _f1(trial) > reached:
            if steps:
                steps.append(((trial.number - 1) / last, up(reached)))
            reached = _f1(trial)
            steps.append(((trial.number - 1) / last, up(reached)))
    steps.append((1.0, up(reached)))
    below = sum(up(_f1(trial)) < 0 for trial in scored)
    return History(dots, tuple(steps), up(_f1(present)), low, high, below)


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """The complete trials, the best first, then the pruned ones in their order."""
    return sorted(trials, key=lambda t: (t.state == "pruned", -t.selection if t.state == "complete" else t.number))


def lines(settings: dict[str, Any]) -> list[str]:
    """Settings as lines of params.yaml."""
    sections: dict[str, list[str]] = {}
    for key, what in settings.items():
        section, _, name = key.partition(".")
        text = what if isinstance(what, str) and what.replace("-", "").isalpha() else json.dumps(what)
        sections.setdefault(section, []).append(f"  {name}: {text}")
    return [line for section, below in sections.items() for line in (f"{section}:", *below)]


def value(what: Any) -> str:
    """A setting's value for the eye: numbers with three digits that count."""
    if isinstance(what, float):
        return f"{what:.3g}"
    return what if isinstance(what, str) else json.dumps(what)


def _f1(trial: Trial) -> float:
    assert trial.macro_f1 is not None
    return trial.macro_f1


def _kind(trial: Trial, best: Trial) -> str:
    if trial.number == best.number:
        return "best"
    if trial.is_present:
        return "present"
    return trial.state
