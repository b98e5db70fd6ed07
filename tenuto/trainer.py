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
import pandas as pd
import torch
from sklearn.metrics import f1_score
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset, SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import get_last_checkpoint

from tenuto import augment, backbones, embedding
from tenuto.predictor import logits, softmax
from tenuto.preprocessing import Preprocessing
from tenuto.settings import AugmentSettings, FinetuneSettings

logger = logging.getLogger(__name__)
Progress = Callable[[int, int], None]

_MASKED_SHARE = 0.12


@dataclass(frozen=True)
class Material:
    """What a model learns from: rows of clips (clip_id, path, label, duration_seconds) and where their audio lies."""

    data: Path
    labels: tuple[str, ...]
    train: pd.DataFrame
    validation: pd.DataFrame
    preprocessing: Preprocessing

    def classes(self, rows: pd.DataFrame) -> npt.NDArray[np.int64]:
        """The class number of each row."""
        return np.asarray(rows["label"].map({label: index for index, label in enumerate(self.labels)}), np.int64)


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
    return score(scores, material.classes(material.validation))


def score(scores: npt.NDArray[np.float64], truth: npt.NDArray[np.int64]) -> Scores:
    """Scores of logits (clips, classes) against the class numbers (clips,)."""
    probabilities = softmax(scores)[np.arange(len(truth)), truth]
    return Scores(
        macro_f1=float(f1_score(truth, scores.argmax(axis=1), average="macro", zero_division=0.0)),
        log_loss=float(-np.log(np.maximum(probabilities, 1e-12)).mean()),
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
        label_smoothing=settings.label_smoothing,
        on_progress=on_progress,
    )
    with backbones.quiet():
        trainer.train(resume_from_checkpoint=_resumable(work))
    model.eval()
    # the log goes back to before a kill
    epochs = [entry for entry in trainer.state.log_history if "eval_selection" in entry]
    best = max(epochs, key=lambda entry: entry["eval_selection"])
    return Scores(best["eval_macro_f1"], best["eval_log_loss"]), round(best["epoch"])


class TrainingBatches(Dataset[dict[str, Tensor]]):
    """The batches of one epoch: clips of about equal length, in a new order and newly augmented in each epoch.

    Which batches an epoch has depends on the seed and its number alone, so a resumed training sees the same ones.
    """

    def __init__(self, material: Material, augmentation: AugmentSettings, batch_size: int, seed: int) -> None:
        self._material = material
        self._augmentation = augmentation
        self._batch_size = batch_size
        self._seed = seed
        rate = material.preprocessing.sample_rate_hz
        samples = (material.train["duration_seconds"].to_numpy() * rate).round().astype(int)
        pads_itself = material.preprocessing.pads_itself
        self._lengths = np.array([0 if pads_itself else material.preprocessing.length(int(n)) for n in samples])
        self._classes = torch.tensor(material.classes(material.train))
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Draw the order and the augmentation of an epoch."""
        rng = np.random.default_rng([self._seed, epoch])
        drawn = augment.draw(len(self._lengths), self._augmentation, rng)
        self._rows = pd.concat([self._material.train[["clip_id", "path"]], drawn], axis=1)
        batches: list[npt.NDArray[np.int64]] = []
        for length in np.unique(self._lengths):
            members = rng.permutation(np.flatnonzero(self._lengths == length))
            batches += np.array_split(members, -(-len(members) // self._batch_size))
        self._batches = [batches[index] for index in rng.permutation(len(batches))]

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        members = self._batches[index]
        preprocessing = self._material.preprocessing
        waves = list(embedding.waves(self._rows.iloc[members], self._material.data, preprocessing))
        return {"features": preprocessing.features(waves), "labels": self._classes[members]}


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
        label_smoothing: float,
        on_progress: Progress | None,
    ) -> None:
        super().__init__(model, arguments, train_dataset=batches, eval_dataset=batches, data_collator=_only_item)
        self.remove_callback(PrinterCallback)  # stdout belongs to the command line
        self.add_callback(_Epochs(batches, on_progress))
        self._batches = batches
        self._validate = validate
        self._augmentation = augmentation
        self._smoothing = label_smoothing

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
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def compute_loss(self, model: Any, inputs: dict[str, Tensor], *_: Any, **__: Any) -> Tensor:
        features, labels = inputs["features"], inputs["labels"]
        if self._augmentation.spec_augment and features.dim() == 3:  # others mask inside the model
            features = spec_augment(features)
        if self._augmentation.mixup_alpha == 0:
            return functional.cross_entropy(model(features).logits, labels, label_smoothing=self._smoothing)
        share, partner = draw_mixup(len(labels), self._augmentation.mixup_alpha)
        logits = model(share * features + (1 - share) * features[partner]).logits
        own = functional.cross_entropy(logits, labels, label_smoothing=self._smoothing)
        other = functional.cross_entropy(logits, labels[partner], label_smoothing=self._smoothing)
        return share * own + (1 - share) * other


class _Epochs(TrainerCallback):
    """Starts the batches of each epoch and tells the progress."""

    def __init__(self, batches: TrainingBatches, on_progress: Progress | None) -> None:
        self._batches = batches
        self._on_progress = on_progress

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._batches.begin(state.global_step // len(self._batches))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._on_progress:
            self._on_progress(state.global_step, state.max_steps)


def spec_augment(features: Tensor) -> Tensor:
    """Spectrograms (clips, a, b) with one stripe over either axis set to the clip's mean (Park et al. 2019)."""
    clips, *sizes = features.shape
    masks = [_stripe(clips, size) for size in sizes]
    masked = masks[0][:, :, None] | masks[1][:, None, :]
    return torch.where(masked.to(features.device), features.mean(dim=(1, 2), keepdim=True), features)


def draw_mixup(clips: int, alpha: float) -> tuple[float, Tensor]:
    """The share of each clip itself, from Beta(alpha, alpha), and the partner for the rest (Zhang et al. 2018)."""
    return float(torch.distributions.Beta(alpha, alpha).sample()), torch.randperm(clips)


def _stripe(clips: int, size: int) -> Tensor:
    width = (torch.rand(clips, 1) * _MASKED_SHARE * size).long()
    start = (torch.rand(clips, 1) * (size - width)).long()
    place = torch.arange(size)
    return (place >= start) & (place < start + width)


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
