"""The page of a server in a real browser: a file, the microphone and keys, on a desktop and on a phone."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import uvicorn
from fastapi.testclient import TestClient

from tenuto.serving.app import create_app
from tenuto.serving.settings import ServingSettings
from tenuto.serving.state import State
from tenuto.tracing import served as tracing
from tests import browsers
from tests.bundles import SAMPLE_RATE_HZ, tone, write_tones
from tests.reporting.test_report import OVERFLOWING, SCROLLS
from tests.serving.streaming.test_stream_api import TwoVersions

CARD = """# Model card: tones

Tells **high** from *low* <b>tones</b>.
- By `pitch`
  alone.
- Not by 2\\*pi.

| Class | F1 |
| --- | ---: |
| high | 0.99 |
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> TwoVersions:
    folder = tmp_path_factory.mktemp("bundles")
    write_tones(folder / "1")
    write_tones(folder / "2", bias=500.0)
    return TwoVersions({"1": folder / "1", "2": folder / "2"}, cards={"1": CARD})


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "served.sqlite"


@pytest.fixture(scope="module")
def state(served: TwoVersions, log: Path) -> State:
    settings = ServingSettings.model_validate({"stream": {"hop_seconds": 0.1}, "poll_seconds": 3600})
    return State.make(served, settings, log=log)


@pytest.fixture(scope="module")
def address(state: State) -> Iterator[str]:
    with listening(state) as address:
        yield address


