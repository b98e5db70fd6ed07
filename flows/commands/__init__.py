"""The commands of `tenuto`, one module per subject; each has an `app` that `flows.cli` puts together.

Here is what they share: the options that many take, and the workspace they work in. A command parses, calls a flow and
prints; flows are imported when a command runs, since Prefect and MLflow take seconds to import.
"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from tenuto.settings import Params, load_params
from tenuto.workspace import Workspace

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set one parameter of params.yaml for this run; repeatable."),
]


def prepare(overrides: list[str] | None = None) -> tuple[Workspace, Params]:
    """The workspace and its settings, with the environment set before Prefect or MLflow is imported."""
    from flows import servers

    workspace = Workspace.find()
    params = load_params(workspace.params, overrides or ())
    for name, value in servers.environment(workspace).items():
        os.environ.setdefault(name, value)
    return workspace, params
