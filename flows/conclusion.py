"""What a run comes to: the model card, what the ledger and the registry are told, the report, and the outcome.

Separate from `flows.retrain`, which says in what order things happen; here is what each of them is given.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

from prefect import runtime

from flows.job import Job, Run
from tasks import audit, registry, track
from tasks import report as reporting
from tenuto.learning.catalogue import licences
from tenuto.records import Outcome, RegisteredModel, Verdict
from tenuto.reporting import card
from tenuto.reporting.card import CardInputs
from tenuto.reporting.report import ReportInputs
from tenuto.tracing import lineage
from tenuto.tracing.ledger import Grounds

log = logging.getLogger(__name__)


def conclude(run: Run, verdict: Verdict) -> Outcome:
    """The outcome, after results and report have been logged and the MLflow run closed."""
    job = run.job
    with job.stage("report"):
        track.log_results(job.tracking_uri, run.id, results_of(run, verdict))
        name = f"{job.started_at:%Y%m%dT%H%M%SZ}-{verdict.verdict.replace(' ', '-')}.html"
        page = reporting.report(report_inputs(run, verdict), job.workspace.reports / name)
    seconds = job.stage.seconds
    track.finish(job.tracking_uri, run.id, model=run.model, report=page, seconds=seconds)
    _index(job)
    job.workspace.forget_old_trainings()
    return Outcome(
        verdict=verdict.verdict,
        reasons=verdict.reasons,
        trained=run.candidate is not None,
        remedy=run.remedy,
        is_awaiting=is_awaiting(run, verdict),
        model=run.model,
        metrics=_metrics(run.evaluation.metrics if run.evaluation else {}),
        fill=run.fill.recall if run.fill else {},
        dataset=run.lineage.dataset,
        run={"mlflow": run.id, "prefect": run.lineage.prefect_run, "git": run.lineage.code.commit},
        report=page,
        seconds=seconds,
    )


def _index(job: Job) -> None:
    """Adds the run to the audit's index, which `tenuto audit` would do otherwise: no reason to fail a run."""
    try:
        audit.catch_up(job.tracking_uri, job.params.name, job.workspace.audit_index)
    except Exception as error:
        log.warning("the audit's index was not brought up to date: %s", error)


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


def is_awaiting(run: Run, verdict: Verdict) -> bool:
    """Whether the candidate passed and a person has yet to say so."""
    needs_person = verdict.verdict == "promote" and run.job.policy.approval == "person"
    # weights that are champion already wait for nobody
    return needs_person and run.model is not None and "champion" not in run.model.aliases


def results_of(run: Run, verdict: Verdict) -> track.Results:
    """All that MLflow keeps of the run."""
    return track.Results(
        verdict=verdict,
        clips_path=run.clips,
        params=run.params if run.candidate else None,
        validation=run.validation,
        checkpoint=run.candidate,
        exported=run.exported,
        evaluation=run.evaluation,
        golden=run.golden,
        card=run.card,
        fill=run.fill.recall if run.fill else {},
    )


def write_card(run: Run, verdict: Verdict) -> str:
    """The model card; empty for a run that evaluated nothing."""
    if run.evaluation is None or run.candidate is None or run.clips is None:
        return ""
    inputs = CardInputs(
        params=run.params,
        remedy=run.remedy,
        lineage=run.lineage,
        evaluation=run.evaluation,
        checkpoint=run.candidate,
        exported=run.exported,
        verdict=verdict,
        made_at=datetime.now(UTC),
        mlflow_run=run.id,
        clips_path=run.clips,
        champion=_champion(run),
        golden=run.golden,
        seconds=run.job.stage.seconds,
        cpu_seconds=run.job.stage.cpu_seconds,
    )
    return card.render(inputs, run.job.workspace.model_card)


def grounds_of(run: Run, verdict: Verdict) -> Grounds:
    """What the ledger says that the verdict rests on."""
    return Grounds(
        run_id=run.id,
        dataset_md5=run.lineage.dataset.md5,
        code_commit=run.lineage.code.commit,
        evidence=track.evidence(results_of(run, verdict)),
        plain_reasons=tuple(f"{f.expectation} failed" for f in run.validation.stops) if run.validation else (),
    )


def candidate_of(run: Run) -> registry.Candidate | None:
    """What a verdict may register; None for a run that evaluated nothing."""
    if run.evaluation is None or run.candidate is None:
        return None
    return registry.Candidate(
        checkpoint=run.candidate,
        exported=run.exported,
        evaluated_against=run.champion.version if run.champion else None,
        description=card.description(run.card, run.id),
        tags={
            **run.lineage.tags(),
            "tenuto.macro_f1": f"{run.evaluation.metrics['candidate']['macro_f1']:.4f}",
            "tenuto.backbone_licence": run.candidate.backbone_licence,
            "tenuto.commercial_use": licences.commercial_use(run.candidate.backbone_licence),
        },
    )


def report_inputs(run: Run, verdict: Verdict) -> ReportInputs:
    """All that is known at the end of a run, for its page."""
    job, made_from = run.job, run.lineage
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
        golden=run.golden,
        fill=run.fill,
        params=run.params,
        remedy=run.remedy,
        backbone_licence=run.candidate.backbone_licence if run.candidate else "",
        registered=run.model,
        champion=_champion(run),
        has_model_card=bool(run.card),
        checkpoint=run.candidate,
        exported=run.exported,
        code=made_from.code,
        environment=made_from.environment,
        mlflow_run=run.id,
        mlflow_url=track.page(job.tracking_uri, run.id),
        prefect_run=made_from.prefect_run,
        prefect_url=runtime.flow_run.ui_url,
    )


def _champion(run: Run) -> RegisteredModel | None:
    if run.champion is None:
        return None
    return RegisteredModel(name=run.job.params.name, version=run.champion.version, aliases=("champion",))


def _metrics(per_model: dict[str, dict[str, float]]) -> dict[str, dict[str, float] | None]:
    """Per model, with null for a champion that does not exist yet."""
    return {**dict.fromkeys(("candidate", "baseline", "champion")), **per_model} if per_model else {}
