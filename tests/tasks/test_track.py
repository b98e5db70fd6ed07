"""What a tracked run holds, and which run counts as the last one."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks import track
from tasks.track.figures import serving_figures
from tenuto.processes import this_process
from tenuto.records import (
    Checkpoint,
    CodeVersion,
    DatasetVersion,
    Evaluation,
    Finding,
    Interval,
    RegisteredModel,
    Remedy,
    ValidationReport,
    Verdict,
)
from tenuto.settings import Params, load_params
from tenuto.tracing import lineage
from tenuto.tracing.lineage import Lineage
from tenuto.workspace import Workspace
from tests.bundles import two_artefacts

PARAMS = Params.model_validate({"name": "bells", "split": {"hold_out": {"speaker": ["ann", "ben"]}}})
MD5 = "0123456789abcdef0123456789abcdef.dir"
PROMOTE = Verdict(verdict="promote", reasons=("better", "fair"), rules=())


def client(tracking_uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri)


def made_from(inputs: str = "1234", root: Path = Path("/nowhere")) -> Lineage:
    manifest = Workspace(root).manifest
    return Lineage(
        dataset=DatasetVersion(md5=MD5, manifest_path=manifest, clips=40, quarantined=2),
        code=CodeVersion(commit="abc123", branch="main", dirty_files=("params.yaml",)),
        inputs=inputs,
        source_sha256="5678",
        environment={"torch": "2.13.0"},
        prefect_run="flow-run-id",
    )


def begin(tracking_uri: str, inputs: str = "1234", root: Path = Path("/nowhere")) -> str:
    return track.start.fn(tracking_uri, "bells", PARAMS, made_from(inputs, root))


def downloaded(tracking_uri: str, run_id: str, tmp_path: Path) -> Path:
    return Path(client(tracking_uri).download_artifacts(run_id, "", str(tmp_path / "downloaded")))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def conclude(tracking_uri: str, run_id: str, results: track.Results | None = None, **finish: Any) -> None:
    track.log_results.fn(tracking_uri, run_id, results or track.Results(verdict=PROMOTE))
    track.finish.fn(tracking_uri, run_id, **finish)


@pytest.fixture
def results(tmp_path: Path) -> track.Results:
    clips = tmp_path / "clips.parquet"
    pd.DataFrame({"clip_id": ["a", "b"], "split": ["train", "test"], "fingerprint": [b"long", b"long"]}).to_parquet(
        clips
    )
    probabilities = tmp_path / "probabilities.parquet"
    pd.DataFrame({"clip_id": ["b"], "p_low": [0.2]}).to_parquet(probabilities)
    figures = {"macro_f1": 0.75, "accuracy": 0.8, "recall": math.nan}
    return track.Results(
        verdict=PROMOTE,
        clips_path=clips,
        validation=ValidationReport(
            findings=(Finding(expectation="imbalance", severity="warn", success=False, summary="4:1"),)
        ),
        checkpoint=Checkpoint(
            path=tmp_path,
            sha256="c0ffee",
            backbone="speech-embedding",
            backbone_revision="1",
            preprocessing="p",
            labels=("low", "höchst $1"),
            trainable_parameters=12,
            seconds=1.5,
        ),
        evaluation=Evaluation(
            probabilities_path=probabilities,
            labels=("low", "höchst $1"),
            metrics={"candidate": figures, "baseline": {"macro_f1": 0.5}},
            per_class={"candidate": {"höchst $1": {"recall": 0.25, "support": 4}}},
            per_group={},
            gaps={"candidate": {"speaker": {"recall": 0.125}}},
            confusion={"candidate": [[3, 1], [0, 4]]},
            noise={"candidate": {"10 dB": 0.625}},
            intervals={"candidate": Interval(value=0.75, low=0.5, high=0.875, n=8, groups=2)},
        ),
    )


def test_an_open_run_holds_parameters_dataset_and_lineage(tracking_uri: str) -> None:
    run = client(tracking_uri).get_run(begin(tracking_uri))
    assert run.info.status == "RUNNING"
    # a name could not be taken out of MLflow's parameters again
    assert run.data.params["split.hold_out.speaker"] == "2 names"
    assert run.data.params["finetune.epochs"] == str(PARAMS.finetune.epochs)
    (dataset_input,) = run.inputs.dataset_inputs
    assert dataset_input.dataset.digest == MD5
    assert json.loads(dataset_input.dataset.profile) == {"clips": 40, "quarantined": 2}
    assert run.data.tags["mlflow.source.git.commit"] == "abc123"
    assert run.data.tags["tenuto.git_dirty_files"] == "params.yaml"
    assert run.data.tags["tenuto.prefect_run"] == "flow-run-id"


def test_mlflow_can_read_the_dataset_source_back(tracking_uri: str) -> None:
    import mlflow.data

    run = client(tracking_uri).get_run(begin(tracking_uri))
    source = mlflow.data.get_source(run.inputs.dataset_inputs[0])
    assert source.to_dict() == {"uri": "data.dvc"}


def test_every_artefact_has_its_figures_and_its_parity() -> None:
    exported = two_artefacts()
    assert exported.bundle
    found = dict(serving_figures(exported.bundle))
    assert found["serving.fp32.p50_ms"] == 2.0
    assert found["serving.fp32.agreement"] == 0.995
    assert (found["serving.fp32.is_published"], found["serving.int8-static.is_published"]) == (1.0, 0.0)
    assert found["serving.int8-static.size_mb"] == 0.6


def test_figures_become_metrics_under_names_that_mlflow_takes(tracking_uri: str, results: track.Results) -> None:
    run_id = begin(tracking_uri)
    conclude(tracking_uri, run_id, results, seconds={"train candidate": 12.5})
    assert client(tracking_uri).get_run(run_id).data.metrics == {
        "trainable_parameters": 12,
        "training_seconds": 1.5,
        "seconds.train candidate": 12.5,
        "candidate.macro_f1": 0.75,
        "candidate.accuracy": 0.8,  # and no recall, which is not a number
        "baseline.macro_f1": 0.5,
        "candidate.macro_f1_low": 0.5,
        "candidate.macro_f1_high": 0.875,
        "candidate.noise.10 dB.recall": 0.625,
        "candidate.class.h_chst _1.recall": 0.25,
        "candidate.class.h_chst _1.support": 4,
        "candidate.gap.speaker.recall": 0.125,
    }


def test_evidence_becomes_artifacts(tracking_uri: str, results: track.Results, tmp_path: Path) -> None:
    run_id = begin(tracking_uri)
    report = tmp_path / "report.html"
    report.write_text("<p>page</p>")
    conclude(tracking_uri, run_id, results, report=report)
    folder = downloaded(tracking_uri, run_id, tmp_path)
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {
        "evaluation/evaluation.json",
        "evaluation/probabilities.parquet",
        "inputs/environment.lock",
        "inputs/params.yaml",
        "lineage/clips.parquet",
        "lineage/lineage.json",
        "plots/confusion-candidate.png",
        "report/report.html",
        "validation/report.json",
        "verdict/verdict.json",
    }
    assert Verdict.model_validate_json((folder / "verdict/verdict.json").read_bytes()) == PROMOTE
    assert Lineage.model_validate_json((folder / "lineage/lineage.json").read_bytes()) == made_from()


def test_the_inputs_are_kept_as_they_apply(tracking_uri: str, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "bells")
    given = {
        "promotion.yaml": workspace.promotion,
        "expectations.yaml": workspace.expectations,
        "holdout.yaml": workspace.holdout,
        "model-card.md.j2": workspace.model_card,
        "data.dvc": workspace.data_dvc,
    }
    for name, path in given.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"this is {name}")
    workspace.params.write_text("name: another")  # not what applies: --set may have said otherwise
    folder = downloaded(tracking_uri, begin(tracking_uri, root=workspace.root), tmp_path) / "inputs"
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        **{name: f"this is {name}" for name in given},
        "params.yaml": (folder / "params.yaml").read_text(),
        "environment.lock": lineage.environment_lock(),
    }
    assert load_params(folder / "params.yaml") == PARAMS


def test_the_logged_clips_lack_what_nobody_reads(tracking_uri: str, results: track.Results, tmp_path: Path) -> None:
    run_id = begin(tracking_uri)
    conclude(tracking_uri, run_id, results)
    table = pd.read_parquet(downloaded(tracking_uri, run_id, tmp_path) / "lineage" / "clips.parquet")
    assert list(table.columns) == ["clip_id", "split"]


def test_the_evidence_is_the_hash_of_each_stored_file(
    tracking_uri: str, results: track.Results, tmp_path: Path
) -> None:
    golden = results.evaluation.model_copy(update={"metrics": {"candidate": {"macro_f1": 0.5}}})
    full = results.model_copy(update={"golden": golden, "card": "# bells\n"})
    run_id = begin(tracking_uri)
    conclude(tracking_uri, run_id, full)
    folder = downloaded(tracking_uri, run_id, tmp_path)
    assert track.evidence(full) == {
        "clips": sha256(folder / "lineage/clips.parquet"),
        "validation": sha256(folder / "validation/report.json"),
        "evaluation": sha256(folder / "evaluation/evaluation.json"),
        "probabilities": sha256(folder / "evaluation/probabilities.parquet"),
        "golden": sha256(folder / "evaluation/golden.json"),
        "golden probabilities": sha256(folder / "evaluation/golden.parquet"),
        "verdict": sha256(folder / "verdict/verdict.json"),
        "card": sha256(folder / "card/model-card.md"),
        "checkpoint": "c0ffee",
    }
    assert (folder / "card/model-card.md").read_text() == "# bells\n"
    assert client(tracking_uri).get_run(run_id).data.metrics["golden.candidate.macro_f1"] == 0.5
    last = track.last_run(tracking_uri, "bells")
    assert last is not None and set(last.metrics) == {"candidate", "baseline"}


def test_a_run_that_ended_early_has_little_evidence() -> None:
    assert set(track.evidence(track.Results(verdict=PROMOTE))) == {"verdict"}


def test_artifacts_lie_beside_the_database(tracking_uri: str, tmp_path: Path) -> None:
    run = client(tracking_uri).get_run(begin(tracking_uri))
    assert run.info.artifact_uri.startswith((tmp_path / "mlartifacts").as_uri())


def test_a_model_without_runs_has_no_last_one(tracking_uri: str, tmp_path: Path) -> None:
    assert track.last_run(tracking_uri, "bells") is None
    assert track.last_trained_clips(tracking_uri, "bells", tmp_path) is None


def test_the_last_run_is_the_newest_finished_one_with_a_verdict(
    tracking_uri: str, results: track.Results, tmp_path: Path
) -> None:
    model = RegisteredModel(name="bells", version="3", aliases=("champion",))
    conclude(tracking_uri, begin(tracking_uri, "older"))
    newest, page = begin(tracking_uri, "newest"), tmp_path / "page.html"
    page.write_text("<p>page</p>")
    conclude(tracking_uri, newest, results, model=model, report=page)
    conclude(tracking_uri, begin(tracking_uri, "failed"), status="FAILED")
    begin(tracking_uri, "still running")
    assert track.last_run(tracking_uri, "bells") == track.LastRun(
        run_id=newest,
        inputs="newest",
        verdict="promote",
        reasons=("better", "fair"),
        model=model,
        metrics={"candidate": {"macro_f1": 0.75, "accuracy": 0.8}, "baseline": {"macro_f1": 0.5}},
        report=str(page),
    )
    assert track.last_run(tracking_uri, "chimes") is None


def test_the_last_trained_clips_skip_runs_that_ended_before_training(
    tracking_uri: str, results: track.Results, tmp_path: Path
) -> None:
    conclude(tracking_uri, begin(tracking_uri), results)
    stopped = Verdict(verdict="not evaluated", reasons=("leak",), rules=())
    conclude(tracking_uri, begin(tracking_uri), track.Results(verdict=stopped))
    for _ in range(2):  # the second time from the copy
        kept = track.last_trained_clips(tracking_uri, "bells", tmp_path / "cache")
        assert kept is not None
        assert pd.read_parquet(kept)["clip_id"].tolist() == ["a", "b"]


def test_clips_that_are_gone_are_said_and_not_fatal(
    tracking_uri: str, results: track.Results, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = begin(tracking_uri)
    conclude(tracking_uri, run_id, results)
    next((tmp_path / "mlartifacts" / run_id).rglob("clips.parquet")).unlink()
    with caplog.at_level(logging.WARNING):
        assert track.last_trained_clips(tracking_uri, "bells", tmp_path / "cache") is None
    assert f"the clips table of run {run_id} is gone" in caplog.text


def test_a_new_run_closes_killed_ones_and_no_other(tracking_uri: str) -> None:
    mlflow = client(tracking_uri)
    killed, busy = begin(tracking_uri), begin(tracking_uri)
    dead = this_process().model_copy(update={"began": "1"})
    mlflow.set_tag(killed, "tenuto.process", dead.model_dump_json())
    begin(tracking_uri)
    assert mlflow.get_run(killed).info.status == "KILLED"
    assert mlflow.get_run(busy).info.status == "RUNNING"


def test_an_experiment_in_the_bin_is_taken_out(tracking_uri: str) -> None:
    mlflow = client(tracking_uri)
    experiment = mlflow.get_run(begin(tracking_uri)).info.experiment_id
    mlflow.delete_experiment(experiment)
    assert mlflow.get_run(begin(tracking_uri)).info.experiment_id == experiment


def test_stdout_stays_free(tracking_uri: str, results: track.Results, capfd: pytest.CaptureFixture[str]) -> None:
    conclude(tracking_uri, begin(tracking_uri), results)
    assert capfd.readouterr().out == ""


def test_a_remedy_that_the_run_chose_stands_beside_the_settings(tracking_uri: str) -> None:
    run_id = begin(tracking_uri)
    chosen = Remedy(
        use="focal loss", why="it helps", choices={"augment": {"fill": 0.0}, "imbalance": {"loss": "focal"}}
    )
    track.log_remedy(tracking_uri, run_id, chosen, PARAMS)
    said = client(tracking_uri).get_run(run_id).data.params
    assert said["imbalance.loss"] == "cross-entropy", "as params.yaml has it"
    assert {key: value for key, value in said.items() if key.startswith(("applied.", "remedy."))} == {
        "applied.augment.fill": "0.0",
        "applied.imbalance.loss": "focal",
        "remedy.use": "focal loss",
        "remedy.why": "it helps",
    }
    applied = lineage.as_applied(said)
    assert (applied["imbalance.loss"], applied["augment.fill"]) == ("focal", "0.0")
    assert "applied.imbalance.loss" not in applied
