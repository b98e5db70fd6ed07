"""Several backbones and heads on one dataset and the same splits, side by side.

A row is a training as a retrain would do it: a head on frozen embeddings, or with everything fine-tuned, or a small
network from random weights. All rows answer the same test clips, so that differences are paired. What is chosen is
chosen on the validation clips: the best of many on the test clips would be flattered by them. A finished row is kept
with its answers and is not computed again for the same dataset, settings and code.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import ValidationError

from tenuto.errors import TenutoError, TrainingError
from tenuto.learning import augment, checkpoint, finetune
from tenuto.learning.backbones import SCRATCH
from tenuto.learning.predictor import Predictor
from tenuto.records import GROUP_PREFIX, Checkpoint, Interval, Record
from tenuto.scoring import evaluation, latency, metrics, statistics
from tenuto.scoring.statistics import Answers
from tenuto.settings import LEARNED_POOLS, ModelSettings, Params
from tenuto.typed_yaml import validated

logger = logging.getLogger(__name__)

Way = Literal["frozen", "fine-tuned", "from scratch"]
Front = Literal["latency", "size"]

MIN_GROUP_CLIPS = 10
"""A value of a group with fewer test clips cannot be the worst: its recall would be chance."""

SCRATCH_EPOCHS = 12
"""A network from scratch trains for so many epochs at least: one that has hardly begun would be no opponent."""

_OWN = "own"
"""The head of a network from scratch, which has its own."""


class Choice(Record):
    """What one row tries."""

    backbone: str
    head: str
    way: Way

    @property
    def title(self) -> str:
        return f"{self.backbone}, {self.head}, {self.way}"


class Figures(Record):
    """What one training came to; times are of this machine, at one thread."""

    licence: str
    parameters: int
    training_seconds: float
    size_mb: float
    p50_ms: float
    p95_ms: float
    real_time_factor: float
    validation_macro_f1: float
    log_loss: float
    expected_calibration_error: float


class Worst(Record):
    """The value of a group on which a model is right least often; of several, so it flatters nobody."""

    group: str
    value: str
    recall: float
    clips: int


class Row(Record):
    """One choice, and what it came to; `problem` says why there are no figures."""

    choice: Choice
    problem: str = ""
    figures: Figures | None = None
    macro_f1: Interval | None = None
    difference: Interval | None = None
    worst: Worst | None = None
    fronts: tuple[Front, ...] = ()


class Comparison(Record):
    """All rows, the one chosen on the validation clips, and the one that differences are taken to; both by title."""

    rows: tuple[Row, ...]
    chosen: str | None
    reference: str | None
    test_clips: int
    unit_name: str

    @property
    def finished(self) -> tuple[Row, ...]:
        """The rows that have figures."""
        return tuple(row for row in self.rows if row.figures)


class Trained(Record):
    """What is kept of a finished row: its figures, and the label that it gave each test clip in the clips' order."""

    figures: Figures
    predicted: tuple[str, ...]


@dataclass(frozen=True)
class _Job:
    clips: pd.DataFrame
    data: Path
    params: Params
    cache: Path
    identity: tuple[str, ...]

    @property
    def test(self) -> pd.DataFrame:
        return self.clips[self.clips["split"] == "test"]


def choices(params: Params, backbones: Sequence[str], heads: Sequence[str], *, is_finetuned: bool) -> list[Choice]:
    """Every backbone with every head; a network that has no pre-trained weights is one row, always trained."""
    way: Way = "fine-tuned" if is_finetuned else "frozen"
    found = []
    for backbone in dict.fromkeys(backbones or (params.backbone, *SCRATCH)):
        if backbone in SCRATCH:
            found.append(Choice(backbone=backbone, head=_OWN, way="from scratch"))
        else:
            found += [Choice(backbone=backbone, head=head, way=way) for head in dict.fromkeys(heads)]
    return found


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


def summarise(
    chosen: Sequence[Choice],
    made: Mapping[str, Trained],
    problems: Mapping[str, str],
    test: pd.DataFrame,
    params: Params,
    group: str | None,
    shared: Sequence[str],
) -> Comparison:
    """The rows with intervals, differences, worst groups and fronts; `shared` are the group columns looked at."""
    best = max(made, key=lambda title: made[title].figures.validation_macro_f1, default=None)
    present = [c.title for c in chosen if (c.backbone, c.head) == (params.backbone, params.model.head)]
    reference = next((title for title in present if title in made), best)
    answers = _answers(made, test, group)
    scored = {title: _interval(answers, title, None, params) for title in made}
    fronts: dict[Front, set[str]] = {
        "latency": _front({t: (made[t].figures.p50_ms, scored[t].value) for t in made}),
        "size": _front({t: (made[t].figures.size_mb, scored[t].value) for t in made}),
    }
    rows = [
        Row(
            choice=choice,
            figures=made[choice.title].figures,
            macro_f1=scored[choice.title],
            difference=_interval(answers, choice.title, reference, params) if choice.title != reference else None,
            worst=_worst(answers, choice.title, test, shared),
            fronts=tuple(name for name, titles in fronts.items() if choice.title in titles),
        )
        if choice.title in made
        else Row(choice=choice, problem=problems[choice.title])
        for choice in chosen
    ]
    return Comparison(
        rows=tuple(rows),
        chosen=best,
        reference=reference,
        test_clips=len(test),
        unit_name=evaluation.unit_name(test, group),
    )


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
        values["model"] = ModelSettings().model_dump()
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
            values["model"]["pool"] = "own"
    return validated(Params, values, "params.yaml")


