"""What `tenuto models` runs: the versions in the registry."""

from __future__ import annotations

from typing import Any

from flows import servers
from tasks import register
from tenuto.settings import Params
from tenuto.workspace import Workspace


def versions(workspace: Workspace, params: Params) -> list[dict[str, Any]]:
    """One row per registered version of the workspace's model, newest first."""
    return register.models(servers.tracking_uri(workspace, params), params.name)
