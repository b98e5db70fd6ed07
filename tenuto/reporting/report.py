"""One self-contained HTML page per run: what ran, what was decided, why, and what to listen to.

The page loads nothing from outside and allows no script but its own (a content security policy with the script's
hash), since labels and file names come from whoever made the recordings. The template lays out, `tenuto.reporting`
computes; this module says what goes in and writes the file.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from tenuto.records import (
    Checkpoint,
    CodeVersion,
    DatasetVersion,
    Evaluation,
    FillComparison,
    RegisteredModel,
    Remedy,
    ValidationReport,
    Verdict,
)
from tenuto.reporting import decision, listening, making, oversight, pages, scores, sounds, tables
from tenuto.serving.hearing.bundle import Exported
from tenuto.settings import Params

MODEL_CARD = "card/model-card.md"
"""Where the MLflow run keeps the model card."""


SECTIONS = (
    ("rules", "Rules", "rules"),
    ("test-set", "Test set", "test_set"),
    ("models", "Models", "models"),
    ("golden", "Golden clips", "golden"),
    ("findings", "Findings", "findings"),
    ("listen", "Listen", "listen"),
    ("classes", "Classes", "classes"),
    ("confusion", "Confusion", "confusions"),
    ("group-1", "Groups", "groups"),
    ("slices", "Conditions", "slices"),
    ("noise", "Noise", "noise"),
    ("clips", "Clips", "splits"),
    ("quarantine", "Quarantine", "quarantine"),
    ("lineage", "Lineage", "run"),
    ("timings", "Timings", "stages"),
)
"""Anchor, title, and the part of the page's context without which the section is not there."""


@dataclass(frozen=True, kw_only=True)
class ReportInputs:
    """What is known at the end of a run. A run that ended early leaves the rest out, and the page says so."""

    name: str
    verdict: Verdict
    started_at: datetime
    seconds: dict[str, float]  # per stage, in the order in which they ran; 'total' may be among them
    dataset: DatasetVersion | None = None
    data: Path | None = None  # the folder that holds the clips
    clips_path: Path | None = None  # the clips table: manifest, split and aside_reason
    quarantine_path: Path | None = None
    validation: ValidationReport | None = None
    evaluation: Evaluation | None = None
    golden: Evaluation | None = None  # of the frozen clips, which are watched and never decide
    fill: FillComparison | None = None
    remedy: Remedy | None = None  # what was chosen for rare classes and groups
    params: Params | None = None  # of which the augmentation is shown
    registered: RegisteredModel | None = None
    approval: str = ""  # what a person said of the candidate, as a sentence; empty while nobody has
    has_model_card: bool = False  # among the artifacts of the MLflow run
    champion: RegisteredModel | None = None  # the one that the candidate was compared with
    checkpoint: Checkpoint | None = None
    exported: Exported | None = None  # what serves the candidate, or why nothing does
    backbone_licence: str = ""
    code: CodeVersion | None = None
    environment: dict[str, str] = field(default_factory=dict)  # package versions
    mlflow_run: str | None = None
    mlflow_url: str | None = None
    prefect_run: str | None = None
    prefect_url: str | None = None


def write_report(inputs: ReportInputs, path: Path) -> Path:
    """The page at `path`, written whole or not at all; at most about 3 MB whatever the clips are."""
    return pages.write(render(inputs, path.parent), path)


def render(inputs: ReportInputs, folder: Path) -> str:
    """The page as text; `folder` is where it will lie, so that it can point at files near it."""
    context = _context(inputs, folder)
    return pages.environment().get_template("report.html.j2").render(sections=_sections(context), **context)


def _context(inputs: ReportInputs, folder: Path) -> dict[str, Any]:
    clips = tables.read(inputs.clips_path)
    findings = inputs.validation.findings if inputs.validation else ()
    return {
        "run": inputs,
        "outcome": decision.outcome(
            inputs.verdict, inputs.validation, inputs.registered, inputs.champion, inputs.approval
        ),
        "rules": [decision.rule(result) for result in inputs.verdict.rules],
        "test_set": oversight.test_set(inputs.verdict),
        "golden": oversight.golden(inputs.evaluation, inputs.golden, inputs.champion),
        "card_url": f"{inputs.mlflow_url}/artifacts/{MODEL_CARD}" if inputs.mlflow_url else None,
        "card": MODEL_CARD,
        "findings": findings,
        "failed_findings": sorted((f for f in findings if not f.success), key=lambda f: f.severity),
        "passed_findings": [finding for finding in findings if finding.success],
        "data_docs": decision.link_from(folder, inputs.validation.data_docs if inputs.validation else None),
        "fill": decision.fill(inputs.fill) if inputs.fill else [],
        "splits": tables.splits(clips, inputs.params.data.labels if inputs.params else "one"),
        "quarantine": tables.quarantine(inputs.quarantine_path),
        "examples": _examples(inputs, clips),
        "stages": decision.stages(inputs.seconds),
        "total_seconds": decision.total(inputs.seconds),
        "script_hash": _script_hash(),
        **_scores(inputs, clips),
    }


def _examples(inputs: ReportInputs, clips: pd.DataFrame | None) -> list[sounds.Picture]:
    """Augmented clips, of runs that trained; the module draws in audiomentations, so only those import it."""
    if inputs.evaluation is None:
        return []
    from tenuto.reporting import augmentation

    return [sounds.picture(example) for example in augmentation.examples(clips, inputs.data, inputs.params)]


def _sections(context: dict[str, Any]) -> list[tuple[str, str]]:
    """Anchor and title of each section that has something to show, for the page's own links."""
    return [(anchor, title) for anchor, title, needs in SECTIONS if context.get(needs)]


def _scores(inputs: ReportInputs, clips: pd.DataFrame | None) -> dict[str, Any]:
    evaluation = inputs.evaluation
    if evaluation is None:
        return {"models": [], "listen": None}
    return {
        "unit": evaluation.unit_name,
        "labels_per_clip": evaluation.labels_per_clip,
        "models": scores.models(evaluation, inputs.champion),
        "metrics": scores.columns(evaluation),
        "group_metrics": scores.group_metrics(evaluation),
        "remarks": scores.remarks(evaluation, inputs.remedy) + _made(inputs, evaluation),
        "classes": scores.classes(evaluation),
        "groups": scores.groups(evaluation),
        "slices": scores.slices(evaluation),
        "latency": scores.latency(evaluation, inputs.exported),
        "served": making.served(inputs.exported),
        "confusions": scores.confusions(evaluation),
        "noise": scores.noise(evaluation),
        "listen": listening.worth_hearing(evaluation, clips, inputs.data),
    }


def _made(inputs: ReportInputs, evaluation: Evaluation) -> list[str]:
    if inputs.params is None or inputs.checkpoint is None:
        return []
    found = making.built(inputs.params, inputs.checkpoint)
    return found + making.calibrated(inputs.checkpoint, evaluation.labels_per_clip)


def _script_hash() -> str:
    """The script's hash as a content security policy wants it."""
    script = pages.environment().get_template("report.js").render()
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
