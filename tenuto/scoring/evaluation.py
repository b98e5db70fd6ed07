"""Candidate, baseline, champion and majority class on the same test clips in the same run.

What comes out is a table with one row per clip and model, from which all metrics, intervals and promotion rules are
derived: a verdict can be judged again, under another policy, without the models.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tenuto import labels as texts
from tenuto.errors import TrainingError
from tenuto.labels import LabelType
from tenuto.records import GROUP_PREFIX, SLICE_PREFIX, Evaluation, Interval
from tenuto.scoring import acoustics, latency, metrics, robustness, statistics
from tenuto.scoring.robustness import FloatArray, Model
from tenuto.scoring.statistics import Answers
from tenuto.settings import EvaluateSettings

logger = logging.getLogger(__name__)

CANDIDATE, BASELINE, CHAMPION, MAJORITY = "candidate", "baseline", "champion", "majority"
CLEAN = "clean"
UNKNOWN_TRAINING = "what it trained on is unknown"
BOOTSTRAP_SEED = 20_190_704
"""Intervals are drawn from this seed: the same answers always give the same interval."""


def evaluate(
    models: Mapping[str, Path],
    clips: pd.DataFrame,
    data: Path,
    settings: EvaluateSettings,
    group: str | None,
    output: Path,
    *,
    contaminated: frozenset[str] | None = frozenset(),
    trained: Sequence[str] | None = None,
    is_judged: bool = True,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """What the checkpoints `models` ('candidate', 'baseline', perhaps 'champion') score on the test rows `clips`.

    `group` names the resampling unit ('speaker'); without one, near-duplicate families are resampled. Test clips in
    `contaminated` were training clips of the champion: they are left out for every model, or the champion is when
    nothing would remain, or when they are unknown (None). From `trained`, the labels of the training clips (default: of
    the test clips), follow the majority's answers. Probabilities are written to `output` as Parquet. Clips that are
    only watched (`is_judged` false) are heard as they are: neither added noise nor latency is measured on them.
    `on_progress` is called with clips done and all clips.

    Raises TrainingError when there is no test clip.
    """
    from tenuto.learning.predictor import Predictor

    if clips.empty:
        raise TrainingError("The test split holds no clip: nothing to evaluate. Add clips or change `split`.")
    kept, unscored = comparable(clips, CHAMPION in models, contaminated)
    loaded: dict[str, Model] = {n: Predictor.load(path) for n, path in models.items() if n not in unscored}
    kind = next(iter(loaded.values())).kind
    unscored |= {n: _of_other_kind(m.kind) for n, m in loaded.items() if m.kind != kind}
    loaded = {n: model for n, model in loaded.items() if n not in unscored}
    known = {label for model in loaded.values() for label in model.labels}
    labels = tuple(sorted({*texts.classes(kept["label"], kind), *known}))
    levels = settings.noise_snr_db if is_judged else ()
    noisy = robustness.chosen(kept, settings.noise_clips if levels else 0)
    count = _counter(len(kept) + len(noisy), on_progress)
    heard = probabilities(loaded, kept, data, settings.batch_size, count)
    columns = {name: metrics.aligned(p, loaded[name].labels, labels) for name, p in heard.items()}
    said = {name: robustness.named(loaded[name], p) for name, p in heard.items()}
    said[MAJORITY], columns[MAJORITY] = _majority(trained or kept["label"].tolist(), labels, kind, len(kept))
    table = answer_table(kept, labels, columns, group, said)
    output.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(output, index=False)
    noise = robustness.under_noise(loaded, noisy, data, levels, settings.batch_size, count)
    return summarise(table, labels, output, settings, unit_name(kept, group), kind).model_copy(
        update={
            "noise": {n: {CLEAN: _macro_recall(table, n, noisy, kind), **found} for n, found in noise.items() if found},
            "left_out": tuple(sorted(set(clips["clip_id"]) - set(kept["clip_id"]))),
            "thresholds": {name: dict(model.thresholds) for name, model in loaded.items() if kind == "many"},
            "unscored": unscored,
            "latency": latency.of_models(loaded, models, kept, data) if is_judged else {},
        }
    )


def comparable(
    clips: pd.DataFrame, has_champion: bool, contaminated: frozenset[str] | None
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The clips on which all models can be compared, and the models that cannot be, with the reason as a clause."""
    if has_champion and contaminated is None:
        logger.warning("Not compared with the champion: %s.", UNKNOWN_TRAINING)
        return clips, {CHAMPION: UNKNOWN_TRAINING}
    known = clips["clip_id"].isin(contaminated or ())
    if not has_champion or not known.any():
        return clips, {}
    if known.all():
        reason = f"the champion was trained on all {len(clips)} test clips"
        logger.warning("Not compared with the champion: %s.", reason)
        return clips, {CHAMPION: reason}
    logger.warning("The champion was trained on %d of %d test clips: left out.", known.sum(), len(clips))
    return clips[~known], {}


