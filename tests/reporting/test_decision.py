from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from tenuto.records import (
    FillComparison,
    Finding,
    RegisteredModel,
    RuleOutcome,
    RuleResult,
    ValidationReport,
    Verdict,
    VerdictName,
)
from tenuto.reporting import decision

NEW = RegisteredModel(name="digits", version="7", aliases=("champion",))
PENDING = RegisteredModel(name="digits", version="7", aliases=())
OLD = RegisteredModel(name="digits", version="6", aliases=("champion",))


def verdict(name: Any = "promote", reasons: tuple[str, ...] = (), rules: tuple[RuleResult, ...] = ()) -> Verdict:
    return Verdict(verdict=name, reasons=reasons, rules=rules)


def rule(outcome: Any, reason: str = "because.", **figures: float) -> RuleResult:
    return RuleResult(rule="floor", outcome=outcome, severity="reject", reason=reason, **figures)


@pytest.mark.parametrize(
    ("name", "registered", "champion", "sentence"),
    [
        ("promote", NEW, OLD, "Version 7 of digits is the champion now; it was version 6 before."),
        ("promote", NEW, None, "Version 7 of digits is the champion now."),
        (
            "promote",
            PENDING,
            OLD,
            "Version 7 of digits passed and waits for a person: `tenuto approve 7` makes it the champion, "
            "`tenuto refuse 7` does not; version 6 stays the champion until then.",
        ),
        (
            "promote",
            PENDING,
            None,
            "Version 7 of digits passed and waits for a person: `tenuto approve 7` makes it the champion, "
            "`tenuto refuse 7` does not.",
        ),
        ("register", PENDING, OLD, "Version 7 of digits was registered as a challenger; version 6 stays the champion."),
        ("reject", None, OLD, "No model was registered; version 6 stays the champion."),
        ("not evaluated", None, None, "No model was registered."),
    ],
)
def test_what_it_means_for_the_registry(
    name: str, registered: RegisteredModel | None, champion: RegisteredModel | None, sentence: str
) -> None:
    assert decision.outcome(verdict(name), None, registered, champion).sentence == sentence


@pytest.mark.parametrize("name", get_args(VerdictName))
def test_every_verdict_has_a_word(name: str) -> None:
    assert decision.outcome(verdict(name), None, None, None).word


def test_a_candidate_that_waits_for_a_person_is_not_called_promoted() -> None:
    waiting = decision.outcome(verdict("promote"), None, PENDING, OLD)
    assert (waiting.tone, waiting.word) == ("hold", "Waits for approval")
    assert decision.outcome(verdict("promote"), None, NEW, OLD).word == "Promoted"


def test_what_a_person_said_is_final() -> None:
    refused = decision.outcome(verdict("promote"), None, PENDING, OLD, "Refused by Ann: too noisy.")
    assert refused.word == "Refused"
    assert refused.sentence == (
        "Version 7 of digits passed the rules, and a person refused it; version 6 stays the champion."
    )
    assert decision.outcome(verdict("promote"), None, NEW, OLD, "Approved by Ann.").word == "Promoted"


@pytest.mark.parametrize("outcome", get_args(RuleOutcome))
def test_every_outcome_of_a_rule_has_a_mark_of_its_own(outcome: str) -> None:
    marks = {other: decision.rule(rule(other)).mark for other in get_args(RuleOutcome)}
    assert list(marks.values()).count(marks[outcome]) == 1


def test_a_stop_is_named_as_such() -> None:
    stop = Finding(expectation="x", severity="stop", success=False, summary="x")
    warn = stop.model_copy(update={"severity": "warn"})
    stopped = decision.outcome(verdict("not evaluated"), ValidationReport(findings=(stop,)), None, None)
    warned = decision.outcome(verdict("not evaluated"), ValidationReport(findings=(warn,)), None, None)
    assert (stopped.word, warned.word) == ("Stopped by validation", "Not evaluated")


def test_reasons_of_rules_that_passed_are_left_to_their_table() -> None:
    rules = (rule("pass", "good."), rule("fail", "bad."), rule("not applicable", "no champion."))
    told = verdict("reject", ("floor: bad.", "floor: good.", "floor: no champion."), rules)
    assert decision.outcome(told, None, None, None).reasons == ["floor: bad.", "1 of 2 rules passed."]


def test_a_rule_is_drawn_on_a_scale_that_holds_all_its_figures() -> None:
    drawn = decision.rule(rule("pass", observed=0.9, low=0.8, high=1.0, threshold=0.5))
    # 0.5 to 1.0 and a tenth of that on each side: 0.45 to 1.05
    assert drawn.threshold == pytest.approx(0.05 / 0.6)
    assert drawn.low == pytest.approx(0.35 / 0.6)
    assert drawn.observed == pytest.approx(0.45 / 0.6)
    assert drawn.high == pytest.approx(0.55 / 0.6)


@pytest.mark.parametrize("figures", [{}, {"observed": 0.5}, {"threshold": 0.5}])
def test_a_rule_without_figures_is_not_drawn(figures: dict[str, float]) -> None:
    drawn = decision.rule(rule("not evaluated", **figures))
    assert [drawn.observed, drawn.low, drawn.high, drawn.threshold] == [None] * 4


def test_a_rule_whose_figures_are_equal_or_not_numbers_is_drawn() -> None:
    same = decision.rule(rule("pass", observed=1.0, threshold=1.0))
    assert same.observed == same.threshold
    odd = decision.rule(rule("pass", observed=0.5, low=float("nan"), high=float("inf"), threshold=0.4))
    assert (odd.low, odd.high) == (None, None)


def test_fill_has_the_largest_gain_first_and_the_mean_last() -> None:
    comparison = FillComparison(
        copies={"label=seven": 90, "accent=nyc": 20},
        recall={
            "without fill": {"macro": 0.5, "accent=nyc": 0.8, "label=seven": 0.45, "label=lost": 0.1},
            "with fill": {"macro": 0.99, "accent=nyc": 0.7, "label=seven": 0.93},
        },
    )
    rows = decision.fill(comparison)
    assert [(row.name, row.copies) for row in rows] == [("label=seven", 90), ("accent=nyc", 20), ("macro", None)]
    assert rows[0].gain == pytest.approx(0.48)
    assert rows[1].gain == pytest.approx(-0.1)


def test_stages_keep_their_order_and_are_measured_against_the_longest() -> None:
    seconds = {"fetch": 1.0, "train": 4.0, "evaluate": 2.0, "total": 7.5}
    assert [(s.name, s.share) for s in decision.stages(seconds)] == [("fetch", 0.25), ("train", 1), ("evaluate", 0.5)]
    assert decision.total(seconds) == 7.5
    assert decision.total({"fetch": 1.0, "train": 4.0}) == 5.0
    assert decision.stages({}) == []
    assert decision.stages({"fetch": 0.0})[0].share == 0


def test_a_link_is_relative_quoted_and_only_to_what_is_there(tmp_path: Path) -> None:
    docs = tmp_path / "data docs"
    docs.mkdir()
    reports = tmp_path / "reports"
    assert decision.link_from(reports, tmp_path / "absent") is None
    assert decision.link_from(reports, None) is None
    (docs / "index.html").touch()
    assert decision.link_from(reports, docs) == "../data%20docs/index.html"
