"""`tenuto backbones`: what there is to start from, what suits the present dataset, and how fast it is here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from flows import terminal
from flows.commands import Json, Set, prepare
from tenuto.errors import SettingsError, WorkspaceError
from tenuto.learning import catalogue
from tenuto.learning.catalogue import Domain, Entry, licences, recommendation
from tenuto.workspace import Workspace

if TYPE_CHECKING:
    from flows.backbones import Speed
    from tenuto.learning.catalogue.recommendation import Ranked

app = typer.Typer(help="Backbones: without a command the list of them; what suits your data, and how fast it is here.")

WIDE = 175
"""Columns of a terminal from which the table fits; below, each backbone gets lines of its own."""

Id = Annotated[str, typer.Argument(metavar="ID", help="As in the list.")]


@app.callback(invoke_without_command=True)
def backbones(context: typer.Context, json: Json = False) -> None:
    """List the backbones that Tenuto was made for; `recommend` ranks them for your data.

    Example: `tenuto backbones`
    """
    if context.invoked_subcommand:
        return None
    speeds = _speeds()
    if json:
        return terminal.print_json({"backbones": [_record(entry, speeds) for entry in catalogue.ENTRIES]})
    if terminal.out.width >= WIDE:
        terminal.out.print(_table(speeds))
    else:
        for entry in catalogue.ENTRIES:
            _print_briefly(entry, speeds)
    terminal.out.print("[cyan]tenuto backbones show ID[/] says all of one, [cyan]recommend[/] what suits your data")
    return None


@app.command()
def show(name: Id, json: Json = False) -> None:
    """Say everything that is known of one backbone.

    Example: `tenuto backbones show openai/whisper-tiny`
    """
    entry, speeds = _entry(name), _speeds()
    if json:
        return terminal.print_json(_record(entry, speeds))
    terminal.out.print(f"[bold]{escape(entry.id)}[/]", highlight=False)
    for what, value in _facts(entry, speeds):
        terminal.out.print(f"  [dim]{what:12}[/]{escape(value)}", highlight=False)
    return None


@app.command()
def recommend(
    domain: Annotated[Domain | None, typer.Option(help="What the sounds are.")] = None,
    latency_ms: Annotated[float | None, typer.Option(min=0.001, help="Allowed for a clip of median length.")] = None,
    size_mb: Annotated[float | None, typer.Option(min=0.001, help="Allowed for the weights.")] = None,
    commercial: Annotated[bool, typer.Option("--commercial", help="Only licences that allow commercial use.")] = False,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Rank the backbones for the present dataset, and say why.

    The points are rules of thumb, one sentence each; `tenuto compare` measures.

    Example: `tenuto backbones recommend --domain speech --latency-ms 50`
    """
    from flows.backbones import dataset_facts
    from tenuto.deciding.policy import load_policy

    workspace, params = prepare(set_)
    policy = load_policy(workspace.promotion, params.data.labels)
    wishes = recommendation.Wishes(
        domain=domain,
        latency_ms=latency_ms,
        size_mb=size_mb,
        commercial=commercial or policy.licences == "commercial",
    )
    facts = dataset_facts(workspace, params)
    ranked = recommendation.rank(facts, wishes, {name: speed.p50_ms for name, speed in _speeds().items()})
    assumed = recommendation.assumption(wishes)
    if json:
        return terminal.print_json(
            {
                "dataset": facts.model_dump(),
                "asked": wishes.model_dump(),
                "assumed": assumed,
                "backbones": [place.model_dump(mode="json") for place in ranked],
            }
        )
    terminal.out.print(escape(str(facts)), highlight=False)
    if assumed:
        terminal.out.print(f"[yellow]assumed[/] {escape(assumed)}", highlight=False)
    _print_ranking(ranked)
    return None


@app.command()
def measure(
    name: Annotated[str | None, typer.Argument(metavar="[ID]", help="Default: all that can be loaded here.")] = None,
    json: Json = False,
) -> None:
    """Time backbones on this machine: one second of sound, one CPU thread; kept for the list and for `recommend`.

    Example: `tenuto backbones measure speech-embedding`
    """
    from flows import backbones as flow

    workspace, _ = prepare(None)
    names = [_entry(name).id] if name else [entry.id for entry in catalogue.ENTRIES if _is_here(entry)]
    with terminal.counting("timing", quiet=json) as on_progress:
        found = flow.measure(workspace, names, on_progress)
    if json:
        terminal.print_json({"machine": flow.machine(), **found.model_dump(mode="json")})
    else:
        for id_, speed in found.speeds.items():
            terminal.out.print(f"{escape(id_)}: {speed.p50_ms:.1f} ms per second of sound", highlight=False)
        for id_, why in found.failed.items():
            terminal.out.print(f"[yellow]not measured[/] {escape(id_)}: {escape(why)}", highlight=False)
        terminal.out.print(f"median of one clip at a time on one thread of {escape(flow.machine())}", highlight=False)
    if not found.speeds:
        raise typer.Exit(1)


