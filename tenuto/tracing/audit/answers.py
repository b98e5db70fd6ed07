"""Both questions, answered from the index: what made this model, and which models heard this clip or speaker."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from pydantic import Field

from tenuto.records import Record
from tenuto.tracing.audit.documents import RunDocument, VersionDocument
from tenuto.tracing.audit.index import Index, Share
from tenuto.tracing.audit.listings import ClipUse
from tenuto.tracing.audit.places import Cached
from tenuto.tracing.served import Served

ROLES = {
    "train": "trained",
    "validation": "tuned",
    "test": "tested",
    "golden": "golden",
    "aside": "aside",
}
"""What each split was used for, in the order of influence on a model: only the first two shape its weights."""


class LabelShare(Record):
    """The clips of one label in one split."""

    split: str
    label: str
    clips: int
    copies: int | None = Field(default=None, description="augmented copies trained on too; None: not recorded")
    weights: tuple[float, float] | None = Field(
        default=None, description="the least and the most that one of them counted in training; None: run.weighting"
    )
    first_sources: tuple[str, ...] = ()


class ModelAudit(Record):
    """Everything that made one registered version."""

    model: str
    version: str
    aliases: tuple[str, ...]
    registered: VersionDocument
    run: RunDocument | None = Field(description="None when the version was not made by a run of Tenuto")
    clips: tuple[LabelShare, ...] = ()
    groups: dict[str, dict[str, int]] = Field(
        default_factory=dict, description="per group name, per split: how many of its values (speakers, say)"
    )
    listed: int | None = Field(default=None, description="rows of the run's clips table; None when it left none")
    decision: int | None = Field(default=None, description="number of the ledger's entry about it")
    served: Served | None = Field(default=None, description="the prediction that the question started from")
    certificates: dict[str, int] = Field(
        default_factory=dict, description="clips of the run that were erased since, by number of the certificate"
    )

    @property
    def erased(self) -> int:
        """Clips of the run that were erased since, by the certificates, or by what the index has forgotten."""
        forgotten = (self.listed or 0) - sum(share.clips for share in self.clips)
        return max(forgotten, sum(self.certificates.values()))

    def count(self, split: str) -> int:
        return sum(share.clips for share in self.clips if share.split == split)


class DatasetHolding(Record):
    """How many of the clips asked for one dataset version holds."""

    md5: str
    clips: int | None = Field(description="None when neither a run nor DVC's cache on this machine tells")
    first_seen: datetime | None = None
    commit: str | None = Field(default=None, description="the first that names it in data.dvc")
    is_present: bool = Field(default=False, description="whether data.dvc names it now")
    runs: int = 0


class RunHolding(Record):
    """How a run used the clips asked for."""

    run_id: str
    started_at: datetime
    is_trained: bool = Field(description="False: it ended before training, so no model heard them")
    verdict: str | None
    dataset_md5: str | None
    roles: dict[str, int] = Field(description="clips by 'trained', 'tuned', 'tested', 'golden', 'aside'")
    versions: tuple[str, ...] = Field(default=(), description="what it registered; most runs register nothing")


class VersionHolding(Record):
    """How a registered version came to know the clips asked for."""

    model: str
    version: str
    aliases: tuple[str, ...]
    registered_at: datetime
    run_id: str
    roles: dict[str, int]

    @property
    def has_heard(self) -> bool:
        """Whether its weights depend on them: tested clips are only measured."""
        return bool(self.roles.get("trained") or self.roles.get("tuned"))


class ClipFacts(Record):
    """One of the clips asked for."""

    clip_id: str
    label: str
    groups: dict[str, str]
    source: str


class ErasedTrace(Record):
    """A run that had used the erased clips, as the certificate has it."""

    run: str
    version: str | None = None
    roles: dict[str, int] = Field(default_factory=dict)


class Erased(Record):
    """What a certificate says of clips that are no longer in the index."""

    number: str
    at: datetime
    runs: tuple[ErasedTrace, ...] = ()


class HeardAudit(Record):
    """Everything that holds one clip, or the clips of one group."""

    asked: dict[str, str] = Field(description="'clip' or 'group', as it was asked for")
    clips: tuple[ClipFacts, ...] = ()
    datasets: tuple[DatasetHolding, ...] = ()
    cached: tuple[Cached, ...] = ()
    runs: tuple[RunHolding, ...] = ()
    versions: tuple[VersionHolding, ...] = ()
    erased: tuple[Erased, ...] = ()

    @property
    def used(self) -> list[str]:
        """The roles that the clips had in any version."""
        return [role for role in ROLES.values() if any(role in version.roles for version in self.versions)]

    @property
    def aliases(self) -> dict[str, str]:
        """Alias to version, of those that heard the clips."""
        return {alias: v.version for v in self.versions if v.has_heard for alias in v.aliases}


def model(
    index: Index,
    version: VersionDocument,
    aliases: Mapping[str, str],
    *,
    decision: int | None = None,
    served: Served | None = None,
    first_sources: int = 3,
) -> ModelAudit:
    """What made a version; `aliases` are all of its model's, alias to version."""
    run = index.run(version.run_id)
    found = ModelAudit(
        model=version.model,
        version=version.version,
        aliases=_pointing(aliases, version.version),
        registered=version,
        run=run,
        decision=decision,
        served=served,
    )
    if run is None:
        return found
    groups: dict[str, dict[str, int]] = {}
    for name, split, values in index.group_shares(run.run_id):
        groups.setdefault(name, {})[split] = values
    weights = _spans(run, index.weights(run.run_id))
    shares = _label_shares(index.shares(run.run_id), index.first_sources(run.run_id, first_sources), weights)
    return found.model_copy(update={"clips": shares, "groups": groups, "listed": index.listed(run.run_id)})


