"""The promotion policy: `mlflow/promotion.yaml`, typed and checked before anything is trained.

Separate from `tenuto.deciding.gate`, which judges an evaluation by it: here is what may be written, there what it
means.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from tenuto.errors import SettingsError
from tenuto.labels import LabelType
from tenuto.settings import Fraction
from tenuto.typed_yaml import Section, read_yaml, validated

logger = logging.getLogger(__name__)

MetricName = Literal[
    "macro_f1",
    "micro_f1",
    "mean_average_precision",
    "accuracy",
    "balanced_accuracy",
    "precision",
    "recall",
    "f1",
    "expected_calibration_error",
    "log_loss",
    "brier",
    "latency_p95_ms",
    "real_time_factor",
    "size_mb",
]
Opponent = Literal["baseline", "champion", "majority"]

CLASS_METRICS = ("precision", "recall", "f1", "mean_average_precision")
UNDEFINED: dict[LabelType, dict[str, str]] = {
    "one": {"micro_f1": "which is accuracy where each clip has one label"},
    "many": {"balanced_accuracy": "which is only there where each clip has one label (`recall` is its like)"},
}
"""Metrics that make no sense for so many labels a clip, and why."""
LOSSES = ("expected_calibration_error", "log_loss", "brier")
BUDGETS = {"latency_p95_ms": "p95_ms", "real_time_factor": "real_time_factor", "size_mb": "size_mb"}
"""One figure of the candidate as a whole, without an interval, and its key in `Evaluation.latency`."""

_VALUE_TESTS = ("at_least", "at_most")
_CHANGE_TESTS = ("better_by", "better_by_percent", "not_worse_by", "not_worse_by_percent", "not_better_by")
_WHAT_OF = (
    "'overall', 'worst class', 'class=NAME', 'worst group', 'worst group=COLUMN', 'worst slice', "
    "'worst slice=COLUMN' or 'COLUMN=NAME'"
)
_WHAT_MINUS = "'overall', 'class=NAME' or 'COLUMN=NAME'"

Margin = Annotated[float, Field(ge=0, lt=1)]
Percent = Annotated[float, Field(ge=0, lt=1000)]


SLICES = ("noise", "duration", "rate", "codec", "level")
"""The acoustic conditions that `tenuto.scoring.acoustics` tells apart."""


class _UnusableError(SettingsError):
    """What is wrong with a rule or a claim; whoever reads a file puts its name in front."""


class Rule(Section):
    """One rule: a metric of the candidate, over all clips or a slice, against a value or against another model."""

    name: str = Field(min_length=1)
    claim: str | None = Field(
        default=None, min_length=1, description="rules of one claim are alternatives: any of them shows it"
    )
    metric: MetricName
    of: str = Field(default="overall", description=_WHAT_OF)
    minus: str | None = Field(default=None, description=f"less the metric of {_WHAT_MINUS}: the gap between the two")
    at_least: float | None = Field(default=None, ge=-1, allow_inf_nan=False, description="a floor")
    at_most: float | None = Field(default=None, ge=-1, allow_inf_nan=False, description="a ceiling")
    versus: Opponent | None = Field(default=None, description="the other model, on the same clips")
    better_by: Margin | None = Field(default=None, description="superiority: the lead must exceed this")
    better_by_percent: Percent | None = Field(default=None, description="the same, in percent of the other's score")
    not_worse_by: Margin | None = Field(default=None, description="non-inferiority: the lag allowed")
    not_worse_by_percent: Percent | None = Field(default=None, description="the same, in percent of the other's score")
    not_better_by: Margin | None = Field(default=None, description="a lead beyond this is suspicious: a leak?")
    severity: Literal["reject", "hold"] = Field(description="what it means to fail: refuse, or challenger only")
    undecided: Literal["inconclusive", "hold"] = Field(
        default="inconclusive", description="hold: a `reject` rule that cannot be decided makes a challenger"
    )
    min_clips: int = Field(default=1, ge=1, description="a slice with fewer clips is 'insufficient n'")

    @property
    def test(self) -> str:
        """Which of the thresholds is given: 'at_least' ..."""
        return self._given()[0]

    @property
    def threshold(self) -> float:
        """Its value; percentages as shares."""
        return float(getattr(self, self.test)) / (100 if self.is_relative else 1)

    @property
    def is_relative(self) -> bool:
        """Whether the change is measured in percent of the other model's score."""
        return self.test.endswith("_percent")

    @property
    def is_lead(self) -> bool:
        """Whether it claims that the candidate is better than another model."""
        return self.test in ("better_by", "better_by_percent")

    @property
    def is_superiority(self) -> bool:
        """Whether it claims that the candidate beats the champion: such claims wear out the test set."""
        return self.is_lead and self.versus == "champion"

    @property
    def is_lower_better(self) -> bool:
        """Whether a smaller value of the metric is the better one."""
        return self.metric in LOSSES or self.metric in BUDGETS

    def model_post_init(self, context: Any) -> None:
        """Raises SettingsError when the fields do not make one rule."""
        given = self._given()
        if len(given) != 1:
            wanted = ", ".join((*_VALUE_TESTS, *_CHANGE_TESTS))
            raise self._error(f"wanted exactly one of {wanted}, found {', '.join(given) or 'none'}")
        if (self.test in _VALUE_TESTS) == (self.versus is not None):
            raise self._error(f"`versus` goes with {', '.join(_CHANGE_TESTS)}; at_least and at_most stand alone")
        self._check_slice("of", self.of, _WHAT_OF, ("overall", "worst class", "worst group", "worst slice"))
        if self.minus is not None:
            self._check_slice("minus", self.minus, _WHAT_MINUS, ("overall",))
            if self.minus.startswith("worst ") or self.minus == self.of or self.is_relative:
                raise self._error(f"minus = {self.minus!r}; wanted {_WHAT_MINUS}, another than `of`, and no percentage")
        if self.metric in BUDGETS and (self.test != "at_most" or self.of != "overall" or self.minus):
            raise self._error(f"metric {self.metric!r} is one figure of the whole model; wanted at_most alone")
        self._check_claim()
        if self.test in _VALUE_TESTS and self.minus is None:
            self._check_value()

    def _given(self) -> list[str]:
        return [test for test in (*_VALUE_TESTS, *_CHANGE_TESTS) if getattr(self, test) is not None]

    def _check_slice(self, key: str, value: str, wanted: str, words: tuple[str, ...]) -> None:
        is_class = value.startswith("class=") or value == "worst class"
        if is_class and self.metric not in CLASS_METRICS:
            raise self._error(f"metric {self.metric!r} of a class; wanted {', '.join(CLASS_METRICS)}")
        if value not in words and not all(value.partition("=")):
            raise self._error(f"{key} = {value!r}; wanted {wanted}")
        kind, _, name = value.partition("=")
        if kind == "worst slice" and name and name not in SLICES:
            raise self._error(f"{key} = {value!r}: there is no slice {name!r}; wanted {', '.join(SLICES)}")

    def _check_claim(self) -> None:
        if self.versus == "champion" and self.test.startswith("not_worse_by") and self.threshold == 0:
            raise self._error(
                f"{self.test} = 0 against the champion would claim that the candidate is better, outside the account "
                "of the test set (wear); wanted a margin above 0, or better_by: 0.0"
            )
        if self.metric == "expected_calibration_error" and (self.versus is not None or self.severity != "hold"):
            raise self._error(
                f"metric {self.metric!r} comes out too large on few clips, so its interval may miss the truth; wanted "
                "at_least or at_most with severity: hold, and no `versus` (brier and log_loss may be compared)"
            )

    def _check_value(self) -> None:
        if self.metric in LOSSES and self.test == "at_least":
            raise self._error(f"at_least of {self.metric}, of which less is better; wanted at_most")
        most = 1.0 if self.metric not in ("log_loss", "brier", *BUDGETS) else math.inf
        if not 0 <= self.threshold <= most:
            raise self._error(
                f"{self.test} = {self.threshold:g} cannot be used: {self.metric} is never below 0"
                f"{' or above 1' if most == 1 else ''}"
            )

    def _error(self, problem: str) -> _UnusableError:
        return _UnusableError(f"rule {self.name!r}: {problem}.")


