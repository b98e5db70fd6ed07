"""The commands of `tenuto`, one module per subject; each has an `app` that `flows.cli` puts together.

Here is what they share: the options that many take, and the workspace they work in. A command parses, calls a flow and
prints; flows are imported when a command runs, since Prefect and MLflow take seconds to import.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.markup import escape

from flows import terminal
from tenuto.deciding.policy import load_policy
from tenuto.learning import preflight
from tenuto.settings import Params, load_params
from tenuto.workspace import Workspace

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set one parameter of params.yaml for this run; repeatable."),
]


def prepare(overrides: list[str] | None = None, *, trains: bool = False) -> tuple[Workspace, Params]:
    """The workspace and its settings, with the environment set before Prefect or MLflow is imported.

    With `trains`, a backbone that cannot do what the settings ask, or that the promotion policy refuses, is an error
    here, and a licence that is not known to allow commercial use is said on stderr.
    """
    from flows import servers

    workspace = Workspace.find()
    params = load_params(workspace.params, overrides or ())
    if trains:
        _check_backbone(workspace, params, overrides or ())
    for name, value in servers.environment(workspace).items():
        os.environ.setdefault(name, value)
    return workspace, params


def _check_backbone(workspace: Workspace, params: Params, overrides: Sequence[str]) -> None:
    known = preflight.check(params, load_policy(workspace.promotion, params.data.labels), workspace.root, overrides)
    if remark := preflight.remark(known):
        terminal.err.print(f"[yellow]warning[/] {escape(remark)}", highlight=False)
