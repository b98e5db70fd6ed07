"""`tenuto reproduce`: makes a registered version again and compares."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from flows import terminal
from flows.commands import Json, prepare

if TYPE_CHECKING:
    from tenuto.tracing.reproduction import Comparison, Input

app = typer.Typer()

_HASH = re.compile(r"[0-9a-f]{32,64}(\.dir)?")
_MARKS = {True: "[green]✓[/]", False: "[bold red]✗[/]", None: "-"}
_STYLES = {"identical": "bold green", "same metrics": "bold yellow", "differs": "bold red"}


@app.command()
def reproduce(
    version: Annotated[str, typer.Argument(help="A version's number, or an alias such as @champion.")],
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the scratch folder in .tenuto/reproduce until the next reproduction.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a version again from its code, data and parameters, and say whether weights and metrics are identical.

    Works in a scratch folder and takes as long as a retrain. Exit code 0: identical; 2: not, and what differs is said.

    Example: `tenuto reproduce @champion`
    """
    workspace, params = prepare(None)
    from flows import reproduce as flow

    with terminal.waiting(f"making {version} again", quiet=json) as wait:

        def tell(what: str) -> None:
            # finished stages of the rebuilt run stay on the screen
            terminal.err.print(escape(what), highlight=False) if what.startswith("✓") else wait(what)

        found = flow.reproduce(workspace, params, version, keep=keep, tell=(lambda _: None) if json else tell)
        flow.note(workspace, params, found)
    terminal.print_json(found.model_dump(mode="json")) if json else _print(found)
    raise typer.Exit(0 if found.result == "identical" else 2)


def _print(found: Comparison) -> None:
    table = Table("input", "recorded", "now", "same", title=f"{escape(found.model)} version {found.version}")
    table.title_justify = "left"
    for row in found.inputs:
        table.add_row(escape(row.name), *_cells(row), _MARKS[row.same])
    terminal.out.print(table)
    for line in _figures(found):
        terminal.out.print(escape(line), highlight=False)
    terminal.out.print(f"[{_STYLES[found.result]}]{escape(found.summary)}[/]", highlight=False)
    if found.note:
        terminal.out.print(escape(found.note), highlight=False)
    if found.kept:
        terminal.out.print(f"kept in {escape(terminal.shown(found.kept))}", highlight=False)


def _figures(found: Comparison) -> Iterator[str]:
    """What was compared, a line each."""
    changed = [name for name, same in found.files.items() if not same]
    yield (
        f"files of the checkpoint: {', '.join(changed)} differ"
        if changed
        else (f"files of the checkpoint: all {len(found.files)} identical")
    )
    for name, (recorded, now) in found.metrics.items():
        yield f"{name}: {recorded}, {'identical' if recorded == now else f'now {now}'}"
    if found.probability_difference is not None:
        difference = f"{found.probability_difference:.2g}" if found.probability_difference else "0"
        yield f"probabilities of {found.clips:,} test clips differ by at most {difference}"


def _cells(row: Input) -> tuple[str, str]:
    """What to show of an input: hashes short while they are the same."""
    shown = [value or "unknown" for value in (row.recorded, row.now)]
    if row.same and all(_HASH.fullmatch(value) for value in shown):
        shown = [value[:12] for value in shown]
    return escape(shown[0]), escape(shown[1])
