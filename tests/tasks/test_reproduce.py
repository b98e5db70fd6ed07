"""What MLflow and DVC keep of a version, as far as making it again needs them, and what is said when they do not."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tasks import dataset, reproduce
from tenuto.errors import RegistryError
from tenuto.learning import checkpoint
from tenuto.records import CodeVersion, DatasetVersion
from tenuto.tracing.lineage import Lineage
from tenuto.tracing.reproduction import Comparison, NotReproducibleError
from tenuto.workspace import Workspace

MADE_FROM = Lineage(
    dataset=DatasetVersion(md5="d41d8.dir", manifest_path=Path("m.parquet"), clips=7, quarantined=0),
    code=CodeVersion(commit="abc", branch=None),
    inputs="1234",
    source_sha256="5678",
    environment={"python": "3.11.7"},
)
INPUTS = {
    "params.yaml": "name: bells\nthreads: 1\n",
    "promotion.yaml": "approval: person\nrules: []\n",
    "expectations.yaml": "{}\n",
    "environment.lock": "numpy==2.4.6\ntorch==2.13.0+cpu\n",
    "data.dvc": "outs: []\n",
}


@pytest.fixture
def client(tracking_uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri)


@pytest.fixture
def registered(client: Any, tmp_path: Path) -> str:
    """The run of version 1 of bells, which is @champion, with all artifacts."""
    from mlflow.models import Model

    location = (tmp_path / "mlartifacts").as_uri()
    run = client.create_run(client.create_experiment("bells", artifact_location=location))
    run_id = str(run.info.run_id)
    for name, text in INPUTS.items():
        client.log_text(run_id, text, f"inputs/{name}")
    client.log_text(run_id, MADE_FROM.model_dump_json(), "lineage/lineage.json")
    figures = {"macro_f1": 0.75, "accuracy": 0.8, "coverage": None}  # JSON has no NaN
    client.log_text(run_id, json.dumps({"metrics": {"candidate": figures}}), "evaluation/evaluation.json")
    model = tmp_path / "model"
    weights = model / "artifacts" / "checkpoint"
    weights.mkdir(parents=True)
    (weights / "model.safetensors").write_text("weights")
    facts = {"backbone": "speech-embedding", "backbone_revision": "r1", "preprocessing": "p", "labels": ["low", "high"]}
    facts |= {"trainable_parameters": 3, "seconds": 1.5}
    (weights / checkpoint.RECORD_NAME).write_text(json.dumps(facts))
    description = Model()
    description.add_flavor("python_function", artifacts={"checkpoint": {"path": "artifacts/checkpoint"}})
    description.save(str(model / "MLmodel"))
    client.create_registered_model("bells")
    client.create_model_version("bells", source=model.as_uri(), run_id=run_id)
    client.set_registered_model_alias("bells", "champion", "1")
    return run_id


@pytest.mark.parametrize("version", ["1", "@champion"])
def test_a_training_on_record_is_read_whole(tracking_uri: str, registered: str, tmp_path: Path, version: str) -> None:
    found = reproduce.recorded(tracking_uri, "bells", version, tmp_path / "copy")
    made = found.made
    assert (found.version, made.lineage, made.backbone_revision) == ("1", MADE_FROM, "r1")
    assert made.params == {"name": "bells", "threads": 1}
    assert set(made.settings) == {"promotion.yaml", "expectations.yaml"}
    assert made.lock == {"numpy": "2.4.6", "torch": "2.13.0+cpu"}
    assert made.metrics == {"macro_f1": 0.75, "accuracy": 0.8}
    assert set(made.files) == {"model.safetensors"}  # its record says how long the training took
    assert (found.inputs / "data.dvc").read_text() == INPUTS["data.dvc"]
    assert (found.checkpoint / "model.safetensors").read_text() == "weights"


@pytest.mark.parametrize("version", ["2", "@previous", "newest", ""])
def test_an_unknown_version_is_named_with_the_known_ones(
    tracking_uri: str, registered: str, tmp_path: Path, version: str
) -> None:
    message = f"{version!r} is no version of bells; wanted a number or an alias, known here: 1, @champion."
    with pytest.raises(RegistryError, match=re.escape(message)):
        reproduce.recorded(tracking_uri, "bells", version, tmp_path / "copy")


def test_a_registry_without_the_model(tracking_uri: str, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"'1' is no version of bells; .* known here: none"):
        reproduce.recorded(tracking_uri, "bells", "1", tmp_path)


def test_a_version_of_an_earlier_release_lacks_its_inputs(tracking_uri: str, registered: str, tmp_path: Path) -> None:
    shutil.rmtree(next((tmp_path / "mlartifacts").rglob("inputs")))
    with pytest.raises(NotReproducibleError, match=f"bells version 1 cannot .* run {registered} holds no inputs"):
        reproduce.recorded(tracking_uri, "bells", "1", tmp_path / "copy")


def test_weights_that_are_gone_are_said(tracking_uri: str, registered: str, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "model")
    with pytest.raises(NotReproducibleError, match="bells 1: its files cannot be read from file:"):
        reproduce.recorded(tracking_uri, "bells", "1", tmp_path / "copy")


def test_an_erased_version_is_refused_before_anything_is_copied(
    tracking_uri: str, client: Any, registered: str, tmp_path: Path
) -> None:
    client.set_model_version_tag("bells", "1", "tenuto.erased", "2026-03-03, certificate 1")
    with pytest.raises(NotReproducibleError, match=r"were erased \(2026-03-03, certificate 1\)"):
        reproduce.recorded(tracking_uri, "bells", "1", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_scratch_run_that_never_trained(tracking_uri: str, registered: str, tmp_path: Path, client: Any) -> None:
    client.set_tag(registered, "tenuto.reasons", "imbalance: 40:1")
    with pytest.raises(NotReproducibleError, match="ended before it trained anything: imbalance: 40:1"):
        reproduce.made_again(Workspace(tmp_path), tracking_uri, "bells", tmp_path / "copy")
    with pytest.raises(NotReproducibleError, match="it left no run"):
        reproduce.made_again(Workspace(tmp_path), tracking_uri, "chimes", tmp_path / "copy")


def test_approval_by_a_person_makes_no_other_policy(tmp_path: Path) -> None:
    path = tmp_path / "promotion.yaml"
    path.write_text(INPUTS["promotion.yaml"])
    assert reproduce.decisive(path) == {"rules": []}


def test_the_result_is_noted_at_the_version(tracking_uri: str, client: Any, registered: str) -> None:
    found = Comparison(
        model="bells",
        version="1",
        result="identical",
        summary="identical weights and metrics",
        inputs=(),
        files={},
        metrics={},
        weight_difference=0.0,
        probability_difference=0.0,
        clips=6,
    )
    reproduce.note(tracking_uri, "bells", found)
    tag = client.get_model_version("bells", "1").tags["tenuto.reproduced"]
    assert re.fullmatch(r"identical weights and metrics, \d{4}-\d\d-\d\d", tag)


@pytest.fixture
def original(tmp_path: Path) -> Workspace:
    """A workspace whose dataset lies in `data/`, the cache and the local remote."""
    from dvc.repo import Repo

    workspace = Workspace(tmp_path / "w")
    workspace.root.mkdir()
    dataset.initialise(workspace.root)
    (workspace.data / "clips").mkdir(parents=True)
    for name in ("one", "two"):
        (workspace.data / "clips" / name).write_text(f"clip {name}")
    with Repo(str(workspace.root)) as repo:
        repo.add(str(workspace.data))
        repo.push()
    return workspace


@pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")
@pytest.mark.parametrize("gone", ["nothing", "cache", "remote"])
def test_the_scratch_workspace_takes_bytes_from_cache_or_remote(original: Workspace, tmp_path: Path, gone: str) -> None:
    (original.data / "clips" / "one").unlink()  # what the user does in data/ is theirs
    places = {"cache": original.root / ".dvc" / "cache", "remote": original.root / ".dvc" / "remote"}
    shutil.rmtree(places.get(gone, tmp_path / "nowhere"), ignore_errors=True)
    scratch = Workspace(original.root / ".tenuto" / "reproduce" / "w")
    scratch.root.mkdir(parents=True)
    shutil.copyfile(original.data_dvc, scratch.data_dvc)
    reproduce.share_dataset(original, scratch)
    dataset.fetch.fn(scratch.root)
    assert {path.name: path.read_text() for path in (scratch.data / "clips").iterdir()} == {
        "one": "clip one",
        "two": "clip two",
    }
    assert [path.name for path in (original.data / "clips").iterdir()] == ["two"]
    assert (original.root / ".dvc" / "config").read_text() == dataset.DVC_CONFIG


@pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")
def test_linked_clips_cost_no_room(original: Workspace) -> None:
    scratch = Workspace(original.root / ".tenuto" / "reproduce" / "w")
    scratch.root.mkdir(parents=True)
    shutil.copyfile(original.data_dvc, scratch.data_dvc)
    reproduce.share_dataset(original, scratch)
    dataset.fetch.fn(scratch.root)
    kept = {path.stat().st_ino for path in (original.root / ".dvc" / "cache").rglob("*") if path.is_file()}
    assert all(path.stat().st_ino in kept for path in (scratch.data / "clips").iterdir())
