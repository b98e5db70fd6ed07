"""What registered versions have heard, from the clips tables of the runs that made them."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import store
from tenuto.errors import RegistryError
from tenuto.records import Record
from tenuto.tracing.lineage import CLIPS

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

log = logging.getLogger(__name__)


class Heard(Record):
    """The recordings that the registered versions of a model were trained or tuned on."""

    versions: int
    clips: frozenset[str]
    """Clip ids, and the names of their near-duplicate families."""


def heard(tracking_uri: str, name: str, cache: Path) -> Heard:
    """What all registered versions of `name` were trained or tuned on; tables are copied under `cache`.

    Raises RegistryError when that is unknown of a version which an alias points to; of any other it is a warning.
    """
    import pandas as pd

    client = store.connect(tracking_uri)
    versions = store.versions(client, name)
    aliased = set(store.aliases(client, name).values())
    known: set[str] = set()
    for run_id, numbers in _by_run(versions).items():
        path = _clips_table(client, run_id, cache)
        if path is None:
            _report_unknown(name, numbers, aliased)
            continue
        table = pd.read_parquet(path, columns=["clip_id", "family", "split"])
        used = table[table["split"].isin(["train", "validation"])]
        known |= {*used["clip_id"], *used["family"]}
    return Heard(versions=len(versions), clips=frozenset(known))


def _report_unknown(name: str, numbers: list[str], aliased: set[str]) -> None:
    listed = ", ".join(numbers)
    if aliased & set(numbers):
        raise RegistryError(
            f"What version {listed} of {name} was trained on is unknown: its MLflow run has no clips table. Bring the "
            "run's artifacts back, or take the alias off the version; only then can it be said which recordings are "
            "fresh."
        )
    log.warning("what version %s of %s was trained on is unknown; its recordings may count as fresh", listed, name)


def _by_run(versions: list[ModelVersion]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for version in versions:
        found.setdefault(version.run_id or "", []).append(str(version.version))
    return found


def _clips_table(client: MlflowClient, run_id: str, cache: Path) -> Path | None:
    """The clips table of a run, copied under `cache` once; None when the run has none."""
    from mlflow.exceptions import MlflowException

    kept = cache / "runs" / run_id / "clips.parquet"
    if kept.is_file():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
            Path(client.download_artifacts(run_id, CLIPS, scratch)).replace(kept)
    except (MlflowException, OSError):
        return None
    return kept
