"""Data Docs that look right without a network.

The pages that Great Expectations builds take their style sheets, scripts and logo from eight hosts, and fonts from
4 MB of files beside them. Here those references go, a small style sheet and the one script that is of use come in, and
nothing on a page asks the net. Its index, a table that only its scripts can fill, becomes a plain list.
"""

from __future__ import annotations

import html
import re
from pathlib import Path

FOLDER = Path(__file__).parent

REMOTE = re.compile(
    r"<script\b.*?</script>"
    r"|<link\b[^>]*>"
    r"|@font-face\s*\{[^}]*\}"
    r"|<img\b[^>]*https?://[^>]*>"
    r"|<footer\b.*?</footer>"
    r"|url\(['\"]?https?://[^)]*\)",
    re.DOTALL,
)

INDEX = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Validation results</title>{head}</head>
<body><div class="container-fluid"><h1>Validation results</h1><p>The newest first. <a href="expectations/clips.html">The
expectations</a> as they were at the last of them.</p><ul>{items}</ul></div></body></html>
"""


def publish(built: Path, docs: Path) -> None:
    """Puts the pages of one run under `docs`, next to those of earlier runs, and lists all of them in its index."""
    head = _head()
    for page in (*built.glob("validations/**/*.html"), *built.glob("expectations/*.html")):
        text = REMOTE.sub("", page.read_text(encoding="utf-8")).replace("</head>", f"{head}</head>", 1)
        target = docs / page.relative_to(built)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    (docs / "index.html").write_text(INDEX.format(head=head, items=_links(docs)), encoding="utf-8")


def _head() -> str:
    style, script = ((FOLDER / name).read_text(encoding="utf-8") for name in ("pages.css", "pages.js"))
    return f"<style>{style}</style><script>{script}</script>"


def _links(docs: Path) -> str:
    """An item for every result page, the newest first; its folder is named after its time."""
    results = sorted(docs.glob("validations/**/*.html"), key=lambda page: page.parent.name, reverse=True)
    return "".join(
        f'<li><a href="{html.escape(page.relative_to(docs).as_posix())}">{html.escape(page.parent.name)}</a></li>'
        for page in results
    )
