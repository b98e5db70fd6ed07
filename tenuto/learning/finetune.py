"""Candidate and baseline: what a run trains.

The candidate is a head fitted on frozen embeddings (by default a linear probe), then fine-tuned from there (LP-FT);
when fine-tuning is not better than that head on the validation split, the head stays. The baseline is the same
architecture with random weights on the same clips, augmentation and epochs.
"""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tenuto.learning import backbones, calibration, checkpoint, frozen, preparation, selection
from tenuto.learning.backbones import adapters
from tenuto.learning.batches import Material
from tenuto.learning.calibration import Calibration
from tenuto.learning.embedding import Progress
from tenuto.learning.predictor import logits_of
from tenuto.learning.preparation import Setup
from tenuto.learning.selection import Scores
from tenuto.learning.training import trainer
from tenuto.learning.training.optimizers import RATE_FACTORS
from tenuto.learning.training.trainer import OnEpoch
from tenuto.records import Checkpoint
from tenuto.settings import FinetuneSettings, ModelSettings, Params

logger = logging.getLogger(__name__)


# by whether the backbone or what is trained of it is small, or for scratch the network
_LEARNING_RATE = {True: 5e-4, False: 3e-5}
_SCRATCH_LEARNING_RATE = {True: 2e-3, False: 1e-4}

_ORIGINS = {
    "linear": "linear probe",
    "mlp": "mlp on frozen embeddings",
    "prototype": "prototypes on frozen embeddings",
}


def train_candidate(
    clips: pd.DataFrame,
    data: Path,
    params: Params,
    cache: Path,
    output: Path,
    *,
    on_progress: Progress | None = None,
    on_epoch: OnEpoch | None = None,
) -> Checkpoint:
    """The candidate, trained on the clips of split 'train' and chosen on 'validation', as the folder `output`.

    `clips` is the manifest with `split`; their paths are relative to `data`. A finished `output` is taken as it is, a
    killed training goes on. Raises TrainingError when the splits are too small, SettingsError when the backbone
    cannot be trained in the way that is asked for.
    """
    if (output / checkpoint.RECORD_NAME).is_file():
        return checkpoint.read(output)
    started = time.monotonic()
    setup = preparation.set_up(clips, data, params)
    model = setup.pretrained(params)
    trainer.check(model, params.finetune)
    fitted = frozen.fit_head(setup.material, setup.encoder(model), params, cache)
    fitted.install(model)
    scores, origin, trained = _finetuned(model, setup.material, params, output, on_progress, on_epoch)
    return _write(
        model,
        setup,
        params,
        output,
        started,
        origin=origin,
        validation=scores,
        trained=trained,
        notes=preparation.notes(clips, setup),
    )


def train_baseline(
    clips: pd.DataFrame,
    data: Path,
    params: Params,
    cache: Path,
    output: Path,
    *,
    on_progress: Progress | None = None,
) -> Checkpoint:
    """The baseline from random weights with the same budget; arguments as for `train_candidate`.

    It is the same architecture, tailored alike except that nothing is frozen, or the small network that
    `finetune.baseline` names, which has its own pool and head. Where the candidate is a mere
    probe (no epochs), the baseline trains for one: untrained, it would be no opponent.
    """
    if (output / checkpoint.RECORD_NAME).is_file():
        return checkpoint.read(output)
    started = time.monotonic()
    if params.finetune.baseline != "same":
        params = params.model_copy(update={"backbone": params.finetune.baseline, "model": _bare(params.model)})
    setup = preparation.set_up(clips, data, params)
    model = setup.backbone.from_scratch(
        setup.material.labels, seed=params.seed, kind=params.data.labels, tailoring=params.model
    )
    is_small = setup.backbone.is_embedded or not setup.backbone.is_pretrained
    default = _SCRATCH_LEARNING_RATE[is_small] * RATE_FACTORS[params.finetune.optimizer]
    rate = params.finetune.scratch_learning_rate or default
    params = params.model_copy(update={"finetune": _for_scratch(params.finetune, is_small)})
    scores, best = _train(model, setup.material, params, rate, output, on_progress)
    validation = {"macro_f1": scores.macro_f1, "log_loss": scores.log_loss}
    origin, trained = f"epoch {best} from random weights", _trainable(model)
    return _write(model, setup, params, output, started, origin=origin, validation=validation, trained=trained)


