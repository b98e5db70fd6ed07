"""How a verdict is carried out: a new version, its alias, and one entry of the ledger, or the entry alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.registry import accounts, mirror, packaging, pending, store
from tasks.registry.decisions import Candidate, decision
from tasks.registry.turns import turn
from tenuto.deciding import wear
from tenuto.deciding.policy import WearSettings
from tenuto.errors import TenutoError
from tenuto.records import Checkpoint, Record, RegisteredModel, Verdict
from tenuto.serving.hearing.bundle import Exported
from tenuto.tracing.ledger import Entry, Grounds

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LONGEST_TAG = 4000
_ROUNDING = 1e-9
"""Sums of the same charges may differ in their last digits."""


class OvertakenError(TenutoError):
    """Something that this run's verdict rests on changed meanwhile; it has to be evaluated and decided again."""


class ChampionMovedError(OvertakenError):
    """Another version became champion after this run's evaluation."""


class AccountSpentError(OvertakenError):
    """Another decision drew on the account of the test set after this one was taken."""


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
    'register' it is @challenger; any other verdict leaves the registry alone. OvertakenError is raised, nothing is
    registered and nothing written, when the champion is no longer the one of the evaluation, or the account of the
    test set no longer what it was decided on. A checkpoint that is there already, under the alias that the verdict
    asks for, is not registered again; a challenger then says what this evaluation found. Called twice for one MLflow
    run, the entry is the first call's. Any failure, Ctrl-C included, leaves registry and ledger as before or as after.
    """
    client = store.connect(tracking_uri)
    pending.settle(client, name, ledger)
    if verdict.verdict not in ("promote", "register"):
        return CarriedOut(entry=_written(client, name, ledger, verdict, grounds), model=None)
    if candidate is None:
        raise ValueError(f"the verdict {verdict.verdict!r} registers a candidate, and none was given")
    waits = verdict.verdict == "promote" and needs_approval
    alias = store.CHAMPION if verdict.verdict == "promote" and not waits else store.CHALLENGER
    tags = {**_tags(candidate, verdict), **candidate.tags, **({store.APPROVAL: store.AWAITING} if waits else {})}
    number = _registered_before(client, name, alias, candidate.checkpoint)
    if number:
        entry = _registered_again(client, name, ledger, verdict, grounds, candidate, number, tags)
    else:
        number, entry = _registered_anew(client, name, ledger, verdict, grounds, candidate, alias, tags)
    return CarriedOut(entry=entry, model=_registered(client, name, number))


def _written(client: MlflowClient, name: str, ledger: Path, verdict: Verdict, grounds: Grounds) -> Entry:
    """The entry of a verdict that registers nothing; the one that this MLflow run ended in already, if it did."""
    with turn(client, name, ledger) as mine:
        if there := _decided(client, name, grounds):
            return there
        _check_account(client, name, ledger, verdict)
        return mine.carry_out(decision(name, verdict, grounds, store.aliases(client, name)))


def _registered_again(
    client: MlflowClient,
    name: str,
    ledger: Path,
    verdict: Verdict,
    grounds: Grounds,
    candidate: Candidate,
    number: str,
    tags: dict[str, str],
) -> Entry:
    """The entry of a verdict on weights that are version `number` already; a challenger gets the new `tags`.

    The champion keeps its own, which say what it was promoted on.
    """
    with turn(client, name, ledger) as mine:
        if there := _decided(client, name, grounds):
            return there
        before = store.aliases(client, name)
        is_champion = before.get(store.CHAMPION) == number
        if not is_champion:
            _check_champion(client, name, candidate.evaluated_against)
        _check_account(client, name, ledger, verdict)
        decided = decision(name, verdict, grounds, before, number, candidate)
        if is_champion:
            return mine.carry_out(decided)
        version = client.get_model_version(name, number)
        _retag(client, name, number, tags, _description(candidate, verdict))
        try:
            return mine.carry_out(decided)
        except BaseException:
            if not _decided(client, name, grounds):
                _retag(client, name, number, dict(version.tags), version.description or "")
            raise


def _retag(client: MlflowClient, name: str, number: str, tags: dict[str, str], description: str) -> None:
    """Sets the tags and the description; a version that `tags` do not have waiting waits no more."""
    for tag, value in tags.items():
        client.set_model_version_tag(name, number, tag, value)
    if store.APPROVAL not in tags and store.APPROVAL in client.get_model_version(name, number).tags:
        client.delete_model_version_tag(name, number, store.APPROVAL)
    client.update_model_version(name, number, description)


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
    model_id = packaging.log_model(
        client,
        name,
        grounds.run_id,
        candidate.checkpoint,
        mark,
        candidate.exported.folder if candidate.exported else None,
    )
    try:
        number = _create_version(
            client, name, grounds.run_id, model_id, tags | {store.PENDING: mark}, _description(candidate, verdict)
        )
        with turn(client, name, ledger) as mine:
            # once more: it may have moved while the model was stored
            _check_champion(client, name, candidate.evaluated_against)
            _check_account(client, name, ledger, verdict)
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


def _check_account(client: MlflowClient, name: str, ledger: Path, verdict: Verdict) -> None:
    """Raises AccountSpentError when the claim was tested at a level that the test set no longer has."""
    then = verdict.account
    if then is None or wear.use(verdict) is None:
        return
    settings = WearSettings(alpha=then.alpha, decisions=then.decisions)
    now = wear.account(accounts.entries(client, name, ledger), settings, then.holdout)
    if now.level < then.level * (1 - _ROUNDING):
        raise AccountSpentError(
            f"The test set was asked by another run meanwhile: {now.used} decisions are taken, and this one was taken "
            f"when {then.used} were. Nothing was registered; run `tenuto retrain` again."
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
        **({store.SERVED_BY: _served_by(candidate.exported)} if candidate.exported else {}),
    }


def _served_by(exported: Exported) -> str:
    return exported.bundle.best if exported.bundle else f"{store.NOT_EXPORTED}: {exported.reason}"[:_LONGEST_TAG]


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
