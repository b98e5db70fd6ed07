"""What the challenger would have answered: its shadow answers beside the champion's, as an evaluation for the gate.

Both heard the same clips of real traffic, and people said what the clips were: the comparison is paired, as that on the
test clips is, and judged by the same policy. Live clips are no test set, so their claim has an account of its own
(`tenuto.deciding.wear`): every look at a growing log is a decision, and may be taken only so often.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tenuto import labels as texts
from tenuto.dataset.manifest import group_names
from tenuto.deciding.policy import BUDGETS, Policy, Rule
from tenuto.labels import UNKNOWN, LabelType
from tenuto.monitoring import quality
from tenuto.records import GROUP_PREFIX, Evaluation
from tenuto.scoring import evaluation
from tenuto.scoring.evaluation import CANDIDATE, CHAMPION
from tenuto.settings import EvaluateSettings
from tenuto.validation.base import whole_group

LIVE = "live-"
"""Accounts of evidence from traffic begin so; no test set is called so."""
_FACTS = ("duration_seconds", "level_dbfs")


def account_name(challenger: str, champion: str) -> str:
    """What the account of this pair of versions is called."""
    return f"{LIVE}{challenger}-{champion}"


def pairs(served: pd.DataFrame, challenger: str, champion: str) -> pd.DataFrame:
    """The labelled clips that both versions heard, a row each: the columns of `served` with `_x` of the champion's
    answer and `_y` of the challenger's.

    `served` is a frame of `tenuto.tracing.served`. Clips of the label queue, which are hard for the version that chose
    them, are left out, as are clips whose label came back as 'unknown', which are of no class, and windows of streams.
    """
    known = quality.labelled(served[~served["is_window"].astype(bool)])
    known = known[known["true_label"] != UNKNOWN]
    is_shadow = known["is_shadow"].astype(bool)
    answered = known[~is_shadow & (known["version"] == champion)]
    shadows = known[is_shadow & (known["version"] == challenger)]
    return answered.merge(shadows, on=["request_id", "position"])


def evaluate(
    found: pd.DataFrame, output: Path, settings: EvaluateSettings, kind: LabelType, group: str | None = None
) -> Evaluation:
    """What challenger (as candidate) and champion score on `pairs`; their answers are written to `output` as Parquet.

    A clip that a version called unknown counts as the likeliest class: how often it abstains is told apart. What is
    resampled is the clip's `group` where feedback names it, else its request; 'auto' is as in `split.group`.
    """
    clips = _clips(found)
    labels = tuple(sorted({*texts.classes(clips["label"], kind), *_classes(found)}))
    columns = {name: _probabilities(found, labels, side) for name, side in ((CANDIDATE, "_y"), (CHAMPION, "_x"))}
    said = {
        name: _said(found[f"label{side}"].tolist(), columns[name], labels, kind)
        for name, side in ((CANDIDATE, "_y"), (CHAMPION, "_x"))
    }
    named = whole_group(clips, group)
    unit = named if named in group_names(clips) else None
    table = evaluation.answer_table(clips, labels, columns, unit, said)
    output.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(output, index=False)
    return evaluation.summarise(table, labels, output, settings, unit or "request", kind)


def live_policy(policy: Policy) -> tuple[Policy, tuple[str, ...]]:
    """The policy with the rules that traffic can answer, and the names of those it cannot.

    There is no baseline in traffic, and budgets are judged when a model is made.
    """
    kept = tuple(rule for rule in policy.rules if _is_live(rule))
    return policy.model_copy(update={"rules": kept}), tuple(rule.name for rule in policy.rules if rule not in kept)


def _is_live(rule: Rule) -> bool:
    return rule.versus in (None, "champion") and rule.metric not in BUDGETS


def _clips(found: pd.DataFrame) -> pd.DataFrame:
    clips = pd.DataFrame(
        {
            "clip_id": found["request_id"] + ":" + found["position"].astype(str),
            "label": found["true_label_x"],
            "family": found["request_id"],
            **{fact: found[f"{fact}_x"] for fact in _FACTS},
        }
    )
    for name in sorted({name for groups in found["groups_x"] for name in groups}):
        clips[GROUP_PREFIX + name] = [groups.get(name) for groups in found["groups_x"]]
    return clips


def _classes(found: pd.DataFrame) -> set[str]:
    """The classes that either version knows: a column of a class that none of its rows has is all NaN."""
    columns = [column for column in found.columns if column.startswith("p_") and found[column].notna().any()]
    return {column.removeprefix("p_")[:-2] for column in columns}


def _probabilities(found: pd.DataFrame, labels: tuple[str, ...], side: str) -> np.ndarray:
    return np.column_stack(
        [found.get(f"p_{label}{side}", pd.Series(0.0, index=found.index)).fillna(0.0).to_numpy() for label in labels]
    )


def _said(answers: list[str], probabilities: np.ndarray, labels: tuple[str, ...], kind: LabelType) -> list[str]:
    likeliest = (
        [labels[place] for place in probabilities.argmax(axis=1)]
        if kind == "one"
        else [texts.joined(np.array(labels)[row]) for row in probabilities > 0.5]
    )
    return [other if answer == UNKNOWN else answer for answer, other in zip(answers, likeliest, strict=True)]
