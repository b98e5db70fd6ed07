"""How a verdict is carried out: a new version, its alias, and one entry of the ledger, or the entry alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.registry import mirror, packaging, pending, store
from tasks.registry.decisions import Candidate, decision
from tasks.registry.turns import turn
from tenuto.errors import TenutoError
from tenuto.records import Checkpoint, Record, RegisteredModel, Verdict
from tenuto.tracing.ledger import Entry, Grounds

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LONGEST_TAG = 4000


class ChampionMovedError(TenutoError):
    """Another version became champion after this run's evaluation; it has to be evaluated against that one."""


class CarriedOut(Record):
    """What became of a verdict."""

    entry: Entry
    model: RegisteredModel | None
    """The version that was registered, or was there already; None for a verdict that registers nothing."""


@task(name="carry-out", task_run_name="carry-out-verdict-on-{name}", cache_policy=NO_CACHE, persist_result=False)
def carry_out(
    tracking_uri: str,
    name: str,
    ledger: Path,
    verdict: Verdict,
    grounds: Grounds,
    candidate: Candidate | None = None,
    *,
    needs_approval: bool = False,
) -> CarriedOut:
    """The one entry of the ledger that the run's verdict ends in, and the version it registered, if any.

    After 'promote' the candidate is @champion, or with `needs_approval` @challenger and waiting for a person; after
    'register' it is @challenger; any other verdict leaves the registry alone. ChampionMovedError is raised, nothing is
    registered and nothing written, when the champion is no longer the one of the evaluation. A checkpoint that is
    there already, under the alias that the verdict asks for, is not registered again. Called twice for one MLflow run,
    the entry is the first call's. Any failure, Ctrl-C included, leaves registry and ledger as before or as after.
    """
    client = store.connect(tracking_uri)
    pending.settle(client, name, ledger)
    if verdict.verdict not in ("promote", "register"):
        return CarriedOut(entry=_written(client, name, ledger, verdict, grounds), model=None)
    if candidate is None:
        raise ValueError(f"the verdict {verdict.verdict!r} registers a candidate, and none was given")
    waits = verdict.verdict == "promote" and needs_approval
    alias = store.CHAMPION if verdict.verdict == "promote" and not waits else store.CHALLENGER
    number = _registered_before(client, name, alias, candidate.checkpoint)
    if number:
        entry = _written(client, name, ledger, verdict, grounds, number, candidate)
    else:
        tags = {**_tags(candidate, verdict), **candidate.tags, **({store.APPROVAL: store.AWAITING} if waits else {})}
        number, entry = _registered_anew(client, name, ledger, verdict, grounds, candidate, alias, tags)
    return CarriedOut(entry=entry, model=_registered(client, name, number))


def _written(
    client: MlflowClient,
    name: str,
    ledger: Path,
    verdict: Verdict,
    grounds: Grounds,
    number: str | None = None,
    candidate: Candidate | None = None,
) -> Entry:
    """The entry of a verdict that moves no alias; the one that this MLflow run ended in already, if it did."""
    with turn(client, name, ledger) as mine:
        if there := _decided(client, name, grounds):
            return there
        return mine.carry_out(
            decision(name, verdict, grounds, store.aliases(client, name), number=number, candidate=candidate)
        )


def _registered_anew(
    client: MlflowClient,
    name: str,
    ledger: Path,
    verdict: Verdict,
    grounds: Grounds,
    candidate: Candidate,
    alias: str,
    tags: dict[str, str],
) -> tuple[str, Entry]:
    """The number of the new version, and the entry that it ends in."""
    _check_champion(client, name, candidate.evaluated_against)
    mark = pending.mark()
    model_id = packaging.log_model(client, name, grounds.run_id, candidate.checkpoint, mark)
    try:
        number = _create_version(
            client, name, grounds.run_id, model_id, tags | {store.PENDING: mark}, _description(candidate, verdict)
        )
        with turn(client, name, ledger) as mine:
            # once more: it may have moved while the model was stored
            _check_champion(client, name, candidate.evaluated_against)
            before = store.aliases(client, name)
            entry = mine.carry_out(decision(name, verdict, grounds, before, number, candidate, alias))
        pending.finish(client, name, number, model_id)
    except BaseException:
        pending.roll_back(client, name, model_id)
        raise
    return number, entry


def _decided(client: MlflowClient, name: str, grounds: Grounds) -> Entry | None:
    """The entry that this MLflow run ended in already."""
    found = (e for e in mirror.entries(client, name) if e.event == "decision" and e.run_id == grounds.run_id)
    return next(found, None)


def _registered(client: MlflowClient, name: str, number: str) -> RegisteredModel:
    pointing = tuple(sorted(alias for alias, at in store.aliases(client, name).items() if at == number))
    return RegisteredModel(name=name, version=number, aliases=pointing)


def _registered_before(client: MlflowClient, name: str, alias: str, checkpoint: Checkpoint) -> str | None:
    """The version that an earlier run registered from this very checkpoint and that needs no change; else None.

    What is champion already need not become challenger.
    """
    aliases = store.aliases(client, name)
    for number in (aliases.get(store.CHAMPION), aliases.get(alias)):
        if number and client.get_model_version(name, number).tags.get(store.CHECKPOINT) == checkpoint.sha256:
            return number
    return None


def _check_champion(client: MlflowClient, name: str, evaluated_against: str | None) -> None:
    now = store.aliases(client, name).get(store.CHAMPION)
    if now != evaluated_against:
        was = f"version {evaluated_against}" if evaluated_against else "no version"
        current = f"version {now}" if now else "none"
        raise ChampionMovedError(
            f"The champion of {name} was {was} in this evaluation and is {current} now. Nothing was registered."
        )


def _tags(candidate: Candidate, verdict: Verdict) -> dict[str, str]:
    checkpoint = candidate.checkpoint
    return {
        "tenuto.verdict": verdict.verdict,
        "tenuto.reasons": "\n".join(verdict.reasons)[:_LONGEST_TAG],
        "tenuto.policy_sha256": verdict.policy_sha256,
        store.EVALUATED_AGAINST: candidate.evaluated_against or store.NO_CHAMPION,
        "tenuto.backbone": checkpoint.backbone,
        "tenuto.backbone_revision": checkpoint.backbone_revision,
        store.PREPROCESSING: checkpoint.preprocessing,
        store.CHECKPOINT: checkpoint.sha256,
    }


def _description(candidate: Candidate, verdict: Verdict) -> str:
    return candidate.description or "\n".join(verdict.reasons)[:_LONGEST_TAG]


def _create_version(
    client: MlflowClient, name: str, run_id: str, model_id: str, tags: dict[str, str], description: str
) -> str:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = client.create_model_version(
        name,
        # as models:/ID it would be looked up at MLflow's process-wide tracking address, not at this client's
        source=client.get_logged_model(model_id).artifact_location,
        run_id=run_id,
        model_id=model_id,
        # SQLite keeps no model id with the version
        tags=tags | {store.MODEL_ID: model_id},
        description=description,
    )
    return str(version.version)
