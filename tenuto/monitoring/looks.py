"""One look at what was served: drift, quality and new labels of a period, and the looks before it.

Looks are kept one JSON line each. The chance of a false alarm is spent by time: a look a week may use all that a week
has, a look a day a seventh of it, so that looking often does not raise more alarms.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import Field, ValidationError

from tenuto.monitoring import drift, quality
from tenuto.monitoring.drift import Measured, Signal, SignalName
from tenuto.records import Interval, Record
from tenuto.settings import MonitorSettings

Status = Literal["steady", "drift", "quality dropped", "too few clips"]

_SHORTEST = timedelta(days=1)
"""Looks closer together than this see nearly the same clips, and count as one."""


class Look(Record):
    """What one look found."""

    at: datetime
    model: str
    version: str
    since: datetime
    clips: int = Field(description="served by the version in the period, and answered; no shadow answers, no streams")
    level: float = Field(description="the chance of any false alarm that this look may take")
    signals: tuple[Signal, ...] = Field(default=(), description="empty with too few clips")
    unknown: float | None = Field(default=None, description="share of clips that were called unknown")
    accuracy: Interval | None = Field(default=None, description="on clips whose label came back")
    new_labels: int = Field(default=0, description="labels that came back since it was told that they are enough")
    has_enough_labels: bool = False
    told: tuple[SignalName, ...] = Field(default=(), description="of what was found, what somebody was told of")
    are_labels_told: bool = False
    status: Status

    @property
    def found(self) -> tuple[SignalName, ...]:
        return tuple(signal.name for signal in self.signals if signal.is_found)


def look(
    reference: pd.DataFrame,
    served: pd.DataFrame,
    settings: MonitorSettings,
    earlier: Sequence[Look],
    *,
    model: str,
    version: str,
    now: datetime,
    new_labels: int,
) -> Look:
    """What the last `settings.days` of `served` come to, held against `reference`.

    `served` is the frame of the version (`tenuto.tracing.served.frame`) up to `now`, of which windows of streams are
    left out: all are as long, and only those at which a stream changes are in the log; `earlier` are its former looks,
    the oldest first; `new_labels` came back since `labels_told_at`.
    """
    since = now - timedelta(days=settings.days)
    answered = served[~served["is_shadow"].astype(bool) & ~served["is_window"].astype(bool)]
    recent = answered[answered["at"] >= since]
    level = spent(settings, earlier[-1].at if earlier else None, now)
    measured: list[Measured] = []
    if len(recent) >= settings.least_clips:
        measured = drift.measure(reference, recent)
    if (fall := quality.drop(reference, recent, settings.quality_drop)) is not None:
        measured.append(fall)
    signals = drift.judged(measured, level)
    return Look(
        at=now,
        model=model,
        version=version,
        since=since,
        clips=len(recent),
        level=level,
        signals=signals,
        unknown=float(recent["is_unknown"].mean()) if len(recent) else None,
        accuracy=quality.accuracy(recent),
        new_labels=new_labels,
        has_enough_labels=new_labels >= settings.new_labels,
        status=_status(signals, has_drift_tests=len(recent) >= settings.least_clips),
    )


def spent(settings: MonitorSettings, last: datetime | None, now: datetime) -> float:
    """The chance of a false alarm that a look at `now` may take when the last one was at `last`."""
    period = timedelta(days=settings.days)
    since = period if last is None else min(max(now - last, _SHORTEST), period)
    return settings.false_alarms * (since / period)


def labels_told_at(path: Path, model: str) -> datetime | None:
    """When it was last told that new labels of a model, whichever version answered, were enough; None if never."""
    return max((one.at for one in _all(path) if one.model == model and one.are_labels_told), default=None)


def news(found: Look, earlier: Sequence[Look]) -> tuple[SignalName, ...]:
    """What this look found and nobody was told of: an alarm is raised once, not at every look.

    What went away and came again is news.
    """
    known = earlier[-1].told if earlier else ()
    return tuple(name for name in found.found if name not in known)


def after_telling(found: Look, earlier: Sequence[Look], *, is_heard: bool) -> Look:
    """The look as it is kept: what it found counts as told when somebody heard of it, now or at a look before."""
    untold = () if is_heard else news(found, earlier)
    told = tuple(name for name in found.found if name not in untold)
    return found.model_copy(update={"told": told, "are_labels_told": is_heard and found.has_enough_labels})


def sentences(found: Look) -> list[str]:
    """What a look found, in words; the first sentence is the headline's."""
    days = (found.at - found.since).days
    clips = f"{found.clips:,} {'clip' if found.clips == 1 else 'clips'} in {days} {'day' if days == 1 else 'days'}"
    told = []
    for signal in found.signals:
        if signal.is_found:
            meaning = drift.MEANINGS[signal.name]
            told.append(f"{meaning[0].upper()}{meaning[1:]} changed: {signal.then} then, {signal.now} now.")
    first = {
        "steady": f"Version {found.version} heard {clips}, like those it was made from.",
        "drift": f"Version {found.version} heard {clips}, and they are not like those it was made from.",
        "quality dropped": f"Version {found.version} heard {clips}, and it is right less often than it was.",
        "too few clips": f"Version {found.version} heard {clips}: too few to say whether they changed.",
    }[found.status]
    if found.has_enough_labels:
        told.append(f"{found.new_labels:,} new labels came back, enough for a retrain.")
    return [first, *told]


def read(path: Path, model: str, version: str) -> list[Look]:
    """The looks at a version, oldest first; lines that cannot be read are passed over."""
    return [one for one in _all(path) if (one.model, one.version) == (model, version)]


def _all(path: Path) -> list[Look]:
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            found.append(Look.model_validate_json(line))
        except ValidationError:  # half a line of a look that was killed, or one of another release
            continue
    return found


def keep(path: Path, found: Look) -> None:
    """Add a look to the file; on disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if file.tell() and not path.read_bytes().endswith(b"\n"):
            file.write(b"\n")
        file.write(found.model_dump_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _status(signals: Sequence[Signal], *, has_drift_tests: bool) -> Status:
    found = {signal.name for signal in signals if signal.is_found}
    if "quality" in found:
        return "quality dropped"
    if found:
        return "drift"
    return "steady" if has_drift_tests else "too few clips"