class WearSettings(Section):
    """How often one test set may be asked whether a candidate beats the champion (`tenuto.deciding.wear`)."""

    alpha: Fraction = Field(default=0.05, description="the chance of any false promotion in its whole life")
    decisions: int = Field(default=52, ge=1, description="how many decisions it is planned for")


class Policy(Section):
    """All rules, and how sure an interval must be."""

    wear: WearSettings = WearSettings()
    approval: Literal["automatic", "person"] = Field(
        default="automatic", description="person: a candidate that passes waits for `tenuto approve`"
    )
    licences: Literal["any", "commercial"] = Field(
        default="any", description="commercial: a backbone is refused unless its licence is known to allow it"
    )
    confidence: Fraction = 0.95
    resamples: int = Field(default=2000, ge=100)
    rules: tuple[Rule, ...] = ()

    @property
    def doubt(self) -> float:
        """The one-sided level of a single test."""
        return (1 - self.confidence) / 2

    def model_post_init(self, context: Any) -> None:
        """Raises SettingsError when the rules of a claim weigh differently, or one has no alternative."""
        for claim in dict.fromkeys(rule.claim for rule in self.rules if rule.claim):
            rules = [rule for rule in self.rules if rule.claim == claim]
            where = f"claim {claim!r}"
            if len(rules) == 1:
                raise _UnusableError(f"{where} has one rule, {rules[0].name!r}; wanted at least two, or no `claim`.")
            if len({(rule.severity, rule.undecided, rule.is_superiority) for rule in rules}) > 1:
                raise _UnusableError(
                    f"{where}: its rules must have the same severity and undecided, and all or none must claim to be "
                    "better than the champion."
                )
            if any(rule.metric in BUDGETS for rule in rules):
                raise _UnusableError(f"{where}: a {', '.join(BUDGETS)} is no evidence; leave it out of the claim.")


