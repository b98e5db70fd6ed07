"""`tenuto label-queue`: served recordings that are worth labelling, and their labels."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from flows import terminal
from flows.commands import Json, prepare

if TYPE_CHECKING:
    from flows.label_queue import Accepted

app = typer.Typer(no_args_is_help=True, help="Served recordings that a person should label next.")

Folder = Annotated[
    Path | None, typer.Option("--folder", metavar="DIR", help="Where the queue lies; default: in the workspace.")
]
Reviewer = Annotated[str | None, typer.Option("--reviewer", metavar="NAME", help="Who labels; default: your user.")]


@app.command("export")
def label_queue_export(
    size: Annotated[int, typer.Option(min=1, help="How many recordings.")] = 100,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Choose the served recordings that are most worth labelling: the model wavers, or they are unlike what it knows.

    Writes a folder with the recordings and queue.csv. Recordings are there only when `log.keep_audio_days` in
    mlflow/serving.yaml keeps them.

    Example: `tenuto label-queue export --size 50`
    """
    workspace, params = prepare()
    from flows import label_queue

    with terminal.waiting("choosing recordings", quiet=json):
        done = label_queue.export(workspace, params, size, folder)
    if json:
        return terminal.print_json(done.model_dump(mode="json"))
    why = ", ".join(f"{n} {reason}" for reason, n in done.reasons.items())
    heard = f"that version {done.version} heard"
    terminal.out.print(f"[bold]{done.recordings}[/] of {done.of:,} recordings {heard} ({why})", highlight=False)
    if done.of_other_versions:
        others = f"{done.of_other_versions:,} that only other versions heard are left out"
        terminal.out.print(f"[dim]{others}: what is chosen has to be comparable[/]", highlight=False)
    terminal.out.print(f"queue {escape(terminal.shown(done.folder))}", highlight=False)
    terminal.out.print("next: [cyan]tenuto label-queue review[/]", highlight=False)
    return None


@app.command("review")
def label_queue_review(
    reviewer: Reviewer = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the page on this machine; 0: any free one.")] = 0,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Listen and label on a page of this machine, by keyboard or touch; every choice is saved. Ctrl-C ends it.

    Example: `tenuto label-queue review --open`
    """
    workspace, params = prepare()
    from flows import label_queue

    def started(address: str) -> None:
        terminal.err.print(f"label at [cyan]{address}[/]; Ctrl-C ends", highlight=False)
        if open_:
            typer.launch(address)

    items = label_queue.review(workspace, params, reviewer or _user(), port, started, folder)
    counts = Counter(item.decision or "undecided" for item in items)
    if json:
        return terminal.print_json({"queue": dict(sorted(counts.items()))})
    terminal.out.print(", ".join(f"{n} {what}" for what, n in sorted(counts.items())), highlight=False)
    if counts["labelled"]:
        terminal.out.print("next: [cyan]tenuto label-queue accept[/]", highlight=False)
    return None


@app.command("accept")
def label_queue_accept(reviewer: Reviewer = None, folder: Folder = None, json: Json = False) -> None:
    """Take the labels into the next dataset version, and give them to the log as feedback.

    The manifest says of each clip which request it was, which version answered and who labelled it.

    Example: `tenuto label-queue accept`
    """
    workspace, params = prepare()
    from flows import label_queue

    with terminal.counting("taking in labels", quiet=json) as on_progress:
        done = label_queue.accept(workspace, params, reviewer or _user(), folder, on_progress)
    if json:
        added = terminal.add_result_json(done.added) if done.added else None
        return terminal.print_json(done.model_dump(mode="json") | {"added": added})
    _print_accepted(done)
    return None


def _print_accepted(done: Accepted) -> None:
    if done.gone:
        terminal.out.print(f"{done.gone} of recordings that are gone: feedback, nothing to train on", highlight=False)
    elif not done.labelled:
        terminal.out.print("no label to accept; [cyan]tenuto label-queue review[/]", highlight=False)
        return
    if done.added:
        terminal.print_add_result(done.added)
    if done.unknown:
        terminal.out.print(f"{done.unknown} are none of the classes: feedback, nothing to train on", highlight=False)
    if done.undecided:
        terminal.out.print(f"{done.undecided} in the queue have no label", highlight=False)


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except OSError:
        raise typer.BadParameter("this user has no name; say who labels with --reviewer NAME") from None
