"""What the models scored as the page shows it: rows, bars and shares, the weakest first. Plain values, no markup."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tenuto.records import Evaluation, Interval, RegisteredModel, Remedy
from tenuto.reporting.formats import counted
from tenuto.serving.hearing.bundle import Exported

MODELS = {
    "candidate": "Candidate",
    "baseline": "From scratch",
    "champion": "Champion",
    "majority": "Majority class",
}
"""In the order of the page; any other model follows under its own name."""

MOST_FREQUENT = "Most frequent labels"
"""The majority, where a clip has several labels."""

ACCURACY = ("accuracy", "Accuracy", "Accuracy")
MACRO_F1 = ("macro_f1", "Macro\N{NON-BREAKING HYPHEN}F1", "Macro\N{NON-BREAKING HYPHEN}F1")
MICRO_F1 = ("micro_f1", "Micro\N{NON-BREAKING HYPHEN}F1", "Micro\N{NON-BREAKING HYPHEN}F1")
ALL_RIGHT = ("accuracy", "All labels right", "All right")
CALIBRATION = ("expected_calibration_error", "Calibration error", "Calibration")

WIDEST_MATRIX = 14
"""More classes than these are shown as coloured cells without numbers."""

FEW_CLIPS = 10
"""A class, group or band of fewer test clips is marked: ten right of ten prove no more than a recall of 0.69."""

LONGEST_STUB = 14
MOST_CONFUSIONS = 5


@dataclass(frozen=True)
class ModelRow:
    """One model of the comparison."""

    key: str
    name: str
    version: str  # of the champion
    metrics: dict[str, float]
    interval: Interval | None
    lead: Interval | None  # the candidate's macro-F1 less this model's


def model_keys(evaluation: Evaluation) -> list[str]:
    """The models that were scored, in the order of the page."""
    return [m for m in MODELS if m in evaluation.metrics] + [m for m in evaluation.metrics if m not in MODELS]


def columns(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """The metrics beside macro-F1: name, heading, and a shorter one."""
    if evaluation.labels_per_clip == "one":
        return [ACCURACY, ("balanced_accuracy", "Balanced accuracy", "Balanced"), CALIBRATION]
    return [("mean_average_precision", "mAP", "mAP"), MICRO_F1, ALL_RIGHT, CALIBRATION]


def models(evaluation: Evaluation, champion: RegisteredModel | None) -> list[ModelRow]:
    """The comparison, one row per model."""
    return [
        ModelRow(
            key=key,
            name=_name(key, evaluation),
            version=champion.version if key == "champion" and champion else "",
            metrics=evaluation.metrics[key],
            interval=evaluation.intervals.get(key),
            lead=evaluation.differences.get(key),
        )
        for key in model_keys(evaluation)
    ]


def remarks(evaluation: Evaluation, remedy: Remedy | None = None) -> list[str]:
    """What a reader must know before comparing: what was resampled, left out, could not be scored, was done for rare
    classes."""
    sentences = [remedy.sentence] if remedy else []
    sentences += [f"{_name(model, evaluation)} was not scored: {why}." for model, why in evaluation.unscored.items()]
    if evaluation.left_out:
        clips = counted(len(evaluation.left_out), "test clip")
        verb = "is" if len(evaluation.left_out) == 1 else "are"
        sentences.append(f"{clips} on which the champion had trained {verb} left out, for every model.")
    resampled = {interval.resampled for interval in evaluation.intervals.values() if interval.resampled}
    if resampled:
        sentences.append(f"Intervals by resampling {' and '.join(sorted(resampled))}.")
    return sentences


def _name(key: str, evaluation: Evaluation) -> str:
    if key == "majority" and evaluation.labels_per_clip == "many":
        return MOST_FREQUENT
    return MODELS.get(key, key)


@dataclass(frozen=True)
class Bar:
    """A class or group: the candidate's figures, and the rivals' score of the same kind to set beside it."""

    name: str
    score: float | None
    rivals: dict[str, float]  # baseline, champion
    figures: dict[str, float]

    @property
    def is_few(self) -> bool:
        """True when there are too few clips to say much."""
        return self.figures.get("support", math.inf) < FEW_CLIPS


def classes(evaluation: Evaluation) -> list[Bar]:
    """Per-class recall, the weakest first; classes without test clips last.

    With several labels a clip also the threshold, and how often the label was named falsely and missed.
    """
    bars = _bars(evaluation.per_class, "recall")
    if evaluation.labels_per_clip == "one" or not bars:
        return bars
    thresholds = evaluation.thresholds.get("candidate", {})
    told = dict(zip(evaluation.labels, evaluation.confusion["candidate"], strict=True))
    return [replace(bar, figures=bar.figures | _decided(told[bar.name], thresholds.get(bar.name))) for bar in bars]


def _decided(counts: list[int], threshold: float | None) -> dict[str, float]:
    _, false_alarms, missed, _ = counts
    found = {"false_alarms": float(false_alarms), "missed": float(missed)}
    return found if threshold is None else found | {"threshold": threshold}


def _bars(scores: Mapping[str, Mapping[str, Mapping[str, float]]], metric: str) -> list[Bar]:
    """One bar per class or group of the candidate; `scores` is per model, per name, per metric."""
    rivals = [model for model in ("baseline", "champion") if model in scores]
    bars = [
        Bar(
            name=name,
            score=_score(figures, metric),
            rivals={m: score for m in rivals if (score := _score(scores[m].get(name, {}), metric)) is not None},
            figures=dict(figures),
        )
        for name, figures in scores.get("candidate", {}).items()
    ]
    return sorted(bars, key=lambda bar: (math.inf if bar.score is None else bar.score, bar.name))


def _score(figures: Mapping[str, float], metric: str) -> float | None:
    """The metric, None where there were no clips to measure it on."""
    value = figures.get(metric)
    return None if value is None or not math.isfinite(value) or figures.get("support") == 0 else value


@dataclass(frozen=True)
class Group:
    """The values of one group (all speakers, all accents), the weakest first, and the gap per model."""

    name: str
    bars: list[Bar]
    gaps: dict[str, float]  # largest minus smallest score, per model


def group_metrics(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """What groups and bands are sorted by, and what stands beside it: name, heading, and a shorter one."""
    return [ACCURACY, MACRO_F1] if evaluation.labels_per_clip == "one" else [MACRO_F1, ALL_RIGHT]


def groups(evaluation: Evaluation) -> list[Group]:
    """Accuracy per value of each group; with several labels a clip, macro-F1."""
    metric = group_metrics(evaluation)[0][0]
    names = evaluation.per_group.get("candidate", {})
    return [
        Group(
            name,
            _bars({model: per.get(name, {}) for model, per in evaluation.per_group.items()}, metric),
            {m: g[name][metric] for m, g in evaluation.gaps.items() if metric in g.get(name, {})},
        )
        for name in names
    ]


SLICES = {
    "noise": "Signal-to-noise ratio",
    "duration": "Duration",
    "rate": "Sample rate",
    "codec": "Codec",
    "level": "Loudness",
}
"""Kinds of acoustic slice in the order of the page, as headings."""


def slices(evaluation: Evaluation) -> list[Group]:
    """Accuracy, or macro-F1, per band of each acoustic condition that differs between the test clips."""
    metric = group_metrics(evaluation)[0][0]
    found = evaluation.per_slice.get("candidate", {})
    return [
        Group(
            SLICES.get(kind, kind),
            _bars({model: per.get(kind, {}) for model, per in evaluation.per_slice.items()}, metric),
            {},
        )
        for kind in [*(k for k in SLICES if k in found), *(k for k in found if k not in SLICES)]
    ]


@dataclass(frozen=True)
class Latency:
    """What one model takes over one clip, on the machine of the run."""

    key: str
    name: str
    figures: dict[str, float]


def latency(evaluation: Evaluation, exported: Exported | None = None) -> list[Latency]:
    """One row per model that was timed, and of a candidate that was exported one per artefact, what serves first."""
    bundle = exported.bundle if exported else None
    artefacts = sorted(bundle.published, key=lambda artefact: artefact.name != bundle.best) if bundle else []
    rows = [Latency("candidate", f"Candidate, {made.name}", made.figures) for made in artefacts if made.figures]
    if rows and (in_torch := evaluation.latency.get("checkpoint")):
        rows.append(Latency("candidate", "Candidate in PyTorch", in_torch))
    timed = [model for model in model_keys(evaluation) if evaluation.latency.get(model)]
    others = [model for model in timed if not rows or model != "candidate"]
    return rows + [Latency(model, _name(model, evaluation), evaluation.latency[model]) for model in others]


@dataclass(frozen=True)
class Confusion:
    """One model's confusion matrix as shares of each row, and its most frequent mistakes."""

    key: str
    name: str
    labels: tuple[str, ...]
    rows: list[tuple[str, list[tuple[int, float]]]]  # true label, (clips, share of the row) per answer
    mistakes: list[tuple[str, str, int]]  # true label, answer, clips; the most frequent
    wrong: int  # clips in all mistakes together
    is_wide: bool

    @property
    def stub(self) -> int:
        """The characters that the longest label takes, within reason."""
        return min(max(map(len, self.labels), default=1), LONGEST_STUB)


