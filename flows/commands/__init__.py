"""The commands of `tenuto`, one module per subject; each has an `app` that `flows.cli` puts together.

Here is what they share: the options that many take, and the workspace they work in. A command parses, calls a flow and
prints; flows are imported when a command runs, since Prefect and MLflow take seconds to import.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.markup import escape

from flows import terminal
from tenuto.deciding.policy import load_policy
from tenuto.errors import DatasetError, ServerError, SettingsError
from tenuto.learning.catalogue import preflight
from tenuto.settings import Params, load_params
from tenuto.splitting import holdout as holdout_file
from tenuto.workspace import Workspace

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set one parameter of params.yaml for this run; repeatable."),
]


def prepare(
    overrides: list[str] | None = None, *, trains: bool = False, backbones: Sequence[str] = ()
) -> tuple[Workspace, Params]:
    """The workspace and its settings, with the environment set before Prefect or MLflow is imported.

    With `trains`, a backbone that cannot do what the settings ask, or that the promotion policy refuses, is an error
    here, and a licence that is not known to allow commercial use is said on stderr. `backbones` are those of the
    command line, where the one in params.yaml is not meant.
    """
    from flows import servers

    workspace = Workspace.find()
    params = load_params(workspace.params, overrides or ())
    if trains:
        if not backbones:
            _check_backbone(workspace, params, "params.yaml", overrides or ())
        for name in backbones:
            chosen = params.model_copy(update={"backbone": name})
            _check_backbone(workspace, chosen, f"--backbone {name}", overrides or ())
    for name, value in servers.environment(workspace).items():
        os.environ.setdefault(name, value)
    return workspace, params


def _check_backbone(workspace: Workspace, params: Params, source: str, overrides: Sequence[str]) -> None:
    policy = load_policy(workspace.promotion, params.data.labels)
    known = preflight.check(params, policy, workspace.root, overrides, source=source)
    if remark := preflight.remark(known):
        terminal.err.print(f"[yellow]warning[/] {escape(remark)}", highlight=False)


def require_one_label(params: Params, command: str) -> None:
    """Raises SettingsError, before torch is imported, for a command that has no several labels a clip."""
    if params.data.labels == "many":
        raise SettingsError(f"`{command}` wants one label a clip; params.yaml says data.labels: many.")


def require_ready(workspace: Workspace, params: Params) -> None:
    """Raises, before a server is started or waited for, what a retrain would soon find missing or wrong."""
    from tenuto.reporting.card import check_template
    from tenuto.validation import load_expectations

    load_policy(workspace.promotion, params.data.labels)
    load_expectations(workspace.expectations)
    holdout_file.read(workspace.holdout)
    check_template(workspace.model_card)
    if not workspace.data_dvc.is_file() and not workspace.manifest.is_file():
        raise DatasetError(f"{workspace.root} has no recordings yet; add some with `tenuto data add SOURCE`.")


@contextmanager
def explained() -> Iterator[None]:
    """Turns Prefect's failure to reach or start its server into a ServerError."""
    try:
        yield
    except RuntimeError as error:
        if "Failed to reach API" in str(error):
            address = os.environ.get("PREFECT_API_URL")
            raise ServerError(
                f"The Prefect server at {address} does not answer; start it, or unset PREFECT_API_URL to use the "
                "embedded one."
            ) from error
        if "ephemeral Prefect API server" not in str(error):
            raise
        raise ServerError(
            "Prefect's embedded server did not start in time; `tenuto up` starts one that stays, and "
            "PREFECT_LOGGING_SERVER_LEVEL=INFO shows what the embedded one says."
        ) from error
