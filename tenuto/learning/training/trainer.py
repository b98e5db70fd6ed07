"""Training of a whole model by transformers' Trainer, with the best epoch on the validation split kept.

Second half of LP-FT for the candidate, all of the training for the baseline. A training that was killed goes on from
its last epoch when it is called again with the same work folder, and ends with the weights it would have had.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer
from torch.utils.data import SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from tenuto.errors import SettingsError
from tenuto.learning import backbones, selection
from tenuto.learning.backbones import families
from tenuto.learning.batches import Material, TrainingBatches, draw_mixup, masked, mixed
from tenuto.learning.losses import GroupDRO
from tenuto.learning.preprocessing import Features, moved
from tenuto.learning.selection import Scores
from tenuto.learning.training import execution, optimizers, resuming, unfreezing
from tenuto.learning.training.averaging import Average
from tenuto.learning.training.unfreezing import Unfreezing
from tenuto.settings import AugmentSettings, FinetuneSettings

logger = logging.getLogger(__name__)
_SHARES = "group_shares"
Progress = Callable[[int, int], None]

OnEpoch = Callable[[int, Scores], None]
"""Told the number of an epoch, from 1, and its scores; what it raises ends the training."""


def check(model: Any, settings: FinetuneSettings) -> None:
    """Raises SettingsError when `settings` ask of a model what it cannot do."""
    unfreezing.check(families.stack(model), settings.unfreeze)
    if settings.gradient_checkpointing and execution.checkpointed(model) is None:
        raise SettingsError(
            f"finetune.gradient_checkpointing true: {type(model).__name__} cannot do it; wanted false, or a "
            "transformer such as wav2vec2, whisper or ast."
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
    on_epoch: OnEpoch | None = None,
) -> tuple[Scores, int]:
    """The validation scores of the best epoch, and its number; `model` then has the weights of that epoch.

    With `settings.averaging` those are the averaged ones. `work` holds what is needed to resume. Raises SettingsError
    when the model cannot be trained in the way that `settings` ask for.
    """
    check(model, settings)
    encoder: Any = families.of(model.config).encoder(model)
    for config in (model.config, encoder.config):  # a tailored model has two
        config.apply_spec_augment = augmentation.spec_augment
    batches = TrainingBatches(material, augmentation, settings.batch_size, seed)
    checkpoint = resuming.last_checkpoint(work)
    if checkpoint and resuming.is_out_of_patience(resuming.log(checkpoint), settings.patience):
        settings = settings.model_copy(update={"epochs": len(resuming.epochs(resuming.log(checkpoint)))})
    trainer = _AudioTrainer(
        model,
        _arguments(settings, learning_rate, seed, work),
        batches=batches,
        material=material,
        augmentation=augmentation,
        settings=settings,
        on_progress=on_progress,
        on_epoch=on_epoch,
    )
    with (
        backbones.quiet(),
        execution.deterministic(settings.deterministic),
        execution.checkpointing(model, settings.gradient_checkpointing),
    ):
        trainer.resume(checkpoint)
    model.eval()
    # the log goes back to before a kill
    best = max(resuming.epochs(trainer.state.log_history), key=lambda entry: entry["eval_selection"])
    return Scores(best["eval_macro_f1"], best["eval_log_loss"]), round(best["epoch"])


class _AudioTrainer(Trainer):
    """The Trainer with whole batches as items, mixup and SpecAugment in the step, and our own validation."""

    def __init__(
        self,
        model: Any,
        arguments: TrainingArguments,
        *,
        batches: TrainingBatches,
        material: Material,
        augmentation: AugmentSettings,
        settings: FinetuneSettings,
        on_progress: Progress | None,
        on_epoch: OnEpoch | None,
    ) -> None:
        super().__init__(model, arguments, train_dataset=batches, eval_dataset=batches, data_collator=_only_item)
        self.remove_callback(PrinterCallback)  # stdout belongs to the command line
        self._batches = batches
        self._material = material
        self._on_epoch = on_epoch
        self._augmentation = augmentation
        self._settings = settings
        self._network = model
        self._loss = material.balance.loss.to(self.args.device)
        self._dro = None if material.balance.groups is None else GroupDRO(len(material.balance.group_names))
        self._stack = families.stack(model)
        self._unfreezing = Unfreezing(model, self._stack, settings.unfreeze, epochs=settings.epochs)
        self._average = (
            None
            if settings.averaging == "none"
            else Average(model, settings.averaging, epochs=settings.epochs, steps_per_epoch=len(batches))
        )
        self._forward = execution.Compiled(model) if settings.compile else model
        self.add_callback(_Epochs(self, on_progress))

    def resume(self, checkpoint: str | None) -> None:
        """Train, from a checkpoint on when there is one, and give the model the weights of the best epoch."""
        if self._average and checkpoint:
            self._average.load(Path(checkpoint))
        self.train(resume_from_checkpoint=checkpoint)
        if self._average and self.state.best_model_checkpoint:
            self._average.load(Path(self.state.best_model_checkpoint))
            self._average.install()

    def begin_epoch(self) -> None:
        """Start the batches, the loss and the layers of the epoch that comes next."""
        epoch = self.state.global_step // len(self._batches)
        self._batches.begin(epoch)
        self._loss.begin((epoch + 1) / self._settings.epochs)
        self._unfreezing.begin(epoch)
        shares = next((entry[_SHARES] for entry in reversed(self.state.log_history) if _SHARES in entry), None)
        if self._dro is not None and shares is not None:
            self._dro.shares = torch.tensor(shares)

    def end_step(self) -> None:
        """Take the weights after a step into their average."""
        if self._average:
            self._average.update(self.state.global_step)

    def is_out_of_patience(self) -> bool:
        """True when the last epochs brought no better macro-F1."""
        return resuming.is_out_of_patience(self.state.log_history, self._settings.patience)

    def create_optimizer(self, model: Any = None) -> Optimizer:
        if self.optimizer is None:
            self._unfreezing.free_all()
            decayed, rate = self.get_decay_parameter_names(self._network), self.args.learning_rate
            groups = optimizers.groups(self._network, self._stack, self._settings, rate, decayed)
            self.optimizer = optimizers.optimizer(self._settings.optimizer, groups, rate)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        scheduled: Any = self.optimizer
        warmup_steps = round(self._settings.warmup * num_training_steps)
        schedule: Any = optimizers.schedule(
            self._settings.schedule, scheduled, warmup_steps=warmup_steps, steps=num_training_steps
        )
        self.lr_scheduler = schedule
        return schedule

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        super().save_model(output_dir, _internal_call=_internal_call)
        if self._average and output_dir:
            self._average.save(Path(output_dir))

    def _get_train_sampler(self, *_: Any, **__: Any) -> SequentialSampler:
        return SequentialSampler(self._batches)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        with self._average.installed(self._heard) if self._average else contextlib.nullcontext():
            scores = selection.validate(self._network, self._material, self._settings.batch_size)
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
        if self._on_epoch:
            self._on_epoch(round(self.state.epoch or 0), scores)
        return metrics

    def compute_loss(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> Tensor:
        self._unfreezing.hold_statistics()
        features, labels = inputs["features"], inputs["labels"]
        if self._augmentation.spec_augment:
            features = masked(features, has_windows=self._batches.has_windows)
        if self._augmentation.mixup_alpha == 0:
            return self._mean(self._loss(self._logits(features), labels), inputs["groups"])
        share, partner = draw_mixup(len(labels), self._augmentation.mixup_alpha)
        logits = self._logits(mixed(features, share, partner))
        values = share * self._loss(logits, labels) + (1 - share) * self._loss(logits, labels[partner])
        return self._mean(values, inputs["groups"])

    def _logits(self, features: Features) -> Tensor:
        is_short = self._settings.precision == "bfloat16"
        with torch.autocast(self.args.device.type, torch.bfloat16, enabled=is_short):
            logits: Tensor = self._forward(**features).logits
        return logits.float()

    def _mean(self, values: Tensor, groups: Tensor) -> Tensor:
        return values.mean() if self._dro is None else self._dro(values, groups)

    def _heard(self) -> Iterator[Features]:
        """The inputs of the training batches of this epoch."""
        for index in range(len(self._batches)):
            yield moved(self._batches[index]["features"], self.args.device)


class _Epochs(TrainerCallback):
    """Tells the trainer when epochs begin and steps end, and others of the progress; stops when patience is out."""

    def __init__(self, trainer: _AudioTrainer, on_progress: Progress | None) -> None:
        self._trainer = trainer
        self._on_progress = on_progress

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._trainer.begin_epoch()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._trainer.end_step()
        if self._on_progress:
            self._on_progress(state.global_step, state.max_steps)

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._trainer.is_out_of_patience():
            control.should_training_stop = True


def _only_item(items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return items[0]


def _arguments(settings: FinetuneSettings, learning_rate: float, seed: int, work: Path) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(work),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=1,
        learning_rate=learning_rate,
        weight_decay=settings.weight_decay,
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
