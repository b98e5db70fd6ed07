"""The decision as the page shows it: what was decided and why, each rule's figures on a scale, stages and links.

Plain values, no markup; the scores are in `tenuto.reporting.scores`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tenuto.records import FillComparison, RegisteredModel, RuleResult, ValidationReport, Verdict


@dataclass(frozen=True)
class Outcome:
    """The first thing that the reader sees."""

    tone: str  # good, hold, bad or none
    mark: str
    word: str
    sentence: str
    reasons: list[str]


_WORDS = {
    "promote": ("good", "✓", "Promoted"),
    "register": ("hold", "!", "Registered as challenger"),
    "reject": ("bad", "✕", "Rejected"),
    "inconclusive": ("hold", "?", "Inconclusive"),
    "not evaluated": ("none", "–", "Not evaluated"),
}


def outcome(
    verdict: Verdict,
    validation: ValidationReport | None,
    registered: RegisteredModel | None,
    champion: RegisteredModel | None,
    approval: str = "",
) -> Outcome:
    """The verdict in a word, what it means for the registry, and why; `approval` is what a person said, if one did."""
    tone, mark, word = _WORDS[verdict.verdict]
    if _needs_person(verdict, registered):
        tone, mark, word = ("bad", "✕", "Refused") if approval else ("hold", "!", "Waits for approval")
    if validation is not None and validation.stops:
        tone, mark, word = "bad", "✕", "Stopped by validation"
    return Outcome(tone, mark, word, _consequence(verdict, registered, champion, approval), _deciding_reasons(verdict))


def _consequence(
    verdict: Verdict, registered: RegisteredModel | None, champion: RegisteredModel | None, approval: str
) -> str:
    stays = f"; version {champion.version} stays the champion" if champion else ""
    if registered is None:
        return f"No model was registered{stays}."
    model = f"Version {registered.version} of {registered.name}"
    if _needs_person(verdict, registered):
        if approval:
            return f"{model} passed the rules, and a person refused it{stays}."
        return (
            f"{model} passed and waits for a person: `tenuto approve {registered.version}` makes it the champion, "
            f"`tenuto refuse {registered.version}` does not{stays + ' until then' if champion else ''}."
        )
    if verdict.verdict == "promote":
        return f"{model} is the champion now" + (f"; it was version {champion.version} before." if champion else ".")
    return f"{model} was registered as a challenger{stays}."


def _needs_person(verdict: Verdict, registered: RegisteredModel | None) -> bool:
    """True when the rules passed, the policy leaves the last word to a person, and nobody said yes."""
    return verdict.verdict == "promote" and registered is not None and "champion" not in registered.aliases


def _deciding_reasons(verdict: Verdict) -> list[str]:
    """The verdict's reasons without those that the table of rules repeats for rules which passed."""
    unremarkable = [rule for rule in verdict.rules if rule.outcome in ("pass", "not applicable")]
    known = {text for rule in unremarkable for text in (rule.reason, f"{rule.rule}: {rule.reason}")}
    reasons = [reason for reason in verdict.reasons if reason not in known]
    passed = sum(rule.outcome == "pass" for rule in verdict.rules)
    judged = sum(rule.outcome != "not applicable" for rule in verdict.rules)
    if judged:
        reasons.append(f"{passed} of {judged} rules passed.")
    return reasons


@dataclass(frozen=True)
class Rule:
    """A promotion rule with its figures placed on a common scale, 0 to 1; None where there is nothing to draw."""

    result: RuleResult
    tone: str
    mark: str
    observed: float | None
    low: float | None
    high: float | None
    threshold: float | None


_MARKS = {
    "pass": ("good", "✓"),
    "fail": ("bad", "✕"),
    "inconclusive": ("hold", "?"),
    "insufficient n": ("hold", "n"),
    "not evaluated": ("hold", "!"),
    "not applicable": ("none", "–"),
}


def rule(result: RuleResult) -> Rule:
    """The rule for the page."""
    tone, mark = _MARKS[result.outcome]
    figures = [result.observed, result.low, result.high, result.threshold]
    if result.observed is None or result.threshold is None:
        return Rule(result, tone, mark, None, None, None, None)
    return Rule(result, tone, mark, *_on_scale(figures))


def _on_scale(values: list[float | None]) -> list[float | None]:
    """The values on a 0-1 scale that holds them all with a margin of a tenth on each side."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    width = max(max(known) - min(known), 1e-6)
    start, span = min(known) - 0.1 * width, 1.2 * width
    return [None if v is None or not math.isfinite(v) else (v - start) / span for v in values]


@dataclass(frozen=True)
class Fill:
    """Recall of the linear probe on one class or group, without and with augmented copies."""

    name: str
    copies: int | None  # None for the mean over the classes
    without: float
    filled: float

    @property
    def gain(self) -> float:
        """The recall that the copies brought; negative when they cost some."""
        return self.filled - self.without


def fill(comparison: FillComparison) -> list[Fill]:
    """The comparison, the largest gain first, the mean over the classes last."""
    without, filled = comparison.recall["without fill"], comparison.recall["with fill"]
    rows = [Fill(name, comparison.copies.get(name), without[name], filled[name]) for name in without if name in filled]
    return sorted(rows, key=lambda row: (row.name == "macro", -row.gain, row.name))


@dataclass(frozen=True)
class Stage:
    """What one stage of the run took, and its share of the longest."""

    name: str
    seconds: float
    share: float


def stages(seconds: Mapping[str, float]) -> list[Stage]:
    """The stages in the order in which they ran."""
    own = {name: taken for name, taken in seconds.items() if name != "total"}
    longest = max(own.values(), default=0.0) or 1.0
    return [Stage(name, taken, taken / longest) for name, taken in own.items()]


def total(seconds: Mapping[str, float]) -> float:
    """The seconds of the whole run."""
    return seconds.get("total", sum(seconds.values()))


def link_from(folder: Path, target: Path | None) -> str | None:
    """The address of a file as seen from a page in `folder`, None when the file is absent."""
    if target is None or not target.exists():
        return None
    page = target / "index.html" if target.is_dir() else target
    return quote(os.path.relpath(page.resolve(), folder.resolve()))
