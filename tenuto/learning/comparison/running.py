"""Every row trained and measured, or taken as it was kept."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import ValidationError

from tenuto.errors import BackboneError, TenutoError, TrainingError
from tenuto.learning import augment, backbones, checkpoint, finetune
from tenuto.learning.comparison.choices import Choice
from tenuto.learning.comparison.summary import Trained, summarise
from tenuto.learning.comparison.table import Comparison, Figures
from tenuto.learning.predictor import Predictor
from tenuto.records import Checkpoint
from tenuto.scoring import evaluation, latency, metrics
from tenuto.settings import LEARNED_POOLS, Params
from tenuto.typed_yaml import validated

logger = logging.getLogger(__name__)

SCRATCH_EPOCHS = 12
"""A network from scratch trains for so many epochs at least: one that has hardly begun would be no opponent."""


@dataclass(frozen=True)
class _Job:
    clips: pd.DataFrame
    data: Path
    params: Params
    cache: Path
    identity: tuple[str, ...]
    absent: dict[str, BackboneError] = field(default_factory=dict)

    @property
    def test(self) -> pd.DataFrame:
        return self.clips[self.clips["split"] == "test"]


def compare(
    clips: pd.DataFrame,
    data: Path,
    params: Params,
    group: str | None,
    cache: Path,
    chosen: Sequence[Choice],
    *,
    identity: Sequence[str],
    on_progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Every choice trained on the training clips and scored on the test clips.

    `clips` is the manifest with `split`, paths relative to `data`; `group` names what is resampled. `identity` are
    hashes of what else decides a row: dataset, division, code. A backbone that cannot be loaded is a row that says
    why. Raises TrainingError when there is no test clip, or when clips have several labels.
    """
    if params.data.labels == "many":
        raise TrainingError("`tenuto compare` wants one label a clip; params.yaml says data.labels: many.")
    job = _Job(clips, data, params, cache, tuple(identity))
    if job.test.empty:
        raise TrainingError("The test split holds no clip: nothing to compare on. Add clips or change `split`.")
    made: dict[str, Trained] = {}
    problems: dict[str, str] = {}
    for done, choice in enumerate(chosen):
        try:
            made[choice.title] = _made(choice, job)
        except (TenutoError, OSError) as error:
            problems[choice.title] = _in_a_line(error)
            logger.warning("%s: %s", choice.title, problems[choice.title])
        if on_progress:
            on_progress(done + 1, len(chosen))
    return summarise(chosen, made, problems, job.test, params, group, augment.shared_groups(clips))


def _made(choice: Choice, job: _Job) -> Trained:
    """The finished row, taken from the cache or trained."""
    params = _params(choice, job)
    folder = job.data.parent / choice.backbone
    parts = [
        *job.identity,
        json.dumps(params.model_dump(mode="json", exclude={"tracking_uri", "name", "card"}), sort_keys=True),
        checkpoint.sha256(folder) if folder.is_dir() else "",
        choice.way,
    ]
    kept = job.cache / "comparisons" / f"{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]}.json"
    try:
        return Trained.model_validate_json(kept.read_bytes())
    except (OSError, ValidationError):
        trained = _trained(choice, params, job)
    kept.parent.mkdir(parents=True, exist_ok=True)
    unfinished = kept.with_suffix(".part")
    unfinished.write_text(trained.model_dump_json(), encoding="utf-8")
    unfinished.replace(kept)
    return trained


def _params(choice: Choice, job: _Job) -> Params:
    """The settings with the row's choice in them; SettingsError when they do not go together."""
    values = job.params.model_dump()
    if choice.way == "from scratch":
        epochs = max(job.params.finetune.epochs, SCRATCH_EPOCHS)
        values["finetune"] |= {"baseline": choice.backbone, "epochs": epochs}
        return validated(Params, values, "params.yaml")
    values["backbone"] = choice.backbone
    values["model"]["head"] = choice.head
    if choice.backbone != job.params.backbone:
        values["backbone_revision"] = None
    if choice.way == "frozen":
        values["finetune"]["epochs"] = 0
        if job.params.model.pool in LEARNED_POOLS:
            values["model"]["pool"] = "mean"  # what learned pools start as
    return validated(Params, values, "params.yaml")


def _trained(choice: Choice, params: Params, job: _Job) -> Trained:
    _require(params, job)
    train = finetune.train_baseline if choice.way == "from scratch" else finetune.train_candidate
    with tempfile.TemporaryDirectory(prefix="tenuto-compare-") as folder:
        made = train(job.clips, job.data, params, job.cache, Path(folder) / "model")
        return _measured(made, job)


def _require(params: Params, job: _Job) -> None:
    """Raises what is wrong with the row's backbone; one that is absent is looked for once in a comparison."""
    if params.backbone in job.absent:
        raise job.absent[params.backbone]
    try:
        backbones.resolve(params.backbone, params.backbone_revision, root=job.data.parent)
    except BackboneError as error:
        job.absent[params.backbone] = error
        raise


def _measured(made: Checkpoint, job: _Job) -> Trained:
    """What the checkpoint answers, and what it costs."""
    import torch

    torch.set_num_threads(1)
    predictor = Predictor.load(made.path)
    heard = evaluation.probabilities({"it": predictor}, job.test, job.data, job.params.evaluate.batch_size)["it"]
    labels = sorted({*job.test["label"], *predictor.labels})
    probabilities = metrics.aligned(heard, predictor.labels, labels)
    truth = np.asarray([labels.index(label) for label in job.test["label"]])
    # a class that was never trained has probability 0, whose logarithm would be all there is to say
    right = np.maximum(probabilities[np.arange(len(truth)), truth], 1e-12)
    cost = latency.of_models({"it": predictor}, {"it": made.path}, job.test, job.data)["it"]
    figures = Figures(
        licence=made.backbone_licence,
        parameters=predictor.parameters,
        training_seconds=made.seconds,
        validation_macro_f1=made.validation["macro_f1"],
        log_loss=float(-np.log(right).mean()),
        expected_calibration_error=metrics.expected_calibration_error(truth, probabilities),
        **{name: cost[name] for name in ("size_mb", "p50_ms", "p95_ms", "real_time_factor")},
    )
    said = np.asarray(predictor.labels)[predictor.decide(heard).argmax(axis=1)]
    return Trained(figures=figures, predicted=tuple(str(label) for label in said))


def _in_a_line(error: Exception) -> str:
    return "; ".join(str(error).strip().splitlines()) or type(error).__name__
