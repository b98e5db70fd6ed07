"""Rows put side by side by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from tenuto.learning.comparison import summary
from tenuto.learning.comparison.choices import Choice
from tenuto.learning.comparison.summary import Trained
from tenuto.learning.comparison.table import Comparison, Figures, Worst, sentences
from tests import chirps

LINEAR = Choice(backbone="speech-embedding", head="linear", way="frozen")


def figures(**values: float) -> Figures:
    usual = dict.fromkeys(Figures.model_fields, 1.0) | {"licence": "MIT", "parameters": 10}
    return Figures.model_validate(usual | values)


def summarised(**rows: tuple[Figures, str]) -> Comparison:
    """Rows by head; the answers are given as letters, the truth is aaaabbbb."""
    test = pd.DataFrame({"clip_id": [*"12345678"], "label": [*"aaaabbbb"], "split": "test"})
    chosen = [Choice(backbone="speech-embedding", head=head, way="frozen") for head in rows]
    made = {
        choice.title: Trained(figures=figures, predicted=tuple(said))
        for choice, (figures, said) in zip(chosen, rows.values(), strict=True)
    }
    return summary.summarise(chosen, made, {}, test, chirps.params(), None, [])


def test_the_choice_is_made_on_the_validation_clips_and_differences_are_to_the_present_settings() -> None:
    found = summarised(
        mlp=(figures(validation_macro_f1=0.9), "aaaabbba"),
        linear=(figures(validation_macro_f1=0.5), "aaaabbbb"),
    )
    mlp, linear = found.rows
    assert found.chosen == mlp.choice.title, "although linear does better on the test clips"
    assert found.reference == linear.choice.title, "params.yaml says so"
    # classes a and b: F1 of 8/9 and 6/7
    assert mlp.difference and mlp.difference.value == pytest.approx((8 / 9 + 6 / 7) / 2 - 1)
    assert linear.difference is None
    assert "Choosing the best of 2 by their test figures would flatter it" in " ".join(sentences(found))


def test_the_front_holds_what_nothing_beats() -> None:
    found = summarised(
        linear=(figures(p50_ms=5, size_mb=2), "aaaabbbb"),
        mlp=(figures(p50_ms=1, size_mb=2), "aaaabbba"),
        prototype=(figures(p50_ms=2, size_mb=2), "aaaabbba"),
    )
    assert [row.fronts for row in found.rows] == [("latency", "size"), ("latency",), ()]


def test_the_worst_group_is_the_one_called_right_least_often_of_those_with_clips_enough() -> None:
    accents = ["east"] * 10 + ["west"] * 10 + ["few"]
    test = pd.DataFrame({"clip_id": range(21), "label": ["a", "b"] * 10 + ["a"], "group_accent": accents})
    said = [*("a", "b") * 5, *("a",) * 10, "b"]
    made = {LINEAR.title: Trained(figures=figures(), predicted=tuple(said))}
    found = summary.summarise([LINEAR], made, {}, test, chirps.params(), None, ["group_accent"])
    assert found.rows[0].worst == Worst(group="accent", value="west", recall=0.5, clips=10)
