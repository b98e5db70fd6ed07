import logging
import os
import threading
import time
from pathlib import Path

import pytest

from flows import stages
from flows.stages import Stages
from tenuto.workspace import Workspace


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


def test_outside_a_flow_a_stage_hands_back_what_it_made() -> None:
    stage = Stages()
    record = object()
    with stage("split") as split:
        assert split.made(record) is record
        assert split.made(None) is None


def test_processor_time_counts_work_and_not_waiting() -> None:
    stage = Stages()
    before = stage.cpu_seconds
    time.sleep(0.05)
    waited = stage.cpu_seconds - before
    busy_until = time.process_time() + 0.05
    while time.process_time() < busy_until:
        pass
    assert waited < 0.05 <= stage.cpu_seconds - before


def test_after_its_flow_a_stage_tells_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OPENLINEAGE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    workspace = Workspace(tmp_path)
    stage = Stages()
    with stage.flow("retrain", workspace, "bells"), stage("fetch"):
        pass
    with stage("split"):
        pass
    assert [line.count(".retrain.fetch") for line in workspace.events.read_text().splitlines()] == [0, 1, 1, 0]
