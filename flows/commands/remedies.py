"""`tenuto remedies`: what can be done for rare classes and groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from flows import terminal
from flows.commands import Json, Set, prepare, require_one_label

if TYPE_CHECKING:
    from tenuto.learning.remedies.comparison import Comparison, Trial
    from tenuto.records import Interval

app = typer.Typer()

_CAPTION = (
    "below each figure the change over none, with its 95 % interval; below the worst of several values "
    "the interval of that one"
)


@app.command()
def remedies(
    seeds: Annotated[int, typer.Option(min=1, max=20, help="How often each is tried, on other training clips.")] = 3,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Try what can be done for rare classes and groups, and name the one to use, or none.

    Linear probes on frozen embeddings, scored on the test clips: minutes, not hours; nothing is registered. The gate
    judges a retrain by the same clips; with `imbalance.remedy: auto` it chooses by the validation clips. Each remedy
    stands in the place of augment.fill and imbalance in params.yaml.

    Example: `tenuto remedies --seeds 5`
    """
    workspace, params = prepare(set_, trains=True)
    require_one_label(params, "tenuto remedies")
    from flows.remedies import compare

    with terminal.counting("trying remedies", quiet=json) as on_progress:
        found = compare(workspace, params, seeds=seeds, on_progress=on_progress)
    terminal.print_json(found.model_dump(mode="json")) if json else _show(found)


def _show(found: Comparison) -> None:
    from tenuto.learning.remedies.known import NONE

    rare = found.rare
    group = f", {rare.group} {rare.value!r} has {rare.value_clips}" if rare.group else ""
    word = "rare" if rare.is_rare else "nothing is rare; the smallest"
    terminal.out.print(
        f"{word}: class {escape(repr(rare.label))} has {rare.label_clips} training clips{escape(group)}; "
        f"{found.seeds} {'trial' if found.seeds == 1 else 'trials'} each, {found.test_clips} test clips",
        highlight=False,
    )
    columns = ["remedy", "macro-F1", f"recall of {rare.label}", f"precision of {rare.label}"]
    columns += [f"{rare.group} {rare.value}", f"worst {rare.group}"] if rare.group else []
    table = Table(*map(escape, columns), caption=_CAPTION)
    for trial in found.trials:
        style = "bold green" if trial.remedy == found.use else ""
        table.add_row(escape(trial.remedy), *_cells(trial), style=style)
    terminal.out.print(table)
    if found.use == NONE:
        stay = "augment.fill and imbalance in params.yaml may stay as they are"
        terminal.out.print(f"use [bold]{NONE}[/]: {escape(found.why)}; {stay}", highlight=False)
        return
    terminal.out.print(f"use [bold]{escape(found.use)}[/]: {escape(found.why)}", highlight=False)
    for line in _settings(found):
        terminal.out.print(f"  {escape(line)}", highlight=False)
    terminal.out.print(
        "found on the test clips, by which the gate then judges: its figures will flatter this choice; "
        "`imbalance.remedy: auto` chooses on the validation clips",
        highlight=False,
    )


def _cells(trial: Trial) -> list[str]:
    cells = [
        _figure(trial.macro_f1, trial.macro_f1_gain),
        _figure(trial.rare_recall, trial.rare_recall_gain),
        _figure(trial.rare_precision, trial.rare_precision_gain),
    ]
    if trial.group_recall is not None and trial.worst_group_recall is not None:
        worst = trial.worst_group_recall
        cells.append(_figure(trial.group_recall, trial.group_recall_gain))
        cells.append(f"{worst.value:.3f} {escape(trial.worst_group)}\n({worst.low:.3f} to {worst.high:.3f})")
    return cells


def _figure(value: Interval, gain: Interval | None) -> str:
    change = f"\n{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})" if gain else ""
    return f"{value.value:.3f}{change}"


def _settings(found: Comparison) -> list[str]:
    """The remedy as lines of params.yaml."""
    (trial,) = [trial for trial in found.trials if trial.remedy == found.use]
    lines = []
    for section, choices in trial.choices.items():
        lines += [f"{section}:", *(f"  {key}: {_yaml(value)}" for key, value in choices.items())] if choices else []
    return lines


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{', '.join(value)}]" if isinstance(value, list) else str(value)
