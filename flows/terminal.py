"""What a person at the terminal sees: progress on stderr, results on stdout, errors without tracebacks."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from tenuto.records import AddResult, Outcome, ValidationReport

if TYPE_CHECKING:
    from flows.deploy import Deployment
    from flows.servers import Servers

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)

STAGES = 11
"""How many stages a full retrain reports."""

STYLES = {
    "promote": "bold green",
    "register": "bold cyan",
    "reject": "bold red",
    "inconclusive": "bold yellow",
    "not evaluated": "bold yellow",
    "nothing changed": "bold",
}


def print_json(value: dict[str, Any]) -> None:
    """One machine-readable object on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def add_result_json(result: AddResult) -> dict[str, Any]:
    """The documented shape of `data add --json`."""
    return {
        "added": result.added,
        "unchanged": result.unchanged,
        "quarantined": [{"path": q.path, "reason": q.reason} for q in result.quarantined],
        "refused": result.refused,
        "md5": result.md5,
    }


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """The documented shape of `retrain --json`."""
    return outcome.model_dump(mode="json", exclude={"dataset": {"manifest_path"}})


@contextmanager
def counting(doing: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A callback `(done, total)` that moves a progress bar."""
    with _bar(quiet) as progress:
        bar = progress.add_task(doing, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


@contextmanager
def following(doing: str, *, quiet: bool, stages: int = STAGES) -> Iterator[None]:
    """A progress bar over the stages of a flow, told by what the `tenuto` loggers say."""
    with _bar(quiet) as progress:
        handler = _StageHandler(progress, progress.add_task(doing, total=stages))
        logger = logging.getLogger("tenuto")
        level, propagate = logger.level, logger.propagate
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate


def _bar(quiet: bool) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=quiet,
    )


class _StageHandler(logging.Handler):
    """Shows log records: a finished stage moves the bar, a warning stays on screen, the rest describes what runs."""

    def __init__(self, progress: Progress, bar: Any) -> None:
        super().__init__()
        self._progress = progress
        self._bar = bar

    def emit(self, record: logging.LogRecord) -> None:
        message = escape(record.getMessage())
        if record.levelno >= logging.WARNING:
            self._progress.console.print(f"[yellow]warning[/] {message}", highlight=False)
        elif getattr(record, "stage_seconds", None) is not None:
            self._progress.console.print(f"[green]✓[/] {message}", highlight=False)
            self._progress.advance(self._bar)
        else:
            self._progress.update(self._bar, description=message[:76])


def print_add_result(result: AddResult, *, dry_run: bool = False) -> None:
    """What was added, what was left out and why, and what comes next."""
    verb = "would add" if dry_run else "added"
    out.print(
        f"{verb} [bold]{result.added:,}[/] clips, {result.unchanged:,} unchanged, {len(result.quarantined):,} left out"
    )
    for number, count in result.refused.items():
        recordings = "1 recording" if count == 1 else f"{count:,} recordings"
        out.print(f"{recordings} refused: consent was withdrawn (erasures/{number}.json)", highlight=False)
    if result.quarantined:
        out.print(_quarantine_table(result))
    if not dry_run:
        out.print(f"dataset version {result.md5}", highlight=False)
        out.print("next: [cyan]git add . && git commit[/], then [cyan]tenuto retrain[/]", highlight=False)


def _quarantine_table(result: AddResult, most: int = 12) -> Table:
    counts = ", ".join(f"{reason} {n}" for reason, n in Counter(q.reason for q in result.quarantined).most_common())
    table = Table(title=f"left out: {counts}", title_justify="left", box=None, pad_edge=False)
    for heading in ("recording", "reason", "detail"):
        table.add_column(heading, overflow="fold")
    for q in result.quarantined[:most]:
        table.add_row(escape(q.path), q.reason, escape(q.detail))
    if len(result.quarantined) > most:
        table.add_row(f"... and {len(result.quarantined) - most} more, in data/quarantine.parquet", "", "")
    return table


def print_validation(report: ValidationReport, stops: tuple[str, ...]) -> None:
    """The expectations that are not met, with what a retrain would do about each, and how many are."""
    missed = [finding for finding in report.findings if not finding.success]
    for finding in missed:
        mark = "[bold red]stop[/]" if finding.severity == "stop" else "[yellow]warn[/]"
        out.print(f"{mark}  {escape(finding.expectation)}: {escape(finding.summary)}", highlight=False)
        out.print(f"      -> {escape(finding.action)}", highlight=False)
    out.print(f"{len(report.findings) - len(missed)} of {len(report.findings)} expectations met", highlight=False)
    if report.data_docs:
        out.print(f"details {escape(shown(report.data_docs))}", highlight=False)
    if stops:
        out.print("[bold red]a retrain would stop here[/]: " + escape("; ".join(stops)), highlight=False)


def print_outcome(outcome: Outcome) -> None:
    """The table of models, the verdict with its reasons, and where to look next."""
    if outcome.metrics:
        out.print(_model_table(outcome))
    if len(outcome.fill.get("with fill", {})) > 1:
        out.print(_fill_table(outcome.fill))
    out.print(f"[{STYLES[outcome.verdict]}]{outcome.verdict}[/]", highlight=False)
    for reason in outcome.reasons:
        out.print(f"  - {escape(reason)}", highlight=False)
    if outcome.remedy:
        out.print(escape(outcome.remedy.sentence), highlight=False)
    if outcome.is_awaiting and outcome.model:
        version = outcome.model.version
        out.print(f"waits for a person: [cyan]tenuto approve {version}[/] or [cyan]tenuto refuse {version}[/]")
    if outcome.model:
        aliases = " ".join(f"@{alias}" for alias in outcome.model.aliases) or "no alias"
        out.print(f"model   {escape(outcome.model.name)} version {outcome.model.version} ({aliases})", highlight=False)
    if outcome.report:
        out.print(f"report  {escape(shown(outcome.report))}", highlight=False)
    out.print(f"time    {outcome.seconds.get('total', 0):.0f} s", highlight=False)
    tenuto = escape(_program())
    out.print(f"pages   [cyan]{tenuto} report --open[/] shows the report", highlight=False)
    out.print(f"        [cyan]{tenuto} up[/] says where Prefect's and MLflow's are, and starts them", highlight=False)


def _program() -> str:
    """How a person would call this command: by its path when the shell does not find it."""
    return "tenuto" if shutil.which("tenuto") else shown(Path(sys.argv[0]).resolve())


def shown(path: Path) -> str:
    """The path as a person at the current folder would type it."""
    here = Path.cwd().resolve()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


_ONE_LABEL = ("accuracy", "balanced_accuracy")
_SEVERAL_LABELS = ("micro_f1", "mean_average_precision", "accuracy")


def _model_table(outcome: Outcome) -> Table:
    table = Table(title=f"all on the same test clips; dataset of {outcome.dataset.clips:,} clips", title_justify="left")
    several = "mean_average_precision" in (outcome.metrics.get("candidate") or {})
    columns = ["macro_f1", *(_SEVERAL_LABELS if several else _ONE_LABEL), "expected_calibration_error"]
    table.add_column("model")
    for column in columns:
        table.add_column(column.replace("_", " ").replace(" f1", "-F1"), justify="right")
    names = {"candidate": "candidate", "baseline": "from scratch", "champion": "champion"}
    names["majority"] = "most frequent labels" if several else "majority class"
    for key, name in names.items():
        metrics = outcome.metrics.get(key)
        cells = [f"{metrics[c]:.3f}" if c in metrics else "" for c in columns] if metrics else ["none yet"]
        table.add_row(name, *cells)
    return table


def _fill_table(fill: dict[str, dict[str, float]]) -> Table:
    columns = sorted({key for row in fill.values() for key in row})
    table = Table(title="augmentation fill (linear probes)", title_justify="left")
    table.add_column("training clips")
    for column in columns:
        table.add_column(escape(column), justify="right")
    for name, row in fill.items():
        table.add_row(escape(name), *(f"{row[c]:.3f}" if c in row else "" for c in columns))
    return table


@contextmanager
def waiting(doing: str, *, quiet: bool) -> Iterator[Callable[[str], None]]:
    """A spinner; the callback says what is waited for."""
    if quiet:
        yield lambda _: None
        return
    with err.status(doing) as status:
        yield lambda what: status.update(f"waiting for {what}")


def print_servers(running: Servers) -> None:
    """Where the pages are."""
    for server in (running.prefect, running.mlflow):
        if server:
            out.print(f"{server.name:8} {server.address.removesuffix('/api')}", highlight=False)
    out.print("every command here uses them now; [cyan]tenuto down[/] stops them", highlight=False)


def print_deployment(deployment: Deployment) -> None:
    """What was scheduled, and what runs it."""
    out.print(f"scheduled {deployment.name}: {deployment.cron} ({deployment.timezone})", highlight=False)
    if deployment.work_pool:
        out.print(f"written to {shown(deployment.prefect_yaml)}; a worker of pool {deployment.work_pool} runs it:")
        out.print(f"  [cyan]{escape(deployment.worker)}[/]", highlight=False)