def probabilities(
    models: Mapping[str, Model],
    clips: pd.DataFrame,
    data: Path,
    batch_size: int,
    on_clips: Callable[[int], None] = lambda n: None,
) -> dict[str, FloatArray]:
    """Per model (clips, its classes), in [0, 1]; each clip is loaded once for every sample rate asked for."""
    from tenuto.sound.audio import load_waveform

    parts: dict[str, list[FloatArray]] = {name: [] for name in models}
    for start in range(0, len(clips), batch_size):
        paths = [data / path for path in clips["path"].iloc[start : start + batch_size]]
        rates = {model.sample_rate_hz for model in models.values()}
        waves = {rate: [load_waveform(path, rate) for path in paths] for rate in rates}
        for name, model in models.items():
            parts[name].append(model.predict(waves[model.sample_rate_hz], batch_size))
        on_clips(len(paths))
    return {name: np.concatenate(found) for name, found in parts.items()}


def answer_table(
    clips: pd.DataFrame,
    labels: Sequence[str],
    columns: Mapping[str, FloatArray],
    group: str | None,
    said: Mapping[str, Sequence[str]],
) -> pd.DataFrame:
    """One row per clip and model, models one after the other, as documented in `records.Evaluation`.

    `columns` are probabilities (clips, classes), `said` the labels that follow from them, as text.
    """
    groups = [column for column in clips.columns if column.startswith(GROUP_PREFIX)]
    base = pd.concat([clips[["clip_id", "label", *groups]], acoustics.bands(clips)], axis=1).reset_index(drop=True)
    base["unit"] = units(clips, group)
    answers = [_answers_of(model, base, labels, p, said[model]) for model, p in columns.items()]
    return pd.concat(answers, ignore_index=True)


def units(clips: pd.DataFrame, group: str | None) -> list[str]:
    """What is resampled with each clip: its group, else (no such group, or unknown) its near-duplicate family."""
    family = clips["family"] if "family" in clips else clips["clip_id"]
    if group is None:
        return [str(value) for value in family]
    return [str(value) for value in clips[GROUP_PREFIX + group].fillna(family)]


def unit_name(clips: pd.DataFrame, group: str | None) -> str:
    """What the units are called in a sentence."""
    if group is not None:
        return group
    return "clip" if len(set(units(clips, None))) == len(clips) else "recording"


def read_answers(table: pd.DataFrame, labels: Sequence[str], unit: str, kind: LabelType = "one") -> Answers:
    """The table as arrays for `tenuto.scoring.statistics`; clips in the order of the table's first model."""
    of = {str(model): table[table["model"] == model] for model in dict.fromkeys(table["model"])}
    first = next(iter(of.values()))
    return Answers(
        labels=tuple(labels),
        truth=metrics.coded(first["label"].tolist(), labels, kind),
        predicted={model: metrics.coded(rows["predicted"].tolist(), labels, kind) for model, rows in of.items()},
        units=np.unique(first["unit"].to_numpy(dtype=str), return_inverse=True)[1].astype(np.int64),
        unit_name=unit,
        probabilities={model: rows[_columns(labels)].to_numpy(dtype=float) for model, rows in of.items()},
    )


