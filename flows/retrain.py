"""The retrain flow: from the dataset version to a registered model or a reasoned refusal."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pandas as pd
from prefect import State, flow, runtime
from prefect.states import Completed

from flows import approval, deploy
from flows.conclusion import candidate_of, conclude, grounds_of, unchanged, write_card
from flows.job import Job, Run, describe
from tasks import dataset, decide, evaluate, export, registry, split, track, train, validate
from tenuto.dataset import manifest
from tenuto.errors import TrainingError
from tenuto.records import Account, Checkpoint, Evaluation, Outcome, Remedy, ValidationReport, Verdict
from tenuto.splitting import splits
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
    busy_seconds = BUSY_SECONDS if runtime.deployment.id else 0
    with (
        job.workspace.exclusive("retrain", wait_seconds=busy_seconds),
        job.stage.flow("retrain", job.workspace, job.params.name),
    ):
        with job.stage("fetch") as stage:
            version = stage.made(dataset.fetch(job.workspace.root))
            made_from = describe(job, version)
            last = track.last_run(job.tracking_uri, job.params.name)
        if last and last.inputs == made_from.inputs and not force:
            return told(unchanged(job, made_from, last))
        # a ledger that was touched is said before hours of training
        account(job)
        run = Run(job, made_from, track.start(job.tracking_uri, job.params.name, job.params, made_from))
        try:
            outcome = conclude(run, judge(run))
        except BaseException as error:
            abandon(run, error)
            raise
        if outcome.is_awaiting:
            ask_person(job, outcome)
        return told(outcome)


def ask_person(job: Job, outcome: Outcome) -> None:
    """Starts the flow that waits for an answer on Prefect's page, where it is deployed."""
    assert outcome.model is not None
    try:
        approval.ask(job.workspace, job.params, outcome.model.version)
    except Exception as error:
        log.warning("nobody was asked on Prefect's page (%s); `tenuto approve` or `tenuto refuse` decides", error)


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
    name = "Awaiting approval" if outcome.is_awaiting else outcome.verdict.capitalize()
    return Completed(name=name, message=outcome.reasons[0], data=outcome)


def judge(run: Run) -> Verdict:
    """The verdict on a freshly trained candidate, carried out; 'not evaluated' when the data do not allow one."""
    try:
        prepare(run)
        if stops := run.stops():
            return carry_out(run, not_evaluated(run, *stops))
        return decide_and_carry_out(run, *train_models(run))
    except TrainingError as error:
        return carry_out(run, not_evaluated(run, str(error)))


def not_evaluated(run: Run, *reasons: str) -> Verdict:
    """The verdict of a run that ends before anything is scored."""
    with run.job.stage("decide") as stage:
        return stage.made(run.not_evaluated(*reasons))


def prepare(run: Run) -> None:
    """Splits the clips and validates them."""
    job = run.job
    with job.stage("split") as stage:
        settings, kind = job.params.split, job.params.data.labels
        run.clips = stage.made(split.split(run.lineage.dataset, settings, run.folder, job.holdout, kind))
    with job.stage("find champion") as stage:
        run.champion = stage.made(find_champion(run))
    with job.stage("validate") as stage:
        run.validation = stage.made(check(run))


def find_champion(run: Run) -> registry.Champion | None:
    """The version that serves now; settles first what killed runs left."""
    job = run.job
    return registry.champion(job.tracking_uri, job.params.name, job.workspace.cache, job.workspace.ledger)


def train_models(run: Run) -> tuple[Checkpoint, Checkpoint]:
    """Candidate and from-scratch baseline, and what augmentation fill was worth."""
    job = run.job
    assert run.clips is not None
    if job.params.imbalance.remedy == "auto":
        with job.stage("choose remedy"):
            run.remedy = choose_remedy(run)
    inputs = (run.clips, job.workspace.data, run.params, job.workspace.cache)
    with job.stage("train candidate") as stage:
        run.candidate = stage.made(train.train_candidate(*inputs, run.checkpoint("candidate")))
    with job.stage("train baseline") as stage:
        baseline = stage.made(train.train_baseline(*inputs, run.checkpoint("baseline")))
    with job.stage("compare fill"):
        run.fill = train.compare_fill(*inputs)
    with job.stage("export") as stage:
        exported = export.export(run.candidate.path, run.clips, job.workspace.data, run.checkpoint("serving"))
        run.exported = stage.made(exported)
    return run.candidate, baseline


