"""Text of anybody's as it may stand in Markdown: labels and file names come from whoever made the recordings."""

from __future__ import annotations

import re

from markupsafe import Markup

LONGEST_TEXT = 120
"""A label or name of more characters is cut."""

_SPECIAL = re.compile(r"([\\`*|\[\]~$])|(?<![A-Za-z0-9])(_)|(_)(?![A-Za-z0-9])")
_START = re.compile(r"^([#=]|[+-](?=\s))")
_BLOCK = re.compile(r"(?m)^(\s*)(#|>|=|-{3,}|\|)")


def inline(text: str, longest: int = LONGEST_TEXT) -> Markup:
    """The text on one line, safe inside a sentence and inside a cell of a table; long ones end in '…'."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(line) > longest:
        line = line[: longest - 1] + "…"
    escaped = _START.sub(r"\\\1", _SPECIAL.sub(lambda found: f"\\{found[0]}", line))
    return Markup(_without_html(escaped))


def prose(text: str) -> Markup:
    """Paragraphs and lists that the team wrote in params.yaml: their lines stay, HTML and headings do not."""
    lines = ["".join(c if c.isprintable() else " " for c in line).rstrip() for line in text.strip().splitlines()]
    return Markup(_BLOCK.sub(r"\1\\\2", _without_html("\n".join(lines))))


def _without_html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
