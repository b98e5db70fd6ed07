"""What can be done for rare classes and groups, each tried on the same frozen embeddings of one dataset.

A remedy is a name for choices in params.yaml. Each is tried as a linear probe, which takes seconds where fine-tuning
takes minutes, several times on other training clips and other augmented copies, and scored on the same test clips.
Differences to doing nothing come with intervals, and the remedy to use is one that is shown to help what is rare and
does not cost macro-F1; often that is none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field, ValidationError

from tenuto.errors import TrainingError
from tenuto.learning import augment, calibration, embedding, finetune
from tenuto.learning.batches import Material
from tenuto.learning.embedding import Encoder
from tenuto.learning.probe import FittedHead
from tenuto.records import GROUP_PREFIX, Interval, Record, Remedy
from tenuto.scoring import statistics
from tenuto.scoring.evaluation import BOOTSTRAP_SEED, unit_name, units
from tenuto.scoring.statistics import Answers
from tenuto.settings import CalibrateSettings, Params

logger = logging.getLogger(__name__)

NONE = "none"
LEFT_OUT = 0.1
"""Share of the training clips that each trial leaves out, so that trials differ by what they learn from."""

MIN_CLIPS = 5
"""Of the rarest class, and of the rarest value of a group: with fewer to choose by, no remedy is chosen."""

Asked = Literal["test", "validation"]
"""The split whose clips are scored."""

Progress = Callable[[int, int], None]
Choices = dict[str, dict[str, Any]]


class Rare(Record):
    """What is rarest in training: a class, and a value of a group that the splits share."""

    label: str
    label_clips: int
    group: str | None = None
    value: str | None = None
    value_clips: int = 0
    is_rare: bool = Field(default=True, description="the class has under half of the median, or a value is rare")


class Trial(Record):
    """One remedy: its choices in params.yaml, its scores over all seeds, and what it changes over doing nothing."""

    remedy: str
    choices: dict[str, dict[str, Any]]
    macro_f1: Interval
    rare_recall: Interval
    rare_precision: Interval
    worst_group: str = ""
    worst_group_recall: Interval | None = Field(
        default=None, description="of the value with the lowest; the interval is its own and forgets the choosing"
    )
    group_recall: Interval | None = None
    macro_f1_gain: Interval | None = None
    rare_recall_gain: Interval | None = None
    rare_precision_gain: Interval | None = None
    group_recall_gain: Interval | None = None


class Comparison(Record):
    """All remedies on one dataset; `use` is the one that the evidence speaks for."""

    rare: Rare
    seeds: int
    test_clips: int = Field(description="how many clips were scored")
    trials: tuple[Trial, ...]
    use: str
    why: str


def remedies(rare: Rare) -> dict[str, Choices]:
    """The choices of every remedy, by name; those for groups only where a group has a rare value."""
    off: dict[str, Any] = {"fill": 0.0}
    found: dict[str, Choices] = {
        NONE: {"augment": off, "imbalance": {}},
        "augmentation fill": {"augment": {"fill": 1.0}, "imbalance": {}},
        "class weights": {"augment": off, "imbalance": {"class_weights": "inverse"}},
        "effective number": {"augment": off, "imbalance": {"class_weights": "effective-number"}},
        "focal loss": {"augment": off, "imbalance": {"loss": "focal"}},
        "LDAM": {"augment": off, "imbalance": {"loss": "ldam", "class_weights": "effective-number"}},
        "logit adjustment": {"augment": off, "imbalance": {"loss": "logit-adjustment"}},
        "balanced classes": {"augment": off, "imbalance": {"sample_by": ["label"]}},
    }
    if rare.group:
        found |= {
            f"balanced {rare.group}": {"augment": off, "imbalance": {"sample_by": [rare.group]}},
            f"balanced class x {rare.group}": {"augment": off, "imbalance": {"sample_by": ["label", rare.group]}},
            f"group DRO by {rare.group}": {"augment": off, "imbalance": {"group_dro": rare.group}},
        }
    found["per-class thresholds"] = {"augment": off, "imbalance": {}, "calibrate": {"thresholds": True}}
    return found | {"fill and logit adjustment": {"augment": {"fill": 1.0}, "imbalance": {"loss": "logit-adjustment"}}}


def find_rare(clips: pd.DataFrame, asked: Asked = "test") -> Rare:
    """The rarest class of the training clips, and the rarest value of a group that all splits share, if it is rare.

    Raises TrainingError when the split that is asked has no clip of that class.
    """
    train, test = clips[clips["split"] == "train"], clips[clips["split"] == asked]
    counts = train["label"].value_counts()
    label = str(counts.index[-1])
    if not (test["label"] == label).any():
        raise TrainingError(f"The rarest class, {label!r}, has no {asked} clip: no remedy can be measured. Add some.")
    columns = augment.shared_groups(clips)
    values = {column: train[column].value_counts() for column in columns}
    testable = {c: n[n.index.isin(test[c].dropna())] for c, n in values.items()}
    shares = {c: n.iloc[-1] / n.median() for c, n in testable.items() if len(n) > 1}
    shares = {c: share for c, share in shares.items() if share < augment.RARE_SHARE}
    if not shares:
        is_rare = bool(counts.iloc[-1] < augment.RARE_SHARE * counts.median())
        return Rare(label=label, label_clips=int(counts.iloc[-1]), is_rare=is_rare)
    column = min(shares, key=lambda c: shares[c])
    return Rare(
        label=label,
        label_clips=int(counts.iloc[-1]),
        group=column.removeprefix(GROUP_PREFIX),
        value=str(testable[column].index[-1]),
        value_clips=int(testable[column].iloc[-1]),
    )


def compare(
    clips: pd.DataFrame,
    data: Path,
    params: Params,
    group: str | None,
    cache: Path,
    *,
    asked: Asked = "test",
    seeds: int = 3,
    on_progress: Progress | None = None,
) -> Comparison:
    """Every remedy as a linear probe, `seeds` times each, scored on the split that is asked.

    `clips` is the manifest with `split`, paths relative to `data`; `group` names what is resampled. `on_progress` is
    called with trials done and all trials. Raises TrainingError when the clips are too few or have several labels.
    """
    if params.data.labels == "many":
        raise TrainingError("`tenuto remedies` wants one label a clip; params.yaml says data.labels: many.")
    rare = find_rare(clips, asked)
    chosen = {name: choices for name, choices in remedies(rare).items() if fits(params, choices)}
    if asked == "validation":
        # thresholds are fitted on these clips, which would then say nothing of them
        chosen = {name: choices for name, choices in chosen.items() if "calibrate" not in choices}
    predicted: dict[str, list[npt.NDArray[np.int64]]] = {name: [] for name in chosen}
    for done, (seed, (name, choices)) in enumerate((s, item) for s in range(seeds) for item in chosen.items()):
        trial = params.with_remedy(choices).model_copy(update={"seed": params.seed + seed})
        test, labels, codes = _predicted(
            _thinned(clips, trial.seed), data, trial, cache, asked, has_thresholds="calibrate" in choices
        )
        predicted[name].append(codes)
        logger.info("remedy %s, seed %d", name, trial.seed)
        if on_progress:
            on_progress(done + 1, seeds * len(chosen))
    answers = _pooled(test, labels, predicted, group)
    trials = tuple(_trial(name, chosen[name], answers, test, rare, seeds) for name in chosen)
    use, why = recommend(trials)
    return Comparison(rare=rare, seeds=seeds, test_clips=len(test), trials=trials, use=use, why=why)


def recommend(trials: Sequence[Trial]) -> tuple[str, str]:
    """The remedy to use and why: shown to raise a rare recall, and not lower in macro-F1; the largest gain wins."""
    helpful = {trial.remedy: _gain(trial) for trial in trials if trial.remedy != NONE and _helps(trial)}
    if not helpful:
        return NONE, "no remedy is shown to help what is rare at a macro-F1 that is not lower"
    best = max(helpful, key=lambda name: helpful[name])
    (trial,) = [t for t in trials if t.remedy == best]
    assert trial.macro_f1_gain is not None
    return best, f"rare recalls rise by {helpful[best]:.2f} in all, macro-F1 by {trial.macro_f1_gain.value:+.3f}"


def choose(clips: pd.DataFrame, data: Path, params: Params, group: str | None, cache: Path) -> Remedy:
    """What `imbalance.remedy: auto` comes to: the remedy that the validation clips speak for, or none and why.

    Arguments as for `compare`. The same clips and settings give the same choice.
    """
    if params.data.labels == "many":
        return nothing("remedies are compared for one label a clip")
    try:
        rare = find_rare(clips, "validation")
        if not rare.is_rare:
            return nothing("no class and no group is rare")
        if few := _too_few(clips, rare):
            return nothing(few)
        found = compare(clips, data, params, group, cache, asked="validation")
    except TrainingError as error:
        return nothing(str(error).rstrip("."))
    by_name = {trial.remedy: trial for trial in found.trials}
    figures = {NONE: _figures(by_name[NONE]), found.use: _figures(by_name[found.use])}
    return Remedy(use=found.use, why=found.why, choices=by_name[found.use].choices, figures=figures)


def nothing(why: str) -> Remedy:
    """No choice, since nothing can be told: what params.yaml says of `augment` and `imbalance` stands."""
    return Remedy(use=NONE, why=f"{why}; augment.fill and imbalance stand as they are", choices={})


def _too_few(clips: pd.DataFrame, rare: Rare) -> str:
    """Why the validation clips cannot tell; empty when they can. It names no group, which may be a person."""
    validation = clips[clips["split"] == "validation"]
    counts = {f"class {rare.label!r}": int((validation["label"] == rare.label).sum())}
    if rare.group:
        counts[f"the rarest {rare.group}"] = int((validation[GROUP_PREFIX + rare.group] == rare.value).sum())
    return "; ".join(
        f"{count} validation clips of {what} are too few to tell (wanted {MIN_CLIPS})"
        for what, count in counts.items()
        if count < MIN_CLIPS
    )


def _figures(trial: Trial) -> dict[str, float]:
    found = {"macro_f1": trial.macro_f1, "rare_recall": trial.rare_recall, "rare_precision": trial.rare_precision}
    values = {name: interval.value for name, interval in found.items()}
    return values | ({"rare_group_recall": trial.group_recall.value} if trial.group_recall else {})


def _helps(trial: Trial) -> bool:
    gains = [gain for gain in (trial.rare_recall_gain, trial.group_recall_gain) if gain is not None]
    is_shown = any(gain.low > 0 for gain in gains) and not any(gain.high < 0 for gain in gains)
    return is_shown and trial.macro_f1_gain is not None and trial.macro_f1_gain.value >= 0


def _gain(trial: Trial) -> float:
    return sum(gain.value for gain in (trial.rare_recall_gain, trial.group_recall_gain) if gain is not None)


def fits(params: Params, choices: Choices) -> bool:
    """False of a remedy that the other settings forbid, as label smoothing does some losses."""
    try:
        params.with_remedy(choices)
    except ValidationError:
        return False
    return True


def _thinned(clips: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Some training clips set aside, of every class as large a share; of few clips, none."""
    rng = np.random.default_rng(seed)
    thinned = clips.copy()
    for _, places in clips[clips["split"] == "train"].groupby("label").groups.items():
        out = rng.choice(np.asarray(places), int(LEFT_OUT * len(places)), replace=False)
        thinned.loc[out, "split"] = "aside"
    return thinned