def _trained(choice: Choice, params: Params, job: _Job) -> Trained:
    train = finetune.train_baseline if choice.way == "from scratch" else finetune.train_candidate
    with tempfile.TemporaryDirectory(prefix="tenuto-compare-") as folder:
        made = train(job.clips, job.data, params, job.cache, Path(folder) / "model")
        return _measured(made, job)


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


def _answers(made: Mapping[str, Trained], test: pd.DataFrame, group: str | None) -> Answers:
    labels = sorted({*test["label"], *(label for row in made.values() for label in row.predicted)})
    code = {label: index for index, label in enumerate(labels)}
    return Answers(
        labels=tuple(labels),
        truth=test["label"].map(code).to_numpy(np.int64),
        predicted={
            title: np.asarray([code[label] for label in row.predicted], np.int64) for title, row in made.items()
        },
        units=np.unique(evaluation.units(test, group), return_inverse=True)[1].astype(np.int64),
        unit_name=evaluation.unit_name(test, group),
    )


def _interval(answers: Answers, model: str, versus: str | None, params: Params) -> Interval:
    return statistics.interval(
        answers,
        "macro_f1",
        model,
        versus=versus,
        confidence=params.evaluate.confidence,
        resamples=params.evaluate.resamples,
        rng=np.random.default_rng(evaluation.BOOTSTRAP_SEED),
    )


def _worst(answers: Answers, model: str, test: pd.DataFrame, columns: Sequence[str]) -> Worst | None:
    """Of all values of all `columns`; None where none has clips enough."""
    right = pd.Series(answers.predicted[model] == answers.truth)
    found = []
    for column in columns:
        by_value = right.groupby(test[column].to_numpy()).agg(["mean", "size"])
        for value, recall, clips in by_value.itertuples():
            if clips >= MIN_GROUP_CLIPS:
                name = column.removeprefix(GROUP_PREFIX)
                found.append(Worst(group=name, value=str(value), recall=float(recall), clips=int(clips)))
    return min(found, key=lambda worst: worst.recall, default=None)


def _front(points: Mapping[str, tuple[float, float]]) -> set[str]:
    """Those that no other beats: (cost, score), less and more being better, at least as good in both and better in one.

    Pareto's front.
    """
    return {
        name
        for name, (cost, score) in points.items()
        if not any(c <= cost and s >= score and (c, s) != (cost, score) for c, s in points.values())
    }


def _in_a_line(error: Exception) -> str:
    return "; ".join(str(error).strip().splitlines()) or type(error).__name__


def sentences(found: Comparison) -> tuple[str, ...]:
    """What the table comes to, and how far it may be trusted."""
    if found.chosen is None:
        return ("No row could be trained.",)
    best = next(row for row in found.rows if row.choice.title == found.chosen)
    assert best.figures and best.macro_f1
    said = [
        f"Best on the validation clips: {found.chosen} (macro-F1 {best.figures.validation_macro_f1:.3f}; "
        f"{best.macro_f1.value:.3f} on the test clips)."
    ]
    if len(found.finished) > 1:
        said.append(
            f"Choosing the best of {len(found.finished)} by their test figures would flatter it: these clips are for "
            "measuring, and the choice was made on the validation clips."
        )
    return tuple(said)


def default_heads(params: Params) -> tuple[str, ...]:
    """The heads that are tried unless others are named."""
    return ("linear", "mlp", "prototype") if params.data.labels == "one" else ("linear", "mlp")


def flat(row: Row) -> dict[str, Any]:
    """The row's figures by name, for whoever keeps numbers: bounds of intervals as `macro_f1_low` ..."""
    values: dict[str, Any] = row.figures.model_dump(exclude={"licence"}) if row.figures else {}
    for name, interval in (("macro_f1", row.macro_f1), ("difference", row.difference)):
        if interval:
            values |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return values | ({"worst_group_recall": row.worst.recall} if row.worst else {})
