"""`tenuto ledger`: what was decided, and whether anybody has touched it."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, help="The record of decisions: show it, verify it.")