def summarise(
    table: pd.DataFrame,
    labels: Sequence[str],
    path: Path,
    settings: EvaluateSettings,
    unit: str,
    kind: LabelType = "one",
) -> Evaluation:
    """All metrics and intervals that follow from the table of answers, which lies at `path`."""
    answers = read_answers(table, labels, unit, kind)
    truth, scores = answers.truth, answers.probabilities
    has_labels = kind == "one" or bool(truth.any())  # of nothing there is no mean over classes
    intervals = {model: _macro_f1(answers, model, None, settings) for model in answers.predicted if has_labels}
    first = table.iloc[: len(answers.truth)]
    groups = _parts(answers, {name: first[GROUP_PREFIX + name] for name in group_names(first)})
    return Evaluation(
        probabilities_path=path,
        labels_per_clip=kind,
        labels=tuple(labels),
        metrics={m: metrics.overall(truth, said, scores[m]) for m, said in answers.predicted.items()},
        per_class={m: metrics.per_class(truth, said, labels, scores[m]) for m, said in answers.predicted.items()},
        per_group=groups,
        per_slice=_parts(answers, {kind: first[SLICE_PREFIX + kind] for kind in acoustics.kinds(first)}),
        gaps={m: {name: metrics.gaps(found) for name, found in by.items()} for m, by in groups.items()},
        confusion={m: metrics.confusion(truth, p, len(labels)) for m, p in answers.predicted.items()},
        intervals=intervals,
        differences={
            model: _macro_f1(answers, CANDIDATE, model, settings)
            for model in intervals
            if model != CANDIDATE and CANDIDATE in intervals
        },
        unit_name=unit,
    )


def group_names(rows: pd.DataFrame) -> list[str]:
    """The groups that any of the clips has, without their prefix."""
    columns = [column for column in rows.columns if column.startswith(GROUP_PREFIX)]
    return [column.removeprefix(GROUP_PREFIX) for column in columns if rows[column].notna().any()]


def _parts(answers: Answers, columns: Mapping[str, pd.Series]) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Per model, per column, per value: the metrics on the clips with that value."""
    return {
        model: {name: metrics.per_group(answers.truth, predicted, values) for name, values in columns.items()}
        for model, predicted in answers.predicted.items()
    }


def _macro_f1(answers: Answers, model: str, versus: str | None, settings: EvaluateSettings) -> Interval:
    return statistics.interval(
        answers,
        "macro_f1",
        model,
        versus=versus,
        confidence=settings.confidence,
        resamples=settings.resamples,
        rng=np.random.default_rng(BOOTSTRAP_SEED),
    )


def _answers_of(
    model: str, base: pd.DataFrame, labels: Sequence[str], p: FloatArray, said: Sequence[str]
) -> pd.DataFrame:
    answered = pd.DataFrame({"model": model, "predicted": list(said)})
    return pd.concat([base, answered, pd.DataFrame(p, columns=_columns(labels))], axis=1)


def _columns(labels: Sequence[str]) -> list[str]:
    return [f"p_{label}" for label in labels]


def _majority(trained: Sequence[str], labels: Sequence[str], kind: LabelType, n: int) -> tuple[list[str], FloatArray]:
    """What a model says of n clips that hears nothing: always the most frequent label, and is certain of it.

    With several labels a clip: always the most frequent set of labels, which may be none, and of each label the share
    of training clips that have it as its probability.
    """
    frequent = str(pd.Series(list(trained)).mode()[0])
    shares = texts.matrix(list(trained), labels).mean(axis=0) if kind == "many" else np.array(labels) == frequent
    return [frequent] * n, np.tile(shares.astype(float), (n, 1))


def _of_other_kind(kind: LabelType) -> str:
    return (
        "it gives one label a clip, the candidate several"
        if kind == "one"
        else "it gives several labels a clip, the candidate one"
    )


def _macro_recall(table: pd.DataFrame, model: str, clips: pd.DataFrame, kind: LabelType) -> float:
    rows = table[(table["model"] == model) & table["clip_id"].isin(clips["clip_id"])]
    return robustness.macro_recall(rows["label"].tolist(), rows["predicted"].tolist(), kind)


def _counter(total: int, on_progress: Callable[[int, int], None] | None) -> Callable[[int], None]:
    done = 0

    def count(clips: int) -> None:
        nonlocal done
        done += clips
        if on_progress:
            on_progress(done, total)

    return count
