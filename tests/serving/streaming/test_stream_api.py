"""The stream over a connection: the same answers as offline, and what a client does wrong is said before it closes."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from tenuto.serving.app import create_app
from tenuto.serving.hearing.classifier import Classifier
from tenuto.serving.settings import ServingSettings
from tenuto.serving.state import State
from tenuto.serving.streaming.stream import starts
from tenuto.sound.audio import Recording, waveform
from tenuto.tracing import served
from tests.bundles import SAMPLE_RATE_HZ, tone, write_tones


@dataclass
class TwoVersions:
    """A source whose alias can be moved."""

    folders: dict[str, Path]
    points_at: str = "1"
    name: str = "tones"
    cards: dict[str, str] = field(default_factory=dict)

    def resolve(self, alias: str) -> str | None:
        return self.points_at if alias == "champion" else None

    def fetch(self, version: str) -> Path:
        return self.folders[version]

    def card(self, version: str) -> str | None:
        return self.cards.get(version)


@contextmanager
def serving(source: TwoVersions, written_to: Path | None = None, **settings: Any) -> Iterator[tuple[TestClient, State]]:
    made = ServingSettings.model_validate({"stream": {"hop_seconds": 0.1}, **settings})
    state = State.make(source, made, log=written_to)
    with TestClient(create_app(state)) as client:
        yield client, state


@pytest.fixture
def source(tmp_path: Path) -> TwoVersions:
    write_tones(tmp_path / "1")
    write_tones(tmp_path / "2", bias=500.0)
    return TwoVersions({"1": tmp_path / "1", "2": tmp_path / "2"})


START = {"sample_rate_hz": 16000, "format": "s16le"}


def sweep(rate_hz: int, seconds: float = 3.0) -> np.ndarray:
    """A tone that rises from 200 Hz to 2 kHz, as 16-bit numbers."""
    times = np.arange(round(rate_hz * seconds)) / rate_hz
    phase = 2 * np.pi * (200 * times + 300 * times**2)
    return np.round(8000 * np.sin(phase)).astype("<i2")


def rest_of(socket: Any) -> list[dict[str, Any]]:
    messages = []
    while True:
        try:
            messages.append(json.loads(socket.receive_text()))
        except WebSocketDisconnect:
            return messages


def answers(client: TestClient, data: bytes, start: dict[str, Any] = START, chunk: int = 3001) -> list[dict[str, Any]]:
    with client.websocket_connect("/v1/stream", headers={"X-Request-Id": "call-7"}) as socket:
        socket.send_json(start)
        for at in range(0, len(data), chunk):
            socket.send_bytes(data[at : at + chunk])
        socket.send_json({"end": True})
        return rest_of(socket)


def test_a_stream_gives_the_labels_of_its_windows_offline(source: TwoVersions) -> None:
    samples = sweep(16000)
    with serving(source) as (client, _):
        ready, *windows, done = answers(client, samples.tobytes())
    wave = soxr.resample(samples.astype(np.float32) / 32768, 16000, SAMPLE_RATE_HZ, quality="HQ")
    begins = starts(len(wave), 2000, 800)
    pieces = [
        waveform(Recording(wave[begin : begin + 2000, None], SAMPLE_RATE_HZ, "", False), SAMPLE_RATE_HZ)
        for begin in begins
    ]
    heard = Classifier.load(source.folders["1"]).hear(pieces)
    assert (ready["type"], ready["window_seconds"], ready["hop_seconds"]) == ("ready", 0.25, 0.1)
    assert [window["begin_seconds"] for window in windows] == [begin / SAMPLE_RATE_HZ for begin in begins]
    assert [window["label"] for window in windows] == np.where(heard.decided[:, 0], "high", "low").tolist()
    assert {window["label"] for window in windows} == {"high", "low"}
    for window, probabilities in zip(windows, heard.probabilities, strict=True):
        assert window["probabilities"]["high"] == pytest.approx(probabilities[0], abs=1e-6)
    assert (done["type"], done["windows"], done["seconds"]) == ("done", len(begins), 3.0)


def test_every_message_names_the_request_and_every_answer_the_version(source: TwoVersions) -> None:
    with serving(source) as (client, _):
        messages = answers(client, sweep(16000).tobytes())
    assert {message["request_id"] for message in messages} == {"call-7"}
    assert {message["model"]["version"] for message in messages[:-1]} == {"1"}


def test_events_begin_and_end_with_the_tone(source: TwoVersions) -> None:
    sound = np.concatenate([tone(400, 1.0), tone(2500, 1.0)]).astype("<f4")
    with serving(source) as (client, _):
        messages = answers(client, sound.tobytes(), {"sample_rate_hz": 8000, "format": "f32le"})
    events = [event for message in messages for event in message.get("events", [])]
    assert [(event["kind"], event["label"]) for event in events] == [
        ("begin", "low"),
        ("end", "low"),
        ("begin", "high"),
        ("end", "high"),
    ]
    assert events[1]["at_seconds"] == events[2]["at_seconds"] == pytest.approx(1.0, abs=0.1)
    assert messages[-1]["events"][0]["at_seconds"] == pytest.approx(2.0)


def test_a_stream_shorter_than_a_window_is_one_window_and_an_empty_one_none(source: TwoVersions) -> None:
    with serving(source) as (client, state):
        _, window, done = answers(
            client, tone(500, 0.1).astype("<f4").tobytes(), {"sample_rate_hz": 8000, "format": "f32le"}
        )
        assert (window["end_seconds"], done["windows"]) == (0.1, 1)
        _, done = answers(client, b"")
        assert (done["windows"], done["seconds"]) == (0, 0.0)
        assert state.open_streams == 0


@pytest.mark.parametrize(
    ("messages", "code", "words"),
    [
        (["hello"], 1003, r"has to be like .* Invalid JSON"),
        ([{"sample_rate_hz": 10}], 1003, "sample_rate_hz: Input should be greater than or equal to 2000"),
        ([{"sample_rate_hz": 8000, "format": "mp3"}], 1003, "format: Input should be 's16le' or 'f32le'"),
        ([{"sample_rate_hz": 8000, "rate": 1}], 1003, "rate: Extra inputs are not permitted"),
        ([b"1234"], 1003, "has to be like"),
        ([START, "more"], 1003, "Wanted binary messages of PCM"),
        ([START, {"end": False}], 1003, "Wanted binary messages of PCM"),
        ([START, b"0" * (2**20 + 1)], 1009, "A message may have 1048576 bytes at most; it had 1048577"),
        ([START | {"format": "f32le"}, np.array([np.nan], "<f4").tobytes()], 1007, "samples up to nan"),
        ([START, bytes(32000 * 2), bytes(32000 * 2)], 1008, "A stream may last 3 s at most"),
        ([START], 1008, "Nothing came for 0.3 s"),
    ],
)
def test_what_is_wrong_is_said_before_the_connection_closes(
    source: TwoVersions, messages: list[Any], code: int, words: str
) -> None:
    limits = {"max_stream_seconds": 3, "upload_timeout_seconds": 0.3}
    with serving(source, limits=limits) as (client, _), client.websocket_connect("/v1/stream") as socket:
        for message in messages:
            if isinstance(message, bytes):
                socket.send_bytes(message)
            else:
                socket.send_text(message if isinstance(message, str) else json.dumps(message))
        said: dict[str, Any] = {}
        with pytest.raises(WebSocketDisconnect) as closed:
            while True:
                said = json.loads(socket.receive_text())
        assert closed.value.code == code
        assert said["type"] == "error"
        assert re.search(words, said["detail"])


def test_a_stream_into_which_sound_only_drips_ends_in_time(source: TwoVersions) -> None:
    limits = {"max_stream_seconds": 0.3, "upload_timeout_seconds": 0.2}
    with serving(source, limits=limits) as (client, state), client.websocket_connect("/v1/stream") as socket:
        socket.send_json(START)
        for _ in range(15):
            socket.send_bytes(bytes(2))
            time.sleep(0.05)
        assert "A stream may last 0.3 s at most" in rest_of(socket)[-1]["detail"]
        assert state.open_streams == 0


def test_more_streams_than_allowed_are_told_to_come_later(source: TwoVersions) -> None:
    with serving(source, limits={"max_streams": 1}) as (client, _), client.websocket_connect("/v1/stream") as first:
        first.send_json(START)
        assert first.receive_json()["type"] == "ready"
        with client.websocket_connect("/v1/stream") as second:
            assert "1 streams are open already" in second.receive_json()["detail"]
        assert "tenuto_open_streams 1.0" in client.get("/metrics").text


@pytest.mark.parametrize(
    ("origin", "allowed", "is_welcome"),
    [
        ("http://TestServer", [], True),
        ("https://Friend.example", ["https://friend.EXAMPLE"], True),
        ("http://testserver", [], True),
        ("https://elsewhere.example", [], False),
        ("https://elsewhere.example", ["https://elsewhere.example"], True),
        ("https://elsewhere.example", ["https://Elsewhere.Example"], True),
        ("https://elsewhere.example", ["*"], True),
        ("null", [], False),
    ],
)
def test_pages_of_other_sites_open_no_streams(
    source: TwoVersions, origin: str, allowed: list[str], is_welcome: bool
) -> None:
    with (
        serving(source, cors_origins=allowed) as (client, _),
        client.websocket_connect("/v1/stream", headers={"Origin": origin}) as socket,
    ):
        socket.send_json(START)
        assert (socket.receive_json()["type"] == "ready") is is_welcome


def test_a_promoted_version_takes_over_in_the_middle_of_a_stream(source: TwoVersions) -> None:
    second = sweep(16000)[:16000].tobytes()  # below 1 kHz: only version 2 hears it as high
    with serving(source) as (client, state), client.websocket_connect("/v1/stream") as socket:
        socket.send_json(START)
        socket.send_bytes(second)
        before = [socket.receive_json() for _ in range(6)][1:]
        source.points_at = "2"
        state.models.poll()
        socket.send_bytes(second)
        socket.send_json({"end": True})
        after = [message for message in rest_of(socket) if message["type"] == "window"]
    assert {(window["model"]["version"], window["label"]) for window in before} == {("1", "low")}
    assert (after[-1]["model"]["version"], after[-1]["label"]) == ("2", "high")


def test_a_promoted_version_that_hears_otherwise_ends_the_stream(source: TwoVersions, tmp_path: Path) -> None:
    path = tmp_path / "2" / "serving.json"
    path.write_text(path.read_text().replace('"high"', '"shrill"'))
    with serving(source) as (client, state), client.websocket_connect("/v1/stream") as socket:
        socket.send_json(START)
        socket.send_bytes(sweep(16000)[:8000].tobytes())
        assert [socket.receive_json()["type"] for _ in range(2)] == ["ready", "window"]
        source.points_at = "2"
        state.models.poll()
        socket.send_bytes(sweep(16000).tobytes())
        assert "open the stream again" in rest_of(socket)[-1]["detail"]


def test_the_log_gets_the_windows_at_which_a_stream_begins_to_say_something_else(
    source: TwoVersions, tmp_path: Path
) -> None:
    sound = np.concatenate([tone(400, 1.0), tone(2500, 1.0), tone(400, 1.0)]).astype("<f4")
    log = tmp_path / "served.db"
    with serving(source, log, log={"keep_audio_days": 3}) as (client, _):
        messages = answers(client, sound.tobytes(), {"sample_rate_hz": 8000, "format": "f32le"})
    said = [(message["window"], message["smoothed_label"]) for message in messages if message["type"] == "window"]
    changes = [said[0], *(now for before, now in pairwise(said) if now[1] != before[1])]
    frame = served.frame(log)
    assert [label for _, label in changes] == ["low", "high", "low"]
    assert frame["position"].tolist() == [window for window, _ in changes]
    assert frame["label"].tolist() == ["low", "high", "low"]
    assert set(frame["request_id"]) == {"call-7"}
    assert frame["duration_seconds"].tolist() == [0.25] * 3
    assert frame["audio"].notna().all() and frame["is_window"].all()


def test_random_messages_end_a_stream_and_nothing_else(source: TwoVersions) -> None:
    generator = np.random.default_rng(0)
    texts = ["", "{}", "null", '{"end": true}', json.dumps(START), json.dumps(START | {"format": "f32le"}), "\x00"]
    with serving(source, limits={"upload_timeout_seconds": 0.05}) as (client, state):
        for _ in range(100):
            with client.websocket_connect("/v1/stream") as socket:
                if generator.random() < 0.8:
                    socket.send_json(START | {"format": str(generator.choice(["s16le", "f32le"]))})
                for _ in range(generator.integers(1, 4)):
                    if generator.random() < 0.7:
                        socket.send_bytes(generator.bytes(int(generator.integers(0, 9000))))
                    else:
                        socket.send_text(str(generator.choice(texts)))
                last = rest_of(socket)[-1]
                assert last["type"] in ("done", "error")
        assert state.open_streams == 0
        assert answers(client, sweep(16000).tobytes())[-1]["type"] == "done"


def test_without_a_model_a_stream_is_told_to_come_later(source: TwoVersions) -> None:
    with serving(source) as (client, state):
        state.models.champion = None
        with client.websocket_connect("/v1/stream") as socket:
            assert "No model is loaded yet" in socket.receive_json()["detail"]


def test_a_client_that_goes_away_leaves_nothing_behind(source: TwoVersions) -> None:
    with serving(source) as (client, state):
        for _ in range(3):
            with client.websocket_connect("/v1/stream") as socket:
                socket.send_json(START)
                socket.send_bytes(sweep(16000).tobytes())
        assert state.open_streams == 0
