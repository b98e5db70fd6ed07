"""A trial: what it is scored on, and what becomes of settings that are refused or fall behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tenuto.errors import SettingsError, TrainingError
from tenuto.learning import finetune
from tenuto.learning.selection import Scores
from tenuto.learning.tuning import trials
from tenuto.learning.tuning.study import Study, Trial
from tenuto.settings import Params
from tests import chirps

PARAMS = chirps.params(tune={"space": {"finetune.probe_c": {"low": 0.01, "high": 10, "log": True}}})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def clips(data: Path) -> pd.DataFrame:
    return chirps.write_clips(data, {"down": 12, "up": 12})


Run = Callable[[Study, Params], Trial]


@pytest.fixture
def run(clips: pd.DataFrame, data: Path, tmp_path: Path) -> Run:
    def one(study: Study, params: Params) -> Trial:
        asked = study.ask()
        return study.tell(asked, trials.run(asked, clips, data, params, tmp_path / "cache", tmp_path / "work"))

    return one


def test_on_embeddings_a_trial_is_a_head_scored_on_the_validation_clips(
    run: Run, clips: pd.DataFrame, data: Path, tmp_path: Path
) -> None:
    chosen = PARAMS
    study = Study(tmp_path / "tune.log", chosen)
    present, other = run(study, chosen), run(study, chosen)
    probe = chosen.model_copy(update={"finetune": chosen.finetune.model_copy(update={"epochs": 0})})
    made = finetune.train_candidate(clips, data, probe, tmp_path / "cache", tmp_path / "probe")
    assert present.macro_f1 == pytest.approx(made.validation["macro_f1"])
    assert present.log_loss == pytest.approx(made.validation["log_loss"], rel=1e-4)
    assert other.log_loss != present.log_loss


def test_settings_that_do_not_go_together_are_pruned_with_the_reason(run: Run, tmp_path: Path) -> None:
    chosen = chirps.params(tune={"space": {"finetune.label_smoothing": [0.1], "imbalance.loss": ["ldam"]}})
    study = Study(tmp_path / "tune.log", chosen)
    run(study, chosen)
    refused = run(study, chosen)
    assert refused.state == "pruned" and refused.macro_f1 is None
    assert "finetune.label_smoothing = 0.1 and imbalance.loss = 'ldam' do not go together" in refused.reason
    assert study.best.is_present


def test_what_is_wrong_with_the_present_settings_is_an_error(clips: pd.DataFrame, data: Path, tmp_path: Path) -> None:
    study = Study(tmp_path / "tune.log", PARAMS)
    one_class = clips[clips["label"] == "up"]
    with pytest.raises(TrainingError, match="wanted at least 2 classes"):
        trials.run(study.ask(), one_class, data, PARAMS, tmp_path / "cache", tmp_path / "work")


def test_a_training_below_the_median_is_ended_early(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = chirps.params(tune={"on": "finetune", "space": {"finetune.learning_rate": {"low": 1e-5, "high": 1e-3}}})
    study = Study(tmp_path / "tune.log", chosen)
    trained: list[int] = []

    def train(*_: Any, on_epoch: Callable[[int, Scores], None], **__: Any) -> Any:
        level = 0.9 - 0.1 * len(trained)
        trained.append(0)
        for epoch in range(1, 5):
            trained[-1] = epoch
            on_epoch(epoch, Scores(level, 0.5))
        (tmp_path / "work").mkdir(exist_ok=True)
        return type("Made", (), {"validation": {"macro_f1": level, "log_loss": 0.5}})

    monkeypatch.setattr(finetune, "train_candidate", train)
    monkeypatch.setattr(trials.shutil, "rmtree", lambda *_, **__: None)
    made = [run(study, chosen) for _ in range(7)]
    assert trained == [4, 4, 4, 4, 4, 2, 2], "the first epoch says too little"
    assert made[-1].reason == "below the median after epoch 2"
    assert made[-1].state == "pruned" and made[-1].macro_f1 == pytest.approx(0.3)


def test_a_whole_training_is_scored_and_its_files_go(run: Run, tmp_path: Path) -> None:
    space = {"finetune.learning_rate": {"low": 1e-5, "high": 1e-3}}
    chosen = chirps.params(finetune={"epochs": 1}, tune={"on": "finetune", "space": space})
    study = Study(tmp_path / "tune.log", chosen)
    trial = run(study, chosen)
    assert trial.state == "complete" and trial.macro_f1 is not None
    assert list((tmp_path / "work").iterdir()) == []
    frozen = study._study.trials[0]
    assert list(frozen.intermediate_values) == [1]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"tune": {"on": "finetune"}, "finetune": {"epochs": 0}}, "tune.on = 'finetune' and finetune.epochs = 0"),
        ({"model": {"pool": "gru"}}, "tune.on = 'embeddings' and model.pool = 'gru' do not go together"),
    ],
)
def test_a_search_that_has_nothing_to_score_is_refused(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        trials.check(chirps.params(**sections))
