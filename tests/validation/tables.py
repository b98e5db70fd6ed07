"""Clips tables for the tests of the expectations: a few columns, everything in order unless told otherwise."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from tenuto.validation import Tables

SOUND = {
    "duration_seconds": 0.5,
    "sample_rate_hz": 8000,
    "level_dbfs": -20.0,
    "snr_db": 30.0,
    "clipped_fraction": 0.0,
    "dc_offset": 0.0,
    "has_dead_channel": False,
    "is_truncated": False,
    "is_fake_bandwidth": False,
    "aside_reason": "",
}


def clips_table(rows: list[dict]) -> pd.DataFrame:
    """One row per dict; clip ids count from 0000, and each clip is its own family unless the row names one."""
    filled = [SOUND | {"label": "one", "split": "train"} | row for row in rows]
    clips = pd.DataFrame(filled)
    clips["clip_id"] = [row.get("clip_id", f"{i:04d}") for i, row in enumerate(filled)]
    clips["family"] = [row.get("family", own) for row, own in zip(filled, clips["clip_id"], strict=True)]
    return clips


def counted(counts: Mapping[tuple[str, str], int], **more) -> list[dict]:
    """Rows out of {(label, split): how many}."""
    return [{"label": label, "split": split, **more} for (label, split), n in counts.items() for _ in range(n)]


def tables(rows: list[dict], **more) -> Tables:
    return Tables(clips_table(rows), **more)
