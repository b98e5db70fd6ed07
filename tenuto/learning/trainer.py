"""Training of a whole model by transformers' Trainer, with the best epoch on the validation split kept.

Second half of LP-FT for the candidate, all of the training for the baseline. A training that was killed goes on from
its last epoch when it is called again with the same work folder.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import f1_score
from torch import Tensor
from torch.utils.data import SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import get_last_checkpoint

from tenuto.labels import LabelType
from tenuto.learning import backbones, embedding
from tenuto.learning.batches import Material, TrainingBatches, draw_mixup, masked, mixed
from tenuto.learning.imbalance import Balance
from tenuto.learning.losses import GroupDRO, Loss
from tenuto.learning.predictor import decide, logits, probabilities
from tenuto.settings import AugmentSettings, FinetuneSettings

logger = logging.getLogger(__name__)
_SHARES = "group_shares"
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Scores:
    """How a model does on the validation split; `log_loss` in nats."""

    macro_f1: float
    log_loss: float

    @property
    def selection(self) -> float:
        """Macro-F1, with the log loss to decide between equals: higher is better."""
        return self.macro_f1 - 1e-4 * min(self.log_loss, 10.0)


def validate(model: Any, material: Material, batch_size: int) -> Scores:
    """The scores of `model` on the validation split, which is heard as it is."""
    was_training = model.training
    model.eval()
    waves = embedding.waves(material.validation, material.data, material.preprocessing)
    scores = logits(model, material.preprocessing, waves, batch_size)
    model.train(was_training)
    return score(scores, material.targets(material.validation), material.kind)


def score(scores: npt.NDArray[np.float64], truth: npt.NDArray[Any], kind: LabelType = "one") -> Scores:
    """Scores of logits (clips, classes) against class numbers (clips,), or for "many" 0 and 1 (clips, classes).

    With several labels a clip the log loss is the mean of each label's own.
    """
    found = probabilities(scores, kind)
    if kind == "one":
        said, of_truth = scores.argmax(axis=1), found[np.arange(len(truth)), truth]
    else:
        said, of_truth = decide(found, kind), np.where(truth > 0, found, 1 - found)
    return Scores(
        macro_f1=float(f1_score(truth, said, average="macro", zero_division=0.0)),
        log_loss=float(-np.log(np.maximum(of_truth, 1e-12)).mean()),
    )


def train(
    model: Any,
    material: Material,
    augmentation: AugmentSettings,
    settings: FinetuneSettings,
    *,
    learning_rate: float,
    seed: int,
    work: Path,
    on_progress: Progress | None = None,
) -> tuple[Scores, int]:
    """The validation scores of the best epoch, and its number; `model` then has the weights of that epoch.

    `work` holds what is needed to resume.
    """
    model.config.apply_spec_augment = augmentation.spec_augment
    batches = TrainingBatches(material, augmentation, settings.batch_size, seed)
    trainer = _AudioTrainer(
        model,
        _arguments(settings, len(batches), learning_rate, seed, work),
        batches=batches,
        validate=lambda: validate(model, material, settings.batch_size),
        augmentation=augmentation,
        balance=material.balance,
        on_progress=on_progress,
    )
    with backbones.quiet():
        trainer.train(resume_from_checkpoint=_resumable(work))
    model.eval()
    # the log goes back to before a kill
    epochs = [entry for entry in trainer.state.log_history if "eval_selection" in entry]
    best = max(epochs, key=lambda entry: entry["eval_selection"])
    return Scores(best["eval_macro_f1"], best["eval_log_loss"]), round(best["epoch"])


class _AudioTrainer(Trainer):
    """The Trainer with whole batches as items, mixup and SpecAugment in the step, and our own validation."""

    def __init__(
        self,
        model: Any,
        arguments: TrainingArguments,
        *,
        batches: TrainingBatches,
        validate: Callable[[], Scores],
        augmentation: AugmentSettings,
        balance: Balance,
        on_progress: Progress | None,
    ) -> None:
        super().__init__(model, arguments, train_dataset=batches, eval_dataset=batches, data_collator=_only_item)
        self.remove_callback(PrinterCallback)  # stdout belongs to the command line
        self._batches = batches
        self._validate = validate
        self._augmentation = augmentation
        self._loss = balance.loss
        self._dro = None if balance.groups is None else GroupDRO(len(balance.group_names))
        self.add_callback(_Epochs(batches, balance.loss, self._dro, on_progress))

    def _get_train_sampler(self, *_: Any, **__: Any) -> SequentialSampler:
        return SequentialSampler(self._batches)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        scores = self._validate()
        logger.info(
            "epoch %d: validation macro-F1 %.3f, log loss %.3f",
            round(self.state.epoch or 0),
            scores.macro_f1,
            scores.log_loss,
        )
        metrics = {
            "eval_selection": scores.selection,
            "eval_macro_f1": scores.macro_f1,
            "eval_log_loss": scores.log_loss,
        }
        # saved with the Trainer's state, so that a resumed training goes on from there
        shares: dict[str, Any] = {} if self._dro is None else {_SHARES: self._dro.shares.tolist()}
        self.log({**metrics, **shares})
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def compute_loss(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> Tensor:
        features, labels = inputs["features"], inputs["labels"]
        if self._augmentation.spec_augment:
            features = masked(features, has_windows=self._batches.has_windows)
        if self._augmentation.mixup_alpha == 0:
            return self._mean(self._loss(model(**features).logits, labels), inputs["groups"])
        share, partner = draw_mixup(len(labels), self._augmentation.mixup_alpha)
        logits = model(**mixed(features, share, partner)).logits
        values = share * self._loss(logits, labels) + (1 - share) * self._loss(logits, labels[partner])
        return self._mean(values, inputs["groups"])

    def _mean(self, values: Tensor, groups: Tensor) -> Tensor:
        return values.mean() if self._dro is None else self._dro(values, groups)


class _Epochs(TrainerCallback):
    """Starts the batches and the loss of each epoch, and tells the progress."""

    def __init__(
        self, batches: TrainingBatches, loss: Loss, dro: GroupDRO | None, on_progress: Progress | None
    ) -> None:
        self._batches = batches
        self._loss = loss
        self._dro = dro
        self._on_progress = on_progress

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        epoch = state.global_step // len(self._batches)
        self._batches.begin(epoch)
        self._loss.begin(epoch / args.num_train_epochs)
        shares = next((entry[_SHARES] for entry in reversed(state.log_history) if _SHARES in entry), None)
        if self._dro is not None and shares is not None:
            self._dro.shares = torch.tensor(shares)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._on_progress:
            self._on_progress(state.global_step, state.max_steps)


def _only_item(items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return items[0]


def _resumable(work: Path) -> str | None:
    """The last checkpoint of a killed training; those that the kill left unfinished are removed."""
    while work.is_dir() and (last := get_last_checkpoint(str(work))):
        if _is_json(Path(last) / TRAINER_STATE_NAME):  # what the Trainer writes last
            logger.info("going on from %s", Path(last).name)
            return last
        shutil.rmtree(last)
    return None


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return True


def _arguments(
    settings: FinetuneSettings, steps_per_epoch: int, learning_rate: float, seed: int, work: Path
) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(work),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=1,
        learning_rate=learning_rate,
        weight_decay=settings.weight_decay,
        warmup_steps=round(settings.warmup * settings.epochs * steps_per_epoch),
        lr_scheduler_type="cosine",
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="eval_selection",
        greater_is_better=True,
        seed=seed,
        data_seed=seed,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
