"""What a person does to the registry: promote, roll back, approve, refuse. Each ends as one entry of the ledger.

Whatever is checked is checked while holding the model's turn, right before the first alias moves. Plain functions, not
Prefect tasks: a person waits at the terminal.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.registry import packaging, pending, store
from tasks.registry.turns import Turn, turn
from tenuto.errors import RegistryError
from tenuto.labels import LabelType
from tenuto.tracing.ledger import Decision, Entry, Event

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


def promote(
    tracking_uri: str,
    name: str,
    ledger: Path,
    version: str,
    *,
    actor: str,
    reason: str,
    accept_stale: bool = False,
    accept_refused: bool = False,
    accept_changes: bool = False,
) -> Entry:
    """The entry of `version` made @champion by a person; the champion before it is @previous then.

    Raises RegistryError, and changes nothing, when the version does not exist, is champion already, was erased, waits
    for approval, was refused by a person (`accept_refused` lets that pass), was evaluated against another champion
    than the present one (`accept_stale` does), its files are gone, or it would answer differently (`accept_changes`,
    as in `rollback`).
    """
    client = _settled(tracking_uri, name, ledger)
    with turn(client, name, ledger) as mine:
        chosen = _servable(client, name, version)
        number, state = chosen.version, chosen.tags.get(store.APPROVAL, "")
        if state == store.AWAITING:
            raise RegistryError(
                f"Version {number} of {name} waits for approval: `tenuto approve {number}` or `tenuto refuse {number}`."
            )
        if state.startswith(store.REFUSED):
            if not accept_refused:
                raise RegistryError(
                    f"Version {number} of {name} was {state}; `tenuto ledger show` says why. To promote it all the "
                    "same, pass --accept-refused."
                )
            reason = f"{reason} (although it was {state})"
        if not accept_stale:
            _check_evaluation(client, name, chosen, "or pass --accept-stale to promote it all the same")
        reason = _with_changes(client, name, chosen, reason, accept_changes)
        return mine.carry_out(_move_to_champion(mine, chosen, "promotion", actor, reason))


def rollback(
    tracking_uri: str,
    name: str,
    ledger: Path,
    to: str | None = None,
    *,
    actor: str,
    reason: str,
    accept_changes: bool = False,
) -> Entry:
    """The entry of the return to version `to`, else to @previous; the champion left becomes @previous.

    Raises RegistryError, and changes nothing, when there is no such version, it was erased, its files are gone, or its
    classes or its preprocessing differ from the champion's, which services may not expect (`accept_changes` lets the
    latter pass).
    """
    client = _settled(tracking_uri, name, ledger)
    with turn(client, name, ledger) as mine:
        aliases = store.aliases(client, name)
        if to is None and store.PREVIOUS not in aliases:
            raise RegistryError(f"{name} has no @previous version to return to; name one with --to VERSION.")
        chosen = _servable(client, name, to or aliases[store.PREVIOUS])
        reason = _with_changes(client, name, chosen, reason, accept_changes)
        return mine.carry_out(_move_to_champion(mine, chosen, "rollback", actor, reason))


def approve(
    tracking_uri: str,
    name: str,
    ledger: Path,
    version: str,
    *,
    actor: str,
    reason: str,
    accept_changes: bool = False,
) -> Entry:
    """The entry of a person's consent to what the gate passed: the version is @champion.

    Raises RegistryError, and changes nothing, when the version does not wait for approval, was erased, was evaluated
    against another champion than the present one, its files are gone, or it would answer differently
    (`accept_changes`, as in `rollback`).
    """
    client = _settled(tracking_uri, name, ledger)
    with turn(client, name, ledger) as mine:
        chosen = _waiting(client, name, version)
        _servable(client, name, version)
        _check_evaluation(client, name, chosen, f"and `tenuto refuse {chosen.version}` puts this one aside")
        reason = _with_changes(client, name, chosen, reason, accept_changes)
        return mine.carry_out(_move_to_champion(mine, chosen, "approval", actor, reason))


def refuse(tracking_uri: str, name: str, ledger: Path, version: str, *, actor: str, reason: str) -> Entry:
    """The entry of a person's refusal: the version stays registered, and is @challenger no more.

    Raises RegistryError, and changes nothing, when the version does not wait for approval.
    """
    client = _settled(tracking_uri, name, ledger)
    with turn(client, name, ledger) as mine:
        chosen = _waiting(client, name, version)
        before = store.aliases(client, name)
        after = {alias: at for alias, at in before.items() if (alias, at) != (store.CHALLENGER, str(chosen.version))}
        return mine.carry_out(_by_person("refusal", name, chosen, actor, reason, before, after))


def record(tracking_uri: str, ledger: Path, decision: Decision) -> Entry:
    """The entry of a decision that moves no alias (an erasure, a rotation, evidence), in MLflow and in the file.

    The aliases are those of the registry at that moment, whatever `decision` says of them.
    """
    client = _settled(tracking_uri, decision.model, ledger)
    with turn(client, decision.model, ledger) as mine:
        now = store.aliases(client, decision.model)
        return mine.carry_out(decision.model_copy(update={"aliases_before": now, "aliases": now}))


def _settled(tracking_uri: str, name: str, ledger: Path) -> MlflowClient:
    client = store.connect(tracking_uri)
    pending.settle(client, name, ledger)
    return client


def _servable(client: MlflowClient, name: str, number: str) -> ModelVersion:
    """The version, which may become champion."""
    chosen = store.version(client, name, number)
    if store.ERASED in chosen.tags:
        raise RegistryError(
            f"Version {chosen.version} of {name} learned from recordings that were erased since "
            f"({chosen.tags[store.ERASED]}); it cannot be champion. `tenuto retrain` makes one without them."
        )
    if store.aliases(client, name).get(store.CHAMPION) == str(chosen.version):
        raise RegistryError(f"Version {chosen.version} of {name} is @champion already.")
    return chosen


def _waiting(client: MlflowClient, name: str, number: str) -> ModelVersion:
    chosen = store.version(client, name, number)
    state = chosen.tags.get(store.APPROVAL)
    if state == store.AWAITING:
        return chosen
    if state:
        raise RegistryError(f"Version {chosen.version} of {name} was {state} already.")
    waiting = [str(v.version) for v in store.versions(client, name) if v.tags.get(store.APPROVAL) == store.AWAITING]
    others = f"those that do: {', '.join(sorted(waiting, key=int))}" if waiting else "none does"
    raise RegistryError(
        f"Version {chosen.version} of {name} does not wait for approval; {others}. `tenuto promote` moves @champion "
        "without that."
    )


def _check_evaluation(client: MlflowClient, name: str, chosen: ModelVersion, or_else: str) -> None:
    """Raises RegistryError when the version's figures were taken beside another champion than the present one."""
    against = chosen.tags.get(store.EVALUATED_AGAINST)
    now = store.aliases(client, name).get(store.CHAMPION) or store.NO_CHAMPION
    if against != now:
        beside = f"against {_named(against)}" if against else "nobody knows against what"
        raise RegistryError(
            f"Version {chosen.version} of {name} was evaluated {beside}, and {_named(now)} is champion now: nothing "
            f"says which of the two is better. `tenuto retrain --force` evaluates anew, {or_else}."
        )


