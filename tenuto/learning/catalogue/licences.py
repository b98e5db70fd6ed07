"""Licences of backbones: what a model card states, and whether it allows commercial use.

Apart from the catalogue, since a checkpoint folder or a hub id that nobody catalogued has a licence, too. This is a
reading of the identifier, not legal advice.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Literal

UNKNOWN = "unknown"

_ALLOWING = re.compile(
    r"apache-2\.0|mit|isc|zlib|unlicense|wtfpl|afl-3\.0|artistic-2\.0|bsd(-[234]-clause.*)?|0bsd|"
    r"cc0(-1\.0)?|cc-by(-sa)?(-[1-4]\.[05])?|mpl-2\.0|epl-[12]\.0|eupl-1\.[12]|(a|l)?gpl(-[23]\.[01])?(-only|-or-later)?"
)
_FORBIDDING = re.compile(r".*\b(nc|non-?commercial|research)\b.*")


def allows_commercial_use(licence: str) -> bool | None:
    """What an SPDX identifier (in any case, as the hub writes it too) says of commercial use; None when it is unknown.

    Licences that ask for attribution or the same licence in return do allow it.
    """
    name = licence.strip().lower()
    if _FORBIDDING.fullmatch(name):
        return False
    return True if _ALLOWING.fullmatch(name) else None


def commercial_use(licence: str) -> Literal["allowed", "forbidden", "unknown"]:
    """The same in a word, for tags and cards."""
    allowed = allows_commercial_use(licence)
    return "unknown" if allowed is None else "allowed" if allowed else "forbidden"


def in_words(licence: str) -> str:
    """'its licence CC-BY-NC-4.0 forbids commercial use'."""
    allowed = allows_commercial_use(licence)
    if allowed is None:
        said = "is" if licence == UNKNOWN else f"is {licence!r} and"
        return f"its licence {said} unknown, and with it whether it allows commercial use"
    return f"its licence {licence} {'allows' if allowed else 'forbids'} commercial use"


def of_card(card: Path | None) -> str:
    """The `license:` of a model card's front matter, 'unknown' when there is none or it does not say."""
    if card is None or not card.is_file():
        return UNKNOWN
    for line in card.read_text(encoding="utf-8", errors="replace").splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip() == "license":
            return value.strip().strip("\"'") or UNKNOWN
    return UNKNOWN


def of_folder(folder: Path) -> str:
    """The licence of a checkpoint folder: its model card's, else that of the backbone it was trained from by Tenuto."""
    stated = of_card(folder / "README.md")
    record = folder / "tenuto_checkpoint.json"
    if stated != UNKNOWN or not record.is_file():
        return stated
    try:
        return str(json.loads(record.read_text(encoding="utf-8")).get("backbone_licence") or UNKNOWN)
    except (OSError, ValueError, AttributeError):
        return UNKNOWN
