from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tenuto.serving.app import create_app
from tenuto.serving.endpoints import sounds
from tenuto.serving.hearing.shadow import is_drawn
from tenuto.serving.settings import ServingSettings
from tenuto.serving.state import State
from tenuto.sound.audio import encode_wav
from tenuto.tracing import served
from tests.bundles import FRAMING, SAMPLE_RATE_HZ, tone
from tests.serving.hearing.test_batching import SECONDS, Listener
from tests.serving.hearing.test_models import Registry

LOW = encode_wav(tone(300), SAMPLE_RATE_HZ)


def wait_until(claim: Any) -> None:
    until = time.monotonic() + 10
    while not claim():
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Its challenger, version 2, says high of everything."""
    registry = Registry(tmp_path / "registry")
    registry.aliases["challenger"] = "2"
    return registry


def test_the_champion_answers_and_the_log_has_what_both_say(registry: Registry, tmp_path: Path) -> None:
    log = tmp_path / "served.sqlite"
    state = State.make(registry, ServingSettings(challenger_share=1.0), log=log)
    with TestClient(create_app(state)) as client:
        given = [client.post("/v1/classify", content=LOW).json()["answers"][0] for _ in range(5)]
        wait_until(lambda: b'is_shadow="true",label="high",version="2"} 5.0' in state.metrics.text())
    assert {answer["label"] for answer in given} == {"low"}
    rows = served.frame(log)
    assert sorted(zip(rows["version"], rows["is_shadow"], rows["label"], strict=True)) == (
        [("1", False, "low")] * 5 + [("2", True, "high")] * 5
    )
    assert set(rows["request_id"]) == {answer["request_id"] for answer in given}
    assert set(rows.loc[rows["is_shadow"], "alias"]) == {"challenger"}


def test_a_challenger_that_hangs_holds_up_no_answer_and_what_it_misses_is_counted(registry: Registry) -> None:
    settings = ServingSettings.model_validate({"challenger_share": 1.0, "limits": {"max_waiting": 2}})
    state = State.make(registry, settings)
    may_go_on, has_begun = threading.Event(), threading.Event()

    class Hangs:
        framing = FRAMING

        def hear(self, waves: Any) -> Any:
            has_begun.set()
            assert may_go_on.wait(10)
            raise RuntimeError

    with TestClient(create_app(state)) as client:
        assert state.models.challenger
        state.models.challenger = replace(state.models.challenger, classifier=Hangs())  # type: ignore[arg-type]
        assert client.post("/v1/classify", content=LOW).status_code == 200
        assert has_begun.wait(10)
        assert [client.post("/v1/classify", content=LOW).status_code for _ in range(6)] == [200] * 6
        assert b"tenuto_shadows_left_out_total 4.0" in state.metrics.text()
        may_go_on.set()


def test_what_waits_for_the_challenger_is_bounded_in_bytes_and_keeps_no_recording_that_it_does_not_need(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tenuto.serving.hearing import shadow

    state = State.make(registry, ServingSettings(challenger_share=1.0))
    state.models.poll()
    other = replace(FRAMING, sample_rate_hz=4000)
    alike, unlike = sounds.decoded(LOW, FRAMING), sounds.decoded(LOW, other)
    assert (alike.size_bytes, unlike.size_bytes) == (4 * 4000 + len(LOW), 4 * 2000 + len(LOW))
    # room for two clips without their recordings, and for one with it
    monkeypatch.setattr(shadow, "_MOST_BYTES", 8 * 4000)
    for clip, left_out in ((alike, 0), (alike, 0), (alike, 1)):
        state.shadow.put("a", state.models.challenger, [clip])
        assert f"tenuto_shadows_left_out_total {left_out}.0".encode() in state.metrics.text()
    waiting = state.shadow._jobs.popleft()[2]
    assert [clip.sound for clip in waiting] == [b""]
    state.shadow._jobs.clear()
    state.shadow._bytes = state.shadow._clips = 0
    for left_out in (1, 2):
        state.shadow.put("a", state.models.challenger, [unlike])
        assert f"tenuto_shadows_left_out_total {left_out}.0".encode() in state.metrics.text()


def test_the_challenger_only_hears_when_nobody_else_s_clip_is_worked_on(registry: Registry) -> None:
    state = State.make(registry, ServingSettings(challenger_share=1.0), threads=2)
    listener = Listener()
    with TestClient(create_app(state)) as client:
        assert state.models.challenger
        challenger = Listener()
        state.models.challenger = replace(state.models.challenger, classifier=challenger)  # type: ignore[arg-type]
        listener.may_go_on.clear()
        state.batcher.submit(listener, [tone(300)])  # type: ignore[arg-type]
        assert listener.is_listening.wait(SECONDS)
        assert client.post("/v1/classify", content=LOW).status_code == 200
        assert not challenger.is_listening.wait(0.2)
        listener.may_go_on.set()
        assert challenger.is_listening.wait(SECONDS)


def test_a_challenger_of_another_rate_hears_the_recording_at_its_own(registry: Registry, tmp_path: Path) -> None:
    import json

    path = tmp_path / "registry" / "2" / "serving.json"
    bundle = json.loads(path.read_text())
    bundle["framing"]["sample_rate_hz"] = 4000
    path.write_text(json.dumps(bundle))
    state = State.make(registry, ServingSettings(challenger_share=1.0))
    heard: list[int] = []
    with TestClient(create_app(state)) as client:
        assert state.models.challenger
        classifier = state.models.challenger.classifier
        hear = classifier.hear
        classifier.hear = lambda waves: (heard.extend(map(len, waves)), hear(waves))[1]  # type: ignore
        client.post("/v1/classify", content=LOW)
        wait_until(lambda: b'is_shadow="true"' in state.metrics.text())
    assert heard == [2000]


def test_the_share_of_requests_is_the_share_asked_for_and_always_the_same_ones() -> None:
    ids = [f"request-{n}" for n in range(20_000)]
    for share in (0.0, 0.1, 0.5, 1.0):
        drawn = [is_drawn(one, share) for one in ids]
        # four standard errors of a binomial share
        assert abs(sum(drawn) / len(ids) - share) <= 4 * (share * (1 - share) / len(ids)) ** 0.5
        assert drawn == [is_drawn(one, share) for one in ids]
