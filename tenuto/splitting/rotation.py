"""A fresh test set: which units become test and golden, and how the champion does on them.

Separate from `tenuto.splitting.holdout`, which is the file that records it. A unit is fresh when no clip of it, and no
near-duplicate of one, was in the training or validation split of a registered version, and when it is neither golden
nor was ever tested on: a released test set does not come back, even if no version learned from it since.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from tenuto import labels
from tenuto.errors import TrainingError
from tenuto.labels import LabelType
from tenuto.records import Interval
from tenuto.scoring import evaluation, statistics
from tenuto.scoring.statistics import MIN_UNITS
from tenuto.settings import EvaluateSettings
from tenuto.splitting.holdout import Holdout, Rotation, Score, Units
from tenuto.splitting.pins import Unit

OLD, GOLDEN, NEW = "old test set", "golden", "new test set"


def draw(
    clips: pd.DataFrame,
    units: Sequence[Unit],
    heard: Collection[str],
    holdout: Holdout,
    at: datetime,
    reason: str,
    kind: LabelType = "one",
) -> Rotation:
    """The next rotation of the test set of `clips`, whose column `split` says where they are now.

    `units` are those of the clips, in row order; `heard` the ids and families of all clips that registered versions
    were trained or tuned on. Fresh units come in the order of a hash of their names; they are taken until the new test
    set has as many clips as the present one and all of its classes, and at least 5 units. While there is no golden
    unit, every second one becomes golden.

    Raises TrainingError when there are too few fresh units, or when they lack a class of the present test set.
    """
    table = clips[["clip_id", "family", "label", "split"]].assign(
        unit=pd.Series(units, index=clips.index, dtype=object)
    )
    present = table[table["split"] == "test"]
    fresh = _fresh(table, heard, holdout)
    needs_golden = not holdout.golden
    wanted = MIN_UNITS * (2 if needs_golden else 1)
    if len(fresh) < wanted:
        raise TrainingError(_too_few(len(fresh), wanted, holdout.group, needs_golden))
    ordered = sorted(fresh, key=lambda unit: _order(unit, holdout.generation))
    of_unit: dict[Unit, list[str]] = {unit: [] for unit in ordered}
    for unit, label in zip(units, table["label"], strict=True):
        if unit in of_unit:
            of_unit[unit].append(label)
    test = _taken(ordered[::2] if needs_golden else ordered, of_unit, present["label"], kind)
    golden = _taken(ordered[1::2], of_unit, present["label"], kind) if needs_golden else []
    new = labels.classes((label for unit in test for label in of_unit[unit]), kind)
    _require_classes(labels.classes(present["label"], kind), new, holdout.group)
    return Rotation(
        at=at,
        reason=reason,
        batch=int(clips["batch"].max()),
        test=Units.of(test),
        golden=Units.of(golden),
        released=Units.of(set(present["unit"])),
    )


def rotated(holdout: Holdout, rotation: Rotation, group: str | None, named: Mapping[str, Sequence[str]]) -> Holdout:
    """The holdout after `rotation`; the first one keeps `named`, the `split.hold_out` of params.yaml."""
    known = holdout.hold_out if holdout.rotations else {key: tuple(values) for key, values in named.items()}
    return holdout.model_copy(update={"group": group, "hold_out": known, "rotations": (*holdout.rotations, rotation)})


def score(
    champion: Path,
    clips: pd.DataFrame,
    data: Path,
    settings: EvaluateSettings,
    group: str | None,
    output: Path,
    contaminated: frozenset[str] = frozenset(),
) -> Score | None:
    """What the checkpoint `champion` scores on `clips`, without those in `contaminated`; None when none is left.

    The table of its answers is written to `output`.
    """
    kept = clips[~clips["clip_id"].isin(contaminated)]
    if kept.empty:
        return None
    found = evaluation.evaluate({evaluation.CHAMPION: champion}, kept, data, settings, group, output, is_judged=False)
    answers = evaluation.read_answers(pd.read_parquet(output), found.labels, found.unit_name, found.labels_per_clip)
    accuracy, macro_f1 = (
        statistics.interval(
            answers,
            metric,
            evaluation.CHAMPION,
            confidence=settings.confidence,
            resamples=settings.resamples,
            rng=np.random.default_rng(evaluation.BOOTSTRAP_SEED),
        )
        for metric in ("accuracy", "macro_f1")
    )
    return Score(clips=len(kept), accuracy=_figures(accuracy), macro_f1=_figures(macro_f1))


def comparison(scores: Mapping[str, Score]) -> str:
    """One sentence on whether the old test set flattered the champion; empty when it was not scored on both."""
    if OLD not in scores or NEW not in scores:
        return ""
    (old, low, _), (new, _, high) = scores[OLD].accuracy, scores[NEW].accuracy
    against = f"accuracy {old:.3f} on the old test set, {new:.3f} on the new one"
    if old - new > np.hypot(old - low, high - new):
        return f"The old test set flattered the champion: {against}."
    return f"The old test set did not flatter the champion beyond chance: {against}."


def _fresh(table: pd.DataFrame, heard: Collection[str], holdout: Holdout) -> set[Unit]:
    used = holdout.golden.union(*(rotation.test.all | rotation.released.all for rotation in holdout.rotations))
    is_taken = (
        table["clip_id"].isin(heard)
        | table["family"].isin(heard)
        | table["split"].eq("test")
        | table["unit"].isin(used)
    )
    return set(table["unit"]) - set(table.loc[is_taken, "unit"])


def _taken(
    ordered: Sequence[Unit], of_unit: Mapping[Unit, list[str]], present: pd.Series, kind: LabelType
) -> list[Unit]:
    """The first units that are as many clips as there are `present` and have all of their labels."""
    taken: list[Unit] = []
    clips, missing = 0, set(labels.classes(present, kind))
    for unit in ordered:
        has = set(labels.classes(of_unit[unit], kind))
        if clips < len(present) or len(taken) < MIN_UNITS or missing & has:
            taken.append(unit)
            clips += len(of_unit[unit])
            missing -= has
    return taken


def _require_classes(present: Iterable[str], new: Iterable[str], group: str | None) -> None:
    if missing := sorted(set(present) - set(new)):
        raise TrainingError(
            f"the fresh {_plural(group)} to test on have no clip of {', '.join(map(repr, missing))}, which the present "
            f"test set has; add recordings of it by new {_plural(group)} with `tenuto data add`, then rotate."
        )


def _too_few(fresh: int, wanted: int, group: str | None, needs_golden: bool) -> str:
    parts = f" ({MIN_UNITS} to test on and {MIN_UNITS} golden)" if needs_golden else ""
    return (
        f"{fresh} fresh {_plural(group)}, wanted at least {wanted}{parts}. Fresh is what no registered version was "
        f"trained or tuned on and what was never tested on. Record new {_plural(group)}, some more than are wanted "
        "since the present test set takes its share, add them with `tenuto data add`, and rotate before a retrain "
        "learns from them."
    )


def _plural(group: str | None) -> str:
    return f"{group}s" if group else "recordings"


def _order(unit: Unit, generation: str) -> bytes:
    return hashlib.sha256("\0".join((generation, *unit)).encode()).digest()


def _figures(interval: Interval) -> tuple[float, float, float]:
    return round(interval.value, 4), round(interval.low, 4), round(interval.high, 4)
