"""`tenuto gate`: stored decisions under another policy."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, help="Decisions: judge stored ones again under another policy.")
