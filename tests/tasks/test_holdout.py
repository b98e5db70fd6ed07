from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks import holdout
from tenuto.errors import RegistryError


def version(tracking_uri: str, folder: Path, splits: dict[str, str] | None, alias: str | None = None) -> str:
    """The run of a new version of 'bells', with a clips table of these splits ({'a': 'train'}) or without one."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(tracking_uri, tracking_uri)
    experiment = client.get_experiment_by_name("bells")
    place = (folder / "artifacts").as_uri()
    run = client.create_run(experiment.experiment_id if experiment else client.create_experiment("bells", place))
    if splits is not None:
        rows = [{"clip_id": clip, "family": f"{clip}-family", "split": split} for clip, split in splits.items()]
        pd.DataFrame(rows).to_parquet(folder / "clips.parquet")
        client.log_artifact(run.info.run_id, str(folder / "clips.parquet"), "lineage")
    try:
        client.create_registered_model("bells")
    except MlflowException as error:
        assert error.error_code == "RESOURCE_ALREADY_EXISTS"
    made: Any = client.create_model_version("bells", source=place, run_id=run.info.run_id)
    if alias:
        client.set_registered_model_alias("bells", alias, str(made.version))
    return str(run.info.run_id)


def test_no_model_has_heard_nothing(tracking_uri: str, tmp_path: Path):
    assert holdout.heard(tracking_uri, "bells", tmp_path) == holdout.Heard(versions=0, clips=frozenset())


def test_all_registered_versions_count_with_what_trained_and_tuned_them(tracking_uri: str, tmp_path: Path):
    version(tracking_uri, tmp_path, {"a": "train", "b": "test", "c": "golden"})
    version(tracking_uri, tmp_path, {"b": "validation", "d": "aside"}, alias="champion")
    found = holdout.heard(tracking_uri, "bells", tmp_path / "cache")
    assert found.versions == 2
    assert found.clips == {"a", "a-family", "b", "b-family"}


def test_tables_are_fetched_once(tracking_uri: str, tmp_path: Path):
    version(tracking_uri, tmp_path, {"a": "train"})
    first = holdout.heard(tracking_uri, "bells", tmp_path / "cache")
    shutil.rmtree(tmp_path / "artifacts")
    assert holdout.heard(tracking_uri, "bells", tmp_path / "cache") == first


def test_what_a_version_with_an_alias_heard_must_be_known(tracking_uri: str, tmp_path: Path):
    version(tracking_uri, tmp_path, None, alias="champion")
    with pytest.raises(RegistryError, match="What version 1 of bells was trained on is unknown: its MLflow run has no"):
        holdout.heard(tracking_uri, "bells", tmp_path / "cache")


def test_of_a_version_without_alias_it_is_a_warning(tracking_uri: str, tmp_path: Path, caplog):
    version(tracking_uri, tmp_path, None)
    version(tracking_uri, tmp_path, {"a": "train"}, alias="champion")
    with caplog.at_level(logging.WARNING):
        assert holdout.heard(tracking_uri, "bells", tmp_path / "cache").clips == {"a", "a-family"}
    assert "what version 1 of bells was trained on is unknown" in caplog.text
