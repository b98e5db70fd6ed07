"""Finished rows side by side: paired intervals, worst groups, and what no other row beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from tenuto.learning.comparison.choices import Choice
from tenuto.learning.comparison.table import Comparison, Figures, Front, Row, Worst
from tenuto.records import GROUP_PREFIX, Interval, Record
from tenuto.scoring import evaluation, statistics
from tenuto.scoring.statistics import Answers
from tenuto.settings import Params

MIN_GROUP_CLIPS = 10
"""A value of a group with fewer test clips cannot be the worst: its recall would be chance."""


class Trained(Record):
    """What is kept of a finished row: its figures, and the label that it gave each test clip in the clips' order."""

    figures: Figures
    predicted: tuple[str, ...]


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
