"""`tenuto curve`: how many labelled clips transfer learning and training from scratch need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from flows import terminal
from flows.commands import Json, Set, prepare, require_one_label

if TYPE_CHECKING:
    from tenuto.learning.curve import Band, Curve

app = typer.Typer()


@app.command()
def curve(
    sizes: Annotated[
        str, typer.Option(metavar="N,N,...", help="Training clips per class; a class that has fewer gives all.")
    ] = "5,10,20,50,100",
    seeds: Annotated[int, typer.Option(min=1, max=20, help="How often each size is drawn.")] = 3,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Draw the label-efficiency curve: macro-F1 of transfer and of training from scratch, by clips per class.

    For each size and draw a model is fine-tuned, and small networks are trained from scratch: minutes to hours. Scores
    are of the test clips; `imbalance.remedy: auto` has no part in them. Nothing is registered.

    Example: `tenuto curve --sizes 5,20,100 --seeds 3`
    """
    chosen = _sizes(sizes)
    workspace, params = prepare(set_, trains=True)
    require_one_label(params, "tenuto curve")
    from flows.curve import measure

    with terminal.counting("training", quiet=json) as on_progress:
        found, picture = measure(workspace, params, chosen, seeds=seeds, on_progress=on_progress)
    if json:
        return terminal.print_json({**found.model_dump(mode="json"), "picture": str(picture)})
    _show(found)
    terminal.out.print(f"picture {escape(terminal.shown(picture))}", highlight=False)
    return None


def _sizes(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"{text!r}: wanted numbers of clips such as 5,20,100.", param_hint="--sizes")
    return [int(part) for part in parts]


def _show(found: Curve) -> None:
    table = Table("clips per class", "transfer", "from scratch", "from scratch needs")
    scratch = {band.clips_per_class: band for band in found.scratch}
    for band in found.transfer:
        needed = found.matched[band.clips_per_class]
        most = max(scratch)
        clips = f"more than {most}" if needed is None else f"about {needed:.0f}"
        table.add_row(str(band.clips_per_class), _figure(band), _figure(scratch[band.clips_per_class]), clips)
    terminal.out.print(table)
    terminal.out.print("macro-F1 with the 95 % interval of its mean over the draws", highlight=False)


def _figure(band: Band) -> str:
    return f"{band.mean:.3f} ({band.low:.3f}-{band.high:.3f})"
