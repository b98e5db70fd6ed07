"""What `tenuto init` runs: a workspace for somebody's own recordings."""

from __future__ import annotations

import re
from pathlib import Path

from tasks import dataset
from tenuto import scaffold


def create(directory: Path, name: str | None = None) -> Path:
    """The new workspace's root: settings files, git and DVC with a local remote.

    The model is called `name`, or like the folder with what a registry cannot hold replaced by '-'.
    """
    root = directory.resolve()
    scaffold.create(root, name or re.sub(r"[^A-Za-z0-9_.-]+", "-", root.name).strip("-._") or "model")
    dataset.initialise(root)
    return root
