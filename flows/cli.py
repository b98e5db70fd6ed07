"""The `tenuto` command: parses, calls a flow, prints.

Exit codes: 0 promoted, registered or nothing to do; 2 refused, stopped by validation, or a command line that cannot be
read; 1 failed; 130 ended with Ctrl-C. With `--json` the last line of stdout is one JSON object, also for errors.
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
import threading
import traceback
import warnings
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated, Any, NoReturn

import typer
from rich.markup import escape
from typer.core import TyperGroup

from flows import terminal
from flows.commands import (
    Json,
    Set,
    audit,
    backbones,
    bench,
    compare,
    curve,
    data,
    erase,
    explained,
    gate,
    holdout,
    label_queue,
    ledger,
    monitor,
    prepare,
    registry,
    remedies,
    reproduce,
    require_ready,
    serve,
    tune,
)
from flows.stages import ctrl_c
from tenuto import __version__
from tenuto.errors import TenutoError
from tenuto.records import Outcome
from tenuto.workspace import Workspace


class _Command(TyperGroup):
    """Says what a user did wrong, or that Ctrl-C ended the command, in a line and not in a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except TenutoError as error:
            _fail(str(error), 1)
        except KeyboardInterrupt as error:
            _fail(str(error) or "ended by Ctrl-C; nothing is half-done, and the next run takes up finished work", 130)
        except Exception as error:
            if isinstance(error, typer.Exit | typer.Abort) or hasattr(error, "exit_code"):  # the parser's own
                raise
            _fail(f"{_in_words(error)}\n{_kept_traceback()}", 1)


app = typer.Typer(
    cls=_Command,
    name="tenuto",
    help="Retrains audio classifiers by transfer learning; promotes a model only when the evidence says so.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data.app, name="data")
app.add_typer(backbones.app, name="backbones")
app.add_typer(remedies.app)
app.add_typer(bench.app)
app.add_typer(compare.app)
app.add_typer(tune.app)
app.add_typer(curve.app)
app.add_typer(registry.app)
app.add_typer(monitor.app)
app.add_typer(audit.app)
app.add_typer(erase.app)
app.add_typer(reproduce.app)
app.add_typer(gate.app, name="gate")
app.add_typer(holdout.app, name="holdout")
app.add_typer(ledger.app, name="ledger")
app.add_typer(serve.app)
app.add_typer(label_queue.app, name="label-queue")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"tenuto {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(help="The folder to make; its name becomes the model's name.")],
    name: Annotated[str | None, typer.Option(help="The registered model's name.")] = None,
    json: Json = False,
) -> None:
    """Make a workspace: params.yaml, expectations.yaml, mlflow/promotion.yaml, git and DVC.

    Example: `tenuto init engines && cd engines`
    """
    from flows.workspace import create

    root = create(directory, name)
    if json:
        return terminal.print_json({"workspace": str(root)})
    terminal.out.print(f"workspace {escape(terminal.shown(root))}", highlight=False)
    terminal.out.print(
        f"next: [cyan]cd {escape(shlex.quote(terminal.shown(root)))}[/], then [cyan]tenuto data add SOURCE[/]",
        highlight=False,
    )
    return None


@app.command()
def retrain(
    set_: Set = None,
    force: Annotated[bool, typer.Option("--force", help="Run even when nothing changed since the last run.")] = False,
    json: Json = False,
) -> None:
    """Run the whole flow: validate, split, train, evaluate, decide, register, report.

    Examples: `tenuto retrain`, `tenuto retrain --set finetune.epochs=5 --set split.hold_out.speaker='[ann,ben]'`
    """
    workspace, params = prepare(set_, trains=True)
    require_ready(workspace, params)
    # Prefect's embedded server does not make the folder of its own database
    workspace.prefect_home.mkdir(parents=True, exist_ok=True)
    with terminal.following("starting Prefect", quiet=json), explained():
        from flows.retrain import retrain as flow

        outcome = flow(str(workspace.root), set_ or [], force)
    assert isinstance(outcome, Outcome), "only scheduled runs are overtaken"
    terminal.print_json(terminal.outcome_json(outcome)) if json else terminal.print_outcome(outcome)
    raise typer.Exit(outcome.exit_code)