def _entry(name: str) -> Entry:
    entry, meant = catalogue.entry(name), catalogue.close_to(name)
    if entry is None:
        hint = f"did you mean {meant!r}?" if meant else f"known: {', '.join(e.id for e in catalogue.ENTRIES)}."
        raise SettingsError(f"no backbone {name!r} in the catalogue; {hint}")
    return entry


def _speeds() -> dict[str, Speed]:
    """What was measured in this workspace; nothing outside of one."""
    from flows.backbones import speeds

    try:
        return speeds(Workspace.find())
    except WorkspaceError:
        return {}


def _is_here(entry: Entry) -> bool:
    return recommendation.where(entry) in (recommendation.OURS, recommendation.CACHED)


def _record(entry: Entry, speeds: dict[str, Speed]) -> dict[str, Any]:
    speed = speeds.get(entry.id)
    return {
        **entry.model_dump(mode="json"),
        "commercial_use": licences.commercial_use(entry.licence),
        "size_mb": round(entry.size_mb, 1),
        "where": recommendation.where(entry),
        "latency_ms": speed.p50_ms if speed else None,
    }


def _table(speeds: dict[str, Speed]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("backbone", "family", "trained on", "rate", "window"):
        table.add_column(heading, no_wrap=True)
    for heading in ("million", "layers"):
        table.add_column(heading, justify="right")
    for heading in ("licence", "commercial", "where"):
        table.add_column(heading, no_wrap=True)
    table.add_column("ms/s", justify="right")
    for entry in catalogue.ENTRIES:
        table.add_row(
            escape(entry.id),
            entry.family,
            _domains(entry),
            f"{entry.sample_rate_hz / 1000:g} kHz",
            _window(entry),
            f"{entry.parameters / 1e6:.1f}",
            str(entry.layers),
            entry.licence,
            _coloured(entry),
            recommendation.where(entry),
            _speed(entry, speeds),
        )
    return table


def _print_briefly(entry: Entry, speeds: dict[str, Speed]) -> None:
    speed = f", {_speed(entry, speeds)} ms/s" if entry.id in speeds else ""
    terminal.out.print(f"[bold]{escape(entry.id)}[/]  {recommendation.where(entry)}", highlight=False)
    terminal.out.print(
        f"  {entry.family}, {_domains(entry)}, {entry.sample_rate_hz / 1000:g} kHz, {_window(entry)}, "
        f"{entry.parameters / 1e6:.1f} M{speed}",
        highlight=False,
    )
    terminal.out.print(f"  {entry.licence}, commercial use {_coloured(entry)}", highlight=False)


def _facts(entry: Entry, speeds: dict[str, Speed]) -> list[tuple[str, str]]:
    facts = [
        ("family", entry.family),
        ("trained on", _domains(entry)),
        ("hears", f"{entry.sample_rate_hz / 1000:g} kHz, up to {entry.highest_hz:,.0f} Hz, {_window(entry)} at once"),
        ("gives", f"{entry.dimensions} numbers a clip, a frame each {entry.hop_seconds * 1000:.0f} ms"),
        ("size", f"{entry.parameters:,} parameters in {entry.layers} layers, {entry.size_mb:.1f} MB"),
        ("licence", f"{entry.licence}, commercial use {licences.commercial_use(entry.licence)}"),
        ("revision", entry.revision or "none pinned"),
        ("where", recommendation.where(entry)),
        ("latency", f"{_speed(entry, speeds)} ms per second of sound" if entry.id in speeds else "not measured here"),
        ("strong at", entry.strong),
        ("weak at", entry.weak),
    ]
    return [*facts, *(("mind", trap) for trap in entry.traps), ("paper", entry.paper)]


def _print_ranking(ranked: tuple[Ranked, ...]) -> None:
    usable = [place for place in ranked if not place.excluded]
    for number, place in enumerate(usable, start=1):
        terminal.out.print(
            f"{number:2}. [bold]{escape(place.id)}[/]  {place.points:+d} points, {place.where}", highlight=False
        )
        for reason in place.reasons:
            terminal.out.print(f"      {reason.points:+d}  {escape(reason.words)}", highlight=False)
    if not usable:
        terminal.out.print("[yellow]none[/] meets what was asked", highlight=False)
    for place in ranked[len(usable) :]:
        terminal.out.print(f"[dim]not[/] {escape(place.id)}: {escape('; '.join(place.excluded))}", highlight=False)


def _domains(entry: Entry) -> str:
    return ", ".join(entry.domains) or "your clips only"


def _window(entry: Entry) -> str:
    if entry.window_seconds is None:
        return "any length"
    is_fixed = entry.is_padded and not entry.is_shortened
    return f"{'always' if is_fixed else 'up to'} {entry.window_seconds:g} s"


def _speed(entry: Entry, speeds: dict[str, Speed]) -> str:
    return f"{speeds[entry.id].p50_ms:.1f}" if entry.id in speeds else ""


def _coloured(entry: Entry) -> str:
    word = licences.commercial_use(entry.licence)
    return f"[{'green' if word == 'allowed' else 'bold red'}]{word}[/]"
