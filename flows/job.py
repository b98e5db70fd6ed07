"""One retrain as it goes along: what was asked for, what it is made from, and what it has come to so far.

Separate from `flows.retrain`, which says in what order things happen.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from prefect import runtime

from flows import servers
from flows.stages import Stages
from tasks import registry
from tenuto.deciding.policy import Policy, load_policy
from tenuto.learning import checkpoint
from tenuto.learning.catalogue import preflight
from tenuto.records import (
    Checkpoint,
    DatasetVersion,
    Evaluation,
    FillComparison,
    RegisteredModel,
    Remedy,
    ValidationReport,
    Verdict,
)
from tenuto.reporting import card
from tenuto.serving.hearing.bundle import Exported
from tenuto.settings import Params, load_params
from tenuto.splitting import holdout
from tenuto.splitting.holdout import Holdout
from tenuto.tracing import lineage
from tenuto.tracing.ledger import Entry
from tenuto.typed_yaml import digest, read_yaml
from tenuto.validation import load_expectations
from tenuto.workspace import Workspace


@dataclass(frozen=True)
class Job:
    """What was asked for: the workspace and its settings, read and checked before anything runs."""

    workspace: Workspace
    params: Params
    policy: Policy
    expectations: dict[str, Any]
    holdout: Holdout
    tracking_uri: str
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    stage: Stages = field(default_factory=Stages)

    @classmethod
    def read(cls, root: Path, overrides: list[str]) -> Job:
        """Raises SettingsError naming the file, the key and the value that cannot be used."""
        workspace = Workspace(root)
        params = load_params(workspace.params, overrides)
        load_expectations(workspace.expectations)
        card.check_template(workspace.model_card)
        policy = load_policy(workspace.promotion, params.data.labels)
        preflight.check(params, policy, root, overrides)
        return cls(
            workspace,
            params,
            policy,
            read_yaml(workspace.expectations),
            holdout.read(workspace.holdout),
            servers.tracking_uri(workspace, params),
        )

    def training_inputs(self, version: DatasetVersion) -> list[str]:
        """Hashes of all that decides the weights: data and division, settings, code, a backbone that is a folder."""
        backbone = self.workspace.root / self.params.backbone
        no_part = {"tracking_uri", "name", "data", "evaluate", "card", "tune", "monitor"}
        return [
            version.md5,
            digest(self.holdout),
            digest(self.params.model_dump(mode="json", exclude=no_part)),
            self.params.data.labels,  # the rest of `data` is in what was added
            lineage.source_sha256(),
            checkpoint.sha256(backbone) if backbone.is_dir() else "",
        ]


@dataclass
class Run:
    """One run of a job on one dataset version, and what it has come to so far."""

    job: Job
    lineage: lineage.Lineage
    id: str
    clips: Path | None = None
    champion: registry.Champion | None = None
    validation: ValidationReport | None = None
    remedy: Remedy | None = None
    candidate: Checkpoint | None = None
    exported: Exported | None = None
    fill: FillComparison | None = None
    evaluation: Evaluation | None = None
    golden: Evaluation | None = None
    card: str = ""
    entry: Entry | None = None
    model: RegisteredModel | None = None

    @cached_property
    def folder(self) -> Path:
        """Where the tables of this run lie; the same inputs share it, so that a killed run is taken up."""
        return self.job.workspace.runs / self.lineage.inputs[:16]

    @property
    def params(self) -> Params:
        """The settings as they apply: with the remedy that was chosen, where one was to be."""
        params = self.job.params
        return params.with_remedy(self.remedy.choices) if self.remedy else params

    def checkpoint(self, kind: str) -> Path:
        """Where a training or export ends up, by everything that decides what it comes to; the policy is none of it."""
        return self.job.workspace.checkpoints / f"{kind}-{_sha256(self.job.training_inputs(self.lineage.dataset))[:16]}"

    def stops(self) -> tuple[str, ...]:
        """Why the run ends before training; empty when it does not."""
        assert self.validation is not None
        return stops(self.validation, self.lineage.dataset, self.job.params)

    def not_evaluated(self, *reasons: str) -> Verdict:
        """The verdict of a run that ends before anything is scored."""
        return Verdict(verdict="not evaluated", reasons=reasons, rules=(), policy_sha256=digest(self.job.policy))


def stops(report: ValidationReport, version: DatasetVersion, params: Params) -> tuple[str, ...]:
    """Why a dataset version may not be trained on: expectations of severity stop, and what was left out."""
    found = [f"{finding.expectation}: {finding.summary}" for finding in report.stops]
    if version.quarantined and params.data.on_quarantine == "stop":
        found.append(f"{version.quarantined} recordings were left out, and params.yaml says data.on_quarantine: stop")
    return tuple(found)


def describe(job: Job, version: DatasetVersion) -> lineage.Lineage:
    """What this run is made from; `inputs` is the hash of all that decides what it comes to."""
    judged_by = [
        digest(job.params.model_dump(mode="json", exclude={"tune", "monitor"})),
        digest(job.policy),
        digest(job.expectations),
    ]
    return lineage.Lineage(
        dataset=version,
        code=lineage.code_version(job.workspace.root),
        inputs=_sha256([*job.training_inputs(version), *judged_by]),
        source_sha256=lineage.source_sha256(),
        environment=lineage.environment(),
        prefect_run=runtime.flow_run.id,
    )


def _sha256(parts: list[str]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
