"""The search: what is tried, what is kept of it, and that a kill changes neither."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tenuto.learning.tuning.study import Study, Trial
from tenuto.learning.tuning.trials import Result
from tenuto.search_space import with_settings
from tenuto.settings import Params
from tests import chirps

SPACE = {"finetune.probe_c": {"low": 0.01, "high": 10, "log": True}, "imbalance.loss": ["cross-entropy", "focal"]}


def params(**tune: Any) -> Params:
    return chirps.params(tune={"space": SPACE, **tune})


def scored(settings: dict[str, Any]) -> Result:
    """A made-up truth: best at C = 1, and focal is worse by 0.1; the present C of 0.1 gives 0.7."""
    worse = 0.1 * (settings.get("imbalance.loss") == "focal")
    f1 = 0.9 - 0.2 * abs(float(np.log10(settings.get("finetune.probe_c", 0.1)))) - worse
    return Result(macro_f1=f1, log_loss=0.5, seconds=0.1)


def search(study: Study, count: int) -> tuple[Trial, ...]:
    while len(study.trials) < count:
        asked = study.ask()
        study.tell(asked, scored(asked.settings))
    return study.trials


def bare(trials: tuple[Trial, ...]) -> list[tuple[Any, ...]]:
    return [(t.number, t.settings, t.is_present, t.state, t.macro_f1, t.reason) for t in trials]


def test_the_present_settings_are_first_and_the_search_finds_better_ones(tmp_path: Path) -> None:
    study = Study(tmp_path / "tune.log", params())
    trials = search(study, 25)
    assert trials[0].is_present and trials[0].settings == {} and trials[0].macro_f1 == pytest.approx(0.7)
    assert not any(trial.is_present for trial in trials[1:])
    assert [trial.number for trial in trials] == list(range(1, 26))
    assert study.best.macro_f1 is not None and study.best.macro_f1 > 0.85
    importances = study.importances()
    assert list(importances) == ["finetune.probe_c", "imbalance.loss"]
    assert sum(importances.values()) == pytest.approx(1)


def test_a_search_that_was_killed_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole = search(Study(tmp_path / "whole.log", params()), 16)
    for kill_after in (0, 5, 12):
        journal = tmp_path / f"killed-{kill_after}.log"
        killed = Study(journal, params())
        search(killed, kill_after)
        killed.ask()  # begun, and never told
        with journal.open("ab") as file:
            file.write(b'{"op_code":4,"tri')  # a power cut may leave that; a kill does not
        again = Study(journal, params())
        assert bare(again.trials) == bare(whole[:kill_after]), "what was finished stays finished"
        assert bare(search(again, 16)) == bare(whole)


def test_what_was_under_way_in_several_workers_is_tried_again(tmp_path: Path) -> None:
    study = Study(tmp_path / "tune.log", params(workers=3))
    search(study, 1)
    lost = [study.ask().settings for _ in range(3)]
    again = Study(tmp_path / "tune.log", params(workers=3))
    assert [again.ask().settings for _ in range(3)] == lost
    assert len({str(settings) for settings in lost}) == 3


def test_a_kill_before_the_first_trial_leaves_the_present_settings_first(tmp_path: Path) -> None:
    Study(tmp_path / "tune.log", params()).ask()
    again = Study(tmp_path / "tune.log", params())
    assert again.ask().is_present
    assert not again.ask().is_present


def test_another_seed_is_another_search(tmp_path: Path) -> None:
    one = bare(search(Study(tmp_path / "tune.log", params()), 6))
    other = params().model_copy(update={"seed": 1})
    assert bare(search(Study(tmp_path / "other.log", other), 6)) != one
    assert bare(Study(tmp_path / "tune.log", params()).trials) == one


def test_of_equals_the_present_settings_win(tmp_path: Path) -> None:
    study = Study(tmp_path / "tune.log", params(workers=2))
    present, other = study.ask(), study.ask()
    study.tell(other, Result(macro_f1=0.8, log_loss=0.5))
    study.tell(present, Result(macro_f1=0.8, log_loss=0.5))
    assert study.best.is_present
    study.tell(study.ask(), Result(macro_f1=0.8, log_loss=0.4))
    assert not study.best.is_present, "the log loss decides between equals"


def test_settings_that_were_tried_are_not_tried_again(tmp_path: Path) -> None:
    study = Study(tmp_path / "tune.log", params(space={"imbalance.loss": ["focal"]}))
    search(study, 1)
    first = study.ask()
    assert study.known(first) is None
    study.tell(first, scored(first.settings))
    again = study.ask()
    assert again.settings == first.settings
    known = study.known(again)
    assert known is not None and known.macro_f1 == scored(first.settings).macro_f1


def test_kinds_of_values_survive_the_journal(tmp_path: Path) -> None:
    space = {
        "imbalance.sample_by": [[], ["label"]],
        "model.truncate": [None, 2],
        "augment.spec_augment": [True, False],
        "finetune.batch_size": {"low": 4, "high": 64},
        "augment.fill": [0, 1.0],
    }
    study = Study(tmp_path / "tune.log", params(on="finetune", space=space))
    study.tell(study.ask(), Result(macro_f1=0.1, log_loss=1.0))
    for _ in range(8):
        settings = study.ask().settings
        assert settings["imbalance.sample_by"] in ([], ["label"])
        assert settings["model.truncate"] in (None, 2)
        assert isinstance(settings["augment.spec_augment"], bool)
        assert isinstance(settings["finetune.batch_size"], int)
        assert with_settings(params(), settings).model.truncate == settings["model.truncate"]