def _predicted(
    clips: pd.DataFrame, data: Path, params: Params, cache: Path, asked: Asked, *, has_thresholds: bool
) -> tuple[pd.DataFrame, tuple[str, ...], npt.NDArray[np.int64]]:
    """The clips that are scored, the classes, and the class that the probe gives each clip."""
    setup = finetune.set_up(clips, data, params)
    labels = setup.material.labels
    encoder = setup.encoder(setup.pretrained(params))
    fitted = finetune.fit_head(setup.material, encoder, params, cache)
    test = clips[(clips["split"] == asked) & clips["label"].isin(labels)]
    vectors = embedding.embed(test, data, encoder, cache).vectors
    logits = fitted.logits(vectors)
    if not has_thresholds:
        return test, labels, logits.argmax(axis=1).astype(np.int64)
    said = _over_thresholds(logits, fitted, setup.material, encoder, cache)
    return test, labels, said.argmax(axis=1).astype(np.int64)


def _over_thresholds(
    logits: npt.NDArray[np.float64], fitted: FittedHead, material: Material, encoder: Encoder, cache: Path
) -> npt.NDArray[np.bool_]:
    """(clips, classes): the label whose probability is highest for its threshold, fitted on the validation clips."""
    heard = fitted.logits(embedding.embed(material.validation, material.data, encoder, cache).vectors)
    settings = CalibrateSettings(temperature=False, thresholds=True)
    found = calibration.fit(heard, material.targets(material.validation), settings, material.kind)
    return found.decide(found.probabilities(logits, material.kind), material.kind)


