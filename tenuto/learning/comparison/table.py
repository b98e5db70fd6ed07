"""What a comparison came to: a row for each choice, and what the rows say together."""

from __future__ import annotations

from typing import Any, Literal

from tenuto.learning.comparison.choices import Choice
from tenuto.records import Interval, Record

Front = Literal["latency", "size"]


class Figures(Record):
    """What one training came to; times are of this machine, at one thread."""

    licence: str
    parameters: int
    training_seconds: float
    size_mb: float
    p50_ms: float
    p95_ms: float
    real_time_factor: float
    validation_macro_f1: float
    log_loss: float
    expected_calibration_error: float


class Worst(Record):
    """The value of a group on which a model is right least often; of several, so it flatters nobody."""

    group: str
    value: str
    recall: float
    clips: int


class Row(Record):
    """One choice, and what it came to; `problem` says why there are no figures."""

    choice: Choice
    problem: str = ""
    figures: Figures | None = None
    macro_f1: Interval | None = None
    difference: Interval | None = None
    worst: Worst | None = None
    fronts: tuple[Front, ...] = ()


class Comparison(Record):
    """All rows, the one chosen on the validation clips, and the one that differences are taken to; both by title."""

    rows: tuple[Row, ...]
    chosen: str | None
    reference: str | None
    test_clips: int
    unit_name: str

    @property
    def finished(self) -> tuple[Row, ...]:
        """The rows that have figures."""
        return tuple(row for row in self.rows if row.figures)

    @property
    def resampled(self) -> str:
        """What the intervals were resampled over, in words: "12 speakers", "1 speaker's clips"."""
        return next((row.macro_f1.resampled for row in self.finished if row.macro_f1), self.unit_name)


def sentences(found: Comparison) -> tuple[str, ...]:
    """What the table comes to, and how far it may be trusted."""
    if found.chosen is None:
        return ("No row could be trained.",)
    best = next(row for row in found.rows if row.choice.title == found.chosen)
    assert best.figures and best.macro_f1
    said = [
        f"Best on the validation clips: {found.chosen} (macro-F1 {best.figures.validation_macro_f1:.3f}; "
        f"{best.macro_f1.value:.3f} on the test clips)."
    ]
    if len(found.finished) > 1:
        said.append(
            f"Choosing the best of {len(found.finished)} by their test figures would flatter it: these clips are for "
            "measuring, and the choice was made on the validation clips."
        )
    return tuple(said)


def flat(row: Row) -> dict[str, Any]:
    """The row's figures by name, for whoever keeps numbers: bounds of intervals as `macro_f1_low` ..."""
    values: dict[str, Any] = row.figures.model_dump(exclude={"licence"}) if row.figures else {}
    for name, interval in (("macro_f1", row.macro_f1), ("difference", row.difference)):
        if interval:
            values |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return values | ({"worst_group_recall": row.worst.recall} if row.worst else {})
