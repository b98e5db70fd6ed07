"""What a model card can say, as the plain values that its template sees.

Values and no objects: a template is a file that anybody may edit, and must not get hold of paths or records that do
things. Long tables are cut to the rows that matter, the weakest first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel

from tenuto.labels import parts
from tenuto.learning.catalogue import licences
from tenuto.records import GROUP_PREFIX, Checkpoint, Evaluation, RegisteredModel, Remedy, Verdict
from tenuto.reporting import making, scores
from tenuto.serving.hearing.bundle import Exported
from tenuto.settings import Params
from tenuto.tracing.lineage import Lineage

FEW_CLIPS = 20
"""A group with fewer test clips is marked: its figure may be chance."""

MOST_ROWS = 25
"""Of one table; a note says how many more there are."""

MOST_TABLES = 8

RARE_SHARE = 0.5
"""A class with fewer training clips than this share of the median class's is called rare."""

_METRICS = ("macro_f1", "micro_f1", "mean_average_precision", "accuracy", "balanced_accuracy")


@dataclass(frozen=True, kw_only=True)
class CardInputs:
    """What is known of a candidate when its version is registered."""

    params: Params
    lineage: Lineage
    evaluation: Evaluation
    checkpoint: Checkpoint
    verdict: Verdict
    made_at: datetime
    mlflow_run: str
    clips_path: Path  # the clips table: manifest and split
    remedy: Remedy | None = None  # what was chosen for rare classes and groups
    champion: RegisteredModel | None = None  # the one that the candidate was compared with
    golden: Evaluation | None = None
    exported: Exported | None = None  # what serves it, or why nothing does
    seconds: Mapping[str, float] = field(default_factory=dict)  # per stage until now; 'total' may be among them
    cpu_seconds: float | None = None  # of the run's process until now


def contents(card: CardInputs, clips: pd.DataFrame | None) -> dict[str, Any]:
    """The variables of the template, all of them documented in the packaged one; `clips` is the clips table."""
    found = card.evaluation
    return {
        "name": card.params.name,
        "made_at": card.made_at,
        "stated": {name: (text or "").strip() for name, text in card.params.card.model_dump().items()},
        "verdict": plain(card.verdict),
        "champion": plain(card.champion),
        "checkpoint": plain(card.checkpoint),
        "backbone_licence": _licence(card.checkpoint.backbone_licence),
        "commercial_use": licences.commercial_use(card.checkpoint.backbone_licence),
        "lineage": plain(card.lineage),
        "mlflow_run": card.mlflow_run,
        "labels": list(found.labels),
        "labels_per_clip": found.labels_per_clip,
        "metrics": [[name, title] for name, title, _ in scores.columns(found) if name != scores.CALIBRATION[0]],
        "group_metric": scores.group_metrics(found)[0][1],
        "unit": found.unit_name,
        "confidence": card.params.evaluate.confidence,
        "models": _models(found, card),
        "is_finetuned": making.is_finetuned(card.checkpoint),
        "built": making.built(card.params, card.checkpoint),
        "calibrated": making.calibrated(card.checkpoint, found.labels_per_clip),
        "remarks": scores.remarks(found, card.remedy),
        "golden": _models(card.golden, card) if card.golden else [],
        "classes": _table(scores.Group("class", scores.classes(found), {}), _by_label(clips, found), "label"),
        "groups": [_table(group, clips, GROUP_PREFIX + group.name) for group in scores.groups(found)[:MOST_TABLES]],
        "slices": [_table(group, None, "") for group in scores.slices(found)[:MOST_TABLES]],
        "noise": plain(scores.noise(found)),
        "calibration": _calibration(found),
        "latency": [plain(row) for row in scores.latency(found, card.exported)],
        "served": making.served(card.exported),
        "data": _data(clips, _by_label(clips, found)),
        "stages": {stage: seconds for stage, seconds in card.seconds.items() if stage != "total"},
        "wall_seconds": sum(seconds for stage, seconds in card.seconds.items() if stage != "total"),
        "cpu_seconds": card.cpu_seconds,
        "threads": card.params.threads,
        "few_clips": FEW_CLIPS,
    }


