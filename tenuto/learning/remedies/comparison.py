"""Every remedy tried on the same clips, what each changes over doing nothing, and the one to use."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from tenuto.errors import TrainingError
from tenuto.learning import calibration, embedding, frozen, preparation
from tenuto.learning.batches import Material
from tenuto.learning.embedding import Encoder
from tenuto.learning.probe import FittedHead
from tenuto.learning.remedies import known
from tenuto.learning.remedies.known import NONE, Choices, fits
from tenuto.learning.remedies.rare import Asked, Rare, find_rare
from tenuto.records import GROUP_PREFIX, Interval, Record
from tenuto.scoring import statistics
from tenuto.scoring.evaluation import BOOTSTRAP_SEED, unit_name, units
from tenuto.scoring.statistics import Answers
from tenuto.settings import CalibrateSettings, Params

logger = logging.getLogger(__name__)

LEFT_OUT = 0.1
"""Share of the training clips that each trial leaves out, so that trials differ by what they learn from."""

Progress = Callable[[int, int], None]


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
    split: Asked = Field(default="test", description="whose clips were scored")
    test_clips: int = Field(description="how many clips were scored")
    trials: tuple[Trial, ...]
    use: str
    why: str


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
    chosen = {name: choices for name, choices in known.remedies(rare).items() if fits(params, choices)}
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
    return Comparison(rare=rare, seeds=seeds, split=asked, test_clips=len(test), trials=trials, use=use, why=why)


def recommend(trials: Sequence[Trial]) -> tuple[str, str]:
    """The remedy to use and why: shown to raise a rare recall, and not lower in macro-F1; the largest gain wins."""
    helpful = {trial.remedy: _gain(trial) for trial in trials if trial.remedy != NONE and _helps(trial)}
    if not helpful:
        return NONE, "no remedy is shown to help what is rare at a macro-F1 that is not lower"
    best = max(helpful, key=lambda name: helpful[name])
    (trial,) = [t for t in trials if t.remedy == best]
    assert trial.macro_f1_gain is not None
    return best, f"rare recalls rise by {helpful[best]:.2f} in all, macro-F1 by {trial.macro_f1_gain.value:+.3f}"


def _helps(trial: Trial) -> bool:
    gains = [gain for gain in (trial.rare_recall_gain, trial.group_recall_gain) if gain is not None]
    is_shown = any(gain.low > 0 for gain in gains) and not any(gain.high < 0 for gain in gains)
    return is_shown and trial.macro_f1_gain is not None and trial.macro_f1_gain.value >= 0


def _gain(trial: Trial) -> float:
    return sum(gain.value for gain in (trial.rare_recall_gain, trial.group_recall_gain) if gain is not None)


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
    setup = preparation.set_up(clips, data, params)
    labels = setup.material.labels
    encoder = setup.encoder(setup.pretrained(params))
    fitted = frozen.fit_head(setup.material, encoder, params, cache)
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
