"""`tenuto monitor`: drift, abstentions and quality of what the champion was served."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from flows import terminal
from flows.commands import Json, Set, prepare

if TYPE_CHECKING:
    from flows.monitor import Watched

app = typer.Typer()

_STYLES = {"steady": "bold green", "drift": "bold yellow", "quality dropped": "bold red", "too few clips": "bold"}


@app.command()
def monitor(set_: Set = None, json: Json = False) -> None:
    """Hold what the champion was served against the clips it was made from, and its answers against feedback.

    Looks back `monitor.days` (7), writes a page with trends, and tells Prefect what is new. Exits with 2 when something
    changed. `tenuto deploy` schedules a look a day, and lets drift and new labels start a retrain.

    Example: `tenuto monitor`
    """
    workspace, params = prepare(set_)
    with terminal.waiting("looking", quiet=json):
        from flows.monitor import watch

        found = watch(workspace, params)
    terminal.print_json(found.model_dump(mode="json")) if json else _show(found)
    raise typer.Exit(found.exit_code)


def _show(found: Watched) -> None:
    from tenuto.monitoring import looks

    look = found.look
    terminal.out.print(f"[{_STYLES[look.status]}]{look.status}[/]", highlight=False)
    for sentence in looks.sentences(look):
        terminal.out.print(escape(sentence), highlight=False)
    if look.signals:
        terminal.out.print(_table(found), soft_wrap=False)
    if look.accuracy:
        at = look.accuracy
        interval = f"{at.value:.1%} right ({at.low:.1%} to {at.high:.1%}) of {at.n} clips whose label came back"
        terminal.out.print(interval, highlight=False)
    if "quality" in look.found:
        terminal.out.print(escape(found.advice), highlight=False)
    for event in found.events:
        terminal.out.print(f"event {event}", highlight=False)
    terminal.out.print(f"page {escape(terminal.shown(found.page))}", highlight=False)


def _table(found: Watched) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("signal", "then", "now"):
        table.add_column(heading, overflow="fold")
    for heading in ("size", "large from", "p"):
        table.add_column(heading, justify="right")
    for signal in found.look.signals:
        digits = 4 if signal.name == "sound" else 2
        figures = (f"{signal.size:.{digits}f}", f"{signal.large:.{digits}f}", f"{signal.p_value:.2g}")
        style = "bold yellow" if signal.is_found else ""
        table.add_row(signal.name, escape(signal.then), escape(signal.now), *figures, style=style)
    return table
