"""MLflow without somebody: rows, names, tags and pages of her runs, and the tag on what heard her."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks import erase
from tenuto.tracing.erasure.identities import Identities

ANN, BEN = "a" * 32, "b" * 32
WHO = Identities(clips=(ANN,), groups=(("speaker", "ann"),))


@pytest.fixture
def client(tracking_uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri, tracking_uri)


def make_run(client: Any, folder: Path, splits: dict[str, str], **tags: str) -> str:
    """A run of the experiment 'bells' whose clips table has these clips and splits; no table without any."""
    found = client.get_experiment_by_name("bells")
    experiment = found.experiment_id if found else client.create_experiment("bells", (folder / "files").as_uri())
    run = client.create_run(experiment, tags=tags).info.run_id
    if splits:
        speakers = ["ann" if clip == ANN else "ben" for clip in splits]
        table = pd.DataFrame({"clip_id": [*splits], "split": [*splits.values()], "group_speaker": speakers})
        (folder / "lineage").mkdir(exist_ok=True)
        table.to_parquet(folder / "lineage" / "clips.parquet")
        client.log_artifacts(run, folder / "lineage", "lineage")
    client.log_text(run, "<html>ann</html>", "report/20260101-promote.html")
    client.log_dict(run, {"speaker": {"ann": 1, "ben": 2}}, "evaluation/evaluation.json")
    client.log_text(run, "ann", "plots/confusion.png")
    return run


def register(client: Any, run: str, **tags: str) -> str:
    if not client.search_registered_models():
        client.create_registered_model("bells")
    version = client.create_model_version("bells", "file:///nowhere", run, tags=tags, description="worst is ann")
    return str(version.version)


def read(client: Any, run: str, path: str) -> str:
    return Path(client.download_artifacts(run, path)).read_text()


def test_runs_say_what_they_did_with_her(client: Any, tracking_uri: str, tmp_path: Path) -> None:
    trained = make_run(client, tmp_path, {ANN: "train", BEN: "test"}, **{"tenuto.prefect_run": "flow"})
    chosen = make_run(client, tmp_path, {ANN: "validation"})
    watched = make_run(client, tmp_path, {ANN: "golden"})
    without = make_run(client, tmp_path, {BEN: "train"})
    nothing = make_run(client, tmp_path, {})
    version = register(client, trained)
    client.set_registered_model_alias("bells", "champion", version)
    found, clean = erase.traces(tracking_uri, "bells", WHO)
    assert {trace.run: trace.clips for trace in found} == {
        trained: {"trained": 1},
        chosen: {"chosen": 1},
        watched: {"scored": 1},
    }
    by_run = {trace.run: trace for trace in found}
    assert (by_run[trained].version, by_run[trained].aliases, by_run[trained].prefect_run) == (
        "1",
        ("champion",),
        "flow",
    )
    assert [by_run[run].heard for run in (trained, chosen, watched)] == [True, True, False]
    assert clean == ("20260101-promote.html",) * 2
    assert {without, nothing}.isdisjoint(by_run)


def test_files_tags_and_descriptions_lose_her_and_keep_the_rest(client: Any, tracking_uri: str, tmp_path: Path) -> None:
    tags = {"tenuto.reasons": "the worst speaker is ann", "mlflow.user": "ann"}
    run = make_run(client, tmp_path, {ANN: "train", BEN: "test"}, **tags)
    version = register(client, run, **{"tenuto.reasons": "ann did badly"})
    found, _ = erase.traces(tracking_uri, "bells", WHO)
    done = erase.purge(tracking_uri, "bells", WHO, found, "0001", has_file_here=True)
    assert done.counts == {"tags": 1, "files": 3, "texts of versions": 2}
    assert pd.read_parquet(client.download_artifacts(run, "lineage/clips.parquet"))["clip_id"].tolist() == [BEN]
    assert json.loads(read(client, run, "evaluation/evaluation.json")) == {"speaker": {"ben": 2}}
    assert "withdrawn" in read(client, run, "report/20260101-promote.html")
    assert read(client, run, "plots/confusion.png") == "ann"
    kept = client.get_run(run).data.tags
    assert kept["tenuto.reasons"] == "the worst speaker is (erased)"
    assert kept["mlflow.user"] == "ann"  # who ran it, which is not who was recorded
    registered = client.get_model_version("bells", version)
    assert registered.description == "worst is (erased)"
    assert registered.tags["tenuto.reasons"] == "(erased) did badly"
    again = erase.purge(tracking_uri, "bells", WHO, found, "0001", has_file_here=True)
    assert again.counts == {"tags": 0, "files": 0, "texts of versions": 0}


def test_the_reference_clips_of_a_version_lose_her(client: Any, tracking_uri: str, tmp_path: Path) -> None:
    run = make_run(client, tmp_path, {ANN: "train"})
    model = client.create_logged_model(client.get_run(run).info.experiment_id, name="bells", source_run_id=run)
    folder = tmp_path / "model" / "artifacts" / "serving"
    folder.mkdir(parents=True)
    rows = {"clip_id": [ANN, BEN], "label": ["x", "y"], "embedding": [[1.0, 2.0], [3.0, 4.0]]}
    pd.DataFrame(rows).to_parquet(folder / "reference.parquet", index=False)
    client.log_model_artifacts(model.model_id, str(tmp_path / "model"))
    register(client, run, **{"tenuto.model_id": model.model_id})
    done = erase.purge(tracking_uri, "bells", WHO, (), "0001", has_file_here=True)
    assert done.unreached == ""
    location = Path(client.get_logged_model(model.model_id).artifact_location.removeprefix("file://"))
    left = pd.read_parquet(location / "artifacts" / "serving" / "reference.parquet")
    assert left["clip_id"].tolist() == [BEN]
    assert left["embedding"].iloc[0].tolist() == [3.0, 4.0]


def test_what_heard_her_is_tagged_with_every_certificate(client: Any, tracking_uri: str, tmp_path: Path) -> None:
    heard = make_run(client, tmp_path, {ANN: "train"})
    scored = make_run(client, tmp_path, {ANN: "test"})
    versions = [register(client, run) for run in (heard, scored)]
    found, _ = erase.traces(tracking_uri, "bells", WHO)
    for number in ("0001", "0002", "0002"):
        erase.tag(tracking_uri, "bells", found, number)
    assert [client.get_run(run).data.tags[erase.TAG] for run in (heard, scored)] == ["0001 0002"] * 2
    assert client.get_model_version("bells", versions[0]).tags[erase.TAG] == "0001 0002"
    assert erase.TAG not in client.get_model_version("bells", versions[1]).tags


def test_parameters_of_a_server_elsewhere_are_said_to_stay(client: Any, tracking_uri: str, tmp_path: Path) -> None:
    run = make_run(client, tmp_path, {BEN: "train"})
    client.log_param(run, "split.hold_out.speaker", "['ann']")
    assert erase.purge(tracking_uri, "bells", WHO, (), "0001", has_file_here=True).unreached == ""
    said = erase.purge(tracking_uri, "bells", WHO, (), "0001", has_file_here=False).unreached
    assert f"the parameters of runs {run}" in said


def test_an_empty_store_knows_nobody(tracking_uri: str) -> None:
    assert erase.traces(tracking_uri, "bells", WHO) == ((), ())
    assert list(erase.known_clips(tracking_uri, "bells")) == []
