"""Two imagined models, one with everything to show and one with next to nothing: what a template is tried on."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from tenuto.records import (
    Checkpoint,
    CodeVersion,
    DatasetVersion,
    Evaluation,
    Interval,
    RegisteredModel,
    RuleResult,
    Verdict,
)
from tenuto.reporting.card.contents import CardInputs
from tenuto.settings import CardSettings, Params
from tenuto.tracing.lineage import Lineage

_LABELS = ("one", "two")
_TABLE = Path("clips.parquet")
_ALL = ("candidate", "baseline", "champion", "majority")


def full() -> tuple[CardInputs, pd.DataFrame]:
    """Everything that a card can show, of a model with a champion, and its clips table."""
    card = CardInputs(
        params=Params(name="example", card=CardSettings(intended_use="An example.", limits="None.", contact="nobody")),
        lineage=_lineage(CodeVersion(commit="0" * 40, branch="main", dirty_files=("params.yaml",)), "0" * 36),
        evaluation=_evaluation(_ALL).model_copy(
            update={"left_out": ("0",), "unscored": {"champion": "it is an example"}}
        ),
        checkpoint=_checkpoint("Apache-2.0"),
        verdict=Verdict(verdict="promote", reasons=("It is better.",), rules=_rules(), policy_sha256="0" * 64),
        made_at=datetime(2026, 3, 3, tzinfo=UTC),
        mlflow_run="0" * 32,
        champion=RegisteredModel(name="example", version="1", aliases=("champion",)),
        golden=_evaluation(_ALL),
        seconds={"fetch": 1.0, "train candidate": 60.0, "total": 62.0},
        cpu_seconds=50.0,
        clips_path=_TABLE,
    )
    splits = ("train",) * 12 + ("test",) * 8
    table = pd.DataFrame({"label": ["one"] * 10 + ["two"] + ["one"] * 9, "split": splits, "duration_seconds": 1.0})
    return card, table.assign(group_speaker=["ann", "ben"] * 10)


def bare() -> tuple[CardInputs, pd.DataFrame]:
    """A first model of no groups, outside git, of which nobody stated anything, and its clips table."""
    nothing: dict[str, dict[str, float]] = {
        "per_group": {},
        "per_slice": {},
        "gaps": {},
        "noise": {},
        "latency": {},
        "intervals": {},
        "differences": {},
    }
    card = CardInputs(
        params=Params(name="example"),
        lineage=_lineage(CodeVersion(commit=None, branch=None), None),
        evaluation=_evaluation(("candidate",)).model_copy(update=nothing),
        checkpoint=_checkpoint("unknown"),
        verdict=Verdict(verdict="not evaluated", reasons=(), rules=()),
        made_at=datetime(2026, 3, 3, tzinfo=UTC),
        mlflow_run="0" * 32,
        clips_path=_TABLE,
    )
    return card, pd.DataFrame({"label": ["one", "two"], "split": ["train", "test"]})


def _lineage(code: CodeVersion, prefect_run: str | None) -> Lineage:
    dataset = DatasetVersion(md5="0" * 32 + ".dir", manifest_path=Path("manifest.parquet"), clips=80, quarantined=0)
    return Lineage(
        dataset=dataset,
        code=code,
        inputs="0" * 64,
        source_sha256="0" * 64,
        environment={"python": "3.11"},
        prefect_run=prefect_run,
    )


def _checkpoint(licence: str) -> Checkpoint:
    return Checkpoint(
        path=Path("checkpoint"),
        sha256="0" * 64,
        backbone="speech-embedding",
        backbone_revision="main",
        backbone_licence=licence,
        preprocessing="0" * 64,
        labels=_LABELS,
        trainable_parameters=1,
        seconds=1.0,
    )


def _rules() -> tuple[RuleResult, ...]:
    return (RuleResult(rule="good enough", outcome="pass", severity="reject", reason="It is.", plain="It is."),)


def _evaluation(models: tuple[str, ...]) -> Evaluation:
    row = {"recall": 0.9, "precision": 0.9, "f1": 0.9, "accuracy": 0.9, "macro_f1": 0.9, "support": 10.0}
    overall = {"macro_f1": 0.9, "accuracy": 0.9, "balanced_accuracy": 0.9, "expected_calibration_error": 0.05}
    interval = Interval(value=0.9, low=0.8, high=0.95, n=20, groups=4, resampled="4 speakers")
    parts = {model: {"speaker": {"ann": row, "ben": row}} for model in models}
    return Evaluation(
        probabilities_path=Path("probabilities.parquet"),
        labels=_LABELS,
        metrics=dict.fromkeys(models, overall),
        per_class={model: dict.fromkeys(_LABELS, row) for model in models},
        per_group=parts,
        per_slice={model: {"noise": {"under 10 dB": row}} for model in models},
        gaps={model: {"speaker": {"accuracy": 0.0}} for model in models},
        confusion={model: [[9, 1], [1, 9]] for model in models},
        noise={model: {"clean": 0.9, "10 dB": 0.8} for model in models},
        intervals=dict.fromkeys(models, interval),
        differences=dict.fromkeys(models[1:], interval),
        latency={
            model: {"p50_ms": 9.0, "p95_ms": 12.0, "real_time_factor": 0.01, "clips": 30.0, "size_mb": 1.3}
            for model in models
        },
        unit_name="speaker",
    )
