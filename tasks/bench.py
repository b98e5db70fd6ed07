"""The files of a registered version for `tenuto bench`, and its figures in the version's run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tasks import store
from tenuto.errors import RegistryError


def fetch(tracking_uri: str, name: str, asked: str, folder: Path) -> tuple[str, Path]:
    """Download the logged model of a version or an alias (`@champion`) into `folder`: its version, and where it is."""
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    client = store.connect(tracking_uri)
    number = store.aliases(client, name).get(asked.removeprefix("@"), asked)
    try:
        version = client.get_model_version(name, number)
    except MlflowException as error:
        raise RegistryError(f"{name} has no version or alias {asked!r}; `tenuto models` lists them.") from error
    there = download_artifacts(artifact_uri=str(version.source), dst_path=str(folder), tracking_uri=tracking_uri)
    return str(version.version), Path(there)


def log(
    tracking_uri: str, name: str, version: str, figures: Mapping[str, float], card: Callable[[str, str], str]
) -> str:
    """Write metrics into the run that made a version; gives back the run's id.

    `card` makes the version's new description of the old one and the run's id.
    """
    client = store.connect(tracking_uri)
    found = client.get_model_version(name, version)
    run_id = str(found.run_id)
    for key, value in figures.items():
        client.log_metric(run_id, key, value)
    client.update_model_version(name, version, card(found.description or "", run_id))
    return run_id
