"""What MLflow keeps of a registered version and what DVC keeps of its dataset, as far as making it again needs them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tasks import store
from tenuto import labels as texts
from tenuto.errors import RegistryError
from tenuto.learning import checkpoint
from tenuto.records import Record
from tenuto.tracing import lineage
from tenuto.tracing.lineage import Lineage
from tenuto.tracing.reproduction import Comparison, Made, NotReproducibleError
from tenuto.typed_yaml import digest, read_yaml
from tenuto.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

ERASED = "tenuto.erased"
REPRODUCED = "tenuto.reproduced"

_CANDIDATE = "candidate"
_SETTINGS = ("promotion.yaml", "expectations.yaml", "holdout.yaml")
"""Files that decide what a run comes to, besides parameters, data and packages, which are compared by what they say."""


class Training(Record):
    """A training on record, with its files on this machine."""

    version: str
    inputs: Path
    """The folder with what it was given."""
    checkpoint: Path
    clips: Path
    probabilities: Path
    made: Made

    def answers(self) -> pd.DataFrame:
        """The candidate's rows (clip_id, label, `p_<label>` ...), one per test clip, in the order of scoring."""
        table = pd.read_parquet(self.probabilities)
        return table[table["model"] == _CANDIDATE].reset_index(drop=True)


def recorded(tracking_uri: str, name: str, version: str, folder: Path) -> Training:
    """The training of a registered version, its files copied into `folder`.

    `version` is a number or an alias such as '@champion'. Raises RegistryError when there is no such version and
    NotReproducibleError when recordings of it were erased or its run lacks what is needed.
    """
    client = store.connect(tracking_uri)
    found = _version(client, name, version)
    what = f"{name} version {found.version}"
    if erased := found.tags.get(ERASED):
        raise NotReproducibleError(
            f"{what} cannot be made again: recordings that it was trained on were erased ({erased}). The folder "
            "erasures/ holds the certificates; train a new version with `tenuto retrain`."
        )
    files = _run_files(client, str(found.run_id), what, folder)
    weights = _download(tracking_uri, _checkpoint_uri(tracking_uri, found, folder), folder / "weights", what)
    return _training(str(found.version), files, weights)


def made_again(workspace: Workspace, tracking_uri: str, name: str, folder: Path) -> Training:
    """The one training of a scratch workspace.

    Raises NotReproducibleError when it ended before its candidate was scored.
    """
    client = store.connect(tracking_uri)
    experiment = client.get_experiment_by_name(name)
    runs = client.search_runs([experiment.experiment_id], max_results=1) if experiment else []
    weights = next(workspace.checkpoints.glob("candidate-*"), None)
    if not runs or weights is None:
        reasons = runs[0].data.tags.get("tenuto.reasons", "no reason is given") if runs else "it left no run"
        raise NotReproducibleError(f"The run on the rebuilt inputs ended before it trained anything: {reasons}")
    return _training("", _run_files(client, runs[0].info.run_id, "the run made again", folder), weights)


def share_dataset(workspace: Workspace, scratch: Workspace) -> None:
    """Lets DVC in `scratch` take bytes from the cache and the remotes of `workspace`; `data/` there is left alone.

    Files are linked where the disk allows it, and copied where it does not.
    """
    from dvc.config import Config

    dvc_dir = scratch.root / ".dvc"
    dvc_dir.mkdir(parents=True, exist_ok=True)
    (dvc_dir / "config").touch()
    # loaded, addresses that are relative to the workspace's own .dvc are absolute
    own = Config(str(workspace.root / ".dvc"))
    with Config(str(dvc_dir)).edit("local") as config:
        config["core"] = {"no_scm": True, "analytics": False, "check_update": False}
        if default := own["core"].get("remote"):
            config["core"]["remote"] = default
        cache = own["cache"].get("dir") or workspace.root / ".dvc" / "cache"
        config["cache"] = {"dir": str(cache), "type": "reflink,hardlink,symlink,copy"}
        config["remote"] = {name: {**remote, "url": str(remote["url"])} for name, remote in own["remote"].items()}


def decisive(path: Path) -> dict[str, Any]:
    """What a settings file says, but for a person's approval: nobody is asked about a version that is made again."""
    return {name: value for name, value in read_yaml(path).items() if name != "approval"}


