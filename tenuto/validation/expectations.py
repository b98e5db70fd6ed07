"""`expectations.yaml`: which expectations hold, with which arguments, and how serious each is."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field

from tenuto.errors import SettingsError
from tenuto.records import Severity
from tenuto.typed_yaml import Section, read_yaml, validated
from tenuto.validation.balance import (
    ClassImbalance,
    ClipsPerClass,
    ClipsPerGroup,
    GroupsPerClass,
    LabelGroupAssociation,
)
from tenuto.validation.base import Expectation
from tenuto.validation.drift import DurationDrift, GroupDrift, LabelDrift, LevelDrift
from tenuto.validation.leakage import ChampionContamination, GroupLeakage, NearDuplicateLeakage, SetAside
from tenuto.validation.recordings import (
    Clipping,
    DcOffset,
    DeadChannel,
    Duration,
    FakeBandwidth,
    KnownLabels,
    Level,
    Noise,
    QuarantinedRecordings,
    SampleRates,
    Truncated,
    UniqueClips,
)

EXPECTATIONS: dict[str, type[Expectation]] = {
    "unique_clips": UniqueClips,
    "known_labels": KnownLabels,
    "quarantined": QuarantinedRecordings,
    "duration": Duration,
    "level": Level,
    "noise": Noise,
    "clipping": Clipping,
    "dc_offset": DcOffset,
    "dead_channel": DeadChannel,
    "fake_bandwidth": FakeBandwidth,
    "truncated": Truncated,
    "sample_rates": SampleRates,
    "class_imbalance": ClassImbalance,
    "clips_per_class": ClipsPerClass,
    "groups_per_class": GroupsPerClass,
    "clips_per_group": ClipsPerGroup,
    "label_group_association": LabelGroupAssociation,
    "group_leakage": GroupLeakage,
    "near_duplicate_leakage": NearDuplicateLeakage,
    "set_aside": SetAside,
    "champion_contamination": ChampionContamination,
    "label_drift": LabelDrift,
    "group_drift": GroupDrift,
    "duration_drift": DurationDrift,
    "level_drift": LevelDrift,
}
"""The names that expectations.yaml may use."""

STOP_ACTION = "the run stops here and trains nothing"


class Entry(Section):
    """One entry of expectations.yaml."""

    name: str
    severity: Severity = "warn"
    expectation: Expectation

    @property
    def action(self) -> str:
        """What the flow does when the expectation is not met."""
        return STOP_ACTION if self.severity == "stop" else self.expectation.action


Expectations = tuple[Entry, ...]
"""The suite, in the order of the file."""


class _File(Section):
    expectations: list[Any]


class _Lines(Section):
    name: str
    severity: Literal["stop", "warn"] = "warn"
    arguments: dict[str, Any] = Field(default_factory=dict)


def load_expectations(path: Path) -> Expectations:
    """The suite in `path`.

    Raises SettingsError naming the file, the entry and what is allowed, when a name, an argument or a severity is not
    known or a value cannot be used.
    """
    entries = validated(_File, read_yaml(path), path.name).expectations
    return tuple(_entry(entry, f"{path.name}: entry {place}") for place, entry in enumerate(entries, start=1))


def require_groups(expectations: Expectations, known: Iterable[str], source: str) -> None:
    """Raises SettingsError when an argument names a group that the clips do not have."""
    groups = sorted(known)
    for entry in expectations:
        for name in entry.expectation.named_groups():
            if name not in groups:
                raise SettingsError(
                    f"{source}: {entry.name} names the group {name!r}, which the clips do not have; "
                    f"known groups: {', '.join(groups) or 'none'}."
                )


def _entry(entry: Any, where: str) -> Entry:
    if not isinstance(entry, dict):
        raise SettingsError(f"{where} holds {entry!r}, wanted name, severity and arguments.")
    severities = get_args(Severity)
    if entry.get("severity", "warn") not in severities:
        raise SettingsError(f"{where}: severity = {entry['severity']!r}; allowed: {', '.join(severities)}.")
    lines = validated(_Lines, entry, where)
    kind = EXPECTATIONS.get(lines.name)
    if kind is None:
        close = difflib.get_close_matches(lines.name, EXPECTATIONS, n=1, cutoff=0.7)
        hint = f"did you mean {close[0]!r}?" if close else f"known names: {', '.join(EXPECTATIONS)}."
        raise SettingsError(f"{where}: unknown expectation {lines.name!r}; {hint}")
    expectation = validated(kind, lines.arguments, f"{where} ({lines.name})")
    return Entry(name=lines.name, severity=lines.severity, expectation=expectation)
