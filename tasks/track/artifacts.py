"""The files that a run leaves in MLflow: what it was given, what it came to, and their hashes for the ledger."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, Field
from ruamel.yaml import YAML

from tenuto.records import Checkpoint, Evaluation, Record, ValidationReport, Verdict
from tenuto.serving.hearing.bundle import Exported
from tenuto.settings import Params
from tenuto.tracing import lineage
from tenuto.tracing.audit import copies
from tenuto.workspace import Workspace

EVIDENCE = {
    "clips": lineage.CLIPS,
    "validation": "validation/report.json",
    "evaluation": "evaluation/evaluation.json",
    "export": "export/export.json",
    "probabilities": "evaluation/probabilities.parquet",
    "golden": "evaluation/golden.json",
    "golden probabilities": "evaluation/golden.parquet",
    "verdict": "verdict/verdict.json",
    "card": "card/model-card.md",
}
"""What a decision rests on, by the name that the ledger gives it, and where the run keeps it."""

_UNREAD = ["fingerprint"]
"""Columns of the clips table that nobody reads from a run: a kilobyte a clip."""


class Results(Record):
    """What a run came to; a run that ended early leaves the rest out."""

    verdict: Verdict
    clips_path: Path | None = None
    params: Params | None = None
    """With them the stored clips table says how many augmented copies of each clip the run trained on, and weights."""
    validation: ValidationReport | None = None
    checkpoint: Checkpoint | None = None
    exported: Exported | None = None
    evaluation: Evaluation | None = None
    golden: Evaluation | None = None
    """How the candidate and the others do on the frozen clips that never decide."""
    card: str = ""
    """The model card, as Markdown."""
    fill: dict[str, dict[str, float]] = Field(default_factory=dict)


def evidence(results: Results) -> dict[str, str]:
    """The sha256 of each file that the verdict rests on, as `log_results` stores it, and of the checkpoint."""
    stored = files(results)
    hashes = {name: hashlib.sha256(stored[path]).hexdigest() for name, path in EVIDENCE.items() if path in stored}
    return hashes | ({"checkpoint": results.checkpoint.sha256} if results.checkpoint else {})


def files(results: Results) -> dict[str, bytes]:
    """Every file but the plots, by its path among the run's artifacts; the same results give the same bytes."""
    records = {"validation": results.validation, "evaluation": results.evaluation, "golden": results.golden}
    found = {EVIDENCE[name]: _json(record) for name, record in records.items() if record is not None}
    found[EVIDENCE["verdict"]] = _json(results.verdict)
    if results.exported:
        found[EVIDENCE["export"]] = results.exported.model_dump_json(indent=2, exclude={"folder"}).encode()
    if results.clips_path:
        found[lineage.CLIPS] = _clips(results.clips_path, results.params, is_trained=results.checkpoint is not None)
    if results.evaluation:
        found[EVIDENCE["probabilities"]] = results.evaluation.probabilities_path.read_bytes()
    if results.golden:
        found[EVIDENCE["golden probabilities"]] = results.golden.probabilities_path.read_bytes()
    if results.card:
        found[EVIDENCE["card"]] = results.card.encode()
    return found


def inputs(workspace: Workspace, params: Params) -> dict[str, bytes]:
    """What the run was given, all that `tenuto reproduce` needs: settings as they apply, policy, versions ..."""
    given = {name: path.read_bytes() for name, path in lineage.input_files(workspace).items() if path.is_file()}
    given["params.yaml"] = _yaml(params)
    given[lineage.LOCK] = lineage.environment_lock().encode()
    return {f"{lineage.INPUTS}/{name}": content for name, content in given.items()}


def write(contents: dict[str, bytes], folder: Path) -> None:
    """Write each content at its path below `folder`."""
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def plots(evaluation: Evaluation) -> dict[str, bytes]:
    """The confusion matrix of each model as PNG; none with several labels a clip."""
    if evaluation.labels_per_clip == "many":
        return {}
    return {f"plots/confusion-{model}.png": _confusion(evaluation, model) for model in evaluation.confusion}


def _yaml(params: Params) -> bytes:
    """Every setting, also those that `--set` or nobody set, so that later defaults do not matter."""
    buffer = io.BytesIO()
    YAML(typ="safe", pure=True).dump(params.model_dump(mode="json"), buffer)
    return buffer.getvalue()


def _json(record: BaseModel) -> bytes:
    return record.model_dump_json(indent=2).encode()


def _clips(path: Path, params: Params | None, *, is_trained: bool) -> bytes:
    table = pd.read_parquet(path).drop(columns=_UNREAD, errors="ignore")
    if params:
        table = table.assign(copies=copies.copies(table, params.augment, params.seed, params.data.labels))
    if params and is_trained:
        table = table.assign(weight=copies.weights(table, params))
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def _confusion(evaluation: Evaluation, model: str) -> bytes:
    from matplotlib.figure import Figure
    from sklearn.metrics import ConfusionMatrixDisplay

    # a Figure of its own: pyplot would keep every figure and wants a display
    figure = Figure(figsize=(1.5 + 0.45 * len(evaluation.labels),) * 2, layout="constrained")
    axes = figure.subplots()
    # matplotlib reads a dollar sign as mathematics
    labels = [label.replace("$", r"\$") for label in evaluation.labels]
    matrix = _array(evaluation.confusion[model])
    ConfusionMatrixDisplay(matrix, display_labels=labels).plot(ax=axes, colorbar=False, xticks_rotation="vertical")
    axes.set_title(f"{model}, test clips")
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110)
    return buffer.getvalue()


def _array(rows: list[list[int]]) -> Any:
    import numpy as np

    return np.asarray(rows)
