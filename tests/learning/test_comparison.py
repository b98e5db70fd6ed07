"""Rows of a comparison: trained on chirps, kept, and put side by side by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tenuto.errors import TrainingError
from tenuto.learning import comparison, finetune
from tenuto.learning.comparison import Choice, Figures, Trained
from tests import chirps

LINEAR = Choice(backbone="speech-embedding", head="linear", way="frozen")
ABSENT = Choice(backbone="nowhere/to-be-found", head="linear", way="frozen")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace") / "data"


@pytest.fixture(scope="module")
def clips(data: Path) -> pd.DataFrame:
    return chirps.write_clips(data, {"down": 12, "up": 12})


def figures(**values: float) -> Figures:
    usual = dict.fromkeys(Figures.model_fields, 1.0) | {"licence": "MIT", "parameters": 10}
    return Figures.model_validate(usual | values)


def test_every_backbone_meets_every_head_and_a_network_from_scratch_its_own() -> None:
    params = chirps.params()
    found = comparison.choices(params, ["speech-embedding", "log-mel-cnn"], ["linear", "mlp"], is_finetuned=True)
    assert [c.title for c in found] == [
        "speech-embedding, linear, fine-tuned",
        "speech-embedding, mlp, fine-tuned",
        "log-mel-cnn, own, from scratch",
    ]
    usual = comparison.choices(params, (), ["linear"], is_finetuned=False)
    assert [c.backbone for c in usual] == ["speech-embedding", "log-mel-cnn", "log-mel-crnn"]


def test_a_finished_row_is_kept_for_the_same_settings_and_a_backbone_that_is_absent_says_so(
    clips: pd.DataFrame, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []
    train = finetune.train_candidate
    monkeypatch.setattr(finetune, "train_candidate", lambda *a, **k: (trained.append(a[2].seed), train(*a, **k))[1])

    def run(seed: int = 0, md5: str = "1") -> comparison.Comparison:
        params = chirps.params(seed=seed)
        return comparison.compare(clips, data, params, None, tmp_path, [LINEAR, ABSENT], identity=[md5])

    found = run()
    row, absent = found.rows
    assert row.figures and row.macro_f1 and row.macro_f1.low <= row.macro_f1.value <= row.macro_f1.high
    assert row.figures.parameters > 100_000 and row.figures.p95_ms >= row.figures.p50_ms > 0
    assert row.figures.licence == "Apache-2.0"
    assert "'nowhere/to-be-found' cannot be loaded" in absent.problem and absent.figures is None
    assert found.chosen == found.reference == LINEAR.title
    assert trained == [0, 0], "the second is the absent one"
    assert run() == found
    assert trained == [0, 0, 0], "only the absent one is tried again"
    run(seed=1)
    run(md5="2")
    assert trained[3:] == [1, 1, 0, 0]


def test_clips_without_a_test_split_cannot_be_compared_on(clips: pd.DataFrame, data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="test split holds no clip"):
        comparison.compare(
            clips[clips["split"] != "test"], data, chirps.params(), None, tmp_path, [LINEAR], identity=[]
        )


def summary(**rows: tuple[Figures, str]) -> comparison.Comparison:
    """Rows by head; the answers are given as letters, the truth is aaaabbbb."""
    test = pd.DataFrame({"clip_id": [*"12345678"], "label": [*"aaaabbbb"], "split": "test"})
    chosen = [Choice(backbone="speech-embedding", head=head, way="frozen") for head in rows]
    made = {
        choice.title: Trained(figures=figures, predicted=tuple(said))
        for choice, (figures, said) in zip(chosen, rows.values(), strict=True)
    }
    return comparison.summarise(chosen, made, {}, test, chirps.params(), None, [])


def test_the_choice_is_made_on_the_validation_clips_and_differences_are_to_the_present_settings() -> None:
    found = summary(
        mlp=(figures(validation_macro_f1=0.9), "aaaabbba"),
        linear=(figures(validation_macro_f1=0.5), "aaaabbbb"),
    )
    mlp, linear = found.rows
    assert found.chosen == mlp.choice.title, "although linear does better on the test clips"
    assert found.reference == linear.choice.title, "params.yaml says so"
    # classes a and b: F1 of 8/9 and 6/7
    assert mlp.difference and mlp.difference.value == pytest.approx((8 / 9 + 6 / 7) / 2 - 1)
    assert linear.difference is None
    assert "Choosing the best of 2 by their test figures would flatter it" in " ".join(comparison.sentences(found))


def test_the_front_holds_what_nothing_beats() -> None:
    found = summary(
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
    found = comparison.summarise([LINEAR], made, {}, test, chirps.params(), None, ["group_accent"])
    assert found.rows[0].worst == comparison.Worst(group="accent", value="west", recall=0.5, clips=10)


def test_settings_that_do_not_go_together_are_a_row_that_says_so(
    clips: pd.DataFrame, data: Path, tmp_path: Path
) -> None:
    params: Any = chirps.params(finetune={"unfreeze": "head"}).model_copy(
        update={"model": chirps.params(model={"adapter_size": 4}).model}
    )
    found = comparison.compare(clips, data, params, None, tmp_path, [LINEAR], identity=[])
    assert "model.adapter_size" in found.rows[0].problem
    assert comparison.sentences(found) == ("No row could be trained.",)