def _finetuned(
    model: Any,
    material: Material,
    params: Params,
    output: Path,
    on_progress: Progress | None,
    on_epoch: OnEpoch | None,
) -> tuple[dict[str, float], str, int]:
    """Fine-tune in place, unless the fitted head turns out no worse (`selection.is_better`).

    Gives the validation scores, who won, and how many parameters were trained for it.
    """
    truth, of_frozen = material.targets(material.validation), _validated(model, material, params)
    before = selection.score(of_frozen, truth, material.kind)
    facts = {"probe_macro_f1": before.macro_f1, "probe_log_loss": before.log_loss}
    of_head = facts | {"macro_f1": before.macro_f1, "log_loss": before.log_loss}, _ORIGINS[params.model.head]
    in_head = sum(p.numel() for p in backbones.head(model).parameters())
    if params.finetune.epochs == 0:
        return *of_head, in_head
    updates = adapters.spare(model, params.model, params.seed)
    weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
    after, best = _train(model, material, params, _learning_rate(params), output, on_progress, on_epoch)
    trained = _trainable(model)
    is_worse = not selection.is_better(_validated(model, material, params), of_frozen, truth, material.kind)
    if is_worse:
        model.load_state_dict(weights)
    if updates is not None:
        updates.merge()
    if is_worse:
        return *of_head, in_head
    return facts | {"macro_f1": after.macro_f1, "log_loss": after.log_loss}, f"epoch {best} of fine-tuning", trained


def _validated(model: Any, material: Material, params: Params) -> npt.NDArray[np.float64]:
    """Logits (clips, classes) of the validation clips, heard as they are."""
    return logits_of(model.eval(), material.validation_batches(params.finetune.batch_size))


def _learning_rate(params: Params) -> float:
    is_small = params.backbone == backbones.EMBEDDED or params.model.adapter_size or params.model.lora_rank
    default = _LEARNING_RATE[bool(is_small)] * RATE_FACTORS[params.finetune.optimizer]
    return params.finetune.learning_rate or default


def _trainable(model: Any) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _bare(tailoring: ModelSettings) -> ModelSettings:
    """Windows as they are, and no more: for networks that have their own pool and head."""
    if tailoring.window_seconds is None:
        return ModelSettings()
    return ModelSettings(pool="mean", window_seconds=tailoring.window_seconds, window_overlap=tailoring.window_overlap)


def _for_scratch(settings: FinetuneSettings, is_small: bool) -> FinetuneSettings:
    """Without what is for layers that have learned something, and what small networks have no need of."""
    return settings.model_copy(
        update={
            "epochs": max(settings.epochs, 1),
            "unfreeze": "all",
            "layer_decay": 1.0,
            "head_learning_rate": None,
            "gradient_checkpointing": settings.gradient_checkpointing and not is_small,
        }
    )


def _train(
    model: Any,
    material: Material,
    params: Params,
    rate: float,
    output: Path,
    on_progress: Progress | None,
    on_epoch: OnEpoch | None = None,
) -> tuple[Scores, int]:
    return trainer.train(
        model,
        material,
        params.augment,
        params.finetune,
        learning_rate=rate,
        seed=params.seed,
        work=_work(output),
        on_progress=on_progress,
        on_epoch=on_epoch,
    )


def _write(
    model: Any,
    setup: Setup,
    params: Params,
    output: Path,
    started: float,
    *,
    origin: str,
    validation: dict[str, float],
    trained: int,
    notes: tuple[str, ...] = (),
) -> Checkpoint:
    fitted = _calibrated(model, setup.material, params)
    written = checkpoint.write(
        model,
        setup.material.preprocessing,
        output,
        fitted,
        backbone=setup.backbone.name,
        backbone_revision=setup.backbone.revision,
        backbone_licence=setup.backbone.licence,
        labels=setup.material.labels,
        trainable_parameters=trained,
        seconds=round(time.monotonic() - started, 3),
        origin=origin,
        validation=validation,
        notes=notes,
    )
    shutil.rmtree(_work(output), ignore_errors=True)
    return written


def _calibrated(model: Any, material: Material, params: Params) -> Calibration | None:
    """What `calibrate` in params.yaml asks for, fitted on the validation clips; None when it asks for nothing."""
    if not (params.calibrate.temperature or params.calibrate.thresholds):
        return None
    scores = _validated(model, material, params)
    return calibration.fit(scores, material.targets(material.validation), params.calibrate, material.kind)


def _work(output: Path) -> Path:
    return output.with_name(output.name + ".training")