def heard(
    index: Index, numbers: Collection[int], aliases: Mapping[str, Mapping[str, str]], asked: Mapping[str, str]
) -> HeardAudit:
    """The runs and versions that used the clips with these numbers; `aliases` per model, alias to version.

    Datasets are those of the runs; what git, DVC and the caches hold is for the caller to add.
    """
    documents = {run.run_id: run for run in index.runs()}
    roles: dict[str, dict[str, int]] = {}
    for row in index.heard(numbers):
        roles.setdefault(row.run_id, {})[ROLES.get(row.split, row.split)] = row.clips
    versions = [version for version in index.versions() if version.run_id in roles]
    registered: dict[str, tuple[str, ...]] = {}
    for version in versions:
        assert version.run_id is not None
        registered[version.run_id] = (*registered.get(version.run_id, ()), version.version)
    runs = [_run_holding(documents[run], roles[run], registered.get(run, ())) for run in documents if run in roles]
    return HeardAudit(
        asked=dict(asked),
        clips=tuple(ClipFacts(**clip._asdict()) for clip in index.known(numbers)),
        datasets=_datasets(runs),
        runs=tuple(runs),
        versions=tuple(_version_holding(version, roles, aliases.get(version.model, {})) for version in versions),
    )


def table(clips: Iterable[ClipUse], run: RunDocument, weights: Mapping[tuple[str, str], float]) -> list[dict[str, Any]]:
    """The clips of a run as rows: clip_id, split, weight, copies, label, source, reason, and a column per group.

    `weight` is what the clip and each of its copies counted in training, against a mean of 1: 0 when it was not trained
    on, None when the weights changed meanwhile or are not recorded. `copies` are augmented. `weights` are the index's.
    """
    rows = []
    for clip in clips:
        is_heard = run.is_trained and clip.split == "train"
        weight = _weight(run, weights, clip.label, clip.groups) if is_heard else 0.0
        groups = {f"group_{name}": value for name, value in json.loads(clip.groups).items()}
        rows.append(
            {
                "clip_id": clip.clip_id,
                "split": clip.split,
                "weight": weight,
                "copies": clip.copies if is_heard else 0,
                "label": clip.label,
                "source": clip.source,
                "reason": clip.reason,
                **groups,
            }
        )
    return rows


def _weight(run: RunDocument, weights: Mapping[tuple[str, str], float], label: str, groups: str) -> float | None:
    return 1.0 if run.weighting == "even" else weights.get((label, groups))


def _spans(run: RunDocument, weights: Mapping[tuple[str, str], float]) -> Mapping[str, tuple[float, float]] | None:
    """The least and the most weight of each label; None when all count 1."""
    if run.weighting == "even":
        return None
    found: dict[str, list[float]] = {}
    for (label, _), weight in weights.items():
        found.setdefault(label, []).append(weight)
    return {label: (min(each), max(each)) for label, each in found.items()}


def _label_shares(
    shares: Iterable[Share],
    sources: Mapping[tuple[str, str], Collection[str]],
    weights: Mapping[str, tuple[float, float]] | None,
) -> tuple[LabelShare, ...]:
    order = list(ROLES)
    found = []
    for share in shares:
        span = (1.0, 1.0) if weights is None else weights.get(share.label)
        first = tuple(sources.get((share.split, share.label), ()))
        found.append(
            LabelShare(**share._asdict(), weights=span if share.split == "train" else None, first_sources=first)
        )
    return tuple(sorted(found, key=lambda s: (order.index(s.split) if s.split in order else 99, s.label)))


def _pointing(aliases: Mapping[str, str], version: str) -> tuple[str, ...]:
    return tuple(sorted(alias for alias, at in aliases.items() if at == version))


def _run_holding(run: RunDocument, roles: dict[str, int], versions: tuple[str, ...]) -> RunHolding:
    return RunHolding(
        run_id=run.run_id,
        started_at=run.started_at,
        is_trained=run.is_trained,
        verdict=run.verdict,
        dataset_md5=run.dataset_md5,
        roles={role: roles[role] for role in ROLES.values() if role in roles},
        versions=versions,
    )


def _version_holding(
    version: VersionDocument, roles: Mapping[str, dict[str, int]], aliases: Mapping[str, str]
) -> VersionHolding:
    assert version.run_id is not None
    return VersionHolding(
        model=version.model,
        version=version.version,
        aliases=_pointing(aliases, version.version),
        registered_at=version.registered_at,
        run_id=version.run_id,
        roles={role: roles[version.run_id][role] for role in ROLES.values() if role in roles[version.run_id]},
    )


def _datasets(runs: Iterable[RunHolding]) -> tuple[DatasetHolding, ...]:
    found: dict[str, DatasetHolding] = {}
    for run in runs:
        if run.dataset_md5 is None:
            continue
        clips, seen = sum(run.roles.values()), found.get(run.dataset_md5)
        if seen is None:
            first = DatasetHolding(md5=run.dataset_md5, clips=clips, first_seen=run.started_at, runs=1)
            found[run.dataset_md5] = first
        else:
            found[run.dataset_md5] = seen.model_copy(update={"runs": seen.runs + 1})
    return tuple(found.values())
