"""What several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.command import ABSENT, FSDD

os.environ.update(
    DO_NOT_TRACK="true",
    DVC_NO_ANALYTICS="1",
    GX_ANALYTICS_ENABLED="false",
    HF_HUB_OFFLINE="1",
    MLFLOW_DISABLE_TELEMETRY="true",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A real browser or server may be late on a busy machine: once more, seen as R, tells that from a mistake."""
    for item in items:
        if item.get_closest_marker("browser") or item.get_closest_marker("servers"):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def project_root() -> Path:
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def fsdd() -> Path:
    """The folder of 3,000 real recordings; the test is skipped where it is absent."""
    if not FSDD.is_dir():
        pytest.skip(ABSENT)
    return FSDD
