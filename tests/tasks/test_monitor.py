from __future__ import annotations

import logging
import socket

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks import monitor

FOUND = {"tenuto.drift.found": {"signals": ["level"]}}


def test_a_server_that_is_down_was_not_told(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/api"
        with temporary_settings({PREFECT_API_URL: address}), caplog.at_level(logging.WARNING):
            assert monitor.tell("bells", FOUND) == ()
    assert "could not be told of tenuto.drift.found" in caplog.text
