"""What several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.update(
    DO_NOT_TRACK="true",
    DVC_NO_ANALYTICS="1",
    GX_ANALYTICS_ENABLED="false",
    HF_HUB_OFFLINE="1",
    MLFLOW_DISABLE_TELEMETRY="true",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
)


@pytest.fixture(scope="session")
def project_root() -> Path:
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def fsdd(project_root: Path) -> Path:
    """The folder of 3,000 real recordings; the test is skipped where it is absent."""
    folder = Path(os.environ.get("TENUTO_FSDD", project_root.parent / "shared/data/fsdd/recordings"))
    if not folder.is_dir():
        pytest.skip(f"the Free Spoken Digit recordings are not at {folder}; set TENUTO_FSDD to their folder")
    return folder
