"""The promotion policy: `mlflow/promotion.yaml`, typed and checked before anything is trained.

Separate from `tenuto.gate`, which judges an evaluation by it: here is what may be written, there what it means.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tenuto.errors import SettingsError
from tenuto.settings import Fraction, Section, read_yaml, validated

logger = logging.getLogger(__name__)

MetricName = Literal["macro_f1", "accuracy", "balanced_accuracy", "precision", "recall", "f1"]
Opponent = Literal["baseline", "champion", "majority"]

_TESTS = ("at_least", "better_by", "not_worse_by")
_CLASS_METRICS = ("precision", "recall", "f1")
_WHAT_OF = "'overall', 'worst class', 'class=NAME', 'worst group', 'worst group=COLUMN' or 'COLUMN=NAME'"


class Rule(Section):
    """One rule: a metric of the candidate, over all clips or a slice, against a floor or against another model."""

    name: str = Field(min_length=1)
    metric: MetricName
    of: str = Field(default="overall", description=_WHAT_OF)
    at_least: float | None = Field(default=None, ge=0, le=1, description="a floor")
    versus: Opponent | None = Field(default=None, description="the other model, on the same clips")
    better_by: float | None = Field(default=None, ge=0, lt=1, description="superiority: the lead must exceed this")
    not_worse_by: float | None = Field(default=None, ge=0, lt=1, description="non-inferiority: the lag allowed")
    severity: Literal["reject", "hold"] = Field(description="what it means to fail: refuse, or challenger only")
    undecided: Literal["inconclusive", "hold"] = Field(
        default="inconclusive", description="hold: a `reject` rule that cannot be decided makes a challenger"
    )
    min_clips: int = Field(default=1, ge=1, description="a slice with fewer clips is not evaluated")

    def model_post_init(self, context: Any) -> None:
        """Raises SettingsError when the fields do not make one rule."""
        given = [test for test in _TESTS if getattr(self, test) is not None]
        if len(given) != 1:
            raise self._error(f"wanted exactly one of {', '.join(_TESTS)}, found {', '.join(given) or 'none'}")
        if (self.at_least is None) == (self.versus is None):
            raise self._error("`versus` goes with better_by or not_worse_by, and at_least stands alone")
        if self.of.startswith("class=") or self.of == "worst class":
            if self.metric not in _CLASS_METRICS:
                raise self._error(f"metric {self.metric!r} of a class; wanted {', '.join(_CLASS_METRICS)}")
        elif self.of not in ("overall", "worst group") and not all(self.of.partition("=")):
            raise self._error(f"of = {self.of!r}; wanted {_WHAT_OF}")

    def _error(self, problem: str) -> SettingsError:
        return SettingsError(f"promotion.yaml: rule {self.name!r}: {problem}.")


class WearSettings(Section):
    """How often one test set may be asked whether a candidate beats the champion (`tenuto.wear`)."""

    alpha: Fraction = Field(default=0.05, description="the chance of any false promotion in its whole life")
    decisions: int = Field(default=52, ge=1, description="how many decisions it is planned for")


class Policy(Section):
    """All rules, and how sure an interval must be."""

    wear: WearSettings = WearSettings()
    approval: Literal["automatic", "person"] = Field(
        default="automatic", description="person: a candidate that passes waits for `tenuto approve`"
    )
    confidence: Fraction = 0.95
    resamples: int = Field(default=2000, ge=100)
    rules: tuple[Rule, ...] = ()


def load_policy(path: Path) -> Policy:
    """The policy in `path`; one without rules is allowed and logged as a warning.

    Raises SettingsError naming the rule, the key, the value and what is allowed.
    """
    values = read_yaml(path)
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


def _called(index: int, rule: dict[str, Any]) -> str:
    return repr(rule["name"]) if rule.get("name") else str(index + 1)
