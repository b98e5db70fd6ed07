"""Divides the clips of a dataset version into training, validation and test clips."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from tenuto.dataset import manifest
from tenuto.labels import LabelType
from tenuto.records import DatasetVersion
from tenuto.settings import SplitSettings
from tenuto.splitting import splits
from tenuto.splitting.holdout import Holdout


@task(name="split", task_run_name="split-{dataset.clips}-clips", cache_policy=NO_CACHE, persist_result=False)
def split(
    dataset: DatasetVersion,
    settings: SplitSettings,
    folder: Path,
    holdout: Holdout | None = None,
    kind: LabelType = "one",
) -> Path:
    """The clips table (the manifest with each clip's split), written under `folder` as Parquet."""
    clips = splits.assign(manifest.read(dataset.manifest_path), settings, holdout, kind)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "clips.parquet"
    clips.to_parquet(path, index=False)
    _publish(clips, kind)
    return path


def _publish(clips: pd.DataFrame, kind: LabelType) -> None:
    """The number of clips per label and split as a Prefect artifact."""
    each = manifest.by_label(clips, kind)
    counts = pd.crosstab(each["label"], each["split"]).reset_index()
    table = {str(column): counts[column].tolist() for column in counts}
    create_table_artifact(table, key="clips-per-split", description="clips per label and split")