def load_policy(path: Path, labels: LabelType | None = None) -> Policy:
    """The policy in `path`; one without rules is allowed and logged as a warning.

    `labels` says how many labels a clip has whose models it will judge, where that is known.

    Raises SettingsError naming the rule, the key, the value and what is allowed.
    """
    try:
        policy = _parsed(path, read_yaml(path))
        if labels is not None:
            _check_metrics(policy, labels)
        return policy
    except _UnusableError as error:
        raise SettingsError(f"{path.name}: {error}") from None


def _parsed(path: Path, values: dict[str, Any]) -> Policy:
    rules = values.pop("rules", None)
    if rules is None:
        rules = []
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise SettingsError(f"{path.name}: `rules` is no list of rules; each begins with `- name: ...`.")
    parsed = [validated(Rule, rule, f"{path.name}, rule {_called(i, rule)}") for i, rule in enumerate(rules)]
    names = [rule.name for rule in parsed]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SettingsError(f"{path.name}: rule {twice[0]!r} is there twice; names must differ.")
    policy = validated(Policy, {**values, "rules": tuple(parsed)}, path.name)
    if not parsed:
        logger.warning("%s has no rules: every candidate will be 'not evaluated'.", path.name)
    return policy


def _check_metrics(policy: Policy, labels: LabelType) -> None:
    for rule in policy.rules:
        if why := UNDEFINED[labels].get(rule.metric):
            allowed = ", ".join(metric for metric in get_args(MetricName) if metric not in UNDEFINED[labels])
            raise _UnusableError(
                f"rule {rule.name!r}: metric {rule.metric!r}, {why}; wanted, with data.labels: {labels} in "
                f"params.yaml, one of {allowed}."
            )


def _called(index: int, rule: dict[str, Any]) -> str:
    return repr(rule["name"]) if rule.get("name") else str(index + 1)
