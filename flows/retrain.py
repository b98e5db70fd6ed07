"""The retrain flow: from the dataset version to a registered model or a reasoned refusal."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pandas as pd
from prefect import State, flow, runtime
from prefect.states import Completed

from flows import deploy
from flows.job import Job, Run, describe
from tasks import dataset, decide, evaluate, register, split, track, train, validate
from tasks import report as reporting
from tenuto import lineage, manifest, splits
from tenuto.errors import TrainingError
from tenuto.records import (
    Checkpoint,
    Evaluation,
    Outcome,
    RegisteredModel,
    ValidationReport,
    Verdict,
)
from tenuto.report import ReportInputs
from tenuto.validation import leakage

log = logging.getLogger(__name__)

BUSY_SECONDS = 600
MOST_EVALUATIONS = 3  # a champion that moves during every one of them is a registry under somebody else's hands


def _run_name() -> str:
    root = Path(str(runtime.flow_run.parameters["root"]))
    return f"retrain-{root.name}-{datetime.now(UTC):%Y-%m-%d-%H%M%S}"


@flow(name="retrain", flow_run_name=_run_name, validate_parameters=False)
def retrain(root: str, overrides: list[str] | None = None, force: bool = False) -> State[Outcome]:
    """What the workspace at `root` came to, as a Prefect state: a registered model, a reasoned refusal, nothing to do.

    `overrides` are `key=value` settings for this run; `force` runs although nothing changed since the last one. A
    scheduled run that a newer one has overtaken ends at once in a state that says so.
    """
    if newer := deploy.superseded():
        return newer
    job = Job.read(Path(root), overrides or [])
    # a scheduled run waits for a `data add` that is under way; a person is told at once
    with job.workspace.exclusive("retrain", wait_seconds=BUSY_SECONDS if runtime.deployment.id else 0):
        with job.stage("fetch"):
            version = dataset.fetch(job.workspace.root)
            made_from = describe(job, version)
            last = track.last_run(job.tracking_uri, job.params.name)
        if last and last.inputs == made_from.inputs and not force:
            return told(unchanged(job, made_from, last))
        run = Run(job, made_from, track.start(job.tracking_uri, job.params.name, job.params, made_from))
        try:
            return told(conclude(run, judge(run)))
        except BaseException as error:
            abandon(run, error)
            raise


def abandon(run: Run, error: BaseException) -> None:
    """Closes the MLflow run that `error` ended, which must not be hidden by what goes wrong here."""
    # what is no Exception is Ctrl-C, or Prefect's own signal to a worker's process
    status: Literal["FAILED", "KILLED"] = "FAILED" if isinstance(error, Exception) else "KILLED"
    try:
        track.finish.fn(run.job.tracking_uri, run.id, status)
    except Exception as second:
        log.warning("MLflow run %s could not be closed: %s", run.id, second)


def told(outcome: Outcome) -> State[Outcome]:
    """The final state of the flow run, which shows the verdict wherever Prefect lists runs."""
    return Completed(name=outcome.verdict.capitalize(), message=outcome.reasons[0], data=outcome)


def judge(run: Run) -> Verdict:
    """The verdict on a freshly trained candidate; 'not evaluated' when the data do not allow one."""
    try:
        prepare(run)
        if stops := run.stops():
            return run.not_evaluated(*stops)
        return decide_and_register(run, *train_models(run))
    except TrainingError as error:
        return run.not_evaluated(str(error))


def prepare(run: Run) -> None:
    """Splits the clips and validates them."""
    job = run.job
    with job.stage("split"):
        run.clips = split.split(run.lineage.dataset, job.params.split, run.folder)
    with job.stage("find champion"):
        run.champion = register.champion(job.tracking_uri, job.params.name, job.workspace.cache)
    with job.stage("validate"):
        run.validation = check(run)


def train_models(run: Run) -> tuple[Checkpoint, Checkpoint]:
    """Candidate and from-scratch baseline, and what augmentation fill was worth."""
    job = run.job
    assert run.clips is not None
    inputs = (run.clips, job.workspace.data, job.params, job.workspace.cache)
    with job.stage("train candidate"):
        run.candidate = train.train_candidate(*inputs, run.checkpoint("candidate"))
    with job.stage("train baseline"):
        baseline = train.train_baseline(*inputs, run.checkpoint("baseline"))
    with job.stage("compare fill"):
        run.fill = train.compare_fill(*inputs)
    return run.candidate, baseline


def check(run: Run) -> ValidationReport:
    """The validation report, measured against the last trained version and the champion's clips."""
    job = run.job
    assert run.clips is not None
    return validate.validate(
        run.clips,
        job.workspace.quarantine,
        job.workspace.expectations,
        track.last_trained_clips(job.tracking_uri, job.params.name, job.workspace.cache),
        run.champion.clips_path if run.champion else None,
        job.workspace.data_docs,
        has_champion=run.champion is not None,
    )


