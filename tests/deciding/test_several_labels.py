"""Rules about clips with several labels: which metrics there are, and every kind of slice and opponent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tenuto.deciding.gate import Policy, Rule, judge, load_policy
from tenuto.deciding.meaning import sentences
from tenuto.errors import SettingsError
from tenuto.records import Account, Evaluation, RuleResult
from tests import scenes
from tests.answers import clips_table, imagined
from tests.deciding.test_policy import TEMPLATE, rule, written

SKILL = {"candidate": 4.0, "baseline": 2.0, "champion": 3.9}


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluation:
    return scenes.evaluated(scenes.answers(np.random.default_rng(1), 12, 40, SKILL), tmp_path)


def judged(evaluation: Evaluation, **fields: Any) -> list[RuleResult]:
    made = Rule.model_validate({"name": "rule", "metric": "macro_f1", "severity": "reject", **fields})
    return list(judge(Policy(rules=(made,), resamples=200), evaluation).rules)


def test_the_policy_of_a_new_workspace_judges_them(evaluation: Evaluation) -> None:
    verdict = judge(load_policy(TEMPLATE, "many"), evaluation, Account(
        holdout="1", alpha=0.05, decisions=52, used=0, level=0.001, left=1.0
    ))  # fmt: skip
    outcomes = {r.rule: r.outcome for r in verdict.rules}
    assert outcomes["good enough"] == outcomes["better than from scratch"] == "pass"
    assert outcomes["every class is recognised"] == outcomes["no suspicious leap"] == "pass"
    assert outcomes["better than the champion"] == "inconclusive"
    assert verdict.verdict in ("register", "inconclusive") and verdict.p_value is not None


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"metric": "mean_average_precision", "at_least": 0.8}, "pass"),
        ({"metric": "mean_average_precision", "versus": "baseline", "not_better_by": 0.01}, "fail"),
        ({"metric": "mean_average_precision", "of": "worst class", "at_least": 0.7}, "pass"),
        ({"metric": "mean_average_precision", "versus": "baseline", "better_by": 0.05}, "pass"),
        ({"metric": "micro_f1", "versus": "baseline", "better_by_percent": 5}, "pass"),
        ({"metric": "micro_f1", "versus": "champion", "not_worse_by": 0.2}, "pass"),
        ({"metric": "f1", "of": "class=dog", "at_least": 0.7}, "pass"),
        ({"metric": "recall", "of": "class=cat", "at_least": 0.1}, "fail"),
        ({"metric": "recall", "of": "class=dog", "minus": "class=rain", "at_least": -0.3}, "pass"),
        ({"metric": "accuracy", "of": "worst group=site", "at_least": 0.2}, "pass"),
        ({"metric": "macro_f1", "of": "site=s3", "minus": "overall", "at_least": -0.9}, "pass"),
        ({"metric": "log_loss", "versus": "baseline", "better_by": 0.0}, "pass"),
        ({"metric": "brier", "at_most": 0.2}, "pass"),
        ({"metric": "expected_calibration_error", "at_most": 0.5, "severity": "hold"}, "pass"),
    ],
)
def test_every_kind_of_rule(evaluation: Evaluation, fields: dict[str, Any], outcome: str) -> None:
    (result,) = judged(evaluation, **fields)
    assert result.outcome == outcome, result.reason


def test_the_worst_class_is_named_with_the_clips_that_have_it(evaluation: Evaluation) -> None:
    table = pd.read_parquet(evaluation.probabilities_path)
    rows = table[table["model"] == "candidate"]
    (result,) = judged(evaluation, metric="recall", of="worst class", at_least=0.99)
    name = result.reason.split("'")[1]
    clips = int(rows["label"].str.split(";").map(lambda labels: name in labels).sum())
    assert f"'{name}' ({clips} clips)" in result.reason


def test_a_site_where_nothing_sounds_is_too_little_for_a_mean_of_classes(tmp_path: Path) -> None:
    answers = scenes.answers(np.random.default_rng(1), 6, 20, SKILL)
    silent = np.asarray(answers.truth) & (answers.units != 2)[:, None]
    found = scenes.evaluated(answers.__class__(
        answers.labels, silent, answers.predicted, answers.units, "site", answers.probabilities
    ), tmp_path)  # fmt: skip
    (result,) = judged(found, of="worst group=site", at_least=0.1)
    assert result.outcome == "insufficient n" and "site 's2' (20)" in result.reason
    (result,) = judged(found, metric="accuracy", of="worst group=site", at_least=0.001)
    assert result.outcome != "insufficient n"


@pytest.mark.parametrize(
    ("kind", "metric", "said"),
    [
        ("many", "balanced_accuracy", "rule 'floor': metric 'balanced_accuracy', which is only there where each clip"),
        ("one", "micro_f1", "rule 'floor': metric 'micro_f1', which is accuracy where each clip has one label"),
    ],
)
def test_a_metric_that_the_labels_do_not_have_is_refused_with_what_is_allowed(
    tmp_path: Path, kind: Any, metric: str, said: str
) -> None:
    path = written(tmp_path, rule(metric=metric))
    assert load_policy(path).rules
    with pytest.raises(SettingsError) as error:
        load_policy(path, kind)
    assert said in str(error.value) and f"data.labels: {kind}" in str(error.value)
    allowed = str(error.value).partition("one of ")[2]
    assert "mean_average_precision" in allowed and metric not in allowed


def test_an_old_evaluation_judged_by_a_metric_that_it_does_not_have_is_not_evaluated(tmp_path: Path) -> None:
    stored = imagined(clips_table(100, speaker=6), tmp_path, {"candidate": 0.1})
    old = stored.model_dump_json(exclude={"labels_per_clip", "thresholds"})
    (result,) = judged(Evaluation.model_validate_json(old), metric="micro_f1", at_least=0.1)
    assert result.outcome == "not evaluated"
    assert result.reason == "micro-F1, which is accuracy where each clip has one label."


def test_the_rules_are_said_in_words(tmp_path: Path) -> None:
    found = sentences(load_policy(written(tmp_path, rule(metric="mean_average_precision"))))
    assert found[0][1].startswith("mean average precision on all test clips is at least 0.6")
