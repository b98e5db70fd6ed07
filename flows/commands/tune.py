"""`tenuto tune`: settings tried on the validation clips, and the best of them retrained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from flows import terminal
from flows.commands import Json, Set, explained, prepare, require_ready
from tenuto.records import Outcome

if TYPE_CHECKING:
    from flows.tune import Tuned

app = typer.Typer()


@app.command()
def tune(
    trials: Annotated[
        int | None, typer.Option(min=1, help="How many settings are tried, instead of tune.trials.")
    ] = None,
    retrain: Annotated[
        bool, typer.Option("--retrain/--no-retrain", help="Retrain with the best settings; the gate decides.")
    ] = True,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Search for better settings on the validation clips, then retrain with the best ones.

    What is tried, and how, stands under `tune` in params.yaml. That file stays as it is: what was found is printed.
    Trials go without `imbalance.remedy: auto`, the retrain with it. A search that was ended goes on where it was.

    Examples: `tenuto tune`, `tenuto tune --trials 50 --no-retrain`, `tenuto tune --set tune.on=finetune`
    """
    chosen = [*(set_ or []), *([f"tune.trials={trials}"] if trials else [])]
    workspace, params = prepare(chosen, trains=True)
    require_ready(workspace, params)
    workspace.prefect_home.mkdir(parents=True, exist_ok=True)
    with terminal.following("starting Prefect", quiet=json, stages=params.tune.trials + 3), explained():
        tuned = _searched(str(workspace.root), chosen)
    if not json:
        _show(tuned)
    if not retrain:
        return terminal.print_json({"tune": tune_json(tuned)}) if json else None
    with terminal.following("retraining", quiet=json), explained():
        from flows.retrain import retrain as flow

        outcome = flow(str(workspace.root), [*chosen, *tuned.overrides])
    assert isinstance(outcome, Outcome), "only scheduled runs are overtaken"
    found = terminal.outcome_json(outcome) | {"tune": tune_json(tuned)}
    terminal.print_json(found) if json else terminal.print_outcome(outcome)
    raise typer.Exit(outcome.exit_code)


def _searched(root: str, chosen: list[str]) -> Tuned:
    """What the search came to; a Ctrl-C says how to go on."""
    from flows.stages import ctrl_c

    try:
        from flows.tune import tune_settings

        return tune_settings(root, chosen)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) or ctrl_c.is_set():
            told = "ended by Ctrl-C; finished trials are kept, and the same `tenuto tune` goes on from there"
            raise KeyboardInterrupt(told) from error
        raise


def tune_json(tuned: Tuned) -> dict[str, Any]:
    """The documented shape of what a search came to."""
    return tuned.model_dump(mode="json")


def _show(tuned: Tuned) -> None:
    from tenuto.reporting import tuning

    present, best = tuned.present, tuned.best
    pruned = sum(trial.state == "pruned" for trial in tuned.trials)
    kept = len(tuned.trials) - tuned.ran
    terminal.out.print(
        f"{len(tuned.trials)} trials, {pruned} pruned"
        + (f", {kept} of them from before" if kept else "")
        + f"; macro-F1 of the present settings on the validation clips {present.macro_f1:.4f} "
        + f"(log loss {present.log_loss:.3f})",
        highlight=False,
    )
    if not tuned.is_better:
        terminal.out.print("[bold]the present settings stay[/]: no other did better", highlight=False)
    else:
        how = "is better" if f"{best.macro_f1:.4f}" != f"{present.macro_f1:.4f}" else "is better by its log loss alone"
        scores = f"{best.macro_f1:.4f} (log loss {best.log_loss:.3f})"
        terminal.out.print(f"[bold green]trial {best.number}[/] {how}: {scores}, with", highlight=False)
        for line in tuning.lines(best.settings):
            terminal.out.print(f"  {escape(line)}", highlight=False)
    terminal.out.print(f"trials  {escape(terminal.shown(tuned.report))}", highlight=False)
