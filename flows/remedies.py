"""What `tenuto remedies` runs: what can be done for rare classes and groups, on the present dataset version.

Plain functions and no Prefect flow: a person waits at the terminal, and nothing is registered.
"""

from __future__ import annotations

from collections.abc import Callable

from flows.present import present
from tenuto.learning.remedies import comparison
from tenuto.settings import Params
from tenuto.workspace import Workspace


def compare(
    workspace: Workspace, params: Params, *, seeds: int, on_progress: Callable[[int, int], None] | None = None
) -> comparison.Comparison:
    """Every remedy on the clips and splits that a retrain would use; embeddings are kept for the next time."""
    with present(workspace, params, "remedies") as now:
        return comparison.compare(
            now.clips, workspace.data, params, now.group, workspace.cache, seeds=seeds, on_progress=on_progress
        )
