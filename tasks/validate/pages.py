"""Data Docs that look right without a network: their style sheets come from the net, so they get one of their own."""

from __future__ import annotations

from pathlib import Path


def make_self_contained(docs: Path) -> None:
    """Nothing yet."""
