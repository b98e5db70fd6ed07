"""The page and the card of a run whose clips have several labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tenuto.deciding.gate import judge, load_policy
from tenuto.learning.calibration import Calibration
from tenuto.records import Evaluation
from tenuto.reporting import card, listening, scores, tables
from tenuto.reporting.card.contents import contents
from tenuto.reporting.report import ReportInputs, write_report
from tenuto.settings import Params
from tests import scenes
from tests.deciding.test_policy import TEMPLATE
from tests.reporting import sample
from tests.reporting.test_card import inputs
from tests.reporting.test_report import OVERFLOWING, SCROLLS, browser, show

__all__ = ["browser"]

SKILL = {"candidate": 3.2, "baseline": 1.5, "champion": 2.8}
MANY = Params.model_validate({"name": "garden", "data": {"labels": "many"}})


def run(folder: Path) -> ReportInputs:
    """Twelve sites of a garden, all that sounds in them, and the clips themselves."""
    answers = scenes.answers(np.random.default_rng(1), 12, 30, SKILL)
    evaluation = scenes.evaluated(answers, folder)
    noise = {model: {"clean": 0.9, "20 dB": 0.8, "10 dB": 0.6} for model in SKILL}
    evaluation = evaluation.model_copy(update={"noise": noise})
    clips = scenes.table(answers).assign(split="test", aside_reason="", duration_seconds=1.0)
    clips["source"] = [f"garden/{i}.wav" for i in range(len(clips))]
    clips["path"] = clips["clip_id"] + ".flac"
    for number, path in enumerate(clips["path"]):
        sample.write_clip(folder / "data" / path, 300 + 5 * number, seconds=0.3)
    trained = clips.assign(clip_id="t" + clips["clip_id"].str[1:], split="train")
    clips_path = folder / "clips.parquet"
    pd.concat([clips, trained]).to_parquet(clips_path, index=False)
    whole = sample.whole_run(folder / "digits", per_cell=1)
    assert whole.checkpoint is not None
    (folder / "model").mkdir()
    Calibration(1.0, (0.5,) * 4, "no thresholds for 4 of 4 classes: fewer than 5 validation clips").save(
        folder / "model"
    )
    return replace(
        whole,
        checkpoint=whole.checkpoint.model_copy(update={"path": folder / "model"}),
        name="garden",
        verdict=judge(load_policy(TEMPLATE, "many"), evaluation),
        evaluation=evaluation,
        golden=None,
        fill=None,
        params=MANY,
        data=folder / "data",
        clips_path=clips_path,
    )


@pytest.fixture(scope="module")
def garden(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    return run(tmp_path_factory.mktemp("garden"))


@pytest.fixture(scope="module")
def page(garden: ReportInputs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield write_report(garden, tmp_path_factory.mktemp("page") / "report.html")


def evaluation_of(garden: ReportInputs) -> Evaluation:
    assert garden.evaluation is not None
    return garden.evaluation


def test_each_label_has_its_figures_and_no_confusion_matrix(garden: ReportInputs) -> None:
    evaluation = evaluation_of(garden)
    bars = scores.classes(evaluation)
    assert {bar.name for bar in bars} == set(scenes.LABELS)
    worst = bars[0]
    assert worst.figures["threshold"] == 0.5
    assert worst.figures["missed"] == round(worst.figures["support"] * (1 - worst.figures["recall"]))
    assert worst.figures["average_precision"] == evaluation.per_class["candidate"][worst.name]["average_precision"]
    assert scores.confusions(evaluation) == []


def test_the_page_says_what_is_counted(page: Path) -> None:
    text = page.read_text()
    for said in ("mAP", "All labels right", "Micro‑F1", "False alarms", "Threshold", "AP", "of the class in question"):
        assert said in text
    for unsaid in ("Balanced accuracy", "Confusion", "majority class"):
        assert unsaid not in text


def test_the_page_says_that_thresholds_were_not_fitted_and_why(page: Path) -> None:
    text = page.read_text()
    assert "Thresholds were asked for, and that of every class stayed at 0.50." in text
    assert "Calibration has no thresholds for 4 of 4 classes: fewer than 5 validation clips." in text


def test_the_rules_speak_of_what_the_tables_have(garden: ReportInputs) -> None:
    (served,) = [rule for rule in garden.verdict.rules if rule.rule.startswith("every group is served")]
    assert "share of clips with all labels right" in served.reason and "accuracy" not in served.reason


def test_misses_and_false_alarms_are_to_be_heard_label_by_label(garden: ReportInputs) -> None:
    evaluation = evaluation_of(garden)
    found = listening.worth_hearing(evaluation, None, None)
    assert found is not None and found.is_by_label
    assert len(found.totals) == 8
    counted = {bar.name: bar.figures for bar in scores.classes(evaluation)}
    for kind, total in found.totals.items():
        name, _, what = kind.partition(": ")
        assert total == counted[name]["missed" if what == "missed" else "false_alarms"]
    for kind, clips in found.by_kind:
        name, _, what = kind.partition(": ")
        sure = [clip.candidate_probability for clip in clips]
        assert sure == sorted(sure, reverse=what == "false alarms") and len(clips) <= 3
        for clip in clips:
            assert (name in clip.label.split(", ")) == (what == "missed") != (name in clip.candidate.split(", "))
            assert not clip.is_right
            assert clip.is_opponent_right == ((name in clip.opponent.split(", ")) == (what == "missed"))
    assert found.invitation.startswith(f"Listen to {len(found.clips)} of ")


def test_clips_are_counted_for_each_of_their_labels() -> None:
    clips = pd.DataFrame({"label": ["dog;rain", "dog", ""], "split": ["train", "test", "train"]})
    found = tables.splits(clips, "many")
    assert found is not None
    assert sorted(found.rows) == [("dog", [1, 1], 2), ("none", [1, 0], 1), ("rain", [1, 0], 1)]
    assert found.totals == [2, 1]


def test_the_card_tells_of_each_label(garden: ReportInputs, tmp_path: Path) -> None:
    assert garden.clips_path is not None
    whole = replace(
        inputs(tmp_path, MANY), evaluation=evaluation_of(garden), clips_path=garden.clips_path, verdict=garden.verdict
    )
    values: dict[str, Any] = contents(whole, pd.read_parquet(whole.clips_path))
    assert values["data"]["classes"] == 4 and values["data"]["rare"] == []
    assert all(row["train_clips"] > 50 for row in values["classes"]["rows"])
    text = card.render(whole, Path("there/is/none.md.j2"))
    assert "| mAP | Micro‑F1 | All labels right |" in text
    assert "| Class | Precision | F1 | Average precision | Threshold |" in text
    assert "Macro‑F1; the best and the worst lie" in text
    assert "surer than it is right" not in text and "Balanced accuracy" not in text


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 768, 390, 320])
def test_no_sideways_scrolling(browser: Any, page: Path, width: int) -> None:
    show(browser, page, width)
    browser.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert browser.execute_script(SCROLLS) == [0, 0]
    assert browser.execute_script(OVERFLOWING) == []
    assert browser.get_log("browser") == []
