"""`tenuto serve`: the champion behind HTTP."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from flows import terminal
from flows.commands import Json, Set, prepare
from tenuto.errors import WorkspaceError
from tenuto.serving.settings import ServingSettings, load
from tenuto.workspace import Workspace

if TYPE_CHECKING:
    from tenuto.serving.state import State

app = typer.Typer()


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 takes calls from other machines.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    bundle: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Serve the exported model in a folder, not the champion.")
    ] = None,
    challenger: Annotated[
        float | None,
        typer.Option(min=0, max=1, metavar="SHARE", help="Of requests, which @challenger hears too, without a say."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=256, help="Batches that are heard at once; default: one a core.")
    ] = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Answer what recordings are, over HTTP, with the champion; a promotion or a rollback is followed in seconds.

    Limits, batching and the log are set in mlflow/serving.yaml. /docs says what can be asked. With `--json` the address
    is printed once requests are taken.

    Examples: `tenuto serve`, `curl --data-binary @clip.wav http://127.0.0.1:8000/v1/classify`
    """
    from flows import serve as serving

    if bundle is None:
        workspace, params = prepare(set_)
        source, settings, log = serving.registry(workspace, params), load(workspace.serving), workspace.served
    else:
        source, settings, log = serving.folder(bundle), _settings_here(), None
    if challenger is not None:
        settings = settings.model_copy(update={"challenger_share": challenger})
    with serving.logged_to_stderr():
        serving.serve(
            source,
            settings,
            log=log,
            host=host,
            port=port,
            threads=threads,
            on_ready=lambda state, address: _tell(state, address, json),
        )


def _settings_here() -> ServingSettings:
    """Those of the workspace, the defaults outside of one."""
    try:
        return load(Workspace.find().serving)
    except WorkspaceError:
        return ServingSettings()


def _tell(state: State, address: str, json: bool) -> None:
    model = state.models.champion
    if json:
        terminal.print_json({"address": address, "version": model.version.version if model else None})
        sys.stdout.flush()  # whoever reads it waits for it
        return
    if model:
        alias = f" (@{model.version.alias})" if model.version.alias else ""
        said = f"{escape(model.version.name)} version {escape(model.version.version)}{alias}"
    else:
        said = f"[yellow]no model yet[/] ({escape(state.models.problem or 'still asking the registry')})"
    terminal.out.print(f"{said} at [cyan]{escape(address)}[/], until Ctrl-C", highlight=False)
