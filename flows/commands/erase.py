"""`tenuto erase`: a speaker withdraws consent."""

from __future__ import annotations

import typer

app = typer.Typer()
