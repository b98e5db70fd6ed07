"""An MLflow store that each test gets a copy of, since making one takes MLflow seconds."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path

import pytest

os.environ.update(
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false",
    MLFLOW_LOGGING_LEVEL="WARNING",
    MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true",
)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with warnings.catch_warnings():
        # MLflow warns about type hints of its own
        warnings.simplefilter("ignore")
        import mlflow.pyfunc  # noqa: F401
        from mlflow import MlflowClient

        path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
        MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def tracking_uri(empty_database: Path, tmp_path: Path) -> str:
    """The URI of a store without runs and models."""
    return f"sqlite:///{shutil.copy(empty_database, tmp_path / 'mlflow.db')}"
