"""Real servers on loopback, started once for all tests that need them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flows import servers
from tenuto.workspace import Workspace


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, servers.Servers]]:
    """A workspace whose Prefect and MLflow servers run."""
    workspace = Workspace(tmp_path_factory.mktemp("live"))
    workspace.params.write_text("name: bells\n")
    try:
        yield workspace, servers.up(workspace)
    finally:
        servers.down(workspace)
