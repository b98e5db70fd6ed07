"""The version that serves now, with its files on this machine."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.registry import pending, store
from tenuto.errors import TenutoError
from tenuto.records import Record
from tenuto.tracing import lineage

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

log = logging.getLogger(__name__)


class Champion(Record):
    """The version that serves now, with its files on this machine."""

    version: str
    run_id: str
    checkpoint: Path
    clips_path: Path | None
    """The clips table that it was trained on; None when its run no longer has it."""
    tags: dict[str, str]


@task(
    name="find-champion",
    task_run_name="find-champion-of-{name}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=5,
)
def champion(tracking_uri: str, name: str, cache: Path, ledger: Path | None = None) -> Champion | None:
    """The version of `name` with the alias @champion, its files copied under `cache`; None when there is none.

    Settles first what killed runs left in the registry; of what moved an alias its entry is missing, and stays so
    until somebody reads who knows the `ledger`. Raises TenutoError when the champion's files are gone.
    """
    client = store.connect(tracking_uri)
    pending.settle(client, name, ledger)
    number = store.aliases(client, name).get(store.CHAMPION)
    if number is None:
        return None
    version = client.get_model_version(name, number)
    # a run id or a model id never comes twice, whereas a name and a number do in another registry
    folder = cache / "champions" / f"{name}-{number}-{version.tags.get(store.MODEL_ID, version.run_id)}"
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
                f"{version.source} ({' '.join(str(error).split())}). Bring them back, or return to "
                "an earlier version with `tenuto rollback`."
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
