"""`tenuto data`: add recordings, check them, speak the starter set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows import terminal
from flows.commands import Json, Set, prepare

app = typer.Typer(no_args_is_help=True, help="Recordings: add them, check them, make the starter set.")

Source = Annotated[Path, typer.Argument(help="A folder (one sub-folder per class), or a CSV or Parquet table.")]
Pattern = Annotated[
    str | None,
    typer.Option(
        "--pattern", help="What file names say, such as `'{label}_{speaker}_{index}.wav'`; other fields are groups."
    ),
]


@app.command("add")
def data_add(source: Source, pattern: Pattern = None, set_: Set = None, json: Json = False) -> None:
    """Add labelled recordings to the dataset and record the new version with DVC.

    Examples: `tenuto data add recordings/`, `tenuto data add clips.csv`,
    `tenuto data add wavs --pattern '{label}_{speaker}_{index}.wav'`
    """
    workspace, params = prepare(set_)
    from flows import data

    with terminal.counting("reading recordings", quiet=json) as on_progress:
        result = data.add(workspace, params, source, pattern=pattern, on_progress=on_progress)
    terminal.print_json(terminal.add_result_json(result)) if json else terminal.print_add_result(result)


@app.command("check")
def data_check(
    source: Annotated[Path | None, typer.Argument(help="Recordings to check; none: the present dataset.")] = None,
    pattern: Pattern = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Say what `data add SOURCE` would do; without a SOURCE, how the present dataset meets expectations.yaml.

    Adds nothing and trains nothing.

    Examples: `tenuto data check`, `tenuto data check recordings/`
    """
    workspace, params = prepare(set_)
    from flows import data

    if source is None:
        with terminal.waiting("validating the dataset", quiet=json):
            found, stops = data.check_dataset(workspace, params)
        shape = {**found.model_dump(mode="json"), "stops": stops}
        terminal.print_json(shape) if json else terminal.print_validation(found, stops)
        raise typer.Exit(2 if stops else 0)
    with terminal.counting("reading recordings", quiet=json) as on_progress:
        result = data.check(workspace, params, source, pattern=pattern, on_progress=on_progress)
    terminal.print_json(terminal.add_result_json(result)) if json else terminal.print_add_result(result, dry_run=True)


@app.command("starter")
def data_starter(set_: Set = None, json: Json = False) -> None:
    """Speak the starter set again with espeak-ng and add it (needs `pip install 'tenuto[starter]'`).

    Example: `tenuto data starter`
    """
    workspace, params = prepare(set_)
    from flows import data

    with terminal.counting("reading recordings", quiet=json) as on_progress:
        result = data.add_starter(workspace, params, on_progress=on_progress)
    terminal.print_json(terminal.add_result_json(result)) if json else terminal.print_add_result(result)
