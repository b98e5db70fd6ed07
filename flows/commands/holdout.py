"""`tenuto holdout`: what is left of the test set, and a fresh one."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, help="The test set: what is left of it, and a fresh one.")
