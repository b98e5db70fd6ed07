"""`tenuto data`: add recordings, remove some, check them, speak the starter set."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from flows import terminal
from flows.commands import Json, Set, prepare

if TYPE_CHECKING:
    from flows.removal import Removal

app = typer.Typer(no_args_is_help=True, help="Recordings: add them, remove some, check them, make the starter set.")

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


@app.command("remove")
def data_remove(
    clip: Annotated[
        list[str] | None, typer.Option("--clip", metavar="ID", help="One recording by its id; repeatable.")
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option("--group", metavar="NAME=VALUE", help="All recordings of a speaker or another group; repeatable."),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="NAME", help="All recordings of a class; repeatable.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Take recordings out of the dataset, for a wrong label or a bad recording, and record the new version with DVC.

    All that one of the options names go. Older versions keep them, and they may be added again under another label;
    the others stay in their splits. For a consent that was withdrawn there is `tenuto erase`.

    Examples: `tenuto data remove --clip 0f3c...`, `tenuto data remove --group speaker=ann --dry-run`,
    `tenuto data remove --label hiss --yes`
    """
    workspace, params = prepare(set_)
    if not (clip or group or label):
        raise typer.BadParameter("say which recordings: --clip ID, --group NAME=VALUE or --label NAME")
    from flows import removal

    # held while the question is asked, so that what is removed is what was shown
    with workspace.exclusive("data remove"):
        planned = removal.plan(workspace, params, clip or [], group or [], label or [])
        if not json:
            _print_removal(planned)
        if not dry_run:
            _confirm_removal(planned, yes=yes)
            with terminal.waiting("a dataset version without them", quiet=json):
                planned = removal.remove(workspace, params, planned)
    if json:
        terminal.print_json(planned.model_dump(mode="json", exclude={"who", "holdout"}) | {"is_dry_run": dry_run})
    elif not dry_run:
        terminal.out.print(f"removed; dataset version {planned.md5}", highlight=False)
        terminal.out.print("next: [cyan]git add . && git commit[/], then [cyan]tenuto retrain[/]", highlight=False)


def _print_removal(planned: Removal) -> None:
    out = terminal.out
    labels = ", ".join(f"{n:,} {escape(label)}" for label, n in planned.labels.items())
    out.print(f"[bold]{len(planned.clips):,}[/] recordings go ({labels}), {planned.left:,} are left", highlight=False)
    if planned.lost_labels:
        names = escape(", ".join(planned.lost_labels))
        out.print(f"  [yellow]classes[/]   no recording is left of {names}; the next model will not know it")
    if planned.moved:
        out.print(f"  [yellow]splits[/]    {planned.moved:,} others move, since a split would be left empty")
    if planned.stops:
        out.print(f"  [yellow]retrain[/]   not possible afterwards: {escape(planned.stops)}", highlight=False)


def _confirm_removal(planned: Removal, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter("add --yes, or look first with --dry-run")
    typer.confirm(f"Remove {len(planned.clips):,} recordings?", abort=True, err=True)


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