def plain(value: Any) -> Any:
    """Records and dataclasses as dictionaries, all the way down; paths as text."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="python"))
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _by_label(clips: pd.DataFrame | None, found: Evaluation) -> pd.DataFrame | None:
    """The clips, a row for each label of each: that is as many rows where a clip has one label."""
    if clips is None or found.labels_per_clip == "one":
        return clips
    return clips.assign(label=clips["label"].map(parts)).explode("label")


def _models(found: Evaluation, card: CardInputs) -> list[dict[str, Any]]:
    rows = [plain(row) for row in scores.models(found, card.champion) if row.key != "majority"]
    return [row | {"metrics": dict.fromkeys(_METRICS) | row["metrics"]} for row in rows]


def _licence(text: str) -> str:
    return "" if text in ("", "unknown") else text


def _table(group: scores.Group, clips: pd.DataFrame | None, column: str) -> dict[str, Any]:
    """One row per class, group or band with test clips, the weakest first, and how many rows were left out."""
    trained = _training_clips(clips, column)
    rows = [
        {
            "name": bar.name,
            "train_clips": trained.get(bar.name, 0) if trained is not None else None,
            "test_clips": bar.figures.get("support"),
            "is_few": bar.figures.get("support", 0) < FEW_CLIPS,
            "candidate": bar.score,
            **{name: bar.figures.get(name) for name in ("precision", "f1", "average_precision", "threshold")},
            **{rival: bar.rivals.get(rival) for rival in ("baseline", "champion")},
        }
        for bar in group.bars
    ]
    return {
        "name": group.name,
        "rows": rows[:MOST_ROWS],
        "more": max(len(rows) - MOST_ROWS, 0),
        "has_few": any(row["is_few"] for row in rows[:MOST_ROWS]),
        "has_champion": any(row["champion"] is not None for row in rows),
        "gap": group.gaps.get("candidate"),
    }


def _training_clips(clips: pd.DataFrame | None, column: str) -> dict[str, int] | None:
    if clips is None or column not in clips:
        return None
    counts = clips.loc[clips["split"] == "train", column].value_counts()
    return {str(value): int(n) for value, n in counts.items()}


def _calibration(found: Evaluation) -> dict[str, float] | None:
    """The candidate's calibration error, its accuracy, and its mean confidence in the labels it gives, each in [0, 1].

    `moved` counts the clips that thresholds gave another label than the likeliest one, of which the error is.
    """
    figures = found.metrics.get("candidate", {})
    error = figures.get("expected_calibration_error")
    if error is None or not math.isfinite(error):
        return None
    said = {"error": error, "accuracy": figures.get("accuracy", math.nan)}
    if found.labels_per_clip == "many":
        return {"error": error}
    if not found.probabilities_path.is_file():
        return said
    answers = pd.read_parquet(found.probabilities_path)
    own = answers[answers["model"] == "candidate"]
    given = own[[f"p_{label}" for label in found.labels]].to_numpy()
    confidence = given[np.arange(len(own)), [found.labels.index(label) for label in own["predicted"]]]
    return said | {"confidence": float(confidence.mean()), "moved": int((confidence < given.max(axis=1)).sum())}


def _data(clips: pd.DataFrame | None, by_label: pd.DataFrame | None) -> dict[str, Any] | None:
    """Clips per split, hours, classes with the rare ones named, and what the groups are."""
    if clips is None or by_label is None:
        return None
    seconds = float(clips["duration_seconds"].sum()) if "duration_seconds" in clips else None
    trained = by_label.loc[by_label["split"] == "train", "label"].value_counts()
    rare = trained[trained < RARE_SHARE * trained.median()].sort_values() if len(trained) else trained
    columns = [name for name in clips.columns if name.startswith(GROUP_PREFIX) and clips[name].notna().any()]
    return {
        "clips": len(clips),
        "seconds": seconds,
        "splits": {str(split): int(n) for split, n in clips["split"].value_counts().items()},
        "classes": int(by_label["label"].nunique()),
        "rare": [{"name": str(label), "train_clips": int(n)} for label, n in rare.head(MOST_ROWS).items()],
        "more_rare": max(len(rare) - MOST_ROWS, 0),
        "groups": [_group(column.removeprefix(GROUP_PREFIX), clips[column]) for column in columns[:MOST_TABLES]],
    }


def _group(name: str, values: pd.Series) -> dict[str, Any]:
    counts = values.value_counts()
    return {
        "name": name,
        "values": len(counts),
        "clips": int(counts.sum()),
        "unknown": int(values.isna().sum()),
        # without names: this part stands in the registry's description, too
        "fewest": int(counts.min()),
        "most": int(counts.max()),
    }
