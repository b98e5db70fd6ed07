from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import uvicorn
from fastapi.testclient import TestClient

from tenuto.labelling import queue
from tenuto.labelling.review import Reviewing, create_app
from tenuto.labels import LabelType
from tenuto.sound import audio
from tests import chirps
from tests.reporting.test_report import OVERFLOWING, SCROLLS, browser

__all__ = ["browser"]

CLASSES = ("down", "flat", "up")


def reviewing(tmp_path: Path, kind: LabelType = "one", classes: tuple[str, ...] = CLASSES, count: int = 3) -> Reviewing:
    """A queue of chirps, requests 'bird/0' ..., with the group speaker."""
    rng = np.random.default_rng(0)
    (tmp_path / "kept").mkdir()
    for number in range(count):
        wave = chirps.chirp(("down", "flat", "up")[number % 3], rng, seconds=0.9)
        (tmp_path / f"kept/{number}.wav").write_bytes(audio.encode_wav(wave, chirps.RATE_HZ))
    rows = pd.DataFrame(
        {
            "request_id": [f"bird/{number}" for number in range(count)],
            "position": 0,
            "version": "3",
            "clip_id": [f"clip{number}" for number in range(count)],
            "at": [pd.Timestamp(datetime(2026, 3, 2, 12, number, tzinfo=UTC)) for number in range(count)],
            "audio": [f"{number}.wav" for number in range(count)],
            "label": "flat",
            "probability": 0.52,
            "duration_seconds": 0.9,
            "novelty": 0.7,
            "reason": ["uncertain", "novel", "uncertain", "novel"][:count] if count <= 4 else "uncertain",
            "groups": [{} for _ in range(count)],
        }
    )
    queue.create(tmp_path / "queue", rows, tmp_path / "kept", ["speaker"])
    return Reviewing(tmp_path / "queue", classes, kind, "bo", {"speaker": ["ann", "ben"]})


@pytest.fixture
def asked(tmp_path: Path) -> TestClient:
    return TestClient(create_app(reviewing(tmp_path)), base_url="http://127.0.0.1")


def choice(**values: Any) -> dict[str, Any]:
    return {"request_id": "bird/0", "decision": "labelled", "label": "up"} | values


def test_the_queue_its_recordings_and_what_may_be_said(asked: TestClient, tmp_path: Path) -> None:
    found = asked.get("/queue").json()
    assert [item["request_id"] for item in found["items"]] == ["bird/0", "bird/1", "bird/2"]
    assert (found["classes"], found["unknown"], found["kind"]) == ([*CLASSES], "unknown", "one")
    heard = asked.get("/recording", params={"request_id": "bird/1"})
    assert heard.content == (tmp_path / "kept/1.wav").read_bytes()


def test_a_choice_is_on_disk_when_it_is_answered(asked: TestClient, tmp_path: Path) -> None:
    kept = asked.post("/decision", json=choice(groups={"speaker": " ann "})).json()
    on_disk = queue.read(tmp_path / "queue")[0]
    assert (on_disk.decision, on_disk.label, on_disk.reviewer) == ("labelled", "up", "bo")
    assert on_disk.groups == kept["groups"] == {"speaker": "ann"}
    assert asked.post("/decision", json=choice(decision="")).json()["label"] == ""
    assert queue.read(tmp_path / "queue")[0].decision == ""


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (choice(label="upp"), 422, "'upp' is none of down, flat, up or unknown"),
        (choice(groups={"colour": "red"}), 422, "no group 'colour'"),
        (choice(request_id="bird/9"), 404, "no longer kept"),
        (choice(decision="maybe"), 422, "unsure"),
    ],
)
def test_what_cannot_be_kept_is_refused_and_says_why(
    asked: TestClient, tmp_path: Path, body: dict[str, Any], status: int, words: str
) -> None:
    before = queue.read(tmp_path / "queue")
    answer = asked.post("/decision", json=body)
    assert answer.status_code == status and words in answer.text
    assert queue.read(tmp_path / "queue") == before


def test_a_label_that_was_accepted_is_no_longer_changed_here(asked: TestClient, tmp_path: Path) -> None:
    asked.post("/decision", json=choice())
    queue.accept(tmp_path / "queue", [("bird/0", 0)])
    answer = asked.post("/decision", json=choice(label="down"))
    assert answer.status_code == 409 and "tenuto data remove" in answer.text


