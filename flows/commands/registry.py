"""`tenuto models`, the commands that move @champion by hand, and those that say who was champion when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from flows import terminal
from flows.commands import Json, Set, prepare

if TYPE_CHECKING:
    from datetime import datetime

    from flows.registry import Past, Reigning
    from tenuto.tracing.ledger import Entry

app = typer.Typer()

Version = Annotated[str, typer.Argument(help="A registered version: 3, or an alias such as @challenger.")]
Reason = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; the ledger keeps it for good, so name no speaker.")
]
Actor = Annotated[
    str | None, typer.Option("--actor", metavar="NAME", help="Who; default: git's user.name, else the login name.")
]

AcceptChanges = Annotated[
    bool, typer.Option("--accept-changes", help="Even if its classes, labels a clip or preprocessing differ.")
]


@app.command()
def models(set_: Set = None, json: Json = False) -> None:
    """List the registered versions with their aliases and verdicts.

    Example: `tenuto models`
    """
    workspace, params = prepare(set_)
    from flows.registry import versions

    with terminal.waiting("asking MLflow", quiet=json):
        rows = versions(workspace, params)
    terminal.print_json({"models": rows}) if json else _print_models(rows, params.name)


@app.command()
def promote(
    version: Version,
    reason: Reason,
    actor: Actor = None,
    accept_stale: Annotated[
        bool, typer.Option("--accept-stale", help="Even if it was evaluated against another champion than the present.")
    ] = False,
    accept_refused: Annotated[
        bool, typer.Option("--accept-refused", help="Even if a person refused it (`tenuto refuse`).")
    ] = False,
    accept_changes: AcceptChanges = False,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Make a registered version @champion by hand; the champion before it becomes @previous.

    Example: `tenuto promote 3 --reason "the rare class matters more to us than the mean"`
    """
    workspace, params = prepare(set_)
    from flows import registry

    entry = registry.promote(
        workspace,
        params,
        version,
        actor=actor,
        reason=reason,
        accept_stale=accept_stale,
        accept_refused=accept_refused,
        accept_changes=accept_changes,
    )
    _told(entry, f"version {entry.version} of {params.name} is @champion", json)


