"""The dataset version that `data.dvc` names: fetched, recorded, and rid of recordings whose consent was withdrawn."""

from __future__ import annotations

from tasks.dataset.removal import CachedVersion, cached_versions, purge, remove
from tasks.dataset.versions import (
    DVC_CONFIG,
    READ_ONLY_REMOTE,
    RemoteUnreadableError,
    fetch,
    initialise,
    record,
)

__all__ = (
    "DVC_CONFIG",
    "READ_ONLY_REMOTE",
    "CachedVersion",
    "RemoteUnreadableError",
    "cached_versions",
    "fetch",
    "initialise",
    "purge",
    "record",
    "remove",
)
