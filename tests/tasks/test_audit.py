"""The audit's index filled from a real MLflow store: what a retrain logs is what an audit answers."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks import audit, track
from tenuto.learning import augment
from tenuto.records import Checkpoint, CodeVersion, DatasetVersion, Finding, ValidationReport, Verdict
from tenuto.settings import Params
from tenuto.tracing import lineage
from tenuto.tracing.audit import answers
from tenuto.tracing.audit.documents import VersionDocument
from tenuto.tracing.audit.index import Index
from tenuto.tracing.lineage import Lineage

PARAMS = Params.model_validate({"name": "bells", "seed": 3, "augment": {"fill": 1.0, "max_copies": 4}})


def client(tracking_uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri, tracking_uri)


def clips() -> pd.DataFrame:
    """Ten training clips of `up` and two of `down`, so that the latter are copied; one clip of each other split."""
    rows = [("train", "up", f"speaker-{n % 3}") for n in range(10)] + [("train", "down", "speaker-0")] * 2
    rows += [("validation", "up", "fay"), ("test", "up", "gus"), ("aside", "down", None)]
    table = pd.DataFrame(rows, columns=["split", "label", "group_speaker"])
    table["clip_id"] = [f"{number:032x}" for number in range(len(table))]
    table["source"] = [f"week/{number}.wav" for number in range(len(table))]
    table["aside_reason"] = np.where(table["split"] == "aside", "a near-duplicate is in another split", "")
    return table


def retrained(
    uri: str,
    folder: Path,
    table: pd.DataFrame | None,
    *,
    source_sha256: str = "",
    params: Params = PARAMS,
    is_weighed: bool = False,
) -> str:
    """The id of a run as the retrain flow leaves it, or, unless it `is_weighed`, as older releases left it."""
    made_from = Lineage(
        dataset=DatasetVersion(md5="1" * 32 + ".dir", manifest_path=Path("m"), clips=15, quarantined=0),
        code=CodeVersion(commit="abc", branch="main", dirty_files=("params.yaml",)),
        inputs="1234",
        source_sha256=source_sha256 or lineage.source_sha256(),
        environment={"torch": "2.13.0"},
        prefect_run="flow-run",
    )
    run_id = track.start.fn(uri, "bells", params, made_from)
    path = None
    if table is not None:
        path = folder / "clips.parquet"
        table.to_parquet(path, index=False)
    finding = Finding(expectation="balance", severity="warn", success=False, summary="few clips of down")
    checkpoint = Checkpoint(
        path=folder,
        sha256="c",
        backbone="b",
        backbone_revision="1",
        preprocessing="p",
        labels=("down", "up"),
        trainable_parameters=1,
        seconds=1.0,
    )
    results = track.Results(
        verdict=Verdict(verdict="promote", reasons=("better",), rules=(), policy_sha256="f"),
        clips_path=path,
        params=params if is_weighed else None,
        validation=ValidationReport(findings=(finding,)),
        checkpoint=checkpoint if table is not None else None,
    )
    track.log_results.fn(uri, run_id, results)
    track.finish.fn(uri, run_id)
    return run_id


def test_a_run_is_in_the_index_as_it_was_logged(tracking_uri: str, tmp_path: Path) -> None:
    run_id = retrained(tracking_uri, tmp_path, clips())
    ours = client(tracking_uri)
    ours.create_registered_model("bells")
    ours.create_model_version("bells", source="s", run_id=run_id, tags={"tenuto.evaluated_against": "no champion"})
    assert audit.catch_up(tracking_uri, "bells", tmp_path / "i.sqlite") == 1
    assert audit.catch_up(tracking_uri, "bells", tmp_path / "i.sqlite") == 0
    with Index.open(tmp_path / "i.sqlite") as index:
        (run,) = index.runs()
        assert (run.run_id, run.status, run.verdict, run.reasons) == (run_id, "FINISHED", "promote", ("better",))
        assert run.is_trained and run.flow_run == "flow-run" and run.dataset_clips == 15
        assert run.code is not None and run.code.dirty_files == ("params.yaml",)
        assert run.lock is not None
        stored = Path(run.lock.place.removeprefix("file://")).read_bytes()
        assert (run.lock.sha256, run.lock.packages) == (hashlib.sha256(stored).hexdigest(), stored.count(b"\n"))
        assert b"mlflow==" in stored
        assert [(met.expectation, met.success) for met in run.validation] == [("balance", False)]
        (version,) = index.versions("bells")
        assert (version.version, version.run_id, version.evaluated_against) == ("1", run_id, None)
        used = {clip.clip_id: clip for clip in index.clips_of(run_id)}
    assert len(used) == 15
    assert used[f"{14:032x}"].groups == "{}" and used[f"{14:032x}"].reason.startswith("a near-duplicate")
    assert used[f"{12:032x}"].split == "validation"


def test_copies_are_those_that_the_plan_makes(tracking_uri: str, tmp_path: Path) -> None:
    run_id = retrained(tracking_uri, tmp_path, clips())
    audit.catch_up(tracking_uri, "bells", tmp_path / "i.sqlite")
    plan = augment.plan(clips(), PARAMS.augment, np.random.default_rng(PARAMS.seed))
    expected = plan["clip_id"].value_counts().to_dict()
    assert sum(expected.values()) >= 8  # two clips of `down` are filled up to ten
    with Index.open(tmp_path / "i.sqlite") as index:
        found = {clip.clip_id: clip.copies for clip in index.clips_of(run_id)}
    assert {clip: count for clip, count in found.items() if count} == expected
    assert set(found.values()) - set(expected.values()) == {0}


def test_copies_of_other_code_are_not_recorded_unless_the_table_has_them(tracking_uri: str, tmp_path: Path) -> None:
    old = retrained(tracking_uri, tmp_path, clips(), source_sha256="older")
    told = retrained(tracking_uri, tmp_path, clips().assign(copies=2), source_sha256="older")
    audit.catch_up(tracking_uri, "bells", tmp_path / "i.sqlite")
    with Index.open(tmp_path / "i.sqlite") as index:
        for run_id, copies in ((old, None), (told, 2)):
            assert {(c.split, c.copies) for c in index.clips_of(run_id)} == {
                ("train", copies),
                *((split, 0) for split in ("validation", "test", "aside")),
            }


@pytest.mark.parametrize(
    ("imbalance", "is_weighed", "weighting", "span"),
    [
        ({}, True, "even", (1.0, 1.0)),
        ({}, False, "even", (1.0, 1.0)),
        ({"sample_by": "label", "loss": "focal"}, True, "uneven", (3.0, 3.0)),
        ({"sample_by": "label"}, False, "unknown", None),
        ({"group_dro": "speaker"}, True, "group DRO", None),
    ],
)
def test_the_weight_of_a_clip_is_the_one_that_it_had(
    tracking_uri: str,
    tmp_path: Path,
    imbalance: dict[str, object],
    is_weighed: bool,
    weighting: str,
    span: tuple[float, float] | None,
) -> None:
    """Ten clips of `up` and two of `down`, drawn equally often: one of `down` counts 3, one of `up` 0.6."""
    params = Params.model_validate({"name": "bells", "augment": {"fill": 0.0}, "imbalance": imbalance})
    run_id = retrained(tracking_uri, tmp_path, clips(), params=params, is_weighed=is_weighed)
    audit.catch_up(tracking_uri, "bells", tmp_path / "i.sqlite")
    made = VersionDocument(model="bells", version="1", run_id=run_id, registered_at=datetime.now(UTC))
    with Index.open(tmp_path / "i.sqlite") as index:
        found = answers.model(index, made, {})
        assert found.run is not None
        assert (found.run.weighting, found.run.loss) == (weighting, imbalance.get("loss", "cross-entropy"))
        assert {share.weights for share in found.clips if (share.split, share.label) == ("train", "down")} == {span}
        rows = answers.table(index.clips_of(run_id), found.run, index.weights(run_id))
    assert {row["weight"] for row in rows if (row["split"], row["label"]) == ("train", "down")} == {span and span[0]}
    assert {row["weight"] for row in rows if row["split"] != "train"} == {0.0}


def test_runs_that_failed_or_trained_nothing_count_and_open_ones_do_not(tracking_uri: str, tmp_path: Path) -> None:
    stopped = retrained(tracking_uri, tmp_path, None)
    ours = client(tracking_uri)
    experiment = ours.get_experiment_by_name("bells").experiment_id
    killed = ours.create_run(experiment).info.run_id
    ours.set_terminated(killed, "KILLED")
    open_run = ours.create_run(experiment).info.run_id
    audit.catch_up(tracking_uri, "bells", tmp_path / "i.sqlite", [open_run, "f" * 32])
    with Index.open(tmp_path / "i.sqlite") as index:
        found = {run.run_id: (run.status, run.is_trained) for run in index.runs()}
        assert index.listed(stopped) is None
    assert found == {stopped: ("FINISHED", False), killed: ("KILLED", False), "f" * 32: ("GONE", False)}


def test_damaged_files_of_a_run_are_passed_over(
    tracking_uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = retrained(tracking_uri, tmp_path, clips())
    artifacts = Path(client(tracking_uri).get_run(run_id).info.artifact_uri.removeprefix("file://"))
    (artifacts / "lineage" / "clips.parquet").write_bytes(b"no table")
    (artifacts / "verdict" / "verdict.json").write_text("{")
    audit.catch_up(tracking_uri, "bells", tmp_path / "i.sqlite")
    with Index.open(tmp_path / "i.sqlite") as index:
        (run,) = index.runs()
        assert run.verdict == "promote" and run.reasons == () and index.listed(run_id) is None
    assert "clips table of run" in caplog.text and "verdict.json is damaged" in caplog.text


def test_a_version_that_is_being_registered_is_none_yet(tracking_uri: str, tmp_path: Path) -> None:
    ours = client(tracking_uri)
    ours.create_registered_model("bells")
    ours.create_model_version("bells", source="s", tags={"tenuto.pending": "{}"})
    audit.catch_up(tracking_uri, "bells", tmp_path / "i.sqlite")
    with Index.open(tmp_path / "i.sqlite") as index:
        assert index.versions("bells") == []
    assert audit.aliases(tracking_uri, "bells") == {} == audit.aliases(tracking_uri, "no such model")
    ours.set_registered_model_alias("bells", "champion", "1")
    assert audit.aliases(tracking_uri, "bells") == {"champion": "1"}