@app.command()
def rollback(
    reason: Reason,
    to: Annotated[str | None, typer.Option("--to", metavar="VERSION", help="Default: @previous.")] = None,
    actor: Actor = None,
    accept_changes: AcceptChanges = False,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Return to an earlier version; refused when it has other classes or another preprocessing than the champion.

    Examples: `tenuto rollback --reason "wrong on the new microphones"`, `tenuto rollback --to 2 --reason "as agreed"`
    """
    workspace, params = prepare(set_)
    from flows import registry

    entry = registry.rollback(workspace, params, to, actor=actor, reason=reason, accept_changes=accept_changes)
    _told(entry, f"version {entry.version} of {params.name} is @champion again", json)


@app.command()
def approve(
    version: Version,
    reason: Reason,
    actor: Actor = None,
    accept_changes: AcceptChanges = False,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Consent to a candidate that passed the gate and waits (`approval: person` in promotion.yaml).

    Example: `tenuto approve 3 --reason "listened to all of the disagreements"`
    """
    workspace, params = prepare(set_)
    from flows import approval

    entry = approval.approve(workspace, params, version, actor=actor, reason=reason, accept_changes=accept_changes)
    _told(entry, f"version {entry.version} of {params.name} is approved and @champion", json)


@app.command()
def refuse(version: Version, reason: Reason, actor: Actor = None, set_: Set = None, json: Json = False) -> None:
    """Refuse a candidate that passed the gate and waits; @champion stays where it is.

    Example: `tenuto refuse 3 --reason "one site was recorded with a broken microphone"`
    """
    workspace, params = prepare(set_)
    from flows import approval

    entry = approval.refuse(workspace, params, version, actor=actor, reason=reason)
    _told(entry, f"version {entry.version} of {params.name} is refused", json)


@app.command()
def history(set_: Set = None, json: Json = False) -> None:
    """Say who was champion from when until when, how it became that, by whom and why.

    Example: `tenuto history`
    """
    workspace, params = prepare(set_)
    from flows import registry

    past = registry.past(workspace, params)
    warn_when_touched(registry.touched(workspace, params))
    terminal.print_json(past.model_dump(mode="json")) if json else _print_past(past)


@app.command()
def champion(
    on: Annotated[
        str | None,
        typer.Option("--on", metavar="WHEN", help="2026-03-03 (the end of that day here) or 2026-03-03T14:00."),
    ] = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Say which version is champion, or was at another time.

    Examples: `tenuto champion`, `tenuto champion --on 2026-03-03`
    """
    workspace, params = prepare(set_)
    from flows import registry

    found = registry.reigning(workspace, params, on)
    warn_when_touched(registry.touched(workspace, params))
    terminal.print_json(found.model_dump(mode="json")) if json else _print_reigning(found)


def warn_when_touched(line: int | None) -> None:
    """Says on stderr that what is shown may not be what was written."""
    if line is not None:
        terminal.err.print(
            f"[bold red]the ledger was touched[/] at line {line}: rely on nothing here; see `tenuto ledger verify`",
            highlight=False,
        )


def _told(entry: Entry, what: str, json: bool) -> None:
    if json:
        return terminal.print_json(entry.model_dump(mode="json"))
    by = f"[dim](ledger entry {entry.number}, by {escape(entry.actor)})[/]"
    return terminal.out.print(f"{escape(what)} {by}", highlight=False)


def _print_models(rows: list[dict[str, Any]], name: str) -> None:
    """One line per registered version, newest first."""
    if not rows:
        text = f"no version of {escape(name)} is registered yet; [cyan]tenuto retrain[/] makes one"
        return terminal.out.print(text, highlight=False)
    table = Table("version", "aliases", "verdict", "macro-F1", "dataset", "commit", "made", title=escape(name))
    table.title_justify = "left"
    for row in rows:
        aliases = " ".join(f"@{alias}" for alias in row["aliases"])
        score = "" if row["macro_f1"] is None else f"{row['macro_f1']:.3f}"
        lineage = (_short(row["dataset"]), _short(row["git"]), row["created"])
        table.add_row(row["version"], aliases, row["verdict"], score, *lineage)
    terminal.out.print(table)
    for row in rows:
        if note := _note(row):
            terminal.out.print(f"version {row['version']}: {escape(note)}", highlight=False)
    return None


def _note(row: dict[str, Any]) -> str:
    """What stands in the way of a version, or has."""
    number = row["version"]
    awaited = f"waits for `tenuto approve {number}` or `tenuto refuse {number}`"
    approval = awaited if row["approval"] == "awaiting" else row["approval"]
    return "; ".join(note for note in (approval, f"erased: {row['erased']}" if row["erased"] else None) if note)


def _short(text: str | None) -> str:
    return (text or "")[:8]


def _print_past(past: Past) -> None:
    if past.ledger_began is None:
        return terminal.out.print(f"the ledger of {escape(past.model)} has no entry yet", highlight=False)
    if not past.reigns:
        terminal.out.print(f"no version of {escape(past.model)} was champion so far", highlight=False)
    for reign in reversed(past.reigns):
        since = _shown(reign.since) if reign.since else "before the ledger"
        until = _shown(reign.until) if reign.until else "now"
        why = f": {'; '.join(reign.reasons)}" if reign.reasons else ""
        made = f"{reign.how} by {reign.actor}{why}"
        terminal.out.print(f"[bold]{reign.version:>4}[/]  {since} to {until}  {escape(made)}", highlight=False)
    return terminal.out.print(f"[dim]the ledger begins at {_shown(past.ledger_began)}[/]", highlight=False)


def _print_reigning(found: Reigning) -> None:
    if found.version is None:
        text = f"no version of {escape(found.model)} was champion at {_shown(found.at)}"
        return terminal.out.print(text, highlight=False)
    said = f"version [bold]{found.version}[/] of {escape(found.model)}"
    if reign := found.reign:
        since = f"since {_shown(reign.since)}" if reign.since else "since before the ledger began"
        until = f", until {_shown(reign.until)}" if reign.until else ""
        said += f", {since}{until} ({reign.how} by {escape(reign.actor)})"
    if found.earlier_that_day:
        said += f"; earlier that day version {', '.join(found.earlier_that_day)}"
    if not found.is_recorded:
        said += "; the ledger says otherwise, see [cyan]tenuto ledger verify[/]"
    return terminal.out.print(said, highlight=False)


def _shown(when: datetime) -> str:
    return when.astimezone().strftime("%Y-%m-%d %H:%M")
