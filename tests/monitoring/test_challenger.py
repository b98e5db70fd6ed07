"""Shadow answers with feedback become an evaluation that the gate judges as it judges a test set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tenuto.deciding import gate, wear
from tenuto.deciding.policy import Policy, Rule, WearSettings
from tenuto.monitoring import challenger
from tenuto.settings import EvaluateSettings
from tenuto.tracing import ledger
from tenuto.tracing.served import LABEL_QUEUE
from tests.monitoring import traffic

SETTINGS = EvaluateSettings(resamples=400)
BETTER = Rule(name="better", metric="macro_f1", versus="champion", better_by=0.0, severity="hold")
NOT_WORSE = Rule(name="not worse", metric="macro_f1", versus="champion", not_worse_by=0.02, severity="reject")


def answers(truth: np.ndarray, right: float, rng: np.random.Generator, *, version: str, shadow: bool) -> pd.DataFrame:
    """A frame of a version that is right so often, on clips whose label came back."""
    frame = traffic.served(rng, len(truth), version=version)
    said = np.where(rng.random(len(truth)) < right, truth, np.where(truth == "high", "low", "high"))
    p_high = np.where(said == "high", 0.9, 0.1)
    known = {"true_label": truth, "label": said, "probability": 0.9, "p_high": p_high, "p_low": 1 - p_high}
    speakers = [{"speaker": f"s{i % 12}"} for i in range(len(truth))]
    return frame.assign(**known, is_unknown=False, is_shadow=shadow, groups=speakers)


def both(champion: float, other: float, clips: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    truth = rng.choice(["high", "low"], size=clips)
    shadow = answers(truth, other, rng, version="2", shadow=True)
    return pd.concat([answers(truth, champion, rng, version="1", shadow=False), shadow], ignore_index=True)


def test_only_labelled_clips_that_both_versions_heard_are_paired() -> None:
    served = both(0.8, 0.9, clips=40)
    others = served.head(3).assign(version="3", is_shadow=True)
    of_no_class = served["request_id"].isin(["q0", "q1"])
    unlabelled = served["request_id"] == "q2"
    served["true_label"] = served["true_label"].mask(of_no_class, "unknown").mask(unlabelled, None)
    without_shadow = served[~(served["is_shadow"] & (served["request_id"] == "q3"))]
    found = challenger.pairs(pd.concat([without_shadow, others]), "2", "1")
    assert sorted(found["request_id"]) == sorted(f"q{i}" for i in range(4, 40))
    assert set(found["version_x"]) == {"1"}
    assert set(found["version_y"]) == {"2"}


def test_windows_of_streams_are_not_paired() -> None:
    served = both(0.8, 0.9, clips=40)
    served["is_window"] = served["request_id"] == "q5"
    assert "q5" not in set(challenger.pairs(served, "2", "1")["request_id"])


def test_clips_that_were_labelled_because_they_are_hard_are_left_out() -> None:
    served = both(0.8, 0.9, clips=40)
    served["label_source"] = np.where(served["request_id"] == "q5", f"{LABEL_QUEUE}ann", "client")
    assert "q5" not in set(challenger.pairs(served, "2", "1")["request_id"])
    assert len(challenger.pairs(served, "2", "1")) == 39


def test_scores_are_those_of_the_answers_that_were_given(tmp_path: Path) -> None:
    found = challenger.pairs(both(0.8, 0.95), "2", "1")
    evaluated = challenger.evaluate(found, tmp_path / "a" / "answers.parquet", SETTINGS, "one", "speaker")
    right = {side: float((found[f"label{side}"] == found["true_label_x"]).mean()) for side in ("_x", "_y")}
    assert evaluated.metrics["champion"]["accuracy"] == pytest.approx(right["_x"])
    assert evaluated.metrics["candidate"]["accuracy"] == pytest.approx(right["_y"])
    assert (evaluated.unit_name, evaluated.intervals["candidate"].groups) == ("speaker", 12)
    assert set(evaluated.metrics) == {"candidate", "champion"}


def test_by_default_sites_are_resampled_where_feedback_names_sites_alone(tmp_path: Path) -> None:
    served = both(0.8, 0.9)
    served["groups"] = [{"site": groups["speaker"], "weather": "dry"} for groups in served["groups"]]
    evaluated = challenger.evaluate(challenger.pairs(served, "2", "1"), tmp_path / "a.parquet", SETTINGS, "one", "auto")
    assert (evaluated.unit_name, evaluated.intervals["candidate"].groups) == ("site", 12)


def test_without_a_known_speaker_clips_of_a_request_stay_together(tmp_path: Path) -> None:
    served = both(0.8, 0.95).assign(groups=[{}] * 600)
    served["request_id"] = [f"q{i // 3}" for i in range(300)] * 2
    served["position"] = [i % 3 for i in range(300)] * 2
    evaluated = challenger.evaluate(
        challenger.pairs(served, "2", "1"), tmp_path / "a.parquet", SETTINGS, "one", "speaker"
    )
    assert (evaluated.unit_name, evaluated.intervals["candidate"].groups) == ("request", 100)


def test_an_abstention_counts_as_the_likeliest_class(tmp_path: Path) -> None:
    served = both(1.0, 1.0, clips=60)
    served["label"] = served["label"].mask(served["is_shadow"], "unknown")
    evaluated = challenger.evaluate(challenger.pairs(served, "2", "1"), tmp_path / "a.parquet", SETTINGS, "one")
    assert evaluated.metrics["candidate"]["accuracy"] == 1.0


@pytest.mark.parametrize(("right", "verdict"), [(0.97, "promote"), (0.8, "inconclusive"), (0.55, "reject")])
def test_the_gate_judges_live_answers_by_the_policy(tmp_path: Path, right: float, verdict: str) -> None:
    found = challenger.pairs(both(0.8, right), "2", "1")
    evaluated = challenger.evaluate(found, tmp_path / "a.parquet", SETTINGS, "one", "speaker")
    assert gate.judge(Policy(rules=(BETTER, NOT_WORSE)), evaluated).verdict == verdict


def test_rules_that_traffic_cannot_answer_are_left_out_and_named() -> None:
    scratch = Rule(name="scratch", metric="macro_f1", versus="baseline", better_by=0.0, severity="hold")
    budget = Rule(name="fast", metric="latency_p95_ms", at_most=50.0, severity="hold")
    floor = Rule(name="floor", metric="accuracy", at_least=0.5, severity="reject")
    policy, left_out = challenger.live_policy(Policy(rules=(scratch, BETTER, budget, floor)))
    assert [rule.name for rule in policy.rules] == ["better", "floor"]
    assert left_out == ("scratch", "fast")


def entry(p_value: float, level: float, event: ledger.Event = "evidence") -> ledger.Entry:
    use = ledger.Use(holdout="live-2-1", level=level, p_value=p_value, is_promotion=p_value <= level)
    return ledger.chained(ledger.Decision(at=traffic.NOW, actor="monitor", event=event, model="bells", use=use), None)


def test_looking_every_week_at_the_growing_log_shows_no_lead_that_is_not_there() -> None:
    rng, rounds, looks = np.random.default_rng(5), 400, 26
    settings = WearSettings(alpha=0.05, decisions=52)
    shown = 0
    for _ in range(rounds):
        leads = np.cumsum(rng.standard_normal(looks)) / np.sqrt(np.arange(1, looks + 1))
        entries: list[ledger.Entry] = []
        for lead in leads:
            level = wear.account(entries, settings, "live-2-1").level
            p_value = float(stats.norm.sf(lead))
            entries.append(entry(p_value, level))
            if p_value <= level:
                shown += 1
                break
    assert shown / rounds <= 0.05


def test_what_traffic_was_asked_costs_the_test_set_nothing() -> None:
    spent = [entry(0.5, 0.01)]
    settings = WearSettings(alpha=0.05, decisions=52)
    assert wear.account(spent, settings, "2", since=traffic.NOW).used == 0
    assert wear.account([entry(0.5, 0.01, "decision")], settings, "2", since=traffic.NOW).used == 1