@app.command()
def report(
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False, json: Json = False
) -> None:
    """Show where the last run's report lies.

    Example: `tenuto report --open`
    """
    workspace = Workspace.find()
    page = workspace.latest_report()
    if json:
        terminal.print_json({"report": str(page)})
    else:
        terminal.out.print(terminal.shown(page), highlight=False)
    if open_:
        typer.launch(page.as_uri())


@app.command()
def up(json: Json = False) -> None:
    """Start the workspace's Prefect and MLflow servers on this machine, and print their addresses.

    Example: `tenuto up`
    """
    workspace = Workspace.find()
    from flows import servers

    with terminal.waiting("starting the servers", quiet=json) as tell:
        running = servers.up(workspace, tell)
    terminal.print_json(running.model_dump(mode="json")) if json else terminal.print_servers(running)


@app.command()
def down(json: Json = False) -> None:
    """Stop the servers that `tenuto up` started.

    Example: `tenuto down`
    """
    from flows import servers

    stopped = servers.down(Workspace.find())
    if json:
        return terminal.print_json({"stopped": list(stopped)})
    terminal.out.print(f"stopped {' and '.join(stopped)}" if stopped else "no server was running")
    return None


@app.command()
def deploy(
    cron: Annotated[str, typer.Option(help="When to retrain, as a cron line.")] = "0 3 * * 1",
    timezone: Annotated[str, typer.Option(help="The cron line's time zone, such as Europe/Berlin.")] = "UTC",
    serve: Annotated[bool, typer.Option("--serve", help="Schedule and run in this process until Ctrl-C.")] = False,
    json: Json = False,
) -> None:
    """Schedule the retrain flow on the Prefect server (start one with `tenuto up`), and a daily `tenuto monitor`.

    Drift and enough new labels start a retrain as well.

    Example: `tenuto deploy --cron '0 3 * * 1' --timezone Europe/Berlin`
    """
    workspace, params = prepare(None, trains=True)
    from flows import deploy as deployment

    if serve and not json:
        terminal.err.print(f"running {escape(params.name)} by {cron!r} ({timezone}) until Ctrl-C", highlight=False)
    with terminal.waiting("deploying", quiet=json or serve):
        result = deployment.deploy(workspace, params, cron=cron, timezone=timezone, serve=serve)
    terminal.print_json(result.model_dump(mode="json")) if json else terminal.print_deployment(result)


def main() -> None:
    """Run the command line and exit the process with its code."""
    _set_up_process()
    app()


def _in_words(error: Exception) -> str:
    """An error that the system or a library raised, in one line; those of files and disks name the file."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error}"


def _kept_traceback() -> str:
    """Where the traceback of an unforeseen error was written, in words."""
    with NamedTemporaryFile("w", prefix="tenuto-error-", suffix=".txt", delete=False, encoding="utf-8") as file:
        file.write(traceback.format_exc())
    return f"The traceback is in {file.name}, in case this is Tenuto's mistake."


def _fail(message: str, code: int) -> NoReturn:
    if "--json" in sys.argv:
        terminal.print_json({"error": message})
    terminal.err.print(f"[bold red]error[/] {escape(message)}", highlight=False)
    raise typer.Exit(code)


def _set_up_process() -> None:
    """Ctrl-C is remembered, and library chatter stays off the terminal; PREFECT_LOGGING_LEVEL=INFO brings some back."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as it is for a background job of a script
        signal.signal(signal.SIGINT, _interrupt)
        sys.unraisablehook = _swallowed
    warnings.simplefilter("ignore")
    logging.getLogger().setLevel(logging.ERROR)
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def _interrupt(*_: object) -> NoReturn:
    ctrl_c.set()
    raise KeyboardInterrupt


def _swallowed(unraisable: Any) -> None:
    """What Python calls for an exception in a finalizer, where it ends; a Ctrl-C that fell there comes once more."""
    if unraisable.exc_type is KeyboardInterrupt:
        # to the thread itself, which may be waiting for something by then
        main = threading.main_thread().ident
        again = threading.Timer(0.05, lambda: signal.pthread_kill(main, signal.SIGINT) if main else None)
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(unraisable)


if __name__ == "__main__":
    main()