def choose_remedy(run: Run) -> Remedy:
    """What is done for rare classes and groups, said in the log and in the run."""
    job = run.job
    assert run.clips is not None
    found = train.choose_remedy(run.clips, job.workspace.data, job.params, group_of(run), job.workspace.cache)
    log.info("%s", found.sentence)
    track.log_remedy(job.tracking_uri, run.id, found, job.params)
    return found


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
        kind=job.params.data.labels,
    )


def decide_and_carry_out(run: Run, candidate: Checkpoint, baseline: Checkpoint) -> Verdict:
    """The gate's verdict, carried out; taken again when the champion or the account moved in between."""
    for _ in range(MOST_EVALUATIONS):
        with run.job.stage("evaluate") as stage:
            run.evaluation = stage.made(as_served(run, score(run, candidate, baseline)))
            run.golden = score_golden(run, candidate, baseline)
        with run.job.stage("decide") as stage:
            verdict = stage.made(decide.decide(run.job.policy, run.evaluation, account(run.job)))
        try:
            return carry_out(run, verdict)
        except registry.OvertakenError as error:
            moved = error
            run.champion = find_champion(run)
    raise moved


def account(job: Job) -> Account:
    """What is left of the test set before this decision, whichever model and host asked it before."""
    return registry.account(job.tracking_uri, job.params.name, job.workspace.ledger, job.policy.wear, job.holdout)


def score(run: Run, candidate: Checkpoint, baseline: Checkpoint) -> Evaluation:
    """Candidate, baseline and champion on the same test clips."""
    job = run.job
    assert run.clips is not None
    known: frozenset[str] | None = frozenset()
    if run.champion:
        heard = run.champion.clips_path
        known = leakage.contaminated(pd.read_parquet(run.clips), pd.read_parquet(heard)) if heard else None
    return evaluate.evaluate(
        models_of(run, candidate, baseline),
        run.clips,
        job.workspace.data,
        job.params.evaluate,
        group_of(run),
        known,
        run.folder / "probabilities.parquet",
    )


def as_served(run: Run, evaluation: Evaluation) -> Evaluation:
    """The evaluation with the speed and size of what will serve, since that is what budgets are about."""
    if run.exported is None or not run.exported.figures:
        return evaluation
    in_torch = evaluation.latency.get("candidate", {})
    latency = evaluation.latency | {"candidate": run.exported.figures, "checkpoint": in_torch}
    return evaluation.model_copy(update={"latency": latency})


def score_golden(run: Run, candidate: Checkpoint, baseline: Checkpoint) -> Evaluation | None:
    """The same models on the clips that are only watched; None when there are none."""
    job = run.job
    assert run.clips is not None
    if not (pd.read_parquet(run.clips, columns=["split"])["split"] == "golden").any():
        return None
    output = run.folder / "golden.parquet"
    inputs = (models_of(run, candidate, baseline), run.clips, job.workspace.data, job.params.evaluate, group_of(run))
    return evaluate.evaluate(*inputs, frozenset(), output, split="golden")


def models_of(run: Run, candidate: Checkpoint, baseline: Checkpoint) -> dict[str, Path]:
    """The checkpoint folders of all models that are compared."""
    models = {"candidate": candidate.path, "baseline": baseline.path}
    return models | ({"champion": run.champion.checkpoint} if run.champion else {})


def group_of(run: Run) -> str | None:
    """What whole units are: the group that the division keeps together."""
    return splits.group_name(manifest.read(run.lineage.dataset.manifest_path), run.job.params.split)


def carry_out(run: Run, verdict: Verdict) -> Verdict:
    """The verdict, after registry and ledger have it."""
    job = run.job
    run.card = write_card(run, verdict)
    with job.stage("register") as stage:
        done = registry.carry_out(
            job.tracking_uri,
            job.params.name,
            job.workspace.ledger,
            verdict,
            grounds_of(run, verdict),
            candidate_of(run),
            needs_approval=job.policy.approval == "person",
        )
        run.entry = done.entry
        run.model = stage.made(done.model)
    return verdict
