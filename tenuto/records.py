"""The frozen records that travel between stages.

Each stage takes records and returns records. Tables (clips, probabilities) are pandas frames on disk as Parquet; the
records name them by path and content hash. Nothing here holds a tensor.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tenuto.labels import LabelType

Severity = Literal["stop", "warn"]
Split = Literal["train", "validation", "test", "golden", "aside"]
"""`golden` clips are watched and never decide; `aside` clips are used for nothing."""
VerdictName = Literal["promote", "register", "reject", "inconclusive", "not evaluated"]
RuleOutcome = Literal["pass", "fail", "inconclusive", "insufficient n", "not evaluated", "not applicable"]

GROUP_PREFIX = "group_"
"""Manifest columns of this prefix are groups: `group_speaker`, `group_accent` ..."""
SLICE_PREFIX = "slice_"
"""Columns of the table of answers with this prefix are acoustic bands (`tenuto.scoring.acoustics`): `slice_noise`
..."""


class Record(BaseModel):
    """Base of all records: frozen, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DatasetVersion(Record):
    """One version of the dataset, as `data.dvc` names it."""

    md5: str = Field(description="DVC's hash of the folder data/, as in data.dvc")
    manifest_path: Path
    clips: int
    quarantined: int


class Quarantined(Record):
    """One recording that was left out, and why."""

    path: str
    reason: str = Field(description="a slug, such as 'silent' or 'decode-failed'")
    detail: str
    label: str | None = None


class AddResult(Record):
    """What one `tenuto data add` did."""

    added: int
    unchanged: int
    quarantined: tuple[Quarantined, ...]
    md5: str
    refused: dict[str, int] = Field(
        default_factory=dict, description="recordings whose consent was withdrawn, by the number in erasures/"
    )


class Finding(Record):
    """What one expectation found."""

    expectation: str = Field(description="its name in expectations.yaml")
    severity: Severity
    success: bool
    summary: str = Field(description="one sentence with the figures")
    action: str = Field(default="", description="what the flow will do about it; empty when it passed")
    clips: tuple[str, ...] = Field(default=(), description="offending clip ids, at most 50")
    groups: tuple[str, ...] = Field(default=(), description="offending classes or groups, 'label=seven', 'speaker=ann'")
    observed: dict[str, Any] = Field(default_factory=dict)


class ValidationReport(Record):
    """Every expectation with its verdict."""

    findings: tuple[Finding, ...]
    data_docs: Path | None = None

    @property
    def stops(self) -> tuple[Finding, ...]:
        """The failed findings that end the run."""
        return tuple(f for f in self.findings if not f.success and f.severity == "stop")


class Checkpoint(Record):
    """A model folder in the transformers layout: weights, config, label map and the one preprocessing."""

    path: Path
    sha256: str = Field(description="over the folder's files in name order")
    backbone: str
    backbone_revision: str
    backbone_licence: str = "unknown"
    preprocessing: str = Field(description="hash of the preprocessing that goes with the weights")
    labels: tuple[str, ...]
    trainable_parameters: int
    seconds: float = Field(description="training time")
    origin: str = Field(default="", description="which epoch won on the validation split, or that the probe did")
    validation: dict[str, float] = Field(default_factory=dict, description="macro_f1 and log_loss, also of the probe")
    notes: tuple[str, ...] = Field(default=(), description="what is to be known of the training's recordings")


class FillComparison(Record):
    """What filling up rare classes and groups with augmented copies did to their recall on the test split.

    Measured by linear probes on the same frozen embeddings; keys are 'macro', 'label=seven', 'accent=scottish' ...
    """

    copies: dict[str, int] = Field(description="augmented copies made, by what they fill up")
    recall: dict[str, dict[str, float]] = Field(description="'without fill' and 'with fill', each per key, in [0, 1]")


class Remedy(Record):
    """What `imbalance.remedy: auto` chose before training, by the validation clips, and why."""

    use: str = Field(description="the remedy's name, or 'none'")
    why: str = Field(description="a clause")
    choices: dict[str, dict[str, Any]] = Field(description="what it sets in `augment` and `imbalance`")
    figures: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="of linear probes on the validation clips, without any remedy and with it"
    )

    @property
    def sentence(self) -> str:
        """The choice with its figures."""
        text = f"Remedy for what is rare, chosen on the validation clips: {self.use} ({self.why})."
        if self.use not in self.figures or self.use == "none":
            return text
        before, after = self.figures["none"], self.figures[self.use]
        changes = (f"{name.replace('_', ' ')} {before[name]:.2f} to {after[name]:.2f}" for name in after)
        return f"{text} Linear probes: {', '.join(changes).replace('macro f1', 'macro-F1')}."


class Interval(Record):
    """A point value with its confidence interval."""

    value: float
    low: float
    high: float
    n: int = Field(description="clips")
    groups: int = Field(description="groups that were resampled; equals n when clips were")
    resampled: str = Field(default="", description="what was resampled, in words: '12 speakers', \"2 speakers' clips\"")


