"""`tenuto holdout`: what is left of the test set, and a fresh one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from flows import terminal
from flows.commands import Json, Set, prepare

if TYPE_CHECKING:
    from flows.holdout import Part, Rotated, Status
    from tenuto.splitting.holdout import Score

app = typer.Typer(no_args_is_help=True, help="The test set: what is left of it, and a fresh one.")


@app.command("show")
def holdout_show(set_: Set = None, json: Json = False) -> None:
    """Say which test set is in use, how large it and the golden set are, and how often it may still decide.

    Example: `tenuto holdout show`
    """
    workspace, params = prepare(set_)
    from flows import holdout

    found = holdout.show(workspace, params)
    terminal.print_json(found.model_dump(mode="json")) if json else _print_status(found)


@app.command("rotate")
def holdout_rotate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be drawn, and write nothing.")] = False,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why; the ledger keeps it for good, so name no speaker.")
    ] = "",
    set_: Set = None,
    json: Json = False,
) -> None:
    """Bring in a fresh test set: units that no registered version was trained or tuned on.

    The old test set is released to training. The first time, half of the fresh units become the golden set: never
    trained on, never decided on, watched in every run. The champion is scored on the old and the new test set.

    Example: `tenuto holdout rotate --dry-run`, then `tenuto holdout rotate --reason "52 decisions taken"`
    """
    workspace, params = prepare(set_)
    from flows import holdout

    with terminal.waiting("drawing a fresh test set", quiet=json):
        done = holdout.rotate(workspace, params, reason=reason, dry_run=dry_run)
    terminal.print_json(done.model_dump(mode="json")) if json else _print_rotated(done)


def _print_status(found: Status) -> None:
    since = f", since {found.rotated_at:%Y-%m-%d}" if found.rotated_at else ""
    why = f": {escape(found.reason)}" if found.reason else ""
    _say(f"test set [bold]{found.generation}[/]{since}{why}")
    _say(f"test     {_size(found.test, found.unit)}")
    _say(
        f"golden   {_size(found.golden, found.unit) if found.golden.units else 'none yet; the first rotation draws it'}"
    )
    _say(f"account  {found.remaining}")
    _say(f"         {100 * found.account.left:.0f} % of alpha {found.account.alpha:g} is left")
    if not found.is_counted:
        _say("         no rule of promotion.yaml says `versus: champion` with `better_by*`: no decision draws on it")
    if found.champion:
        terminal.out.print(_scores("the champion at the last rotation", found.champion))


def _print_rotated(done: Rotated) -> None:
    verb = "would be" if done.is_dry_run else "is"
    _say(f"test set [bold]{done.generation}[/] {verb} {_size(done.test, done.unit)}")
    _say(f"golden   {_size(done.golden, done.unit)}")
    _say(f"released to training {_size(done.released, done.unit)}")
    if done.champion:
        terminal.out.print(_scores("the champion", done.champion))
        _say(done.comparison)
    if done.named:
        _say(
            "params.yaml keeps naming the first test set in split.hold_out: leave it; holdout.yaml says what counts now"
        )
    if done.is_dry_run:
        _say("nothing was written; without --dry-run it is done")
    else:
        _say("next: [cyan]git add holdout.yaml && git commit[/], then [cyan]tenuto retrain[/]")


def _scores(title: str, scores: Mapping[str, Score]) -> Table:
    table = Table("clips of the", "clips", "accuracy", "macro-F1", title=title, title_justify="left")
    for name, score in scores.items():
        cells = (f"{value:.3f} ({low:.3f} to {high:.3f})" for value, low, high in (score.accuracy, score.macro_f1))
        table.add_row(name, f"{score.clips:,}", *cells)
    return table


def _size(part: Part, unit: str) -> str:
    return f"{part.units:,} {escape(unit)}{'' if part.units == 1 else 's'}, {part.clips:,} clips"


def _say(line: str) -> None:
    terminal.out.print(line, highlight=False)
