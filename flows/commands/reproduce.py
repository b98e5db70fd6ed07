"""`tenuto reproduce`: makes a registered version again and compares."""

from __future__ import annotations

import typer

app = typer.Typer()