def confusions(evaluation: Evaluation) -> list[Confusion]:
    """The matrices of the candidate, the baseline and the champion; the majority class needs none.

    None with several labels a clip: which label was heard in place of which is not to be told there.
    """
    if evaluation.labels_per_clip == "many":
        return []
    keys = [key for key in model_keys(evaluation) if key in evaluation.confusion and key != "majority"]
    return [_confusion(key, evaluation) for key in keys]


def _confusion(key: str, evaluation: Evaluation) -> Confusion:
    labels, matrix = evaluation.labels, evaluation.confusion[key]
    rows = [
        (label, [(clips, clips / max(sum(row), 1)) for clips in row]) for label, row in zip(labels, matrix, strict=True)
    ]
    mistakes = [
        (labels[i], labels[j], clips) for i, row in enumerate(matrix) for j, clips in enumerate(row) if i != j and clips
    ]
    mistakes.sort(key=lambda mistake: (-mistake[2], mistake))
    return Confusion(
        key=key,
        name=_name(key, evaluation),
        labels=labels,
        rows=rows,
        mistakes=mistakes[:MOST_CONFUSIONS],
        wrong=sum(clips for _, _, clips in mistakes),
        is_wide=len(labels) > WIDEST_MATRIX,
    )


@dataclass(frozen=True)
class Noise:
    """Macro recall per added-noise level, the levels in the order in which they were measured."""

    levels: list[str]
    rows: list[tuple[str, str, list[float | None]]]  # model key, its name, recall per level


def noise(evaluation: Evaluation) -> Noise | None:
    """What noise does to each model, None when it was not measured."""
    keys = [key for key in model_keys(evaluation) if evaluation.noise.get(key)]
    if not keys:
        return None
    levels = list(evaluation.noise[keys[0]])
    recalls = {key: [evaluation.noise[key].get(level) for level in levels] for key in keys}
    return Noise(levels, [(key, _name(key, evaluation), row) for key, row in recalls.items()])
