"""The MLflow registry: which version is champion, and how a new one gets there.

A registration is several calls to a server, and a run may be killed between any two. So a new version is born with the
tag `tenuto.pending`, which says who is at work and what the aliases were; the tag goes when the aliases are right.
Whoever reads the registry next settles what a killed run left: a version whose alias is set is finished, any other
is removed and the aliases are put back. Of two runs that promote at once, the lower version goes first and the
other finds the champion moved. The same calls serve a SQLite file and a server.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import ValidationError

from tenuto import lineage
from tenuto.errors import TenutoError
from tenuto.processes import Process, is_abandoned, this_process
from tenuto.records import Checkpoint, Record, RegisteredModel, Verdict

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

log = logging.getLogger(__name__)

Alias = Literal["champion", "challenger"]
CHAMPION, PREVIOUS = "champion", "previous"
_PENDING = "tenuto.pending"
_NO = "no"
"""The value of `tenuto.pending` at a logged model once it is registered."""
_MODEL_ID = "tenuto.model_id"
_CHECKPOINT = "tenuto.checkpoint_sha256"
_RIVAL_SECONDS = 60.0
_LONGEST_TAG = 4000
_PYFUNC = Path(__file__).with_name("pyfunc_model.py")
_SERVED_WITH = (
    "mlflow", "numpy", "pandas", "pydantic", "ruamel.yaml", "safetensors", "scipy", "soundfile", "soxr", "torch",
    "transformers",
)  # fmt: skip


class ChampionMovedError(TenutoError):
    """Another version became champion after this run's evaluation; it has to be evaluated against that one."""


class Champion(Record):
    """The version that serves now, with its files on this machine."""

    version: str
    run_id: str
    checkpoint: Path
    clips_path: Path | None
    """The clips table that it was trained on; None when its run no longer has it."""
    tags: dict[str, str]


class _Pending(Record):
    """What a version that is being registered is for, by whom, and the aliases before."""

    alias: Alias
    aliases_before: dict[str, str]
    process: Process


@task(
    name="find-champion",
    task_run_name="find-champion-of-{name}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=5,
)
def champion(tracking_uri: str, name: str, cache: Path) -> Champion | None:
    """The version of `name` with the alias @champion, its files copied under `cache`; None when there is none.

    Settles first what killed runs left in the registry. Raises TenutoError when the champion's files are gone.
    """
    client = _client(tracking_uri)
    settle(client, name)
    number = _aliases(client, name).get(CHAMPION)
    if number is None:
        return None
    version = client.get_model_version(name, number)
    # a run id or a model id never comes twice, whereas a name and a number do in another registry
    folder = cache / "champions" / f"{name}-{number}-{version.tags.get(_MODEL_ID, version.run_id)}"
    if not folder.is_dir():
        _download(client, version, folder)
    clips = folder / "clips.parquet"
    return Champion(
        version=number,
        run_id=version.run_id or "",
        checkpoint=folder / "checkpoint",
        clips_path=clips if clips.is_file() else None,
        tags=dict(version.tags),
    )


@task(name="register-model", task_run_name="register-{name}", cache_policy=NO_CACHE, persist_result=False)
def register(
    tracking_uri: str,
    name: str,
    run_id: str,
    checkpoint: Checkpoint,
    verdict: Verdict,
    evaluated_against: str | None,
    tags: dict[str, str],
) -> RegisteredModel:
    """The new version of `name`: @champion after the verdict 'promote', @challenger after 'register'.

    `evaluated_against` is the version that was champion in the evaluation; ChampionMovedError is raised, and nothing
    is registered, when it no longer is. `tags` (lineage, licence of the backbone, figures) are set when the version is
    created, with those of verdict and checkpoint. A checkpoint that is there already, under the alias that the verdict
    asks for, is not registered again: its version is returned as it is. Any failure, Ctrl-C included, leaves the
    registry as before; a verdict that registers nothing is a ValueError.
    """
    if verdict.verdict not in ("promote", "register"):
        raise ValueError(f"a model with the verdict {verdict.verdict!r} is not registered")
    alias: Alias = "champion" if verdict.verdict == "promote" else "challenger"
    client = _client(tracking_uri)
    settle(client, name)
    before = _aliases(client, name)
    if there := _registered_before(client, name, before, alias, checkpoint):
        return _registered(name, there, before)
    if before.get(CHAMPION) != evaluated_against:
        raise ChampionMovedError(_moved(name, evaluated_against, before.get(CHAMPION)))
    pending = _Pending(alias=alias, aliases_before=before, process=this_process()).model_dump_json()
    all_tags = _tags(checkpoint, verdict, evaluated_against) | tags | {_PENDING: pending}
    model_id = _log_model(client, name, run_id, checkpoint, pending)
    try:
        number = _create_version(client, name, run_id, model_id, all_tags, verdict)
        _take_turn(client, name, number, evaluated_against)
        _point(client, name, number, alias, before)
        _finish(client, name, number, model_id)
    except BaseException:
        _roll_back_own(client, name, model_id)
        raise
    return _registered(name, number, _aliases(client, name))


