"""Events are told once, and carry what is needed to act."""

from __future__ import annotations

import json

import numpy as np

from tenuto.monitoring import events, looks
from tenuto.monitoring.looks import Look
from tenuto.settings import MonitorSettings
from tests.monitoring import traffic

REFERENCE = traffic.reference(np.random.default_rng(0))
QUIET_AND_WRONG = traffic.with_feedback(
    traffic.served(np.random.default_rng(1), 200).assign(level_dbfs=-50.0), right=30, wrong=30
)


def look(new_labels: int = 60) -> Look:
    named = {"model": "bells", "version": "3", "now": traffic.NOW}
    return looks.look(REFERENCE, QUIET_AND_WRONG, MonitorSettings(), [], new_labels=new_labels, **named)


def test_each_thing_found_is_an_event_of_its_own() -> None:
    found = events.events(look(), ("level", "quality"), previous="2")
    assert set(found) == {"tenuto.drift.found", "tenuto.labels.arrived", "tenuto.quality.dropped"}
    assert found["tenuto.drift.found"]["signals"] == ["level"]
    assert found["tenuto.labels.arrived"]["labels"] == 60
    dropped = found["tenuto.quality.dropped"]
    assert (dropped["proposed"], dropped["to_version"], dropped["accuracy"]["value"]) == ("rollback", "2", 0.5)
    assert json.loads(json.dumps(found)) == found


def test_what_is_not_new_is_not_told_again() -> None:
    assert events.events(look(new_labels=0), (), previous="2") == {}
