"""The gate's sentences, word by word."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tenuto.deciding.policy import Rule
from tenuto.deciding.slices import Slice, Slices
from tenuto.deciding.thresholds import More
from tenuto.deciding.wording import Case, Claim, sentence, too_little
from tenuto.records import Account, Interval, RuleOutcome


def rule(**fields: Any) -> Rule:
    return Rule(**{"name": "r", "metric": "macro_f1", "severity": "hold", **fields})


SCORE = Interval(value=0.962, low=0.948, high=0.974, n=1000, groups=1000, resampled="2 speakers' clips")
LEAD = Interval(value=-0.01, low=-0.0221, high=0.002, n=1000, groups=12, resampled="12 speakers")
EVERYTHING = Slice("", np.ones(3, dtype=bool))
SEVEN = Slice("class 'seven'", np.ones(64, dtype=bool), "seven", "class 'seven'")
ANN = Slice("speaker 'ann'", np.ones(20, dtype=bool), plain="one speaker")
BEN = Slice("speaker 'ben'", np.ones(30, dtype=bool), plain="one speaker")


def case(about: Rule, outcome: RuleOutcome, **fields: Any) -> Case:
    given = {
        "interval": SCORE if about.versus is None else LEAD,
        "scores": (0.952, 0.962),
        "slice": EVERYTHING,
        "of": 1,
    }
    return Case(about, outcome, **{**given, "confidence": 0.95, "unit_name": "speaker", **fields})


@pytest.mark.parametrize(
    ("fields", "outcome", "end"),
    [
        ({"at_least": 0.6}, "pass", "is above the floor 0.60"),
        ({"at_least": 0.6}, "fail", "is below the floor 0.60"),
        ({"at_least": 0.6}, "inconclusive", "may lie on either side of the floor 0.60"),
        ({"at_most": 0.6}, "pass", "is below the ceiling 0.60"),
        ({"at_most": 0.6}, "fail", "is above the ceiling 0.60"),
    ],
)
def test_a_value(fields: dict[str, float], outcome: RuleOutcome, end: str) -> None:
    said = sentence(case(rule(**fields), outcome))
    assert said == f"macro-F1 0.962 (95 % 0.948-0.974, resampled by 2 speakers' clips) {end}"


@pytest.mark.parametrize(
    ("fields", "outcome", "end"),
    [
        ({"better_by": 0.0}, "pass", "better"),
        ({"better_by": 0.025}, "fail", "not better by more than 0.025"),
        ({"better_by": 0.0}, "inconclusive", "not shown to be better"),
        ({"not_worse_by": 0.02}, "pass", "not worse by more than 0.02"),
        ({"not_worse_by": 0.02}, "fail", "worse"),
        ({"not_worse_by": 0.02}, "inconclusive", "which leaves open whether it is worse by more than 0.02"),
        ({"not_better_by": 0.15}, "pass", "no suspicious lead of 0.15 or more"),
        (
            {"not_better_by": 0.15},
            "fail",
            "a suspicious lead beyond 0.15: look for test clips among the training clips",
        ),
    ],
)
def test_another_model(fields: dict[str, float], outcome: RuleOutcome, end: str) -> None:
    said = sentence(case(rule(versus="champion", metric="accuracy", **fields), outcome, confidence=0.9))
    figures = "difference -0.010 (90 % -0.022 to +0.002, resampled by 12 speakers)"
    assert said == f"accuracy 0.952 against 0.962 of the champion: {figures}, {end}"


def test_percentages_and_losses() -> None:
    said = sentence(case(rule(versus="champion", metric="log_loss", not_worse_by_percent=5), "pass"))
    figures = "lead -1.0 % (95 % -2.2 % to +0.2 %, resampled by 12 speakers)"
    assert said == f"log loss 0.952 against 0.962 of the champion: {figures}, not worse by more than 5 %"


def test_the_slice_comes_first() -> None:
    worst = rule(metric="recall", of="worst class", at_least=0.5)
    assert sentence(case(worst, "pass", slice=SEVEN, of=10)).startswith(
        "worst of 10, class 'seven' (64 clips): recall "
    )
    named = rule(metric="recall", of="class=seven", at_least=0.5)
    assert sentence(case(named, "pass", slice=SEVEN)).startswith("class 'seven' (64 clips): recall ")


def test_a_plain_sentence_names_no_group() -> None:
    gap = Slice(ANN.name, ANN.mask, plain=ANN.plain, minus=BEN)
    found = case(rule(of="speaker=ann", minus="speaker=ben", at_least=-0.1, metric="accuracy"), "pass", slice=gap)
    figures = "gap in accuracy +0.962 (95 % +0.948 to +0.974, resampled by 2 speakers' clips) is above the floor -0.10"
    assert sentence(found) == f"speaker 'ann' (20 clips) less speaker 'ben' (30 clips): {figures}"
    assert sentence(found, is_plain=True) == f"one speaker (20 clips) less one speaker (30 clips): {figures}"


@pytest.mark.parametrize(
    ("more", "end"),
    [
        (More(240, 12), "; about 240 more clips of about 12 more speakers would have an even chance to settle it"),
        (More(240), "; about 240 more clips would have an even chance to settle it"),
        (More(None), "; not even 20 times as many clips would be likely to settle it: it lies too near"),
    ],
)
def test_what_would_settle_it(more: More, end: str) -> None:
    assert sentence(case(rule(at_least=0.95), "inconclusive", more=more)).endswith(f"of the floor 0.95{end}")


@pytest.mark.parametrize(
    ("claim", "end"),
    [
        (Claim(0.3, 0.001, is_ahead=False), ", not shown to be better"),
        (Claim(0.0123, 0.001, is_ahead=True), ": p = 0.012, and this test set allows 0.001"),
        (
            Claim(0.3, 0.0, is_ahead=False),
            "; this test set is worn out: `tenuto holdout rotate` brings in a fresh one",
        ),
        (
            Claim(0.01, 0.001, True, Account(holdout="1", alpha=0.05, decisions=52, used=9, level=0.001, left=0.8)),
            ": p = 0.01, and this test set allows 0.001 after 9 of its 52 decisions",
        ),
    ],
)
def test_a_lead_that_is_not_shown(claim: Claim, end: str) -> None:
    assert sentence(case(rule(versus="champion", better_by=0.0), "inconclusive", claim=claim)).endswith(end)


def test_one_of_many_may_look_bad_by_chance() -> None:
    worst = rule(metric="accuracy", of="worst group=speaker", at_least=0.5)
    said = sentence(case(worst, "inconclusive", slice=ANN, of=20, chance=0.0812))
    end = "is below the floor 0.50, which of 20 slices one may do by chance (p = 0.081 by Holm's correction)"
    assert said.endswith(end)


def test_too_few_clips_says_how_many_and_what_to_do() -> None:
    few = Slices((), tuple(Slice(f"class 'c{i}'", np.ones(i, dtype=bool), f"c{i}") for i in range(7)))
    said = too_little(rule(metric="recall", of="worst class", at_least=0.5, min_clips=10), few)
    assert said == (
        "too few test clips to tell: class 'c0' (0), class 'c1' (1), class 'c2' (2), class 'c3' (3), class 'c4' (4) "
        "and 2 more; the rule wants 10. Add test clips, or lower its min_clips in the promotion policy."
    )


def test_too_few_clips_over_all() -> None:
    few = Slices((), (EVERYTHING,))
    assert "too few test clips to tell: the test set (3); the rule wants 5" in too_little(
        rule(at_least=0.5, min_clips=5), few
    )


def test_too_few_clips_of_a_group_are_named_only_in_full() -> None:
    few, wants = Slices((), (ANN,)), rule(of="speaker=ann", at_least=0.5, min_clips=30)
    assert "speaker 'ann' (20)" in too_little(wants, few)
    assert "one speaker (20)" in too_little(wants, few, is_plain=True)