def test_a_recording_that_goes_while_it_is_decided_is_said_to_be_gone(
    asked: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = queue.read(tmp_path / "queue")
    (tmp_path / "kept/0.wav").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(queue, "read", lambda folder: items)
        answer = asked.post("/decision", json=choice())
    assert answer.status_code == 404 and "no longer kept" in answer.text


def test_no_other_page_can_read_or_decide(asked: TestClient) -> None:
    elsewhere = {"Host": "evil.example"}
    assert asked.get("/queue", headers=elsewhere).status_code == 400
    # what a form of another page may send without asking first
    sent = json.dumps(choice()).encode()
    for kind in ({"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}, {}):
        assert asked.post("/decision", content=sent, headers=kind).status_code == 422
    assert asked.post("/decision", content=sent, headers={"Content-Type": "application/json"}).status_code == 200
    assert "access-control-allow-origin" not in asked.get("/queue", headers={"Origin": "http://evil.example"}).headers
    assert "default-src 'none'" in asked.get("/").headers["content-security-policy"]
    assert asked.get("/assets/..%2f..%2ferrors.py").status_code == 404


def serving(app: Any) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join()


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    yield from serving(create_app(reviewing(tmp_path)))


def visit(chrome: Any, address: str, width: int = 1280, scheme: str = "light") -> None:
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    chrome.get(address)
    until(chrome, "document.getElementById('count').textContent !== ''")


def until(chrome: Any, claim: str) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(chrome, 20, poll_frequency=0.05).until(lambda c: c.execute_script(f"return {claim}"))


def press(chrome: Any, key: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(chrome).send_keys(key).perform()


@pytest.mark.browser
def test_labelling_by_keyboard(browser: Any, address: str, tmp_path: Path) -> None:
    visit(browser, address)
    until(browser, "document.getElementById('count').textContent === '0 of 3 decided'")
    for key, count in (("3", "1 of 3 decided"), ("u", "2 of 3 decided"), ("n", "3 of 3 decided")):
        press(browser, key)
        until(browser, f"document.getElementById('count').textContent === '{count}'")
    until(browser, "!document.getElementById('done').hidden")
    decided = [(item.decision, item.label) for item in queue.read(tmp_path / "queue")]
    assert decided == [("labelled", "up"), ("unsure", ""), ("labelled", "unknown")]
    assert browser.get_log("browser") == []


@pytest.mark.browser
def test_the_key_of_a_digit_is_the_digit(browser: Any, tmp_path: Path) -> None:
    for address in serving(create_app(reviewing(tmp_path, classes=("0", "1", "2")))):
        visit(browser, address)
        press(browser, "0")
        until(browser, "document.getElementById('count').textContent === '1 of 3 decided'")
    assert queue.read(tmp_path / "queue")[0].label == "0"


@pytest.mark.browser
def test_labelling_by_touch_changing_ones_mind_and_coming_back(browser: Any, address: str, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By

    visit(browser, address, width=390)
    speaker = browser.find_element(By.NAME, "speaker")
    # a label moves on at once, so what belongs to the recording is asked for before
    assert speaker.rect["y"] < browser.find_element(By.ID, "classes").rect["y"]
    speaker.send_keys("ann")
    browser.find_element(By.CSS_SELECTOR, "[data-label='down']").click()
    until(browser, "document.getElementById('count').textContent === '1 of 3 decided'")
    browser.find_element(By.ID, "back").click()
    until(browser, "document.querySelector(\"[data-label='down']\").getAttribute('aria-pressed') === 'true'")
    assert browser.execute_script("return document.querySelector('input').value") == "ann"
    browser.find_element(By.CSS_SELECTOR, "[data-label='flat']").click()
    until(browser, "document.querySelector(\"[data-label='down']\").getAttribute('aria-pressed') === 'false'")
    first = queue.read(tmp_path / "queue")[0]
    assert (first.label, first.groups) == ("flat", {"speaker": "ann"})
    visit(browser, address, width=390)
    assert browser.find_element(By.ID, "count").text == "1 of 3 decided"
    assert browser.get_log("browser") == []


@pytest.mark.browser
def test_several_labels_are_saved_together(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    for address in serving(create_app(reviewing(tmp_path, "many"))):
        visit(browser, address)
        for key in "31":
            press(browser, key)
        assert queue.read(tmp_path / "queue")[0].decision == ""
        press(browser, Keys.ENTER)
        until(browser, "document.getElementById('count').textContent === '1 of 3 decided'")
    assert queue.read(tmp_path / "queue")[0].label == "down;up"


@pytest.mark.browser
@pytest.mark.parametrize("width", [320, 1280])
def test_nothing_overflows_and_the_sound_is_drawn(browser: Any, address: str, width: int) -> None:
    visit(browser, address, width)
    drawn = "const c = document.getElementById('spectrogram'); if (!c.width) return false;"
    drawn += (
        "return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v, i) => i % 4 < 3 && v > 100);"
    )
    until(browser, f"(() => {{ {drawn} }})()")
    assert browser.execute_script(SCROLLS) == [0, 0]
    assert browser.execute_script(OVERFLOWING) == []
