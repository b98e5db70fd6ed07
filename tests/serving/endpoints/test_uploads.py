from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tenuto.serving.app import create_app
from tenuto.serving.endpoints.sounds import decoded
from tenuto.serving.hearing.classifier import Classifier
from tenuto.serving.hearing.sources import FolderSource
from tenuto.serving.settings import ServingSettings
from tenuto.serving.state import State
from tenuto.sound.audio import decode_bytes, encode_wav, level_dbfs, waveform
from tests.bundles import SAMPLE_RATE_HZ, tone, write_tones

WAV = encode_wav(tone(300), SAMPLE_RATE_HZ)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("bundle")
    write_tones(folder)
    settings = ServingSettings.model_validate({"limits": {"max_clips": 3, "max_seconds": 5}})
    with TestClient(create_app(State.make(FolderSource(folder), settings))) as client:
        yield client


def encoded(sound: bytes) -> str:
    return base64.b64encode(sound).decode()


@pytest.mark.parametrize(
    ("clips", "said"),
    [
        ([], "clips: wanted at least 1"),
        ([{"audio": "!!"}], "clips.0.audio: wanted base64"),
        ([{"audio": encoded(b"noise")}], "clip 1 cannot be used: no audio format begins with 'nois'"),
        ([{"audio": encoded(WAV)}, {"audio": ""}], "clip 2 cannot be used: the file has 0 bytes (empty-file)"),
        ([{"samples": [0.1]}], "clips.0: wanted either `audio` or `samples` with `sample_rate_hz`"),
        ([{"audio": encoded(WAV), "sample_rate_hz": 8000}], "clips.0: wanted either `audio` or `samples`"),
        ([{"samples": [], "sample_rate_hz": 8000}], "clip 1 cannot be used: the list is empty (no-samples)"),
        ([{"samples": [1e39], "sample_rate_hz": 8000}], "clip 1 cannot be used: 1 of 1 samples are NaN or infinite"),
        ([{"samples": ["a"], "sample_rate_hz": 8000}], "clips.0.samples.0: "),
        ([{"samples": [0.1], "sample_rate_hz": 100}], "clips.0.sample_rate_hz: "),
        ([{"sample": [0.1]}], "clips.0.sample: not known here; did you mean 'samples'?"),
        (
            [{"samples": [0.1, -20000.0], "sample_rate_hz": 8000}],
            "clip 1 cannot be used: a sample is 20000, where full",
        ),
        (["clip"], "clips.0: wanted an object"),
    ],
)
def test_json_that_cannot_be_used_is_refused_with_its_place(client: TestClient, clips: Any, said: str) -> None:
    response = client.post("/v1/classify", json={"clips": clips})
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["detail"].startswith(said)


def test_a_form_without_files_and_a_broken_form_are_refused(client: TestClient) -> None:
    without = client.post("/v1/classify", files=[("note", (None, "no file"))])
    assert (without.status_code, without.json()["detail"][:22]) == (422, "The form holds no file")
    broken = client.post("/v1/classify", content=b"--x", headers={"Content-Type": "multipart/form-data; boundary=y"})
    assert 400 <= broken.status_code < 500


def test_too_many_clips_and_too_long_a_clip_are_too_much(client: TestClient) -> None:
    many = client.post("/v1/classify", files=[("file", (f"{n}.wav", WAV)) for n in range(4)])
    assert (many.status_code, many.json()["detail"][:39]) == (413, "A request may have 3 clips at most; sen")
    more = client.post("/v1/classify", files=[("file", (f"{n}.wav", WAV)) for n in range(9)])
    assert (more.status_code, more.json()["detail"]) == (413, many.json()["detail"])
    for body in (
        {"content": encode_wav(tone(300, seconds=6), SAMPLE_RATE_HZ)},
        {"json": {"clips": [{"samples": [0.0] * 48_000, "sample_rate_hz": 8000}]}},
    ):
        long = client.post("/v1/classify", **body)
        assert long.status_code == 413
        assert "6.0 s, at most 5 s wanted" in long.json()["detail"]


def test_a_file_is_named_that_cannot_be_used(client: TestClient) -> None:
    response = client.post("/v1/classify", files=[("file", ("good.wav", WAV)), ("file", ("bad.wav", b"RIFF"))])
    assert response.status_code == 422
    assert response.json()["detail"].startswith("bad.wav cannot be used")


def test_what_curl_sends_by_default_is_taken_for_sound_and_json_is_told_its_header(client: TestClient) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert client.post("/v1/classify", content=WAV, headers=headers).status_code == 200
    json = client.post("/v1/classify", content=b' {"clips": []}', headers=headers)
    assert json.status_code == 422
    assert json.json()["detail"].endswith("send it with the header Content-Type: application/json.")
    other = client.post("/v1/classify", content=b"\x00\x01\x02\x03", headers=headers).json()["detail"]
    assert "no audio format begins with the bytes 00 01 02 03" in other


def test_of_a_long_clip_only_what_is_heard_stays_in_memory_and_the_answer_is_the_same(tmp_path: Path) -> None:
    write_tones(tmp_path)
    classifier = Classifier.load(tmp_path)
    framing = classifier.framing
    # low around its middle, high before and after
    wave = np.concatenate([tone(3000, 20), tone(300, 20), tone(3000, 20)])
    clip = decoded(encode_wav(wave, SAMPLE_RATE_HZ), framing)
    assert (clip.duration_seconds, clip.wave.nbytes, clip.wave.base) == (60, framing.longest * 4, None)
    np.testing.assert_array_equal(
        classifier.hear([clip.wave]).probabilities, classifier.hear([waveform_of(wave)]).probabilities
    )
    longer = replace(framing, max_seconds=30.0)
    assert clip.at(framing) is clip.wave
    assert len(clip.at(longer)) == longer.longest


def waveform_of(wave: np.ndarray) -> np.ndarray:
    return waveform(decode_bytes(encode_wav(wave, SAMPLE_RATE_HZ)), SAMPLE_RATE_HZ)


def test_levels_are_those_of_signals_one_knows() -> None:
    square = np.tile(np.array([1, -1], np.float32), 100)
    assert level_dbfs(square) == pytest.approx(0)
    # a sine's root mean square is its amplitude over the square root of two
    assert level_dbfs(tone(1000, amplitude=0.1)) == pytest.approx(20 * np.log10(0.1) - 10 * np.log10(2), abs=0.01)
    assert level_dbfs(np.zeros(10, np.float32)) == level_dbfs(np.zeros(0, np.float32)) == -200
