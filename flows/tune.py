"""The tune flow: settings tried one after the other, or several at a time, on the validation clips of the dataset.

It registers nothing: the best settings are for a retrain, which the gate judges like any other.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow, runtime
from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from flows.job import Job
from flows.stages import ctrl_c
from tasks import dataset, split, tune
from tasks.track import trials as tracked
from tenuto.learning.tuning import trials
from tenuto.learning.tuning.study import Study, Trial
from tenuto.learning.tuning.trials import Asked, Result
from tenuto.records import DatasetVersion, Record
from tenuto.reporting import tuning as page
from tenuto.search_space import effective, overrides, space_of

log = logging.getLogger("tenuto.tune")


class Tuned(Record):
    """What a search came to, all its trials, whichever call ran them."""

    study: str = Field(description="digest of dataset version, settings, code and space; names the search")
    on: str
    trials: tuple[Trial, ...]
    ran: int = Field(description="trials of this call; the others were there")
    best: Trial
    present: Trial
    is_better: bool = Field(description="the best settings did better than the present ones")
    importances: dict[str, float]
    overrides: tuple[str, ...] = Field(description="the best settings as `--set` takes them; none for the present ones")
    report: Path
    mlflow_run: str
    seconds: dict[str, float]


def _run_name() -> str:
    root = Path(str(runtime.flow_run.parameters["root"]))
    return f"tune-{root.name}-{datetime.now(UTC):%Y-%m-%d-%H%M%S}"


@flow(
    name="tune",
    flow_run_name=_run_name,
    validate_parameters=False,
    persist_result=False,
    task_runner=ThreadPoolTaskRunner(),  # type: ignore[arg-type]  # Prefect's own is typed for no result at all
)
def tune_settings(root: str, overrides: list[str] | None = None) -> Tuned:
    """The search of the workspace at `root`, taken up where it was left; `overrides` are `key=value` settings."""
    job = Job.read(Path(root), overrides or [])
    trials.check(job.params)
    with job.workspace.exclusive("tune"):
        with job.stage("fetch"):
            version = dataset.fetch(job.workspace.root)
        name = study_name(job, version)
        with job.stage("split"):
            folder, kind = job.workspace.runs / f"tune-{name}", job.params.data.labels
            clips = split.split(version, job.params.split, folder, job.holdout, kind)
        run = tracked.start(job.tracking_uri, job.params.name, "tune", job.params, version.md5)
        try:
            with job.stage("search"):
                study = Study(job.workspace.tunings / f"{name}.log", job.params)
                before = len(study.trials)
                search(job, study, clips, job.workspace.tunings / name, run)
            tuned = conclude(job, name, study, run, before)
        except BaseException as error:
            tracked.finish(job.tracking_uri, run, status="FAILED" if isinstance(error, Exception) else "KILLED")
            raise
        tracked.finish(job.tracking_uri, run, [tuned.report])
    return tuned


def study_name(job: Job, version: DatasetVersion) -> str:
    """What the scores of trials depend on, hashed: where any of it is another, another search begins."""
    space = {
        key: found if isinstance(found, tuple) else found.model_dump() for key, found in space_of(job.params).items()
    }
    whole = json.dumps([job.training_inputs(version), job.params.tune.on, space], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def search(job: Job, study: Study, clips: Path, work: Path, run: str) -> None:
    """Tries settings until there are as many trials as wanted, `tune.workers` at a time.

    `work` is the study's own folder: what a killed trial had trained in another one is not what this one would.

    Raises KeyboardInterrupt when Ctrl-C was pressed.
    """
    wanted = job.params.tune.trials
    under_way: dict[PrefectFuture[Result], Asked] = {}
    while len(study.trials) < wanted:
        if ctrl_c.is_set():
            raise KeyboardInterrupt
        while len(under_way) < min(job.params.tune.workers, wanted - len(study.trials)):
            asked = study.ask()
            if known := study.known(asked):
                tell(job, study, asked, known, run)
            else:
                under_way[begin(job, asked, len(study.trials) + len(under_way) + 1, clips, work)] = asked
        if under_way:
            done = next(as_completed(list(under_way)))
            tell(job, study, under_way.pop(done), done.result(), run)


def begin(job: Job, asked: Asked, number: int, clips: Path, work: Path) -> PrefectFuture[Result]:
    """The trial, in the hands of the task runner."""
    workspace = job.workspace
    inputs = (clips, workspace.data, job.params, workspace.cache, work)
    return tune.trial.submit(number, asked, *inputs, ctrl_c.is_set)


def tell(job: Job, study: Study, asked: Asked, result: Result, run: str) -> None:
    """Keeps what a trial came to, here and in MLflow, and says it."""
    trial = study.tell(asked, result)
    figures = {"macro_f1": trial.macro_f1, "log_loss": trial.log_loss, "seconds": trial.seconds}
    tracked.log(
        job.tracking_uri,
        run,
        f"trial {trial.number}",
        trial.settings | {"state": trial.reason or trial.state},
        {name: value for name, value in figures.items() if value is not None},
    )
    score = "pruned" if trial.macro_f1 is None else f"{trial.macro_f1:.4f}"
    what = "params.yaml as it is" if trial.is_present else shown(trial.settings)
    why = f" ({trial.reason})" if trial.reason else ""
    best = study.best.macro_f1 if any(t.state == "complete" for t in study.trials) else None
    ahead = f"best {best:.4f}" if best is not None else ""
    log.info(
        "%3d/%d  macro-F1 %-7s %s  %s%s",
        trial.number,
        job.params.tune.trials,
        score,
        ahead,
        what,
        why,
        extra={"stage_seconds": trial.seconds},
    )


def conclude(job: Job, name: str, study: Study, run: str, before: int) -> Tuned:
    """The best settings, and the page about all trials."""
    trials = study.trials
    best = study.best.model_copy(update={"settings": effective(job.params, study.best.settings)})
    (present,) = [trial for trial in trials if trial.is_present]
    report = job.workspace.reports / "tune" / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.html"
    importances = study.importances()
    inputs = page.TuneInputs(
        name=job.params.name,
        on=job.params.tune.on,
        started_at=job.started_at,
        trials=trials,
        best=best,
        present=present,
        importances=importances,
        study=name,
        mlflow_run=run,
    )
    return Tuned(
        study=name,
        on=job.params.tune.on,
        trials=trials,
        ran=len(trials) - before,
        best=best,
        present=present,
        is_better=not best.is_present,
        importances=importances,
        overrides=tuple(overrides(best.settings)),
        report=page.write(inputs, report),
        mlflow_run=run,
        seconds=job.stage.seconds,
    )


def shown(settings: Mapping[str, Any]) -> str:
    """Settings in one line, numbers short."""
    return "  ".join(f"{key.partition('.')[2]}={page.value(value)}" for key, value in settings.items())