@contextmanager
def listening(state: State) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(create_app(state), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join(20)


@pytest.fixture(scope="module")
def low_then_high(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sounds") / "low then high.wav"
    soundfile.write(path, np.concatenate([tone(400, 1.5), tone(2500, 0.5)]), SAMPLE_RATE_HZ)
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser whose microphone hears a high tone."""
    heard = tmp_path_factory.mktemp("microphone") / "high.wav"
    soundfile.write(heard, tone(2500, 10.0), SAMPLE_RATE_HZ)
    flags = f"use-fake-ui-for-media-stream use-fake-device-for-media-stream use-file-for-fake-audio-capture={heard}"
    chrome = browsers.start(tmp_path_factory.mktemp("chromium"), *flags.split(" "))
    yield chrome
    chrome.quit()


def text(browser: Any, id: str) -> str:
    return str(browser.execute_script("return document.getElementById(arguments[0]).textContent", id))


def wait(browser: Any, id: str, pattern: str, seconds: float = 20.0) -> str:
    until = time.monotonic() + seconds
    while not re.search(pattern, found := text(browser, id)):
        assert time.monotonic() < until, f"#{id} says {found!r}, wanted {pattern!r}; {browser.get_log('browser')}"
        time.sleep(0.05)
    return found


def shown(browser: Any, address: str, width: int = 1280, scheme: str = "light") -> None:
    browsers.show(browser, address, width, scheme)
    wait(browser, "model", "tones, version 1 @champion")


def inked(browser: Any, selector: str) -> list[float]:
    """Where along its width a canvas is drawn on, as [first, last], both in [0, 1]."""
    return list(
        browser.execute_script(
            """
            const canvas = document.querySelector(arguments[0]);
            const {width, height} = canvas;
            const pixels = canvas.getContext('2d').getImageData(0, 0, width, height).data;
            const drawn = [...Array(width).keys()].filter((x) => (
              [...Array(height).keys()].some((y) => y < 0.6 * height && pixels[4 * (y * width + x) + 3] > 200)));
            return [drawn[0] / width, drawn[drawn.length - 1] / width];
            """,
            selector,
        )
    )


def test_everything_comes_from_the_server_itself_and_nothing_runs_that_is_written_into_the_page(
    served: TwoVersions,
) -> None:
    with TestClient(create_app(State.make(served))) as client:
        response = client.get("/")
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "http" not in response.text.lower().replace("http-equiv", "")
        assert re.search(r"<script(?![^>]*src=)|\son\w+=|\sstyle=", response.text) is None
        for name in re.findall(r'"(assets/[^"]+)"', response.text):
            assert client.get(name).status_code == 200
        for name in (
            "assets/capture.js",
            "assets/answer.js",
            "assets/elements.js",
            "assets/timeline.js",
            "assets/picture.js",
            "assets/sound.js",
            "assets/card.js",
        ):
            assert client.get(name).headers["content-type"].startswith("text/javascript")
        assert client.get("/assets/report.html.j2").status_code == 404
        assert client.get("/assets/..%2fserve%2findex.html").status_code == 404


@pytest.mark.browser
def test_a_file_is_answered_as_a_whole_and_along_time(browser: Any, address: str, low_then_high: Path) -> None:
    shown(browser, address)
    browser.find_element("id", "file").send_keys(str(low_then_high))
    # 2 s in windows of 0.25 s, one every 0.1 s: the ones at 0, 0.1 ... 1.7 s, and the last one at 1.75 s
    wait(browser, "status", r"low then high\.wav was heard: 19 windows")
    assert text(browser, "label") == "low"
    assert re.search(r"Length2\.00\s*s.*Answered in.*Modelversion 1", text(browser, "facts"))
    assert text(browser, "source") == "low then high.wav, as one clip"
    begin, end = inked(browser, 'canvas[data-label="high"]')
    assert (begin, end) == pytest.approx((0.75, 1.0), abs=0.08)
    begin, end = inked(browser, 'canvas[data-label="low"]')
    assert (begin, end) == pytest.approx((0.0, 0.75), abs=0.08)
    assert inked(browser, "#spectrogram") == pytest.approx([0, 1], abs=0.02)
    assert text(browser, "heard").startswith("2 events") or "2 events" in text(browser, "heard")
    assert browser.get_log("browser") == []


@pytest.mark.browser
def test_arrow_keys_show_what_was_heard_at_a_place(browser: Any, address: str, low_then_high: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    shown(browser, address)
    browser.find_element("id", "file").send_keys(str(low_then_high))
    wait(browser, "status", "was heard")
    timeline = browser.find_element("id", "timeline")
    timeline.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert re.match(r"0\.20\s*s: low \(100", text(browser, "readout"))
    timeline.send_keys(Keys.END)
    assert re.match(r"2\.00\s*s: high \(100", text(browser, "readout"))
    assert timeline.get_attribute("aria-valuetext") == text(browser, "readout")
    assert browser.execute_script("return document.getElementById('player').currentTime") == pytest.approx(2.0, abs=0.1)


@pytest.mark.browser
def test_the_microphone_is_heard_while_it_records(browser: Any, address: str, state: State) -> None:
    from selenium.webdriver.common.keys import Keys

    shown(browser, address)
    button = browser.find_element("id", "microphone")
    button.send_keys(Keys.ENTER)
    wait(browser, "source", "The microphone, now")
    wait(browser, "label", "high")
    wait(browser, "facts", r"Since[2-9]\.")
    assert button.get_attribute("aria-pressed") == "true"
    assert state.open_streams == 1
    button.send_keys(Keys.ENTER)
    found = re.search(r"([\d.]+)\s*s recorded: (\d+) windows", wait(browser, "status", "recorded"))
    assert found is not None
    assert float(found[2]) == pytest.approx((float(found[1]) - 0.25) / 0.1, abs=2)
    wait(browser, "source", "The recording, as one clip")
    assert text(browser, "label") == "high"
    assert browser.execute_script("return document.getElementById('player').duration") == pytest.approx(
        float(found[1]), abs=0.1
    )
    assert state.open_streams == 0
    assert browser.get_log("browser") == []


@pytest.mark.browser
def test_what_is_no_audio_is_said_and_no_other_sound_s_answer_stands_below(
    browser: Any, address: str, tmp_path: Path
) -> None:
    (tmp_path / "letter.wav").write_text("Dear all, this is no sound.")
    shown(browser, address)
    soundfile.write(tmp_path / "short.wav", tone(400, 0.25), SAMPLE_RATE_HZ)
    browser.find_element("id", "file").send_keys(str(tmp_path / "short.wav"))
    wait(browser, "status", r"was heard: 1 window\.")
    assert browser.find_element("id", "answer").is_displayed()
    browser.find_element("id", "file").send_keys(str(tmp_path / "letter.wav"))
    wait(browser, "status", r"letter\.wav cannot be used: no audio format begins with")
    assert not browser.find_element("id", "answer").is_displayed()
    assert not browser.find_element("id", "time").is_displayed()


@pytest.mark.browser
def test_a_person_says_what_a_clip_was_in_truth(
    browser: Any, address: str, state: State, log: Path, low_then_high: Path
) -> None:
    from selenium.webdriver.support.ui import Select

    shown(browser, address)
    browser.find_element("id", "file").send_keys(str(low_then_high))
    wait(browser, "status", "was heard")
    request_id = browser.find_element("id", "truth").get_attribute("data-request")
    select = Select(browser.find_element("css selector", "#truth select"))
    assert select.first_selected_option.text == "low"
    select.select_by_visible_text("something else")
    browser.find_element("css selector", "#truth button").click()
    wait(browser, "thanks", "Noted")
    assert state.recorder is not None
    assert state.recorder.flush()
    frame = tracing.frame(log).set_index("request_id")
    assert frame.loc[request_id, ["label", "true_label"]].tolist() == ["low", "unknown"]


@pytest.mark.browser
def test_a_server_with_keys_is_used_by_whoever_types_one(
    browser: Any, served: TwoVersions, low_then_high: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENUTO_API_KEYS", "one-key-of-32-characters-or-more-0123")
    with listening(State.make(served)) as address:
        browsers.show(browser, address, 1280)
        wait(browser, "status", "wants an API key")
        assert text(browser, "model") == "asks for an API key"
        key = browser.find_element("css selector", "#key input")
        key.send_keys("wrong")
        key.submit()
        wait(browser, "status", "does not know this key")
        key.clear()
        key.send_keys("one-key-of-32-characters-or-more-0123")
        key.submit()
        wait(browser, "model", "tones, version 1")
        browser.find_element("id", "file").send_keys(str(low_then_high))
        wait(browser, "status", r"was heard: \d+ windows")
        assert not browser.find_element("id", "key").is_displayed()
    browser.get_log("browser")  # it has the refusals


@pytest.mark.browser
def test_a_promotion_shows_with_the_next_answer(
    browser: Any, address: str, state: State, served: TwoVersions, low_then_high: Path
) -> None:
    shown(browser, address)
    served.points_at = "2"
    state.models.poll()
    try:
        browser.find_element("id", "file").send_keys(str(low_then_high))
        wait(browser, "model", "tones, version 2 @champion")
        wait(browser, "label", "high")
    finally:
        served.points_at = "1"
        state.models.poll()


@pytest.mark.browser
def test_the_card_is_text_and_never_markup(browser: Any, address: str) -> None:
    shown(browser, address)
    browser.execute_script("document.getElementById('card').open = true")
    card = browser.find_element("id", "card")
    assert "Tells high from low <b>tones</b>." in card.text
    assert [item.text for item in card.find_elements("css selector", "ul:only-of-type li")] == [
        "By pitch alone.",
        "Not by 2*pi.",
    ]
    assert [cell.text for cell in card.find_elements("css selector", "td")] == ["high", "0.99"]


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390, 320])
def test_nothing_is_wider_than_the_screen(browser: Any, address: str, width: int, low_then_high: Path) -> None:
    shown(browser, address, width)
    browser.find_element("id", "file").send_keys(str(low_then_high))
    wait(browser, "status", "was heard")
    browser.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert browser.execute_script(SCROLLS) == [0, 0]
    assert browser.execute_script(OVERFLOWING) == []
    cut = "return [...document.querySelectorAll('#labels .num')].filter(e => e.scrollWidth > e.clientWidth).length"
    assert browser.execute_script(cut) == 0


@pytest.mark.browser
def test_dark_and_light(browser: Any, address: str) -> None:
    grounds = set()
    for scheme in ("light", "dark"):
        shown(browser, address, 1280, scheme)
        grounds.add(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert grounds == {"rgb(251, 251, 249)", "rgb(21, 23, 26)"}
