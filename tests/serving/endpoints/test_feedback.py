"""What a server keeps of its answers, and what clients say of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tenuto.serving.app import create_app
from tenuto.serving.hearing.sources import FolderSource
from tenuto.serving.settings import LogSettings, ServingSettings
from tenuto.serving.state import State
from tenuto.sound import audio
from tenuto.tracing import served
from tests.bundles import SAMPLE_RATE_HZ, tone, write_tones


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "served.sqlite"


def client_of(folder: Path, log: Path | None, settings: LogSettings | None = None) -> TestClient:
    write_tones(folder / "bundle")
    serving = ServingSettings(log=settings or LogSettings())
    return TestClient(create_app(State.make(FolderSource(folder / "bundle"), serving, log=log)))


@pytest.fixture
def client(tmp_path: Path, log: Path) -> Iterator[TestClient]:
    with client_of(tmp_path, log) as client:
        yield client


def wav(hz: float, amplitude: float = 0.3) -> bytes:
    return audio.encode_wav(tone(hz, amplitude=amplitude), SAMPLE_RATE_HZ)


def ask(client: TestClient, request_id: str, *sounds: bytes) -> None:
    files = [("file", (f"{n}.wav", sound)) for n, sound in enumerate(sounds)]
    assert client.post("/v1/classify", files=files, headers={"X-Request-Id": request_id}).status_code == 200


def test_every_answer_is_in_the_log(tmp_path: Path, log: Path) -> None:
    with client_of(tmp_path, log) as client:
        ask(client, "call-1", wav(3000), wav(300, amplitude=0.5))
    table = served.frame(log)
    assert list(table["request_id"]) == ["call-1", "call-1"] and list(table["position"]) == [0, 1]
    assert list(table["label"]) == ["high", "low"] and list(table["version"]) == ["bundle", "bundle"]
    assert table["p_high"][0] > 0.99 and (table["probability"] > 0.99).all()
    # a sine of this amplitude has a root mean square of amplitude / sqrt(2)
    assert not table["is_window"].any()
    np.testing.assert_allclose(table["level_dbfs"], 20 * np.log10(np.array([0.3, 0.5]) / np.sqrt(2)), atol=0.05)
    assert (table["duration_seconds"] == 0.5).all() and (table["latency_ms"] > 0).all()
    assert [len(embedding) for embedding in table["embedding"]] == [2, 2]
    assert table["audio"].isna().all() and not served.audio_folder(log).exists()


def test_recordings_are_kept_by_consent(tmp_path: Path, log: Path) -> None:
    with client_of(tmp_path, log, LogSettings(keep_audio_days=7)) as client:
        ask(client, "call-1", wav(3000))
        samples = {"clips": [{"samples": tone(300).tolist(), "sample_rate_hz": SAMPLE_RATE_HZ}]}
        assert client.post("/v1/classify", json=samples).status_code == 200
    table = served.frame(log)
    kept = [audio.decode(served.audio_folder(log) / name) for name in table["audio"]]
    assert audio.clip_id(kept[0]) == audio.clip_id(audio.decode_bytes(wav(3000))) == table["clip_id"][0]
    np.testing.assert_allclose(kept[1].samples[:, 0], tone(300), atol=1 / 32768)


def test_no_log_is_written_when_it_is_off(tmp_path: Path, log: Path) -> None:
    with client_of(tmp_path, log, LogSettings(is_on=False)) as client:
        ask(client, "call-1", wav(3000))
        refused = client.post("/v1/feedback", json={"request_id": "call-1", "label": "low"})
    assert refused.status_code == 404 and "keeps no log" in refused.json()["detail"]
    assert not log.exists()


def test_feedback_right_after_the_answer_finds_it(client: TestClient, log: Path) -> None:
    ask(client, "call-1", wav(3000), wav(300))
    given = {"request_id": "call-1", "position": 1, "label": " high ", "groups": {"speaker": "ann"}}
    taken = client.post("/v1/feedback", json=given)
    assert taken.status_code == 200, taken.json()
    assert taken.json() == {
        "request_id": "call-1",
        "position": 1,
        "label": "high",
        "answered": "low",
        "version": "bundle",
    }
    table = served.frame(log)
    assert list(table["true_label"]) == [None, "high"] and table["groups"][1] == {"speaker": "ann"}


@pytest.mark.parametrize(
    ("given", "status", "said"),
    [
        ({"request_id": "call-9", "label": "low"}, 404, "No answer is on record for clip 0 of request 'call-9'"),
        ({"request_id": "call-1", "position": 1, "label": "low"}, 404, "clip 1 of request 'call-1'"),
        ({"request_id": "call-1", "label": "lwo"}, 422, "label: 'lwo' is not among the model's: high, low"),
        ({"request_id": "call-1", "position": -1, "label": "low"}, 422, "position: Input should be greater"),
        (
            {"request_id": "call-1", "label": "low", "speaker": "ann"},
            422,
            "speaker: not known here; known: request_id, position, label, groups",
        ),
        ({"label": "low"}, 422, "request_id: is missing"),
    ],
)
def test_feedback_that_cannot_be_kept_is_told_why(
    client: TestClient, log: Path, given: dict[str, object], status: int, said: str
) -> None:
    ask(client, "call-1", wav(3000))
    refused = client.post("/v1/feedback", json=given)
    assert (refused.status_code, refused.headers["content-type"]) == (status, "application/problem+json")
    assert said in refused.json()["detail"]
    assert served.frame(log)["true_label"].isna().all()


def test_unknown_is_a_truth_too(client: TestClient, log: Path) -> None:
    ask(client, "call-1", wav(3000))
    assert client.post("/v1/feedback", json={"request_id": "call-1", "label": "unknown"}).status_code == 200
    assert list(served.frame(log)["true_label"]) == ["unknown"]


def test_a_log_that_is_busy_asks_for_patience(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(client, "call-1", wav(3000))

    def busy(*_: object) -> None:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(served, "feedback", busy)
    refused = client.post("/v1/feedback", json={"request_id": "call-1", "label": "low"})
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "60")


def test_feedback_on_a_request_that_is_not_there_does_not_count_the_log(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def counted(*_: object) -> None:
        raise AssertionError("the whole log was read")

    ask(client, "call-1", wav(3000))
    monkeypatch.setattr(served, "find", counted)
    assert client.post("/v1/feedback", json={"request_id": "call-9", "label": "low"}).status_code == 404


def test_a_class_that_is_called_by_a_number_may_be_said_as_one(client: TestClient) -> None:
    ask(client, "call-1", wav(3000))
    refused = client.post("/v1/feedback", json={"request_id": "call-1", "label": 7})
    assert refused.json()["detail"].startswith("label: '7' is not among the model's")
    for label in (True, 7.5, None):
        refused = client.post("/v1/feedback", json={"request_id": "call-1", "label": label})
        assert refused.json()["detail"] == "label: wanted text"


def test_feedback_that_is_no_json_is_told_what_is_wanted(client: TestClient) -> None:
    for kind, content, said in (
        ("text/plain", b'{"request_id": "call-1", "label": "low"}', "The body is no JSON object, or came without"),
        ("application/json", b'{"request_id": ', "Invalid JSON: "),
        ("application/json", b"[1]", "The body is no JSON object"),
    ):
        refused = client.post("/v1/feedback", content=content, headers={"Content-Type": kind})
        assert refused.status_code == 422 and refused.json()["detail"].startswith(said)