def _pooled(
    test: pd.DataFrame,
    labels: tuple[str, ...],
    predicted: Mapping[str, Sequence[npt.NDArray[np.int64]]],
    group: str | None,
) -> Answers:
    """The answers of all seeds side by side: a unit that is resampled takes along what every seed said about it."""
    seeds = len(next(iter(predicted.values())))
    truth = test["label"].map({label: index for index, label in enumerate(labels)}).to_numpy(np.int64)
    codes, _ = pd.factorize(np.asarray(units(test, group)))
    return Answers(
        labels,
        np.tile(truth, seeds),
        {name: np.concatenate(parts) for name, parts in predicted.items()},
        np.tile(codes.astype(np.int64), seeds),
        unit_name=unit_name(test, group),
    )


def _trial(name: str, choices: Choices, answers: Answers, test: pd.DataFrame, rare: Rare, seeds: int) -> Trial:
    def found(metric: str, label: str | None = None, heard: Answers = answers, versus: str | None = None) -> Interval:
        rng = np.random.default_rng(BOOTSTRAP_SEED)
        return statistics.interval(heard, metric, name, versus=versus, label=label, rng=rng)

    trial: dict[str, Any] = {
        "macro_f1": found("macro_f1"),
        "rare_recall": found("recall", rare.label),
        "rare_precision": found("precision", rare.label),
    }
    if name != NONE:
        trial |= {
            "macro_f1_gain": found("macro_f1", versus=NONE),
            "rare_recall_gain": found("recall", rare.label, versus=NONE),
            "rare_precision_gain": found("precision", rare.label, versus=NONE),
        }
    if rare.group:
        values = np.tile(test[GROUP_PREFIX + rare.group].astype(str).to_numpy(), seeds)
        right = pd.Series(answers.predicted[name] == answers.truth).groupby(values).mean()
        few = answers.where(values == rare.value)
        trial |= {
            "worst_group": str(right.idxmin()),
            "worst_group_recall": found("accuracy", heard=answers.where(values == right.idxmin())),
            "group_recall": found("accuracy", heard=few),
            "group_recall_gain": found("accuracy", heard=few, versus=NONE) if name != NONE else None,
        }
    return Trial(remedy=name, choices=choices, **trial)