def models(tracking_uri: str, name: str) -> list[dict[str, Any]]:
    """One row per finished version of `name`, newest first: version, aliases, verdict and where it came from."""
    client = _client(tracking_uri)
    aliases = _aliases(client, name)
    return [_row(version, aliases) for version in _versions(client, name) if _PENDING not in version.tags]


def settle(client: MlflowClient, name: str) -> None:
    """Finishes or removes every version and model that a run which lives no more left half-registered."""
    for version in _versions(client, name):
        pending = _pending(version.tags)
        if pending and is_abandoned(pending.process):
            _settle_version(client, version, pending)
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return
    unfinished = f"tags.`{_PENDING}` != '{_NO}'"
    for model in client.search_logged_models([experiment.experiment_id], filter_string=unfinished):
        pending = _pending(model.tags)
        if pending and is_abandoned(pending.process):
            _remove_unless_registered(client, name, model.model_id)


def _client(tracking_uri: str) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def _aliases(client: MlflowClient, name: str) -> dict[str, str]:
    """Alias to version; empty when no model has the name."""
    from mlflow.exceptions import MlflowException

    try:
        return {alias: str(at) for alias, at in client.get_registered_model(name).aliases.items()}
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return {}
        raise


def _registered(name: str, number: str, aliases: dict[str, str]) -> RegisteredModel:
    pointing = tuple(sorted(alias for alias, at in aliases.items() if at == number))
    return RegisteredModel(name=name, version=number, aliases=pointing)


def _registered_before(
    client: MlflowClient, name: str, aliases: dict[str, str], alias: Alias, checkpoint: Checkpoint
) -> str | None:
    """The version that an earlier run registered from this very checkpoint and that needs no change; else None.

    What is champion already need not become challenger.
    """
    for number in (aliases.get(CHAMPION), aliases.get(alias)):
        if number and client.get_model_version(name, number).tags.get(_CHECKPOINT) == checkpoint.sha256:
            return number
    return None


