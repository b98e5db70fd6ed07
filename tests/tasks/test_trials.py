"""Trials in a real MLflow store: nested runs with their figures, which nobody takes for a retrain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks import audit, erase, replay, track
from tasks.track import trials
from tenuto.processes import this_process
from tenuto.settings import Params
from tenuto.tracing.audit.index import Index
from tenuto.tracing.erasure.identities import Identities

PARAMS = Params.model_validate(
    {"name": "bells", "split": {"hold_out": {"speaker": ["ann"]}}, "card": {"contact": "write to ann"}}
)


def client(tracking_uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri)


def compared(tracking_uri: str, folder: Path) -> tuple[str, str]:
    """A finished parent run and its child."""
    page = folder / "compare.html"
    page.write_text("<html></html>")
    parent = trials.start(tracking_uri, "bells", "compare", PARAMS, "12.dir")
    figures = {"macro_f1": 0.75, "seconds": float("nan"), "recall of 50%": 0.5}
    child = trials.log(tracking_uri, parent, "speech-embedding, linear", {"head": "linear"}, figures, [page])
    trials.finish(tracking_uri, parent, [page])
    return parent, child


def test_a_trial_is_nested_in_its_parent(tracking_uri: str, tmp_path: Path) -> None:
    parent, child = (client(tracking_uri).get_run(run) for run in compared(tracking_uri, tmp_path))
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.info.run_name == "speech-embedding, linear"
    assert {parent.info.status, child.info.status} == {"FINISHED"}
    assert parent.data.params["finetune.epochs"] == "4"
    assert parent.data.tags["tenuto.dataset_md5"] == "12.dir"


def test_a_trial_holds_its_settings_figures_and_files(tracking_uri: str, tmp_path: Path) -> None:
    _, child = compared(tracking_uri, tmp_path)
    run = client(tracking_uri).get_run(child)
    assert run.data.params == {"head": "linear"}
    assert run.data.metrics == {"macro_f1": 0.75, "recall of 50_": 0.5}
    assert [file.path for file in client(tracking_uri).list_artifacts(child)] == ["compare.html"]


def test_no_trial_names_a_person_of_the_settings(tracking_uri: str, tmp_path: Path) -> None:
    parent, _ = compared(tracking_uri, tmp_path)
    assert [key for key, value in client(tracking_uri).get_run(parent).data.params.items() if "ann" in value] == []


def test_trials_are_never_taken_for_a_retrain(tracking_uri: str, tmp_path: Path) -> None:
    compared(tracking_uri, tmp_path)
    who = Identities(clips=("a" * 32,), groups=(("speaker", "ann"),))
    assert track.last_run(tracking_uri, "bells") is None
    assert track.last_trained_clips(tracking_uri, "bells", tmp_path) is None
    assert list(replay.decisions(tracking_uri, "bells", tmp_path)) == []
    assert list(erase.known_clips(tracking_uri, "bells")) == []
    assert erase.traces(tracking_uri, "bells", who) == ((), ())
    assert audit.catch_up(tracking_uri, "bells", tmp_path / "audit.sqlite") == 0
    with Index.open(tmp_path / "audit.sqlite") as index:
        assert index.run_ids() == set()


@pytest.mark.parametrize("status", ["FAILED", "KILLED"])
def test_a_parent_can_end_badly(tracking_uri: str, status: Any) -> None:
    parent = trials.start(tracking_uri, "bells", "tune", PARAMS)
    trials.finish(tracking_uri, parent, status=status)
    assert client(tracking_uri).get_run(parent).info.status == status


def test_what_a_killed_command_left_open_is_closed_by_the_next(tracking_uri: str) -> None:
    killed = trials.start(tracking_uri, "bells", "tune", PARAMS)
    dead = this_process().model_copy(update={"began": "1"}).model_dump_json()
    client(tracking_uri).set_tag(killed, "tenuto.process", dead)
    running = trials.start(tracking_uri, "bells", "tune", PARAMS)
    assert [client(tracking_uri).get_run(run).info.status for run in (killed, running)] == ["KILLED", "RUNNING"]
