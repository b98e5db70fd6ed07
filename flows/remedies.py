"""What `tenuto remedies` runs: what can be done for rare classes and groups, on the present dataset version.

Plain functions and no Prefect flow: a person waits at the terminal, and nothing is registered.
"""

from __future__ import annotations

from collections.abc import Callable

from tasks import dataset
from tenuto.dataset import manifest
from tenuto.learning import remedies
from tenuto.settings import Params
from tenuto.splitting import holdout, splits
from tenuto.workspace import Workspace


def compare(
    workspace: Workspace, params: Params, *, seeds: int, on_progress: Callable[[int, int], None] | None = None
) -> remedies.Comparison:
    """Every remedy on the clips and splits that a retrain would use; embeddings are kept for the next time."""
    with workspace.exclusive("remedies"):
        version = dataset.fetch.fn(workspace.root)
        recordings = manifest.read(version.manifest_path)
        clips = splits.assign(recordings, params.split, holdout.read(workspace.holdout), kind=params.data.labels)
        group = splits.group_name(recordings, params.split)
        return remedies.compare(
            clips, workspace.data, params, group, workspace.cache, seeds=seeds, on_progress=on_progress
        )