def _versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    """All versions, newest first; pages are followed."""
    found: list[ModelVersion] = []
    token: str | None = None
    while True:
        page = client.search_model_versions(f"name='{name}'", max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return sorted(found, key=lambda version: int(version.version), reverse=True)


def _pending(tags: dict[str, str]) -> _Pending | None:
    try:
        return _Pending.model_validate_json(tags[_PENDING]) if _PENDING in tags else None
    except ValidationError:
        log.warning("a registry entry has the tag %s, but not of a form this release writes; left alone", _PENDING)
        return None


def _log_model(client: MlflowClient, name: str, run_id: str, checkpoint: Checkpoint, pending: str) -> str:
    """The id of a logged model with signature, input example and the package `tenuto`; not yet in the registry."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus
    from mlflow.models import Model

    experiment = client.get_run(run_id).info.experiment_id
    model = client.create_logged_model(experiment, name=name, source_run_id=run_id, tags={_PENDING: pending})
    with tempfile.TemporaryDirectory(prefix="tenuto-model-") as scratch:
        folder = Path(scratch) / "model"
        description = Model(artifact_path=model.artifact_location, run_id=run_id, model_id=model.model_id)
        _save_model(folder, checkpoint, description)
        client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    client.log_outputs(run_id, models=[LoggedModelOutput(model.model_id, step=0)])
    return str(model.model_id)


def _save_model(folder: Path, checkpoint: Checkpoint, description: Any) -> None:
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    import tenuto

    probabilities = [ColSpec("double", f"p_{label}") for label in checkpoint.labels]
    outputs = Schema([ColSpec("string", "label"), ColSpec("double", "probability"), *probabilities])
    mlflow.pyfunc.save_model(
        path=str(folder),
        python_model=str(_PYFUNC),
        artifacts={"checkpoint": str(checkpoint.path)},
        code_paths=[str(Path(tenuto.__file__).parent)],
        signature=ModelSignature(inputs=Schema([ColSpec("binary", "audio")]), outputs=outputs),
        input_example=pd.DataFrame({"audio": [_example()]}),
        pip_requirements=_requirements(),
        mlflow_model=description,
    )
    for leftover in folder.rglob("__pycache__"):
        shutil.rmtree(leftover)


def _example() -> bytes:
    """Half a second of a quiet 440 Hz tone as wav: an example must be nobody's voice."""
    import numpy as np

    from tenuto import audio

    seconds = np.arange(8000) / 16000
    return audio.encode_wav((0.1 * np.sin(2 * np.pi * 440 * seconds)).astype(np.float32), 16000)


def _requirements() -> list[str]:
    # a local version such as 2.13.0+cpu is on no package index
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in _SERVED_WITH]


def _tags(checkpoint: Checkpoint, verdict: Verdict, evaluated_against: str | None) -> dict[str, str]:
    return {
        "tenuto.verdict": verdict.verdict,
        "tenuto.reasons": "\n".join(verdict.reasons)[:_LONGEST_TAG],
        "tenuto.policy_sha256": verdict.policy_sha256,
        "tenuto.evaluated_against": evaluated_against or "no champion",
        "tenuto.backbone": checkpoint.backbone,
        "tenuto.backbone_revision": checkpoint.backbone_revision,
        "tenuto.preprocessing": checkpoint.preprocessing,
        _CHECKPOINT: checkpoint.sha256,
    }


def _create_version(
    client: MlflowClient, name: str, run_id: str, model_id: str, tags: dict[str, str], verdict: Verdict
) -> str:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = client.create_model_version(
        name,
        # as models:/ID it would be looked up at MLflow's process-wide tracking address, not at this client's
        source=client.get_logged_model(model_id).artifact_location,
        run_id=run_id,
        model_id=model_id,
        # SQLite keeps no model id with the version
        tags=tags | {_MODEL_ID: model_id},
        description="\n".join(verdict.reasons)[:_LONGEST_TAG],
    )
    return str(version.version)


def _take_turn(client: MlflowClient, name: str, number: str, evaluated_against: str | None) -> None:
    """Waits for lower versions that are being registered, then makes sure that the champion has not moved."""
    deadline = time.monotonic() + _RIVAL_SECONDS
    while _is_preceded(client, name, int(number)) and time.monotonic() < deadline:
        time.sleep(0.2)
    now = _aliases(client, name).get(CHAMPION)
    if now != evaluated_against or _is_preceded(client, name, int(number)):
        raise ChampionMovedError(_moved(name, evaluated_against, now))


def _is_preceded(client: MlflowClient, name: str, number: int) -> bool:
    earlier = (_pending(version.tags) for version in _versions(client, name) if int(version.version) < number)
    return any(pending and not is_abandoned(pending.process) for pending in earlier)


def _moved(name: str, expected: str | None, now: str | None) -> str:
    if now == expected:
        return f"Another run has been registering a version of {name} for a minute. Nothing was registered; run again."
    was = f"version {expected}" if expected else "no version"
    current = f"version {now}" if now else "none"
    return f"The champion of {name} was {was} in this evaluation and is {current} now. Nothing was registered."


def _point(client: MlflowClient, name: str, number: str, alias: str, before: dict[str, str]) -> None:
    if alias == CHAMPION and CHAMPION in before:
        client.set_registered_model_alias(name, PREVIOUS, before[CHAMPION])
    client.set_registered_model_alias(name, alias, number)


