"""`tenuto ledger`: what was decided, and whether anybody has touched it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from flows import terminal
from flows.commands import Json, Set, prepare
from flows.commands.registry import warn_when_touched

if TYPE_CHECKING:
    from tasks.registry import Verification
    from tenuto.tracing.ledger import Entry

app = typer.Typer(no_args_is_help=True, help="The record of decisions: show it, verify it, restore it.")


@app.command("show")
def ledger_show(set_: Set = None, json: Json = False) -> None:
    """List every decision: when, by whom, what, on which version and why.

    Example: `tenuto ledger show`
    """
    workspace, params = prepare(set_)
    from flows import registry

    entries = registry.entries(workspace, params)
    warn_when_touched(registry.touched(workspace, params))
    if json:
        rows = [entry.model_dump(mode="json") for entry in entries]
        return terminal.print_json({"model": params.name, "entries": rows})
    return _print_entries(entries, params.name)


@app.command("verify")
def ledger_verify(set_: Set = None, json: Json = False) -> None:
    """Find any entry that was edited, deleted, inserted or reordered, and any alias that was moved without one.

    Compares the file with its own chain of hashes, with the copy in MLflow, and with the aliases. Exit code 2 when
    anything is found. It cannot find that file and copy were both rewritten consistently: write the head's hash down
    elsewhere from time to time.

    Example: `tenuto ledger verify`
    """
    workspace, params = prepare(set_)
    from flows import registry

    with terminal.waiting("comparing the ledger with MLflow", quiet=json):
        found = registry.verify(workspace, params)
    if json:
        terminal.print_json({"model": params.name, "clean": not found.breaches, **found.model_dump(mode="json")})
    else:
        _print_verification(found, params.name)
    raise typer.Exit(2 if found.breaches else 0)


@app.command("restore")
def ledger_restore(set_: Set = None, json: Json = False) -> None:
    """Make the ledger's file again from its copy in MLflow; the touched file is kept beside it.

    Where the copy is the one that was touched, and the file is whole, the copy is made again from the file.

    Example: `tenuto ledger restore`
    """
    workspace, params = prepare(set_)
    from flows import registry

    aside = registry.restore(workspace, params)
    if json:
        return terminal.print_json({"ledger": str(workspace.ledger), "kept": str(aside) if aside else None})
    kept = f"; the old file is {escape(terminal.shown(aside))}" if aside else ""
    terminal.out.print(f"restored {escape(terminal.shown(workspace.ledger))}{kept}", highlight=False)
    return None


def _print_entries(entries: tuple[Entry, ...], name: str) -> None:
    if not entries:
        return terminal.out.print(f"the ledger of {escape(name)} has no entry yet", highlight=False)
    for entry in entries:
        event = f"{entry.event}: {entry.verdict}" if entry.verdict else entry.event
        about = f" of version {entry.version}" if entry.version else ""
        moved = "" if entry.aliases == entry.aliases_before else f", then {_aliases(entry)}"
        at = entry.at.astimezone().strftime("%Y-%m-%d %H:%M")
        said = f"{at}  {entry.actor}  {event}{about}{moved}"
        terminal.out.print(f"[bold]{entry.number:>4}[/]  {escape(said)}", highlight=False)
        if entry.reasons:
            terminal.out.print(f"      [dim]{escape('; '.join(entry.reasons))}[/]", highlight=False)
    return None


def _aliases(entry: Entry) -> str:
    return " ".join(f"@{alias} {at}" for alias, at in sorted(entry.aliases.items())) or "no alias"


def _print_verification(found: Verification, name: str) -> None:
    say = terminal.out.print
    for breach in found.breaches:
        where = f" [dim](line {breach.line})[/]" if breach.line else ""
        say(f"[bold red]{breach.kind}[/] {escape(breach.what)}{where}", highlight=False)
    if found.elsewhere:
        numbers = ", ".join(map(str, found.elsewhere))
        say(f"written on another host, and added here with the next entry: {numbers}", highlight=False)
    if found.began_with:
        aliases = ", ".join(f"@{alias} {at}" for alias, at in sorted(found.began_with.items()))
        say(f"the registry is older than its ledger, which began with {aliases}", highlight=False)
    if not found.breaches and found.head:
        say(f"the ledger of {escape(name)} is whole: {found.entries} entries, head {found.head}", highlight=False)
    elif not found.breaches:
        say(f"the ledger of {escape(name)} has no entry yet", highlight=False)
    elif any(breach.kind not in ("alias", "mirror") for breach in found.breaches):
        say("[cyan]tenuto ledger restore[/] makes the file again from MLflow's copy", highlight=False)
