"""What the index keeps of each run and of each registered version: all of their lineage but the clips."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Literal

from pydantic import Field

from tenuto.records import CodeVersion, Record, Severity


class Met(Record):
    """How one expectation came out."""

    expectation: str
    severity: Severity
    success: bool
    summary: str


Weighting = Literal["even", "uneven", "group DRO", "unknown"]
"""How the clips counted in training: alike, each with its weight, with weights that changed, or not recorded."""


class Lock(Record):
    """The list of all packages that were installed, as the run kept it."""

    sha256: str
    packages: int
    place: str = Field(description="where MLflow keeps the file")


class RunDocument(Record):
    """One ended run; what it did not come to is empty."""

    run_id: str = Field(description="MLflow's")
    model: str = Field(description="the registered model's name")
    status: str = Field(description="MLflow's: FINISHED, FAILED, KILLED; GONE when MLflow has lost it")
    started_at: datetime
    is_trained: bool = Field(default=False, description="whether its clips were heard by a model")
    flow_run: str | None = Field(default=None, description="Prefect's id")
    dataset_md5: str | None = None
    dataset_clips: int | None = None
    code: CodeVersion | None = None
    source_sha256: str | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    weighting: Weighting = "unknown"
    loss: str = Field(default="cross-entropy", description="as params.yaml names it")
    lock: Lock | None = Field(default=None, description="every installed package; None when the run kept no list")
    validation: tuple[Met, ...] = ()
    verdict: str | None = None
    reasons: tuple[str, ...] = ()
    policy_sha256: str | None = None
    macro_f1: dict[str, float] = Field(default_factory=dict, description="per model, on the test clips")
    artifacts: str | None = Field(default=None, description="where MLflow keeps the run's files")

    def rewritten(self, rewrite: Callable[[str], str]) -> RunDocument:
        """The document with all that is free text passed through `rewrite`."""
        validation = tuple(met.model_copy(update={"summary": rewrite(met.summary)}) for met in self.validation)
        reasons = tuple(rewrite(reason) for reason in self.reasons)
        code = self.code
        if code:
            code = code.model_copy(update={"dirty_files": tuple(rewrite(file) for file in code.dirty_files)})
        return self.model_copy(update={"validation": validation, "code": code, "reasons": reasons})


class VersionDocument(Record):
    """One registered version."""

    model: str
    version: str
    run_id: str | None = None
    registered_at: datetime
    tags: dict[str, str] = Field(default_factory=dict)

    def rewritten(self, rewrite: Callable[[str], str]) -> VersionDocument:
        """The document with its reasons passed through `rewrite`."""
        reasons = self.tags.get("tenuto.reasons")
        return self.model_copy(update={"tags": self.tags | {"tenuto.reasons": rewrite(reasons)}}) if reasons else self

    @property
    def checkpoint_sha256(self) -> str | None:
        return self.tags.get("tenuto.checkpoint_sha256")

    @property
    def evaluated_against(self) -> str | None:
        """The version that was champion when this one was evaluated; None when there was none."""
        against = self.tags.get("tenuto.evaluated_against", "")
        return against if against.isdigit() else None
