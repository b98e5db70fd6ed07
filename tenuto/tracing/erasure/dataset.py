"""The dataset without somebody: the manifest, the quarantine table and the clip files of `data/`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tenuto.dataset import ingest, manifest
from tenuto.records import GROUP_PREFIX
from tenuto.tracing.erasure.identities import Identities
from tenuto.tracing.erasure.records import Purged


def remove(data: Path, who: Identities) -> Purged:
    """What was taken out of the dataset folder; once more takes nothing.

    The clips' files, their rows, and the rows of recordings that were left out under a name of hers. A family of
    near-duplicates that was named by one of the clips is named by the oldest that stays.
    """
    path = data / manifest.FILE_NAME
    if not path.exists():
        return Purged(place="dataset")
    table = manifest.read(path)
    hers = of(table, who)
    rows = manifest.read_quarantine(data / manifest.QUARANTINE_FILE_NAME)
    kept = [row for row in rows if not who.are_in(f"{row.path}\n{row.detail}")]
    if hers.any() or len(kept) < len(rows) or table["family"].isin(who.families.keys()).any():
        rest = table[~hers]
        manifest.replace(rest.assign(family=rest["family"].replace(who.families)), kept, data)
    ingest.sweep(data)
    return Purged(place="dataset", counts={"clips": int(hers.sum()), "quarantine rows": len(rows) - len(kept)})


def of(table: pd.DataFrame, who: Identities) -> pd.Series:
    """Which rows of a manifest are hers; shape (n,), bool."""
    hers = table["clip_id"].isin(who.ids)
    for group, value in who.groups:
        if GROUP_PREFIX + group in table:
            hers |= table[GROUP_PREFIX + group] == value
    return hers
