"""One trial of `tenuto tune`: settings beside params.yaml, scored on the validation clips.

Separate from `tenuto.learning.tuning.study`, which says what is tried next: here a head is fitted on frozen
embeddings, or a whole model is trained, and what goes wrong for reasons of the settings becomes the reason why the
trial was pruned.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from pydantic import Field

from tenuto.errors import SettingsError, TenutoError
from tenuto.learning import embedding, finetune, frozen, preparation, selection
from tenuto.learning.selection import Scores
from tenuto.records import Record
from tenuto.search_space import with_settings
from tenuto.settings import LEARNED_POOLS, Params


class Result(Record):
    """What the settings of a trial came to on the validation clips.

    With a reason the trial was refused, or ended early; its scores are then those of its last epoch, if it had one.
    """

    macro_f1: float | None = None
    log_loss: float | None = Field(default=None, description="in nats")
    reason: str = ""
    seconds: float = 0.0

    @property
    def selection(self) -> float:
        """What trials are compared by, higher is better: macro-F1, among equals the log loss."""
        if self.macro_f1 is None or self.log_loss is None:
            return float("-inf")
        return Scores(self.macro_f1, self.log_loss).selection


@dataclass(frozen=True)
class Asked:
    """A trial that has been begun; `trial` is Optuna's."""

    settings: dict[str, Any]
    is_present: bool
    trial: optuna.Trial


def check(params: Params) -> None:
    """Raises SettingsError where the present settings leave the search nothing to score."""
    if params.tune.on == "finetune" and params.finetune.epochs == 0 and "finetune.epochs" not in params.tune.space:
        raise SettingsError("tune.on = 'finetune' and finetune.epochs = 0 leave nothing to train; wanted epochs.")
    if params.tune.on == "embeddings" and params.model.pool in LEARNED_POOLS:
        raise SettingsError(
            f"tune.on = 'embeddings' and model.pool = {params.model.pool!r} do not go together: that pool is learned "
            "in fine-tuning; wanted tune.on: finetune."
        )


def run(
    asked: Asked,
    clips: pd.DataFrame,
    data: Path,
    params: Params,
    cache: Path,
    work: Path,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> Result:
    """What a trial comes to; arguments as for `finetune.train_candidate`, `work` is a folder for all trainings.

    A trial whose settings are refused is pruned with the reason; an error about the present settings is raised.
    """
    started = time.monotonic()
    epochs: list[Scores] = []
    reason = ""
    try:
        chosen = with_settings(params, asked.settings)
        if params.tune.on == "embeddings":
            epochs.append(_of_head(clips, data, chosen, cache))
        else:
            epochs.append(_of_training(asked, clips, data, chosen, cache, work, epochs, on_progress))
    except optuna.TrialPruned as error:
        reason = str(error)
    except TenutoError as error:
        if asked.is_present:
            raise
        reason = str(error)
    last = epochs[-1] if epochs else None
    if last and not np.isfinite([last.macro_f1, last.log_loss]).all():
        last, reason = None, reason or "the scores are no finite numbers"
    return Result(
        macro_f1=last.macro_f1 if last else None,
        log_loss=last.log_loss if last else None,
        reason=reason,
        seconds=round(time.monotonic() - started, 3),
    )


def _of_head(clips: pd.DataFrame, data: Path, params: Params, cache: Path) -> Scores:
    """The scores of a head that is fitted on the frozen embeddings."""
    setup = preparation.set_up(clips, data, params)
    material = setup.material
    encoder = setup.encoder(setup.pretrained(params))
    fitted = frozen.fit_head(material, encoder, params, cache)
    vectors = embedding.embed(material.validation, data, encoder, cache).vectors
    return selection.score(fitted.logits(vectors), material.targets(material.validation), material.kind)


def _of_training(
    asked: Asked,
    clips: pd.DataFrame,
    data: Path,
    params: Params,
    cache: Path,
    work: Path,
    epochs: list[Scores],
    on_progress: Callable[[int, int], None] | None,
) -> Scores:
    """The scores of a whole training; those of each epoch are added to `epochs`, and may end it."""

    def on_epoch(number: int, scores: Scores) -> None:
        epochs.append(scores)
        asked.trial.report(scores.selection, step=number)
        if asked.trial.should_prune():
            raise optuna.TrialPruned(f"below the median after epoch {number}")

    # by its settings, so that a training that was killed is taken up by the trial that tries them again
    folder = work / hashlib.sha256(json.dumps(asked.settings, sort_keys=True).encode()).hexdigest()[:16]
    output = folder / "candidate"
    try:
        made = finetune.train_candidate(clips, data, params, cache, output, on_progress=on_progress, on_epoch=on_epoch)
    except (optuna.TrialPruned, TenutoError):
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder)
    return Scores(made.validation["macro_f1"], made.validation["log_loss"])
