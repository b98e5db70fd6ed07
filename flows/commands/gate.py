"""`tenuto gate`: what the promotion policy means, and stored decisions under another one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from flows import terminal
from flows.commands import Json, Set, prepare
from tenuto.workspace import Workspace

if TYPE_CHECKING:
    from flows.challenger import Live
    from flows.replay import Replay, Ruling

app = typer.Typer(no_args_is_help=True, help="Decisions: what the policy means, stored ones under another policy.")

PolicyFile = Annotated[
    Path | None, typer.Option("--policy", metavar="FILE", help="The policy; default: mlflow/promotion.yaml.")
]


@app.command("check")
def gate_check(policy: PolicyFile = None, json: Json = False) -> None:
    """Say in a sentence per rule what a promotion policy means, or what is wrong with it.

    Example: `tenuto gate check --policy stricter.yaml`
    """
    from tenuto.deciding import meaning
    from tenuto.deciding.policy import load_policy
    from tenuto.typed_yaml import digest

    file = policy or Workspace.find().promotion
    found = load_policy(file)
    told = meaning.sentences(found)
    if json:
        rules = [{"rule": name, "meaning": sentence} for name, sentence in told]
        terminal.print_json({"policy": str(file), "policy_sha256": digest(found), "rules": rules})
        return
    if not found.rules:
        terminal.err.print("[bold yellow]no rules[/]: every candidate will be 'not evaluated', and none promoted")
    for name, sentence in told:
        terminal.out.print(f"[bold]{escape(name)}[/]: {escape(sentence)}", highlight=False)


@app.command("replay")
def gate_replay(
    policy: PolicyFile = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Judge every stored decision again under another policy, and list those that come out otherwise.

    Trains nothing and changes nothing: each candidate is held against the same champion on the same test clips.

    Example: `tenuto gate replay --policy stricter.yaml`
    """
    workspace, params = prepare(set_)
    from flows import replay

    with terminal.counting("judging decisions", quiet=json) as on_progress:
        found = replay.replay(workspace, params, policy, on_progress)
    terminal.print_json(found.model_dump(mode="json")) if json else _print(found)


@app.command("live")
def gate_live(set_: Set = None, json: Json = False) -> None:
    """Judge @challenger against @champion on the labelled clips that both heard in operation.

    `tenuto serve --challenger 0.1` lets the challenger listen; labels come by feedback. The verdict is written to the
    ledger as evidence and moves nothing. Each look spends from an account of this pair of versions,
    so that looking often does not make a lead.

    Example: `tenuto gate live`
    """
    workspace, params = prepare(set_)
    with terminal.waiting("judging live traffic", quiet=json):
        from flows import challenger

        found = challenger.judge(workspace, params)
    terminal.print_json(found.model_dump(mode="json")) if json else _print_live(found)


def _print_live(found: Live) -> None:
    verdict = found.verdict.verdict
    versions = f"version {found.challenger} beside version {found.champion} on {found.clips} labelled clips"
    terminal.out.print(f"[{terminal.STYLES[verdict]}]{verdict}[/] {escape(versions)}", highlight=False)
    for reason in found.verdict.reasons:
        terminal.out.print(f"  {escape(reason)}", highlight=False)
    if found.not_judged:
        terminal.out.print(f"[dim]not asked of traffic: {escape(', '.join(found.not_judged))}[/]", highlight=False)
    terminal.out.print(f"[dim]ledger entry {found.entry}; nothing was moved[/]", highlight=False)
    if verdict == "promote":
        command = f'tenuto promote {found.challenger} --reason "better on live traffic"'
        terminal.out.print(f"[cyan]{escape(command)}[/] makes it @champion", highlight=False)


def _print(found: Replay) -> None:
    if found.flips:
        terminal.out.print(_table(found))
    if not found.judged and not found.unjudged:
        terminal.out.print("no decision is stored yet; [cyan]tenuto retrain[/] takes one", highlight=False)
        return
    policy = escape(terminal.shown(Path(found.policy).resolve()))
    decisions = "1 decision" if found.judged == 1 else f"{found.judged} decisions"
    terminal.out.print(f"{decisions} judged again by {policy}: [bold]{len(found.flips)}[/] flipped", highlight=False)
    if found.unjudged:
        terminal.out.print(f"{len(found.unjudged)} could not be judged again:", highlight=False)
    for run in found.unjudged:
        terminal.out.print(f"  {run.run_id[:8]}  {run.at:%Y-%m-%d}  {escape(run.reason)}", highlight=False)


def _table(found: Replay) -> Table:
    table = Table("run", "date", "version", "verdict", "then because of", "now because of", box=None, pad_edge=False)
    for flip in found.flips:
        verdicts = f"{_coloured(flip.then)} -> {_coloured(flip.now)}"
        table.add_row(
            flip.run_id[:8], f"{flip.at:%Y-%m-%d}", flip.version or "-", verdicts, _cause(flip.then), _cause(flip.now)
        )
    return table


def _coloured(ruling: Ruling) -> str:
    return f"[{terminal.STYLES[ruling.verdict]}]{ruling.verdict}[/]"


def _cause(ruling: Ruling) -> str:
    return escape(f"{ruling.rule} ({ruling.outcome})" if ruling.rule else ruling.reason)
