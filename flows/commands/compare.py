"""`tenuto compare`: several backbones and heads side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from flows import terminal
from flows.commands import Json, Set, prepare, require_one_label
from tenuto.learning import catalogue

if TYPE_CHECKING:
    from tenuto.learning.comparison.table import Comparison, Row

app = typer.Typer()

_HEADS = ("linear", "mlp", "prototype")


@app.command()
def compare(
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID", help="A backbone; repeatable. Default: that of params.yaml, log-mel-cnn and log-mel-crnn."
        ),
    ] = None,
    head: Annotated[
        list[str] | None, typer.Option(metavar="|".join(_HEADS), help="A head; repeatable. Default: all.")
    ] = None,
    finetune: Annotated[bool, typer.Option("--finetune", help="Fine-tune after the head, as a retrain does.")] = False,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Compare backbones and heads on one dataset and the same splits, in score, cost and licence.

    Heads on frozen embeddings take minutes; log-mel-cnn and log-mel-crnn are trained from scratch, for 12 epochs or
    more. Scores are of the test clips; `imbalance.remedy: auto` has no part in them. An interrupted comparison goes on
    where it was. Nothing is registered.

    Example: `tenuto compare --backbone speech-embedding --head linear --head mlp`
    """
    if unknown := sorted({*(head or ())} - {*_HEADS}):
        raise typer.BadParameter(f"{unknown[0]!r}: wanted {', '.join(_HEADS)}.", param_hint="--head")
    scratch = {entry.id for entry in catalogue.ENTRIES if not entry.is_pretrained}
    pretrained = [name for name in backbone or () if name not in scratch]
    workspace, params = prepare(set_, trains=bool(pretrained) or not backbone, backbones=pretrained)
    require_one_label(params, "tenuto compare")
    from flows.compare import compare as run
    from tenuto.learning.comparison.choices import choices, default_heads

    chosen = choices(params, backbone or (), head or default_heads(params), is_finetuned=finetune)
    with terminal.counting("comparing", quiet=json) as on_progress:
        found, page = run(workspace, params, chosen, on_progress=on_progress)
    if json:
        return terminal.print_json({**found.model_dump(mode="json"), "page": str(page)})
    _show(found)
    terminal.out.print(f"page {escape(terminal.shown(page))}", highlight=False)
    return None


def _show(found: Comparison) -> None:
    from tenuto.learning.comparison.table import sentences

    table = Table(
        title=f"{found.test_clips} test clips; intervals over {escape(found.resampled)}",
        title_justify="left",
        caption="* nothing is better and faster, + nothing is better and smaller",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("backbone, head", overflow="fold")
    for heading in ("macro-F1", "difference", "worst", "ECE", "ms", "MB", "s"):
        table.add_column(heading, justify="right")
    for row in found.finished:
        table.add_row(*_cells(row), style="bold green" if row.choice.title == found.chosen else "")
    # the table keeps to the window, which soft wrapping would not
    terminal.out.print(table, soft_wrap=False)
    for row in found.rows:
        if row.problem:
            terminal.out.print(f"[yellow]{escape(row.choice.title)}[/]: {escape(row.problem)}", highlight=False)
    if found.reference:
        terminal.out.print(
            f"differences are to {escape(found.reference)}; ms is the median for a clip on one thread of this machine, "
            "s the training",
            highlight=False,
        )
    for sentence in sentences(found):
        terminal.out.print(escape(sentence), highlight=False)


def _cells(row: Row) -> list[str]:
    assert row.figures and row.macro_f1
    figures, score, gain = row.figures, row.macro_f1, row.difference
    marks = ("*" if "latency" in row.fronts else "") + ("+" if "size" in row.fronts else "")
    return [
        f"{escape(row.choice.backbone)}{marks}\n{row.choice.head}",
        f"{score.value:.3f}\n{score.low:.2f}-{score.high:.2f}",
        f"{gain.value:+.3f}\n{gain.low:+.2f} to {gain.high:+.2f}" if gain else "",
        f"{row.worst.recall:.2f}\n{escape(row.worst.value)[:10]}" if row.worst else "",
        f"{figures.expected_calibration_error:.3f}",
        f"{figures.p50_ms:.1f}",
        f"{figures.size_mb:.1f}",
        f"{figures.training_seconds:.0f}",
    ]
