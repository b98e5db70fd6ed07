"""Stored decisions as MLflow gives them back: whole ones, and those that cannot be judged again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks import replay
from tenuto.records import Account, Evaluation, RegisteredModel, Verdict

ACCOUNT = Account(holdout="2", alpha=0.05, decisions=52, used=3, level=0.001, left=0.9)
REJECT = Verdict(verdict="reject", reasons=("floor: too low.",), rules=(), account=ACCOUNT)


def evaluation(path: Path) -> Evaluation:
    return Evaluation(
        probabilities_path=path, labels=("a",), metrics={}, per_class={}, per_group={}, gaps={}, confusion={}
    )


def store(
    tracking_uri: str, files: dict[str, str | bytes], *, name: str = "bells", status: str = "FINISHED", **tags: str
) -> str:
    """A run with a verdict and these artifacts."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri)
    found = client.get_experiment_by_name(name)
    location = (Path(tracking_uri.removeprefix("sqlite:///")).parent / "artifacts").as_uri()
    experiment = found.experiment_id if found else client.create_experiment(name, artifact_location=location)
    dotted = {key.replace("__", "."): value for key, value in tags.items()}
    run_id = str(client.create_run(experiment, tags={"tenuto.verdict": "reject", **dotted}).info.run_id)
    for artifact, content in files.items():
        folder, _, file = artifact.rpartition("/")
        local = Path(tracking_uri.removeprefix("sqlite:///")).parent / file
        local.write_bytes(content if isinstance(content, bytes) else content.encode())
        client.log_artifact(run_id, str(local), folder)
    client.set_terminated(run_id, status)
    return run_id


def whole(tmp_path: Path, verdict: Verdict = REJECT) -> dict[str, str | bytes]:
    table = tmp_path / "table.parquet"
    pd.DataFrame({"clip_id": ["x"], "model": ["candidate"]}).to_parquet(table)
    return {
        "verdict/verdict.json": verdict.model_dump_json(),
        "evaluation/evaluation.json": evaluation(Path("/gone/long/ago.parquet")).model_dump_json(),
        "evaluation/probabilities.parquet": table.read_bytes(),
    }


def read(tracking_uri: str, tmp_path: Path) -> list[replay.Decision]:
    return list(replay.decisions(tracking_uri, "bells", tmp_path / "cache"))


def test_a_decision_comes_back_with_all_that_it_rests_on(tracking_uri: str, tmp_path: Path) -> None:
    model = RegisteredModel(name="bells", version="3", aliases=())
    run_id = store(tracking_uri, whole(tmp_path), tenuto__model=model.model_dump_json())
    (found,) = read(tracking_uri, tmp_path)
    assert (found.run_id, found.version, found.verdict, found.problem) == (run_id, "3", REJECT, "")
    assert found.evaluation is not None
    kept = tmp_path / "cache" / "runs" / run_id
    assert found.evaluation.probabilities_path == kept / "probabilities.parquet"
    assert pd.read_parquet(found.evaluation.probabilities_path)["clip_id"].tolist() == ["x"]
    assert sorted(path.name for path in kept.iterdir()) == ["evaluation.json", "probabilities.parquet", "verdict.json"]


def test_the_oldest_comes_first_and_unfinished_runs_and_other_models_do_not_count(
    tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "_RUNS_PER_CALL", 2)
    runs = [store(tracking_uri, whole(tmp_path)) for _ in range(3)]
    store(tracking_uri, whole(tmp_path), status="FAILED")
    store(tracking_uri, whole(tmp_path), name="whistles")
    found = read(tracking_uri, tmp_path)
    assert [decision.run_id for decision in found] == runs
    assert [decision.at for decision in found] == sorted(decision.at for decision in found)


def test_without_runs_there_is_nothing(tracking_uri: str, tmp_path: Path) -> None:
    assert read(tracking_uri, tmp_path) == []


@contextmanager
def no_downloads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from mlflow import MlflowClient

    def refuse(*arguments: Any) -> str:
        raise AssertionError(f"asked for {arguments}")

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "download_artifacts", refuse)
        yield


def test_files_are_fetched_once(tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(tracking_uri, whole(tmp_path))
    first = read(tracking_uri, tmp_path)
    with no_downloads(monkeypatch):
        assert read(tracking_uri, tmp_path) == first


def test_what_cannot_be_judged_again_is_named_with_the_reason(tracking_uri: str, tmp_path: Path) -> None:
    files = whole(tmp_path)
    early = Verdict(verdict="not evaluated", reasons=("imbalance: 9:1.",), rules=())
    store(tracking_uri, {"verdict/verdict.json": early.model_dump_json()})
    store(tracking_uri, {name: text for name, text in files.items() if "parquet" not in name})
    store(tracking_uri, {name: text for name, text in files.items() if "verdict" not in name})
    old = {**json.loads(str(files["evaluation/evaluation.json"])), "labels": None}
    store(tracking_uri, {**files, "evaluation/evaluation.json": json.dumps(old)})
    store(tracking_uri, {**files, "verdict/verdict.json": "{"})
    found = read(tracking_uri, tmp_path)
    assert [decision.problem for decision in found][:3] == [
        "nothing was scored: imbalance: 9:1.",
        "its evaluation/probabilities.parquet is gone",
        "its verdict/verdict.json is gone",
    ]
    assert found[3].problem.startswith("its Evaluation is of another format (labels: ")
    assert found[4].problem.startswith("its Verdict is of another format")
    assert not any(decision.verdict and decision.evaluation for decision in found)
