"""What is known of the backbones that Tenuto was made for, before anything is downloaded.

Imports no torch and no transformers, so the command line can list, recommend and refuse in a moment. A test builds
every transformers encoder from its configuration and counts the parameters. Revisions are commits of the hub that other
people's pins name for the same repository; None where the model needs code from the hub, which Tenuto does not run.
"""

from __future__ import annotations

import difflib

from tenuto.learning.catalogue.base import Domain, Entry, Family
from tenuto.learning.catalogue.entries import ENTRIES

__all__ = ["ENTRIES", "Domain", "Entry", "Family", "close_to", "entry", "is_slip", "pinned"]

_BY_ID = {entry.id: entry for entry in ENTRIES}


def entry(name: str) -> Entry | None:
    """The entry whose id is `name`."""
    return _BY_ID.get(name)


def close_to(name: str) -> str | None:
    """The id that somebody who wrote `name` probably meant: with another case, a part of it, or misspelt."""
    lower = {id_.lower(): id_ for id_ in _BY_ID}
    short = {id_.rpartition("/")[2]: original for id_, original in lower.items()}
    given = name.lower()
    for names in (lower, short):
        if given in names:
            return names[given]
    if len(containing := [id_ for id_ in lower if given in id_]) == 1:
        return lower[containing[0]]
    close = difflib.get_close_matches(given, [*lower, *short], n=1, cutoff=0.8)
    return {**short, **lower}[close[0]] if close else None


def is_slip(name: str) -> bool:
    """Whether `name` is an id of the catalogue but for case or one character; the hub has others that look alike."""
    return any(_is_one_off(name.lower(), id_.lower()) for id_ in _BY_ID)


def pinned(name: str, revision: str | None) -> str:
    """The hub revision to use: the one asked for, else the catalogue's commit, else the main branch."""
    found = _BY_ID.get(name)
    return revision or (found.revision if found else None) or "main"


def _is_one_off(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    if len(long) - len(short) > 1:
        return False
    start = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    return short[start + (len(short) == len(long)) :] == long[start + 1 :]
