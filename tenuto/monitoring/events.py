"""What a look has to tell: the names of the events and what they carry. `tasks.monitor` hands them to Prefect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tenuto.monitoring.drift import SignalName
from tenuto.monitoring.looks import Look

DRIFT_FOUND = "tenuto.drift.found"
LABELS_ARRIVED = "tenuto.labels.arrived"
QUALITY_DROPPED = "tenuto.quality.dropped"


def resource(model: str) -> str:
    """The id of a model among the resources that events are about."""
    return f"tenuto.model.{model}"


def events(look: Look, news: Sequence[SignalName], previous: str | None) -> dict[str, dict[str, Any]]:
    """Per event its payload, JSON values; `news` are the signals that nobody was told of (`looks.news`).

    `previous` is the version that a rollback would return to: a drop of quality proposes one and moves nothing.
    """
    about = {"model": look.model, "version": look.version, "clips": look.clips}
    found: dict[str, dict[str, Any]] = {}
    if drifted := [name for name in news if name != "quality"]:
        sizes = {signal.name: round(signal.size, 4) for signal in look.signals}
        found[DRIFT_FOUND] = about | {"signals": drifted, "sizes": sizes}
    if look.has_enough_labels:
        found[LABELS_ARRIVED] = about | {"labels": look.new_labels}
    if "quality" in news and look.accuracy:
        accuracy = look.accuracy.model_dump(include={"value", "low", "high", "n"})
        found[QUALITY_DROPPED] = about | {"accuracy": accuracy, "proposed": "rollback", "to_version": previous}
    return found
