"""`tenuto bench`: how fast, large and hungry each way of serving a model is on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from flows import terminal
from flows.commands import Json, Set, prepare

if TYPE_CHECKING:
    from flows.bench import Bench

app = typer.Typer()


@app.command()
def bench(
    model: Annotated[
        str, typer.Argument(metavar="[MODEL]", help="A version, an alias, or the folder of a checkpoint or export.")
    ] = "@champion",
    seconds: Annotated[float, typer.Option(min=0.01, max=600, help="Of sound in a clip.")] = 1.0,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Time a model as transformers' pipeline, in torch and as exported: latency, throughput, memory, size, cold start.

    Each way has a process of its own, and they take turns. Figures of a registered version go to its MLflow run
    and its model card.

    Examples: `tenuto bench`, `tenuto bench 3 --seconds 5`
    """
    from flows import bench as flow

    if "/" in model and not Path(model).is_dir():
        raise typer.BadParameter(f"there is no folder {model}")
    if Path(model).is_dir():
        with terminal.counting("timing", quiet=json) as on_progress:
            found = flow.of_folder(Path(model), seconds, on_progress)
    else:
        workspace, params = prepare(set_)
        with terminal.counting("timing", quiet=json) as on_progress:
            found = flow.of_version(workspace, params, model, seconds, on_progress)
    terminal.print_json(found.model_dump(mode="json")) if json else _print(found)


def _print(found: Bench) -> None:
    reference = next((way.timings[0].p50_ms for way in found.ways if way.way == "pipeline" and way.timings), None)
    table = Table(box=None, pad_edge=False)
    for heading in ("", "threads", "p50 ms", "p95", "p99", "x pipeline", "real-time", "clips/s by batch"):
        table.add_column(heading, justify="left" if not heading else "right")
    for way in found.ways:
        for timing in way.timings:
            ratio = f"{timing.p50_ms / reference:.2f}" if reference and timing.threads == 1 else ""
            throughput = ", ".join(f"{size}: {clips:.0f}" for size, clips in timing.clips_per_second.items())
            numbers = (f"{value:.2f}" for value in (timing.p50_ms, timing.p95_ms, timing.p99_ms))
            cells = (str(timing.threads), *numbers, ratio, f"{timing.real_time_factor:.4f}", throughput)
            table.add_row(way.way, *cells)
    terminal.out.print(table)
    for way in found.ways:
        if way.why_not:
            terminal.out.print(f"[yellow]not measured[/] {way.way}: {escape(way.why_not)}", highlight=False)
            continue
        terminal.out.print(
            f"{way.way}: {way.size_mb:.1f} MB, {way.peak_memory_mb:.0f} MB of memory, first answer after "
            f"{way.cold_start_seconds:.1f} s",
            highlight=False,
        )
    version = f" version {found.version}" if found.version else ""
    terminal.out.print(
        f"{escape(found.model)}{version}, clips of {found.clip_seconds:g} s, load average {found.load_average:.1f}",
        highlight=False,
    )
