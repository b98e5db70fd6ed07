import logging
import threading
import time

import pytest

from flows import stages
from flows.stages import Stages


def test_a_stage_that_runs_twice_adds_up_and_a_failed_one_counts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tenuto")
    stage = Stages()
    for _ in range(2):
        with stage("train"):
            time.sleep(0.02)
    with pytest.raises(ValueError), stage("register"):
        raise ValueError
    assert list(stage.seconds) == ["train", "register", "total"]
    assert stage.seconds["train"] >= 0.04
    assert stage.seconds["total"] >= stage.seconds["train"] + stage.seconds["register"]
    finished = [record.getMessage().split()[0] for record in caplog.records if hasattr(record, "stage_seconds")]
    assert finished == ["train", "train"]


def test_no_stage_begins_after_ctrl_c_even_if_a_library_swallowed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pressed = threading.Event()
    monkeypatch.setattr(stages, "ctrl_c", pressed)
    stage = Stages()
    with stage("validate"):
        pressed.set()
    with pytest.raises(KeyboardInterrupt), stage("train"):
        raise AssertionError("began")