class Evaluation(Record):
    """What the models of one run scored on the same test clips.

    `probabilities_path` is a Parquet table, one row per test clip and model: clip_id, label, group columns, slice
    columns (`slice_noise` ..., bands as text), unit (what is resampled: the clip's group, else its near-duplicate
    family), model (candidate, baseline, champion, majority), predicted, and one column `p_<label>` per class, in
    [0, 1]. With several labels a clip, `label` and `predicted` hold all of them as text ('dog;rain', '' for none), and
    the columns of a row are probabilities of their own that need not sum to 1.
    """

    probabilities_path: Path
    labels_per_clip: LabelType = "one"
    labels: tuple[str, ...]
    metrics: dict[str, dict[str, float]] = Field(
        description="per model: macro_f1, accuracy, balanced_accuracy, expected_calibration_error ...; with several "
        "labels a clip no balanced_accuracy, but micro_f1 and mean_average_precision"
    )
    per_class: dict[str, dict[str, dict[str, float]]] = Field(
        description="per model, per label: precision, recall, f1, support; with several labels a clip also "
        "average_precision of a label that occurs"
    )
    per_group: dict[str, dict[str, dict[str, dict[str, float]]]] = Field(
        description="per model, per group name, per group value: macro_f1, accuracy, recall, support"
    )
    per_slice: dict[str, dict[str, dict[str, dict[str, float]]]] = Field(
        default_factory=dict,
        description="per model, per kind of acoustic slice, per band: as per_group; only kinds of several bands",
    )
    gaps: dict[str, dict[str, dict[str, float]]] = Field(
        description="per model, per group name: largest minus smallest, per metric"
    )
    confusion: dict[str, list[list[int]]] = Field(
        description="per model: rows truth, columns prediction; with several labels a clip, per label: found, false "
        "alarms, missed, rightly not named"
    )
    thresholds: dict[str, dict[str, float]] = Field(
        default_factory=dict,
        description="per model, per label: the probability from which it is named; with several labels a clip",
    )
    noise: dict[str, dict[str, float]] = Field(
        default_factory=dict,
        description="per model, per added-noise level ('clean', '20 dB', ...): macro recall",
    )
    intervals: dict[str, Interval] = Field(default_factory=dict, description="per model: macro_f1 with its interval")
    differences: dict[str, Interval] = Field(
        default_factory=dict, description="per other model: the candidate's macro_f1 less that model's"
    )
    unit_name: str = Field(default="clip", description="what the units are called: 'speaker', 'clip' ...")
    left_out: tuple[str, ...] = Field(
        default=(), description="test clips that the champion trained on; scored for no model"
    )
    unscored: dict[str, str] = Field(
        default_factory=dict, description="models that could not be scored, and why, as a clause"
    )
    latency: dict[str, dict[str, float]] = Field(
        default_factory=dict,
        description="per model, on the machine of the run: p50_ms, p95_ms, real_time_factor, clips, size_mb; of the "
        "candidate as it will be served, and as `checkpoint` from its checkpoint in PyTorch, when it was exported",
    )


class RuleResult(Record):
    """How one promotion rule came out."""

    rule: str
    outcome: RuleOutcome
    severity: Literal["reject", "hold"]
    reason: str = Field(description="one sentence with the figures")
    observed: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    p_value: float | None = Field(default=None, description="one-sided: of a lead over the champion by chance alone")
    plain: str = Field(default="", description="the reason without the names of groups: what the ledger may keep")


class Account(Record):
    """What is left of one test set for showing that a candidate beats the champion (`tenuto.deciding.wear`)."""

    holdout: str = Field(description="which test set: the generation in holdout.yaml, '1' before any rotation")
    alpha: float = Field(description="the chance of any false promotion that the test set's whole life may take")
    decisions: int = Field(description="how many decisions it was planned for")
    used: int = Field(description="how many were taken")
    level: float = Field(description="one-sided level of the next decision; 0 when the test set is worn out")
    left: float = Field(description="share of the account that is left, in [0, 1]")


class Verdict(Record):
    """The decision of the gate, with a reason per rule."""

    verdict: VerdictName
    reasons: tuple[str, ...]
    rules: tuple[RuleResult, ...]
    policy_sha256: str = ""
    account: Account | None = Field(default=None, description="as it was before this decision")
    p_value: float | None = Field(
        default=None, description="of the claim that the candidate beats the champion; None when it was not tested"
    )


class RegisteredModel(Record):
    """A version in the MLflow registry and the aliases that point at it."""

    name: str
    version: str
    aliases: tuple[str, ...]


class CodeVersion(Record):
    """The git commit that ran, and the files that differ from it."""

    commit: str | None
    branch: str | None
    dirty_files: tuple[str, ...] = ()


class Outcome(Record):
    """What one retrain came to; `retrain --json` prints it, and scripts may rely on its shape."""

    verdict: VerdictName | Literal["nothing changed"]
    reasons: tuple[str, ...]
    trained: bool
    remedy: Remedy | None = Field(default=None, description="with `imbalance.remedy: auto`, what was chosen and why")
    is_awaiting: bool = Field(default=False, description="the candidate passed, and a person has yet to approve it")
    model: RegisteredModel | None = None
    metrics: dict[str, dict[str, float] | None] = Field(
        default_factory=dict, description="candidate, baseline, champion (null when there is none), majority"
    )
    fill: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="recall of rare classes and groups with and without augmentation fill"
    )
    dataset: DatasetVersion
    run: dict[str, str | None] = Field(description="mlflow run id, prefect flow run id, git commit")
    report: Path | None = None
    seconds: dict[str, float] = Field(default_factory=dict, description="per stage, and their total")

    @property
    def exit_code(self) -> int:
        """0 promoted, registered or nothing to do; 2 refused or stopped by validation."""
        return 0 if self.verdict in ("promote", "register", "nothing changed") else 2
