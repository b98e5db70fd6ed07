"""Figures under the names that MLflow takes: metrics of an evaluation, parameters without anybody's name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tenuto.records import Evaluation
from tenuto.serving.hearing.bundle import Bundle
from tenuto.settings import Params

_BOUNDS = ("macro_f1_low", "macro_f1_high")


def parameters(params: Params) -> Iterator[tuple[str, str]]:
    """Every setting of a run as `('finetune.epochs', '4')`.

    Of the test set that is held out by name only the number of names: MLflow's parameters cannot be rewritten when
    somebody withdraws consent. The names are in the artifact `inputs/params.yaml`.
    """
    values = params.model_dump(mode="json", exclude={"tune", "monitor"})
    hold_out = values["split"]["hold_out"]
    values["split"]["hold_out"] = {group: _counted(len(names)) for group, names in hold_out.items()}
    return ((name, str(value)) for name, value in _flat(values))


def evaluation_figures(evaluation: Evaluation) -> Iterator[tuple[str, float]]:
    """Every figure of an evaluation as `('candidate.macro_f1', 0.91)`."""
    for model, row in evaluation.metrics.items():
        yield from ((f"{model}.{key(what)}", value) for what, value in row.items())
    for model, interval in evaluation.intervals.items():
        yield from ((f"{model}.{bound}", at) for bound, at in zip(_BOUNDS, (interval.low, interval.high), strict=True))
    for model, levels in evaluation.noise.items():
        yield from ((f"{model}.noise.{key(level)}.recall", recall) for level, recall in levels.items())
    for model, labels in evaluation.per_class.items():
        for label, row in labels.items():
            yield from ((f"{model}.class.{key(label)}.{what}", value) for what, value in row.items())
    for model, groups in evaluation.gaps.items():
        for group, row in groups.items():
            yield from ((f"{model}.gap.{key(group)}.{key(what)}", value) for what, value in row.items())


def serving_figures(bundle: Bundle) -> Iterator[tuple[str, float]]:
    """Speed, size and parity of every artefact as `('serving.fp32.p50_ms', 2.8)`."""
    for artefact in bundle.artefacts:
        found = {"size_mb": artefact.size_mb, "is_published": float(artefact.is_published), **artefact.figures}
        if artefact.parity:
            found |= artefact.parity.model_dump(include={"agreement", "macro_f1", "macro_f1_change"})
        yield from ((f"serving.{artefact.name}.{what}", value) for what, value in found.items())


def overall(metrics: dict[str, float]) -> dict[str, dict[str, float]]:
    """The figures of each model on all test clips, as the evaluation has them, without bounds of intervals."""
    found: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        model, _, what = name.partition(".")
        is_figure = "." not in what and what not in _BOUNDS
        if is_figure and model in ("candidate", "baseline", "champion", "majority"):
            found.setdefault(model, {})[what] = value
    return found


def key(text: str) -> str:
    """Text as MLflow allows it in the name of a metric."""
    return re.sub(r"[^\w. -]", "_", text, flags=re.ASCII)[:80]


def _counted(n: int) -> str:
    return f"{n} name{'' if n == 1 else 's'}"


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`{'a': {'b': 1}}` as `('a.b', 1)`."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key(name)}.")
        else:
            yield f"{prefix}{key(name)}", value
