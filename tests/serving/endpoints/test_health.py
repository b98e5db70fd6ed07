from __future__ import annotations

from pathlib import Path

from fastapi.testclient import TestClient

from tenuto.serving.app import create_app
from tenuto.serving.hearing.sources import FolderSource
from tenuto.serving.state import State
from tenuto.sound.audio import encode_wav
from tests.bundles import SAMPLE_RATE_HZ, tone, write_tones
from tests.serving.hearing.test_models import Registry


def test_a_server_without_a_model_is_alive_and_not_ready_and_says_when_to_come_back(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.is_away = True
    with TestClient(create_app(State.make(registry))) as client:
        assert client.get("/healthz").status_code == 200
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["problem"]) == (503, "The registry does not answer.")
        for response in (client.get("/v1/model"), client.post("/v1/classify", content=b"RIFF")):
            assert response.status_code == 503
            assert response.headers["Retry-After"] == "5"
            assert response.headers["content-type"] == "application/problem+json"
            assert "/readyz says why" in response.json()["detail"]


def test_the_model_says_what_a_client_needs_to_know(tmp_path: Path) -> None:
    with TestClient(create_app(State.make(Registry(tmp_path)))) as client:
        facts = client.get("/v1/model").json()
    assert facts["model"] == {"name": "tones", "version": "1", "alias": "champion", "artefact": "fp32"}
    assert (facts["labels"], facts["sample_rate_hz"], facts["max_seconds"]) == (["high", "low"], 8000, 10.0)
    assert facts["card"] == "# card of 1"


def test_the_metrics_count_requests_clips_and_models(tmp_path: Path) -> None:
    write_tones(tmp_path)
    with TestClient(create_app(State.make(FolderSource(tmp_path)))) as client:
        for hz in (300, 400, 3000):
            client.post("/v1/classify", content=encode_wav(tone(hz), SAMPLE_RATE_HZ))
        client.post("/v1/classify", content=b"garbage")
        client.get("/no/such/path")
        lines = client.get("/metrics").text.splitlines()
    for line in (
        'tenuto_requests_total{path="/v1/classify",status="200"} 3.0',
        'tenuto_requests_total{path="/v1/classify",status="422"} 1.0',
        'tenuto_requests_total{path="other",status="404"} 1.0',
        'tenuto_clips_total{is_shadow="false",label="low",version="bundle"} 2.0',
        'tenuto_clips_total{is_shadow="false",label="high",version="bundle"} 1.0',
        'tenuto_model{alias="champion",name="bundle",version="bundle"} 1.0',
        "tenuto_batch_clips_sum 3.0",
        "tenuto_waiting_clips 0.0",
    ):
        assert line in lines