def _named(champion: str) -> str:
    return "none" if champion == store.NO_CHAMPION else f"version {champion}"


def _with_changes(client: MlflowClient, name: str, chosen: ModelVersion, reason: str, accept: bool) -> str:
    """The reason, with what was accepted; RegistryError when the version answers differently and nobody accepts it."""
    changes = _changes(client, name, store.aliases(client, name).get(store.CHAMPION), chosen)
    if not changes:
        return reason
    told = "; ".join(changes)
    if not accept:
        raise RegistryError(
            f"Version {chosen.version} of {name} would answer differently from the champion: {told}. "
            "When whoever calls the model can take that, pass --accept-changes."
        )
    return f"{reason} (accepted: {told})"


def _changes(client: MlflowClient, name: str, champion: str | None, chosen: ModelVersion) -> list[str]:
    """How the version differs from the champion for who calls it, in words."""
    kind, wanted = _outputs(client, chosen)
    if champion is None:
        return []
    present = client.get_model_version(name, champion)
    changes = []
    try:
        present_kind, labels = _outputs(client, present)
    except RegistryError:
        # which may be the very reason for the return
        present_kind, labels = kind, wanted
        changes.append("nobody knows how, since the champion's files cannot be read")
    if kind != present_kind:
        now = "several labels a clip, in `labels`" if kind == "many" else "one label a clip, in `label`"
        changes.append(f"it gives {now}")
    if lost := [label for label in labels if label not in wanted]:
        changes.append(f"it does not know {', '.join(lost)}")
    if more := [label for label in wanted if label not in labels]:
        changes.append(f"it may answer {', '.join(more)}")
    if not changes and labels != wanted:
        changes.append(f"its classes come in another order ({', '.join(wanted)})")
    prepared = [version.tags.get(store.PREPROCESSING, "unknown") for version in (present, chosen)]
    if prepared[0] != prepared[1]:
        changes.append(f"its preprocessing is {prepared[1][:12]}, not {prepared[0][:12]}")
    return changes


def _outputs(client: MlflowClient, version: ModelVersion) -> tuple[LabelType, tuple[str, ...]]:
    from mlflow.exceptions import MlflowException

    try:
        return packaging.outputs(client, str(version.source))
    except (MlflowException, OSError) as error:
        raise RegistryError(
            f"The files of version {version.version} of {version.name} cannot be read from {version.source} "
            f"({' '.join(str(error).split())}); bring them back, or name another version."
        ) from error


def _move_to_champion(mine: Turn, chosen: ModelVersion, event: Event, actor: str, reason: str) -> Decision:
    number = str(chosen.version)
    before = store.aliases(mine.client, mine.name)
    after = {alias: at for alias, at in before.items() if (alias, at) != (store.CHALLENGER, number)}
    if store.CHAMPION in before:
        after[store.PREVIOUS] = before[store.CHAMPION]
    after[store.CHAMPION] = number
    return _by_person(event, mine.name, chosen, actor, reason, before, after)


def _by_person(
    event: Event,
    name: str,
    chosen: ModelVersion,
    actor: str,
    reason: str,
    before: dict[str, str],
    after: dict[str, str],
) -> Decision:
    tags = chosen.tags
    evidence = {"checkpoint": tags[store.CHECKPOINT]} if store.CHECKPOINT in tags else {}
    return Decision(
        at=datetime.now(UTC),
        actor=actor,
        event=event,
        model=name,
        version=str(chosen.version),
        reasons=(reason,),
        policy_sha256=tags.get("tenuto.policy_sha256") or None,
        evidence=evidence,
        aliases_before=before,
        aliases=after,
        dataset_md5=tags.get("tenuto.dataset_md5"),
        code_commit=tags.get("tenuto.git_commit"),
        run_id=chosen.run_id or None,
    )
