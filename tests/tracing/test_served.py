"""The log of served predictions."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tenuto.errors import RegistryError
from tenuto.tracing import served
from tenuto.tracing.served import Served

CALL = Served(
    request_id="call-7",
    at=datetime(2026, 3, 3, 9, 30, tzinfo=UTC),
    model="bells",
    version="4",
    label="up",
    probability=0.75,
)


def test_a_prediction_is_found_by_its_request(tmp_path: Path) -> None:
    path = tmp_path / "new" / "served.sqlite"
    served.record(path, CALL)
    served.record(path, CALL.model_copy(update={"request_id": "call-8", "version": "5"}))
    assert served.find(path, "call-7") == CALL
    assert served.find(path, "call-8").version == "5"


def test_a_request_is_answered_once(tmp_path: Path) -> None:
    served.record(tmp_path / "s", CALL)
    with pytest.raises(ValueError, match="'call-7' was recorded before"):
        served.record(tmp_path / "s", CALL.model_copy(update={"version": "5"}))
    assert served.find(tmp_path / "s", "call-7") == CALL


def test_an_unknown_request_and_a_log_that_is_not_there_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"no log of served .* request 'call-9'.*nothing in this release"):
        served.find(tmp_path / "s", "call-9")
    assert not (tmp_path / "s").exists()
    served.record(tmp_path / "s", CALL)
    with pytest.raises(RegistryError, match="request id 'call-9'; 1 are on record, the newest of 2026-03-03"):
        served.find(tmp_path / "s", "call-9")
