"""Takes clips and groups out of a sentence: what an event may say must outlive nobody's consent."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from tenuto.records import GROUP_PREFIX

_CLIP_ID = r"[0-9a-f]{32}(?!\.dir)"
_BLANK = "…"


def without_clips_and_groups(text: str, manifest: Path) -> str:
    """The text with every clip id and every value of a group in the manifest blanked out.

    Whole words only, so that a speaker called 'an' costs no other word its letters; a part of a file's name between
    '_', '-' or '.' is a word of its own.
    """
    words = "|".join([_CLIP_ID, *(re.escape(value) for value in _group_values(manifest))])
    return re.sub(rf"(?<![^\W_])(?:{words})(?![^\W_])", _BLANK, text, flags=re.IGNORECASE)


def _group_values(manifest: Path) -> list[str]:
    """Longest first, or a value that begins another would leave the rest of it."""
    if not manifest.is_file():
        return []
    columns = [name for name in pq.read_schema(manifest).names if name.startswith(GROUP_PREFIX)]
    table = pd.read_parquet(manifest, columns=columns)
    values = {str(value) for column in columns for value in table[column].dropna().unique()}
    return sorted((value for value in values if value), key=len, reverse=True)