def decide_and_register(run: Run, candidate: Checkpoint, baseline: Checkpoint) -> Verdict:
    """The gate's verdict, carried out in the registry; taken again when the champion moved in between."""
    job = run.job
    for _ in range(MOST_EVALUATIONS):
        with job.stage("evaluate"):
            run.evaluation = score(run, candidate, baseline)
        with job.stage("decide"):
            verdict = decide.decide(job.policy, run.evaluation)
        if verdict.verdict not in ("promote", "register"):
            return verdict
        try:
            with job.stage("register"):
                run.model = register.register(
                    job.tracking_uri,
                    job.params.name,
                    run.id,
                    candidate,
                    verdict,
                    run.champion.version if run.champion else None,
                    _tags(run, candidate),
                )
            return verdict
        except register.ChampionMovedError as error:
            moved = error
            run.champion = register.champion(job.tracking_uri, job.params.name, job.workspace.cache)
    raise moved


def score(run: Run, candidate: Checkpoint, baseline: Checkpoint) -> Evaluation:
    """Candidate, baseline and champion on the same test clips."""
    job = run.job
    assert run.clips is not None
    models = {"candidate": candidate.path, "baseline": baseline.path}
    known: frozenset[str] | None = frozenset()
    if run.champion:
        models["champion"] = run.champion.checkpoint
        heard = run.champion.clips_path
        known = leakage.contaminated(pd.read_parquet(run.clips), pd.read_parquet(heard)) if heard else None
    group = splits.group_name(manifest.read(run.lineage.dataset.manifest_path), job.params.split)
    return evaluate.evaluate(
        models, run.clips, job.workspace.data, job.params.evaluate, group, known, run.folder / "probabilities.parquet"
    )


def conclude(run: Run, verdict: Verdict) -> Outcome:
    """The outcome, after results and report have been logged and the MLflow run closed."""
    job = run.job
    with job.stage("report"):
        track.log_results(
            job.tracking_uri,
            run.id,
            track.Results(
                verdict=verdict,
                clips_path=run.clips,
                validation=run.validation,
                checkpoint=run.candidate,
                evaluation=run.evaluation,
                fill=run.fill.recall if run.fill else {},
            ),
        )
        name = f"{job.started_at:%Y%m%dT%H%M%SZ}-{verdict.verdict.replace(' ', '-')}.html"
        page = reporting.report(report_inputs(run, verdict), job.workspace.reports / name)
    seconds = job.stage.seconds
    track.finish(job.tracking_uri, run.id, model=run.model, report=page, seconds=seconds)
    job.workspace.forget_old_trainings()
    return Outcome(
        verdict=verdict.verdict,
        reasons=verdict.reasons,
        trained=run.candidate is not None,
        model=run.model,
        metrics=_metrics(run.evaluation.metrics if run.evaluation else {}),
        fill=run.fill.recall if run.fill else {},
        dataset=run.lineage.dataset,
        run={"mlflow": run.id, "prefect": run.lineage.prefect_run, "git": run.lineage.code.commit},
        report=page,
        seconds=seconds,
    )


def unchanged(job: Job, made_from: lineage.Lineage, last: track.LastRun) -> Outcome:
    """The outcome of a run that has nothing to do: the last one's figures, and why they still stand."""
    reason = (
        f"dataset {made_from.dataset.md5}, settings and code are those of the last run, which came to: {last.verdict}"
    )
    return Outcome(
        verdict="nothing changed",
        reasons=(reason,),
        trained=False,
        model=last.model,
        metrics=_metrics(last.metrics),
        dataset=made_from.dataset,
        run={"mlflow": last.run_id, "prefect": made_from.prefect_run, "git": made_from.code.commit},
        report=Path(last.report) if last.report else None,
        seconds=job.stage.seconds,
    )


def report_inputs(run: Run, verdict: Verdict) -> ReportInputs:
    """All that is known at the end of a run, for its page."""
    job, made_from = run.job, run.lineage
    champion = run.champion
    return ReportInputs(
        name=job.params.name,
        verdict=verdict,
        started_at=job.started_at,
        seconds=job.stage.seconds,
        dataset=made_from.dataset,
        data=job.workspace.data,
        clips_path=run.clips,
        quarantine_path=job.workspace.quarantine,
        validation=run.validation,
        evaluation=run.evaluation,
        fill=run.fill,
        params=job.params,
        backbone_licence=run.candidate.backbone_licence if run.candidate else "",
        registered=run.model,
        champion=RegisteredModel(name=job.params.name, version=champion.version, aliases=("champion",))
        if champion
        else None,
        checkpoint=run.candidate,
        code=made_from.code,
        environment=made_from.environment,
        mlflow_run=run.id,
        prefect_run=made_from.prefect_run,
        prefect_url=runtime.flow_run.ui_url,
    )


def _tags(run: Run, candidate: Checkpoint) -> dict[str, str]:
    """What the registered version says of itself besides its verdict."""
    assert run.evaluation is not None
    return {
        **run.lineage.tags(),
        "tenuto.macro_f1": f"{run.evaluation.metrics['candidate']['macro_f1']:.4f}",
        "tenuto.backbone_licence": candidate.backbone_licence,
    }


def _metrics(per_model: dict[str, dict[str, float]]) -> dict[str, dict[str, float] | None]:
    """Per model, with null for a champion that does not exist yet."""
    return {**dict.fromkeys(("candidate", "baseline", "champion")), **per_model} if per_model else {}