def _finish(client: MlflowClient, name: str, number: str, model_id: str | None) -> None:
    if model_id:
        # MLflow's page of the model links its version by this tag
        versions = json.dumps([{"name": name, "version": number}])
        client.set_logged_model_tags(model_id, {"mlflow.modelVersions": versions, _PENDING: _NO})
    client.delete_model_version_tag(name, number, _PENDING)


def _roll_back_own(client: MlflowClient, name: str, model_id: str) -> None:
    for version in _versions(client, name):
        pending = _pending(version.tags)
        if version.tags.get(_MODEL_ID) == model_id and pending:
            _settle_version(client, version, pending)
    _remove_unless_registered(client, name, model_id)


def _settle_version(client: MlflowClient, version: ModelVersion, pending: _Pending) -> None:
    """Finishes a version whose alias is set; removes any other and puts @previous back."""
    name, number, before = version.name, str(version.version), pending.aliases_before
    now = _aliases(client, name)
    if now.get(pending.alias) == number:
        log.warning("version %s of %s was registered by a run that did not finish; completed", number, name)
        return _finish(client, name, number, version.tags.get(_MODEL_ID))
    log.warning("version %s of %s was left half-registered by a run that did not finish; removed", number, name)
    if now.get(CHAMPION) == before.get(CHAMPION) and now.get(PREVIOUS) != before.get(PREVIOUS):
        if PREVIOUS in before:
            client.set_registered_model_alias(name, PREVIOUS, before[PREVIOUS])
        else:
            client.delete_registered_model_alias(name, PREVIOUS)
    client.delete_model_version(name, number)
    return None


def _remove_unless_registered(client: MlflowClient, name: str, model_id: str) -> None:
    if model_id not in {version.tags.get(_MODEL_ID) for version in _versions(client, name)}:
        client.delete_logged_model(model_id)


def _download(client: MlflowClient, version: ModelVersion, folder: Path) -> None:
    """Checkpoint and clips table of a version, all or nothing, as `folder`."""
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    folder.parent.mkdir(parents=True, exist_ok=True)
    uri = client.tracking_uri
    with tempfile.TemporaryDirectory(prefix=".download-", dir=folder.parent) as scratch:
        part = Path(scratch) / "champion"
        part.mkdir()
        try:
            model = Path(download_artifacts(artifact_uri=version.source, dst_path=f"{scratch}/model", tracking_uri=uri))
            shutil.move(model / _checkpoint_within(model), part / "checkpoint")
        except (MlflowException, OSError) as error:
            raise TenutoError(
                f"The files of {version.name} version {version.version}, the champion, cannot be read from "
                f"{version.source} ({' '.join(str(error).split())}). Bring them back, or take the alias @champion away "
                "in MLflow."
            ) from error
        _download_clips(client, version.run_id, part)
        part.replace(folder)


def _checkpoint_within(model: Path) -> str:
    from mlflow.models import Model

    flavor = Model.load(str(model / "MLmodel")).flavors["python_function"]
    return str(flavor["artifacts"]["checkpoint"]["path"])


def _download_clips(client: MlflowClient, run_id: str | None, folder: Path) -> None:
    from mlflow.exceptions import MlflowException

    try:
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            path = client.download_artifacts(run_id or "", lineage.CLIPS, scratch)
            Path(path).replace(folder / "clips.parquet")
    except (MlflowException, OSError):
        log.warning("run %s of the champion has no clips table; what it trained on is unknown", run_id)


def _row(version: ModelVersion, aliases: dict[str, str]) -> dict[str, Any]:
    number = str(version.version)
    return {
        "version": number,
        "aliases": sorted(alias for alias, at in aliases.items() if at == number),
        "verdict": version.tags.get("tenuto.verdict"),
        "macro_f1": json.loads(version.tags.get("tenuto.macro_f1", "null")),
        "backbone": version.tags.get("tenuto.backbone"),
        "dataset": version.tags.get("tenuto.dataset_md5"),
        "git": version.tags.get("tenuto.git_commit"),
        "mlflow_run": version.run_id,
        "created": time.strftime("%Y-%m-%d %H:%M", time.localtime(version.creation_timestamp / 1000)),
    }
