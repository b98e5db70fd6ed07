import logging
import time

import pytest

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
