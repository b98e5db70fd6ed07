"""`tenuto erase`: a speaker withdraws consent."""

from __future__ import annotations

import getpass
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from flows import terminal
from flows.commands import Json, Set, prepare

if TYPE_CHECKING:
    from flows.erase import Plan
    from tenuto.settings import Params
    from tenuto.tracing.erasure.records import Certificate
    from tenuto.workspace import Workspace

app = typer.Typer()

_DOINGS = {
    "refusals": "writing down whom to refuse",
    "registry": "MLflow's runs and versions",
    "dataset": "a dataset version without them",
    "DVC cache and remotes": "DVC's cache and remotes",
    "files": "caches, pages and tables",
    "databases and servers": "databases and servers",
    "certificate": "searching what is left",
}


@app.command()
def erase(
    group: Annotated[
        list[str] | None,
        typer.Option("--group", metavar="NAME=VALUE", help="All recordings of a speaker or another group; repeatable."),
    ] = None,
    clip: Annotated[
        list[str] | None, typer.Option("--clip", metavar="ID", help="One recording by its id; repeatable.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for the certificate; must not name anybody.")] = "",
    actor: Annotated[str | None, typer.Option(help="Who erases, for the certificate; default: your user name.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would change and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Erase recordings whose consent was withdrawn, everywhere in this workspace, and refuse them from then on.

    A new dataset version without them is recorded; caches, remotes, pages and run tables lose them; versions that
    heard them are tagged; a certificate is written to erasures/. An erasure that was interrupted is finished first.

    Examples: `tenuto erase --group speaker=ann --dry-run`, `tenuto erase --group speaker=ann --reason "by letter"`
    """
    workspace, params = prepare(set_)
    if not dry_run and _is_finished_first(workspace, params, yes=yes, json=json) and not (group or clip):
        return
    if not (group or clip):
        raise typer.BadParameter("say whose recordings: --group speaker=NAME, or --clip ID")
    from flows import erase as erasing

    asked = {"actor": actor or getpass.getuser(), "reason": reason}
    # held while the question is asked: a retrain meanwhile would bring in what the plan does not know of
    with nullcontext() if dry_run else workspace.exclusive("erase"):
        with terminal.waiting("looking everywhere", quiet=json):
            planned = erasing.plan(workspace, params, group or [], clip or [], **asked)
        if not json:
            _print_plan(planned)
        elif dry_run:
            terminal.print_json(plan_json(planned))
        if dry_run:
            return
        _confirm(yes=yes)
        journal = erasing.begin(workspace, params, planned)
        _finish(workspace, params, journal, planned, json=json)


def _is_finished_first(workspace: Workspace, params: Params, *, yes: bool, json: bool) -> bool:
    """True after an erasure that was begun before has been finished."""
    from flows import erase as erasing

    journal = erasing.begun(workspace)
    if journal is None:
        return False
    terminal.err.print(f"erasure {journal.number} was begun and not finished", highlight=False)
    _confirm(yes=yes)
    with workspace.exclusive("erase"):
        _finish(workspace, params, journal, None, json=json)
    return True


def _confirm(*, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter("erasing cannot be undone; add --yes, or look first with --dry-run")
    typer.confirm("Erase all of this? It cannot be undone.", abort=True, err=True)


def _finish(workspace: Workspace, params: Params, journal: Any, planned: Plan | None, *, json: bool) -> None:
    from flows import erase as erasing

    with terminal.waiting("erasing", quiet=json) as waits_for:
        certificate = erasing.finish(workspace, params, journal, lambda step: waits_for(_DOINGS[step]))
        flow_run = erasing.request_retrain(workspace, params)
    if json:
        shape = certificate.model_dump(mode="json") | {"retrain": flow_run, "sha256": certificate.sha256}
        terminal.print_json(shape)
    else:
        _print_certificate(certificate, flow_run)


def plan_json(planned: Plan) -> dict[str, Any]:
    """The documented shape of `erase --dry-run --json`: counts and places, with ids and names, which still exist."""
    who = planned.journal.who
    return {
        "clips": list(who.clips),
        "groups": [f"{name}={value}" for name, value in who.groups],
        "labels": planned.labels,
        "short_labels": list(planned.short_labels),
        "moved": planned.moved,
        "dataset_versions": [
            {"md5": version.md5, "places": list(version.places)} for version in planned.dataset_versions
        ],
        "runs": [trace.model_dump(mode="json") for trace in planned.journal.traces],
        "files": planned.files,
        "settings": [found.model_dump() for found in planned.mentions],
        "unread": planned.unread,
    }


def _print_plan(planned: Plan) -> None:
    who, out = planned.journal.who, terminal.out
    labels = ", ".join(f"{n} {escape(label)}" for label, n in planned.labels.items()) or "none in the present dataset"
    out.print(f"would erase [bold]{len(who.clips):,}[/] recordings ({labels})", highlight=False)
    out.print(f"  names     {escape(', '.join(f'{name}={value}' for name, value in who.groups)) or 'none'}")
    for version in planned.dataset_versions:
        out.print(f"  dataset   {version.md5} in {escape(', '.join(version.places))}", highlight=False)
    for trace in planned.journal.traces:
        out.print(f"  run       {_run(trace)}", highlight=False)
    files = ", ".join(f"{n} in {escape(place)}" for place, n in planned.files.items())
    out.print(f"  files     {files or 'none'}", highlight=False)
    for place, why in planned.unread.items():
        out.print(f"  [yellow]unread[/]    {escape(place)}: {escape(why)}", highlight=False)
    if planned.moved:
        out.print(
            f"  [yellow]splits[/]    {planned.moved} other clips go to another split, since one would be left empty; "
            "what the champion trained on is set aside from its test",
            highlight=False,
        )
    if planned.short_labels:
        out.print(
            f"  [yellow]training[/]  not possible afterwards: fewer than two clips of "
            f"{escape(', '.join(planned.short_labels))}",
            highlight=False,
        )
    for found in planned.mentions:
        out.print(f"  [red]edit[/]      {found.file}, line {found.line}: {escape(found.text)}", highlight=False)
    _print_champion(planned.champion)


def _run(trace: Any) -> str:
    roles = ", ".join(f"{role} {n}" for role, n in trace.clips.items())
    aliases = "".join(f" @{alias}" for alias in trace.aliases)
    return f"{trace.run} ({roles})" + (f", version {trace.version}{aliases}" if trace.version else "")


def _print_champion(champion: Any) -> None:
    if champion:
        terminal.out.print(
            f"[bold yellow]the champion, version {champion.version}, heard them; it goes on serving until a retrain "
            "replaces it[/]",
            highlight=False,
        )


def _print_certificate(certificate: Certificate, flow_run: str | None) -> None:
    out = terminal.out
    out.print(f"erased [bold]{len(certificate.clips):,}[/] recordings, {certificate.clips_left:,} are left")
    for done in certificate.purged:
        counts = ", ".join(f"{n:,} {what}" for what, n in done.counts.items() if n)
        if counts:
            out.print(f"  {escape(done.place)}: {counts}", highlight=False)
    heard = [trace for trace in certificate.runs if trace.heard and trace.version]
    if heard:
        out.print(f"tagged  versions {', '.join(str(trace.version) for trace in heard)}, which heard them")
    _print_champion(next((trace for trace in heard if "champion" in trace.aliases), None))
    searched = certificate.verified["files searched"]
    out.print(f"searched {searched:,} files afterwards, {certificate.verified['files that still name her']} name them")
    out.print("not reached:")
    for place, why in certificate.unreached.items():
        out.print(f"  {escape(place)}: {escape(why)}", highlight=False)
    out.print(f"certificate erasures/{certificate.number}.json", highlight=False)
    if flow_run:
        out.print(f"retrain requested: flow run {escape(flow_run)}", highlight=False)
        out.print("next: [cyan]git add . && git commit[/]", highlight=False)
    else:
        out.print("next: [cyan]git add . && git commit[/], then [cyan]tenuto retrain[/]", highlight=False)
