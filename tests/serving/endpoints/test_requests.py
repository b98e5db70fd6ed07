from __future__ import annotations

import logging
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tenuto.serving.app import create_app
from tenuto.serving.hearing.sources import FolderSource
from tenuto.serving.state import State
from tests.bundles import write_tones


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    write_tones(tmp_path)
    return TestClient(create_app(State.make(FolderSource(tmp_path))))


@pytest.mark.parametrize("given", ["two words", "x" * 65, "né".encode("latin-1").decode("latin-1"), "a/../b"])
def test_an_id_that_cannot_be_kept_is_refused(client: TestClient, given: str) -> None:
    response = client.get("/healthz", headers={"X-Request-Id": given.encode("latin-1")})  # type: ignore[dict-item]
    assert response.status_code == 400
    assert response.json()["detail"].startswith("X-Request-Id wants up to 64 letters")
    assert response.headers["X-Request-Id"] == response.json()["request_id"] != given


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("GET", "/v1/classify", 405)])
def test_refusals_have_an_id_and_are_problems(client: TestClient, method: str, path: str, status: int) -> None:
    response = client.request(method, path, headers={"X-Request-Id": "mine"})
    assert response.status_code == response.json()["status"] == status
    assert (
        response.json()["detail"]
        == {
            404: "There is nothing at /nowhere; /docs lists what there is.",
            405: "/v1/classify does not take GET, but POST.",
        }[status]
    )
    assert response.headers["X-Request-Id"] == response.json()["request_id"] == "mine"
    assert response.headers["content-type"] == "application/problem+json"


def test_a_mistake_of_the_server_is_a_problem_and_its_traceback_is_only_in_the_log(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    client.app.state.serving.models = None  # type: ignore[attr-defined]
    with caplog.at_level(logging.ERROR):
        response = client.get("/readyz", headers={"X-Request-Id": "call-3"})
    assert response.status_code == 500
    assert response.json()["detail"] == "The server made a mistake; its log says more under this request id."
    assert "call-3" in caplog.text
    assert "AttributeError" in caplog.text
