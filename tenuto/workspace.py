"""Where everything of one workspace lies.

A workspace is a folder with a `params.yaml`. Every command works in the workspace it is called from, from any folder
inside it. All state that git does not hold is under `.tenuto/`, so that removing that folder forgets runs and caches
and nothing else.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from tenuto.errors import WorkspaceError


@dataclass(frozen=True)
class Workspace:
    """The paths of one workspace; creates nothing."""

    root: Path

    @classmethod
    def find(cls, start: Path | None = None) -> Workspace:
        """The workspace that holds `start` (default: the current folder).

        Raises WorkspaceError when no params.yaml is found there or in any folder above.
        """
        here = (start or Path.cwd()).resolve()
        for folder in (here, *here.parents):
            if (folder / "params.yaml").is_file():
                return cls(folder)
        raise WorkspaceError(
            f"{here} is not in a Tenuto workspace: no params.yaml there or in a folder above. "
            "Make one with `tenuto init DIR`, then run the command inside it."
        )

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    @property
    def expectations(self) -> Path:
        return self.root / "expectations.yaml"

    @property
    def promotion(self) -> Path:
        return self.root / "mlflow" / "promotion.yaml"

    @property
    def serving(self) -> Path:
        """How models are served (`tenuto.serving.settings`); absent where the defaults will do."""
        return self.root / "mlflow" / "serving.yaml"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def manifest(self) -> Path:
        return self.data / "manifest.parquet"

    @property
    def quarantine(self) -> Path:
        return self.data / "quarantine.parquet"

    @property
    def data_dvc(self) -> Path:
        return self.root / "data.dvc"

    @property
    def state(self) -> Path:
        return self.root / ".tenuto"

    @property
    def cache(self) -> Path:
        """Per-clip facts and embeddings, one folder per kind; safe to delete."""
        return self.state / "cache"

    @property
    def checkpoints(self) -> Path:
        """Finished trainings, one folder per hash of their inputs; safe to delete."""
        return self.state / "checkpoints"

    @property
    def reports(self) -> Path:
        return self.state / "reports"

    @property
    def data_docs(self) -> Path:
        return self.state / "data-docs"

    @property
    def prefect_home(self) -> Path:
        return self.state / "prefect"

    @property
    def mlflow_db(self) -> Path:
        return self.state / "mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        return self.state / "mlartifacts"

    @property
    def ledger(self) -> Path:
        """Every decision, one JSON line each, beside the registry (`tenuto.tracing.ledger`)."""
        return self.state / "ledger.jsonl"

    @property
    def audit_index(self) -> Path:
        """SQLite: which clips each run used; made again from the registry when it is deleted."""
        return self.state / "audit.sqlite"

    @property
    def served(self) -> Path:
        """SQLite: which version answered which request (`tenuto.tracing.served`)."""
        return self.state / "served.sqlite"

    @property
    def looks(self) -> Path:
        """What `tenuto monitor` found, one JSON line a look (`tenuto.monitoring.looks`)."""
        return self.state / "monitor.jsonl"

    @property
    def served_models(self) -> Path:
        """Exported models that `tenuto serve` downloaded; safe to delete while it does not run."""
        return self.state / "serving"

    @property
    def label_queue(self) -> Path:
        """Served recordings that are worth labelling (`tenuto.labelling.queue`)."""
        return self.state / "label-queue"

    @property
    def audits(self) -> Path:
        """Pages of `tenuto audit`."""
        return self.reports / "audit"

    @property
    def events(self) -> Path:
        """OpenLineage events of every stage, one JSON line each."""
        return self.state / "openlineage.jsonl"

    @property
    def holdout(self) -> Path:
        """Which test set is in use and which clips are golden; kept in git, absent before the first rotation."""
        return self.root / "holdout.yaml"

    @property
    def erasures(self) -> Path:
        """Certificates of erasure and the list of identities that are refused from then on; kept in git."""
        return self.root / "erasures"

    @property
    def erasure_journal(self) -> Path:
        """What an erasure that is under way has to do; names whom it erases, and goes when it is finished."""
        return self.state / "erasure.json"

    @property
    def model_card(self) -> Path:
        """The template of the model card."""
        return self.root / "mlflow" / "model-card.md.j2"

    @property
    def servers(self) -> Path:
        """JSON with the addresses and process ids of servers started by `tenuto up`."""
        return self.state / "servers.json"

    @property
    def speeds(self) -> Path:
        """JSON: how fast backbones were when they were measured, and on which machine."""
        return self.state / "backbones.json"

    @property
    def runs(self) -> Path:
        """The tables of each run, one folder per hash of its inputs."""
        return self.state / "runs"

    @property
    def tunings(self) -> Path:
        """Searches of `tenuto tune`: a journal each, and a folder for what is under way; safe to delete."""
        return self.state / "tune"

    def forget_old_trainings(self, keep: int = 9) -> None:
        """Removes all but the `keep` newest checkpoints and bundles, three of a run, and all but so many runs' tables:
        what the registry holds has been copied there, and the rest is only of use to a run that is taken up again."""
        for kept in (self.checkpoints, self.runs):
            folders = sorted(kept.glob("*"), key=lambda folder: folder.stat().st_mtime, reverse=True)
            for folder in folders[keep:]:
                shutil.rmtree(folder, ignore_errors=True)

    def latest_report(self) -> Path:
        """The page of the last run; WorkspaceError when nothing ran yet. Names begin with the time in UTC."""
        pages = sorted(self.reports.glob("*.html"))
        if not pages:
            raise WorkspaceError(f"{self.root} has no report yet; `tenuto retrain` writes one.")
        return pages[-1]

    @contextmanager
    def exclusive(self, doing: str, *, wait_seconds: float = 0) -> Iterator[None]:
        """Holds the workspace for one writer; the operating system lets go when the process dies.

        Raises WorkspaceError, naming who holds it, when another process still does after `wait_seconds`.
        """
        self.state.mkdir(exist_ok=True)
        holder = self.state / "lock.txt"
        lock = FileLock(self.state / "lock")
        try:
            lock.acquire(timeout=wait_seconds)
        except Timeout:
            who = holder.read_text(encoding="utf-8").strip() if holder.exists() else "another process"
            raise WorkspaceError(f"{self.root} is in use by {who}; wait for it, or end it with Ctrl-C there.") from None
        try:
            started = datetime.now().astimezone().isoformat(timespec="seconds")
            holder.write_text(f"`tenuto {doing}` (process {os.getpid()}, since {started})\n", encoding="utf-8")
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()
