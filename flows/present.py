"""The present dataset version, divided as a retrain would divide it, for what a person waits for at the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pandas as pd

from tasks import dataset
from tenuto.dataset import manifest
from tenuto.settings import Params
from tenuto.splitting import holdout, splits
from tenuto.typed_yaml import digest
from tenuto.workspace import Workspace


@dataclass(frozen=True)
class Present:
    """`clips` is the manifest with `split`, `group` names what is resampled; two hashes say which clips these are."""

    clips: pd.DataFrame
    group: str | None
    dataset_md5: str
    division_sha256: str


@contextmanager
def present(workspace: Workspace, params: Params, doing: str) -> Iterator[Present]:
    """The clips and splits that a retrain would use; nobody else writes into the workspace in the meantime.

    Raises WorkspaceError when somebody does, and what `splits.assign` raises.
    """
    with workspace.exclusive(doing):
        version = dataset.fetch.fn(workspace.root)
        division = holdout.read(workspace.holdout)
        recordings = manifest.read(version.manifest_path)
        yield Present(
            clips=splits.assign(recordings, params.split, division, kind=params.data.labels),
            group=splits.group_name(recordings, params.split),
            dataset_md5=version.md5,
            division_sha256=digest(division),
        )
