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
    clips: int = Field(description="served by the version in the period, and answered; shadow answers are not counted")
    level: float = Field(description="the chance of any false alarm that this look may take")
    signals: tuple[Signal, ...] = Field(default=(), description="empty with too few clips")
    unknown: float | None = Field(default=None, description="share of clips that were called unknown")
    accuracy: Interval | None = Field(default=None, description="on clips whose label came back")
    new_labels: int = Field(default=0, description="labels that came back since they last were enough")
    has_enough_labels: bool = False
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
) -> Look:
    """What the last `settings.days` of `served` come to, held against `reference`.

    `served` is the frame of the version (`tenuto.tracing.served.frame`) up to `now`; `earlier` are its former looks,
    the oldest first.
    """
    since = now - timedelta(days=settings.days)
    answered = served[~served["is_shadow"].astype(bool)]
    recent = answered[answered["at"] >= since]
    level = spent(settings, earlier[-1].at if earlier else None, now)
    measured: list[Measured] = []
    if len(recent) >= settings.least_clips:
        measured = drift.measure(reference, recent)
    if (fall := quality.drop(reference, recent, settings.quality_drop)) is not None:
        measured.append(fall)
    signals = drift.judged(measured, level)
    told = max((earlier_look.at for earlier_look in earlier if earlier_look.has_enough_labels), default=None)
    labels = quality.labelled(answered)
    new_labels = int((labels["labelled_at"] > told).sum()) if told else len(labels)
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


def news(found: Look, earlier: Sequence[Look]) -> tuple[SignalName, ...]:
    """What this look found and the one before it did not: an alarm is raised once, not at every look."""
    known = earlier[-1].found if earlier else ()
    return tuple(name for name in found.found if name not in known)


def read(path: Path, model: str, version: str) -> list[Look]:
    """The looks at a version, oldest first; lines that cannot be read are passed over."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            one = Look.model_validate_json(line)
        except ValidationError:  # half a line of a look that was killed, or one of another release
            continue
        found += [one] if (one.model, one.version) == (model, version) else []
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
