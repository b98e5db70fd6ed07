"""Rows trained on chirps, and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tenuto.errors import BackboneError, TrainingError
from tenuto.learning import finetune
from tenuto.learning.comparison import running
from tenuto.learning.comparison.choices import Choice
from tenuto.learning.comparison.table import Comparison, sentences
from tests import chirps

LINEAR = Choice(backbone="speech-embedding", head="linear", way="frozen")


ABSENT = Choice(backbone="nowhere/to-be-found", head="linear", way="frozen")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace") / "data"


@pytest.fixture(scope="module")
def clips(data: Path) -> pd.DataFrame:
    return chirps.write_clips(data, {"down": 12, "up": 12})


def test_a_finished_row_is_kept_for_the_same_settings_and_a_backbone_that_is_absent_says_so(
    clips: pd.DataFrame, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []
    train = finetune.train_candidate
    monkeypatch.setattr(finetune, "train_candidate", lambda *a, **k: (trained.append(a[2].seed), train(*a, **k))[1])

    def run(seed: int = 0, md5: str = "1") -> Comparison:
        params = chirps.params(seed=seed)
        return running.compare(clips, data, params, None, tmp_path, [LINEAR, ABSENT], identity=[md5])

    found = run()
    row, absent = found.rows
    assert row.figures and row.macro_f1 and row.macro_f1.low <= row.macro_f1.value <= row.macro_f1.high
    assert row.figures.parameters > 100_000 and row.figures.p95_ms >= row.figures.p50_ms > 0
    assert row.figures.licence == "Apache-2.0"
    assert "'nowhere/to-be-found' cannot be loaded" in absent.problem and absent.figures is None
    assert found.chosen == found.reference == LINEAR.title
    assert trained == [0], "the second is the absent one"
    assert run() == found
    assert trained == [0]
    run(seed=1)
    run(md5="2")
    assert trained[1:] == [1, 0]


def test_an_absent_backbone_is_looked_for_once(
    clips: pd.DataFrame, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def resolve(name: str, *_: Any, **__: Any) -> None:
        asked.append(name)
        raise BackboneError("absent")

    monkeypatch.setattr("tenuto.learning.backbones.resolve", resolve)
    rows = [ABSENT, ABSENT.model_copy(update={"head": "mlp"})]
    found = running.compare(clips, data, chirps.params(), None, tmp_path, rows, identity=[])
    assert [row.problem for row in found.rows] == ["absent", "absent"]
    assert asked == [ABSENT.backbone]


def test_clips_without_a_test_split_cannot_be_compared_on(clips: pd.DataFrame, data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="test split holds no clip"):
        running.compare(clips[clips["split"] != "test"], data, chirps.params(), None, tmp_path, [LINEAR], identity=[])


def test_settings_that_do_not_go_together_are_a_row_that_says_so(
    clips: pd.DataFrame, data: Path, tmp_path: Path
) -> None:
    params: Any = chirps.params(finetune={"unfreeze": "head"}).model_copy(
        update={"model": chirps.params(model={"adapter_size": 4}).model}
    )
    found = running.compare(clips, data, params, None, tmp_path, [LINEAR], identity=[])
    assert "model.adapter_size" in found.rows[0].problem
    assert sentences(found) == ("No row could be trained.",)


@pytest.mark.parametrize("pool", ["attention", "gru", "lstm"])
def test_a_learned_pool_is_the_mean_in_a_frozen_row(clips: pd.DataFrame, data: Path, tmp_path: Path, pool: str) -> None:
    """It starts as the mean; the backbone's own pool would be something else, or nothing (CLAP has none)."""
    job = running._Job(clips, data, chirps.params(model={"pool": pool}), tmp_path, ())
    assert running._params(LINEAR, job).model.pool == "mean"
    assert running._params(LINEAR.model_copy(update={"way": "fine-tuned"}), job).model.pool == pool


def test_a_network_from_scratch_hears_windows_as_the_others_do(
    clips: pd.DataFrame, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = {"pool": "attention", "head": "mlp", "window_seconds": 0.5}
    scratch = Choice(backbone="log-mel-cnn", head="own", way="from scratch")
    monkeypatch.setattr(running, "SCRATCH_EPOCHS", 1)
    heard: list[Any] = []
    load = running.Predictor.load
    monkeypatch.setattr(running.Predictor, "load", lambda path: heard.append(load(path)) or heard[-1])
    found = running.compare(clips, data, chirps.params(model=model), None, tmp_path, [scratch], identity=[])
    assert found.rows[0].figures, found.rows[0].problem
    assert heard[0].preprocessing.framing.window_seconds == 0.5
