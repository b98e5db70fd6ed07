"""The templates of the pages, and how they are filled in: all is escaped, and a name that is missing is an error."""

from __future__ import annotations

import os
from pathlib import Path

import jinja2

from tenuto.reporting import formats

TEMPLATES = Path(__file__).parents[1] / "templates"


def environment() -> jinja2.Environment:
    """The templates with the filters that all pages use."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(formats.FILTERS)
    return found


def write(text: str, path: Path) -> Path:
    """The page at `path`, written whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(text, encoding="utf-8", errors="replace")
    unfinished.replace(path)
    return path
