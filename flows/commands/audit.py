"""`tenuto audit`: from a model to its clips, and from a clip or a speaker to every model."""

from __future__ import annotations

import typer

app = typer.Typer()
