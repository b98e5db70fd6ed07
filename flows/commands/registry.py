"""`tenuto models` and the commands that move @champion by hand."""

from __future__ import annotations

import typer

from flows import terminal
from flows.commands import Json, Set, prepare

app = typer.Typer()


@app.command()
def models(set_: Set = None, json: Json = False) -> None:
    """List the registered versions with their aliases and verdicts.

    Example: `tenuto models`
    """
    workspace, params = prepare(set_)
    from flows.registry import versions

    with terminal.waiting("asking MLflow", quiet=json):
        rows = versions(workspace, params)
    terminal.print_json({"models": rows}) if json else terminal.print_models(rows, params.name)
