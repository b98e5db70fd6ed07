"""What `tenuto holdout` runs: the state of the test set, and its rotation."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from flows import registry as reigns
from flows import servers
from tasks import dataset, registry
from tasks import holdout as heard_by
from tenuto.dataset import manifest
from tenuto.deciding import policy, wear
from tenuto.errors import RegistryError
from tenuto.records import Account, Record
from tenuto.settings import Params
from tenuto.splitting import holdout as holdouts
from tenuto.splitting import rotation, splits
from tenuto.splitting.holdout import Holdout, Rotation, Score, Units
from tenuto.splitting.pins import Unit
from tenuto.tracing import ledger
from tenuto.typed_yaml import digest
from tenuto.validation import leakage
from tenuto.workspace import Workspace


class Part(Record):
    """How much one split holds."""

    units: int
    clips: int


class Status(Record):
    """The test set in use, and what is left of it; `tenuto holdout show --json` prints it."""

    generation: str
    unit: str
    """What is kept whole: 'speaker', or 'recording'."""
    test: Part
    golden: Part
    account: Account
    remaining: str
    is_counted: bool
    """Whether promotion.yaml has a rule that takes decisions from the account."""
    rotated_at: datetime | None
    reason: str
    champion: dict[str, Score]
    """What the champion of that day scored at the last rotation."""


class Rotated(Record):
    """What a rotation did, or would do; `tenuto holdout rotate --json` prints it."""

    generation: str
    unit: str
    is_dry_run: bool
    test: Part
    golden: Part
    released: Part
    champion: dict[str, Score]
    comparison: str
    named: tuple[str, ...]
    """The keys of split.hold_out in params.yaml, which holdout.yaml overrides from now on."""


def show(workspace: Workspace, params: Params) -> Status:
    """The state of the test set, from the manifest, holdout.yaml, and the ledger with its copies in MLflow.

    Raises LedgerError when the ledger was touched, or knows nothing of the last rotation.
    """
    rules = policy.load_policy(workspace.promotion)
    current = holdouts.read(workspace.holdout)
    table = manifest.read(workspace.manifest)
    uri = servers.tracking_uri(workspace, params)
    account = registry.account(uri, params.name, workspace.ledger, rules.wear, current)
    clips, units = splits.divided(table, params.split, current, kind=params.data.labels)
    last = current.rotations[-1] if current.rotations else None
    return Status(
        generation=current.generation,
        unit=splits.group_name(table, params.split) or "recording",
        test=_part(clips, units, "test"),
        golden=_part(clips, units, "golden"),
        account=account,
        remaining=wear.remaining(account),
        is_counted=any(rule.is_superiority for rule in rules.rules),
        rotated_at=last.at if last else None,
        reason=last.reason if last else "",
        champion=dict(last.champion) if last else {},
    )


def rotate(workspace: Workspace, params: Params, *, reason: str = "", dry_run: bool = False) -> Rotated:
    """What became of the test set after a fresh one took its place; with `dry_run`, what would, and nothing is written.

    Raises TrainingError when there is no fresh test set to be had, RegistryError when no version was registered yet or
    what one was trained on is unknown.
    """
    tracking_uri = servers.tracking_uri(workspace, params)
    with workspace.exclusive("holdout rotate"):
        table = manifest.read(dataset.fetch.fn(workspace.root).manifest_path)
        before = holdouts.read(workspace.holdout)
        clips, units = splits.divided(table, params.split, before, kind=params.data.labels)
        heard = heard_by.heard(tracking_uri, params.name, workspace.cache)
        if heard.versions == 0:
            raise RegistryError(
                f"No version of {params.name} is registered, so nothing has worn this test set; `tenuto retrain` first."
            )
        group = splits.group_name(table, params.split)
        based = before.model_copy(update={"group": group})
        now = datetime.now(UTC).replace(microsecond=0)
        drawn = rotation.draw(clips, units, heard.clips, based, now, reason, kind=params.data.labels)
        after = rotation.rotated(before, drawn, group, params.split.hold_out)
        divided = splits.assign(table, params.split, after, kind=params.data.labels)
        if not dry_run:
            scores = _champion_scores(workspace, params, tracking_uri, clips, divided, group)
            after = rotation.rotated(
                before, drawn.model_copy(update={"champion": scores}), group, params.split.hold_out
            )
            # the entry first: a test set that no entry tells of may not be used, while an entry whose test set never
            # came into use, because this was killed here, costs nothing and is followed by the next rotation's
            registry.record(tracking_uri, workspace.ledger, _decision(workspace, params, after))
            holdouts.write(after, workspace.holdout)
    return Rotated(
        generation=after.generation,
        unit=group or "recording",
        is_dry_run=dry_run,
        test=_part(divided, units, "test"),
        golden=_part(divided, units, "golden"),
        released=_released(drawn, units),
        champion=dict(after.rotations[-1].champion),
        comparison=rotation.comparison(after.rotations[-1].champion),
        named=tuple(params.split.hold_out) if not before.rotations else (),
    )


def _champion_scores(
    workspace: Workspace,
    params: Params,
    tracking_uri: str,
    before: pd.DataFrame,
    after: pd.DataFrame,
    group: str | None,
) -> dict[str, Score]:
    """What the champion scores on the old test set (but for what it was trained on), on golden and on the new one."""
    champion = registry.champion.fn(tracking_uri, params.name, workspace.cache, workspace.ledger)
    if champion is None:
        return {}
    if champion.clips_path is None:
        raise RegistryError(f"What the champion, version {champion.version}, was trained on is unknown.")
    parts = {
        rotation.OLD: before[before["split"] == "test"],
        rotation.GOLDEN: after[after["split"] == "golden"],
        rotation.NEW: after[after["split"] == "test"],
    }
    known = leakage.contaminated(before, pd.read_parquet(champion.clips_path))
    with tempfile.TemporaryDirectory(prefix="tenuto-holdout-") as folder:
        found = {
            name: rotation.score(
                champion.checkpoint,
                clips,
                workspace.data,
                params.evaluate,
                group,
                Path(folder) / "answers.parquet",
                known,
            )
            for name, clips in parts.items()
        }
    return {name: scored for name, scored in found.items() if scored is not None}


def _decision(workspace: Workspace, params: Params, after: Holdout) -> ledger.Decision:
    """The ledger's entry of the last rotation: generations and counts, and no names."""
    last = after.rotations[-1]
    counts = ", ".join(f"{len(part.all)} {word}" for part, word in _parts(last))
    said = (f"test set {len(after.rotations)} gives way to {after.generation}: {counts}", last.reason)
    return ledger.Decision(
        at=last.at,
        actor=reigns.named(None, workspace),
        event="rotation",
        model=params.name,
        reasons=tuple(line for line in (*said, rotation.comparison(last.champion)) if line),
        evidence={"holdout": digest(after)},
    )


def _parts(last: Rotation) -> tuple[tuple[Units, str], ...]:
    return (last.test, "units to test on"), (last.golden, "new golden"), (last.released, "released to training")


def _part(clips: pd.DataFrame, units: list[Unit], split: str) -> Part:
    own = clips["split"].eq(split).to_numpy()
    return Part(units=len({unit for unit, here in zip(units, own, strict=True) if here}), clips=int(own.sum()))


def _released(drawn: Rotation, units: list[Unit]) -> Part:
    released = drawn.released.all
    return Part(units=len(released), clips=sum(unit in released for unit in units))
