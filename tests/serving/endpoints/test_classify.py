from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tenuto.serving.app import create_app
from tenuto.serving.endpoints.feedback import Given
from tenuto.serving.hearing.sources import FolderSource
from tenuto.serving.state import State
from tenuto.sound.audio import encode_wav
from tests.bundles import SAMPLE_RATE_HZ, tone, write_tones


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder: Path = tmp_path_factory.mktemp("bundle")
    write_tones(folder)
    with TestClient(create_app(State.make(FolderSource(folder)))) as client:
        yield client


def wav(hz: float) -> bytes:
    return encode_wav(tone(hz), SAMPLE_RATE_HZ)


def test_a_body_is_one_clip(client: TestClient) -> None:
    response = client.post("/v1/classify", content=wav(3000))
    (answer,) = response.json()["answers"]
    assert answer["label"] == "high"
    assert answer["probability"] > 0.99
    assert answer["duration_seconds"] == 0.5
    assert answer["model"] == {"name": "bundle", "version": "bundle", "alias": "", "artefact": "fp32"}


def test_the_files_of_a_form_are_answered_in_their_order(client: TestClient) -> None:
    pitches = [300, 3000, 400, 2000]
    response = client.post("/v1/classify", files=[("file", (f"{hz}.wav", wav(hz))) for hz in pitches])
    assert [answer["label"] for answer in response.json()["answers"]] == ["low", "high", "low", "high"]


def test_json_takes_base64_and_samples(client: TestClient) -> None:
    clips = [
        {"audio": base64.b64encode(wav(3000)).decode()},
        {"samples": tone(300).tolist(), "sample_rate_hz": SAMPLE_RATE_HZ},
    ]
    response = client.post("/v1/classify", json={"clips": clips})
    assert [answer["label"] for answer in response.json()["answers"]] == ["high", "low"]


def test_the_request_id_is_the_client_s_own_or_a_new_one(client: TestClient) -> None:
    own = client.post("/v1/classify", content=wav(300), headers={"X-Request-Id": "call-17"})
    assert own.headers["X-Request-Id"] == own.json()["answers"][0]["request_id"] == "call-17"
    ids = {client.post("/v1/classify", content=wav(300)).headers["X-Request-Id"] for _ in range(3)}
    assert len(ids) == 3


def test_large_json_is_refused_and_a_file_is_proposed(client: TestClient) -> None:
    large = b'{"clips": [{"audio": "' + b"A" * 8_000_000 + b'"}]}'
    refused = client.post("/v1/classify", content=large, headers={"Content-Type": "application/json"})
    assert refused.status_code == 413 and "JSON may have 8 MB at most; send files" in refused.json()["detail"]


def test_the_json_of_the_documentation_is_taken(client: TestClient) -> None:
    text = (Path(__file__).parents[3] / "docs" / "serving.md").read_text()
    clips, given = re.findall(r"--json '(.*?)'", text)
    response = client.post("/v1/classify", content=clips, headers={"Content-Type": "application/json"})
    assert response.status_code == 200, response.text
    assert Given.model_validate_json(given).position == 1


def test_an_answer_names_its_place_its_file_and_the_likeliest_class(client: TestClient) -> None:
    files = [("a", ("one.wav", wav(300))), ("b", ("two.wav", wav(3000)))]
    answers = client.post("/v1/classify", files=files).json()["answers"]
    assert [(answer["position"], answer["file"], answer["likeliest"]) for answer in answers] == [
        (0, "one.wav", "low"),
        (1, "two.wav", "high"),
    ]
    (answer,) = client.post("/v1/classify", content=wav(300)).json()["answers"]
    assert (answer["position"], answer["file"]) == (0, None)