def rescored(training: Training, answers: pd.DataFrame, data: Path) -> tuple[pd.DataFrame, dict[str, float]]:
    """What the checkpoint says of the clips of `answers`, scored in that order, and its metrics on them.

    For when one of two trainings left clips out that its champion had trained on: the size of a batch moves the last
    bits of a score, so taking rows out of a larger table would not do.
    """
    import torch

    from tenuto.learning.predictor import Predictor
    from tenuto.scoring import evaluation, metrics, robustness

    torch.set_num_threads(int(training.made.params["threads"]))
    paths = pd.read_parquet(training.clips).set_index("clip_id")["path"]
    clips = answers[["clip_id", "label"]].assign(path=answers["clip_id"].map(paths))
    model = Predictor.load(training.checkpoint)
    batch_size = int(training.made.params["evaluate"]["batch_size"])
    said = evaluation.probabilities({_CANDIDATE: model}, clips, data, batch_size)[_CANDIDATE]
    labels = sorted({*texts.classes(clips["label"], model.kind), *model.labels})
    probabilities = metrics.aligned(said, model.labels, labels)
    truth, decided = (
        metrics.coded(found, labels, model.kind) for found in (clips["label"].tolist(), robustness.named(model, said))
    )
    table = pd.DataFrame(probabilities, clips.index, [f"p_{label}" for label in labels])
    return pd.concat([clips[["clip_id"]], table], axis=1), _finite(metrics.overall(truth, decided, probabilities))


def note(tracking_uri: str, name: str, comparison: Comparison) -> None:
    """Tags the version with what making it again came to, and when."""
    text = f"{comparison.summary}, {datetime.now(UTC):%Y-%m-%d}"
    store.connect(tracking_uri).set_model_version_tag(name, comparison.version, REPRODUCED, text[:4000])


def _version(client: MlflowClient, name: str, version: str) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    try:
        aliases = {alias: str(at) for alias, at in client.get_registered_model(name).aliases.items()}
        number = aliases.get(version[1:], "") if version.startswith("@") else version
        return client.get_model_version(name, number)
    except MlflowException as error:
        known = [str(found.version) for found in client.search_model_versions(f"name='{name}'")]
        named = ", ".join([*sorted(known, key=int), *(f"@{alias}" for alias in sorted(aliases))]) if known else "none"
        raise RegistryError(
            f"{version!r} is no version of {name}; wanted a number or an alias, known here: {named}. "
            "`tenuto models` lists them."
        ) from error


def _run_files(client: MlflowClient, run_id: str, what: str, folder: Path) -> Path:
    """The artifacts of a run that a comparison needs, below `folder`."""
    from mlflow.exceptions import MlflowException

    wanted = (lineage.INPUTS, "lineage", "evaluation")
    folder.mkdir(parents=True, exist_ok=True)
    held = {artifact.path for artifact in client.list_artifacts(run_id)}
    if missing := [name for name in wanted if name not in held]:
        raise NotReproducibleError(
            f"{what} cannot be made again: its MLflow run {run_id} holds no {', '.join(missing)}. Versions of earlier "
            "releases lack them, and so does a run whose artifacts were removed."
        )
    try:
        for name in wanted:
            client.download_artifacts(run_id, name, str(folder))
    except (MlflowException, OSError) as error:
        raise NotReproducibleError(f"{what} cannot be made again: {_one_line(error)}") from error
    return folder


def _checkpoint_uri(tracking_uri: str, version: ModelVersion, folder: Path) -> str:
    from mlflow.models import Model

    source = str(version.source).rstrip("/")
    description = _download(tracking_uri, f"{source}/MLmodel", folder / "model", f"{version.name} {version.version}")
    flavor = Model.load(str(description)).flavors["python_function"]
    return f"{source}/{flavor['artifacts']['checkpoint']['path']}"


def _download(tracking_uri: str, uri: str, folder: Path, what: str) -> Path:
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    folder.mkdir(parents=True, exist_ok=True)
    try:
        return Path(download_artifacts(artifact_uri=uri, dst_path=str(folder), tracking_uri=tracking_uri))
    except (MlflowException, OSError) as error:
        raise NotReproducibleError(f"{what}: its files cannot be read from {uri} ({_one_line(error)}).") from error


def _training(version: str, files: Path, weights: Path) -> Training:
    given = files / lineage.INPUTS
    evaluation = json.loads((files / "evaluation" / "evaluation.json").read_text(encoding="utf-8"))
    return Training(
        version=version,
        inputs=given,
        checkpoint=weights,
        clips=files / lineage.CLIPS,
        probabilities=files / "evaluation" / "probabilities.parquet",
        made=Made(
            lineage=Lineage.model_validate_json((files / "lineage" / "lineage.json").read_bytes()),
            params=read_yaml(given / "params.yaml"),
            settings={name: digest(decisive(given / name)) for name in _SETTINGS if (given / name).is_file()},
            lock=lineage.locked(_text(given / lineage.LOCK)),
            backbone_revision=checkpoint.read(weights).backbone_revision,
            files=_hashes(weights),
            metrics=_finite(evaluation["metrics"].get(_CANDIDATE, {})),
        ),
    )


def _hashes(folder: Path) -> dict[str, str]:
    """The sha256 of every file of a checkpoint but its record, which says how long the training took."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != checkpoint.RECORD_NAME)
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in sorted(files)}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _finite(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Without the figures that do not exist, which JSON has as null."""
    return {name: float(value) for name, value in metrics.items() if value is not None and math.isfinite(value)}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
