"""The short version of `python -m benchmarks.fuzz`: mutated bodies, and the OpenAPI explored, in this process."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import CHECKS, load_all_checks

from benchmarks import fuzz
from tenuto.serving.app import create_app
from tenuto.serving.hearing.sources import FolderSource
from tenuto.serving.settings import LogSettings, ServingSettings
from tenuto.serving.state import State
from tests.bundles import write_tones
from tests.serving.guarding.test_connections import listening


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    write_tones(tmp_path / "bundle")
    keeps = ServingSettings(log=LogSettings(keep_audio_days=1))
    return create_app(State.make(FolderSource(tmp_path / "bundle"), keeps, log=tmp_path / "served.sqlite"))


@pytest.mark.filterwarnings("ignore")  # decoders say much of damaged files
def test_mutated_bodies_are_answered_or_refused_with_a_reason(app: FastAPI) -> None:
    statuses: Counter[int] = Counter()
    with TestClient(app) as client:
        for number in range(150):
            answer = fuzz.sent(client, number)
            if answer is not None:
                statuses[answer.status_code] += 1
                assert fuzz.fault(answer) == "", number
    # both are there, else the mutations say nothing
    assert statuses[200] > 15 and statuses[422] > 50


@pytest.mark.filterwarnings("ignore")  # of schemathesis and hypothesis
def test_what_the_openapi_allows_and_forbids_is_answered_as_it_says(app: FastAPI) -> None:
    load_all_checks()
    too_strict = [check for check in CHECKS.get_all() if check.__name__ == "positive_data_acceptance"]
    seen: set[str] = set()
    with listening(app) as port:
        schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json")

        @given(case=schema.as_strategy())
        @settings(
            max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
        )
        def explored(case: schemathesis.Case) -> None:
            case.validate_response(case.call(), excluded_checks=too_strict)
            seen.add(case.operation.label)

        explored()
    assert {"POST /v1/classify", "POST /v1/feedback", "GET /v1/model"} <= seen
