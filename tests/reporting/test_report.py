"""The page as a whole: complete, self-contained, safe with hostile names, small, and usable in a real browser."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from tenuto.records import Finding, ValidationReport, Verdict
from tenuto.reporting import listening
from tenuto.reporting.pages import TEMPLATES
from tenuto.reporting.report import ReportInputs, write_report
from tests import browsers
from tests.reporting import sample


class Page(HTMLParser):
    """What a reader of the markup sees: its text, its elements with their attributes, its scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = ""
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.text += f" {' '.join(data.split())}"

    def all(self, attribute: str, tag: str | None = None) -> list[str]:
        return [a[attribute] or "" for t, a in self.elements if attribute in a and tag in (None, t)]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    return sample.whole_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def report(inputs: ReportInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(inputs, tmp_path_factory.mktemp("reports") / "run.html")


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    return Page(report)


def early(**more: Any) -> ReportInputs:
    known: dict[str, Any] = {
        "name": "digits",
        "verdict": Verdict(verdict="not evaluated", reasons=("Too few clips.",), rules=()),
        "started_at": datetime(2026, 3, 3, tzinfo=UTC),
        "seconds": {"validate": 2.0},
    }
    return ReportInputs(**{**known, **more})


@pytest.mark.parametrize(
    "expected",
    [
        "Registered as challenger",
        "Version 7 of digits was registered as a challenger; version 6 stays the champion.",
        "recall 0.741 (95 % 0.61-0.85, resampled by 8 speakers) is below the floor 0.80.",
        "2 of 5 rules passed.",
        "41 of 52 decisions left on test set 1",
        "This decision was taken at p 0.31 and missed its level 0.00096.",
        "On the golden clips the candidate’s lead over the champion is −0.007 (−0.047 to +0.033).",
        "Signal-to-noise ratio",
        "−0.026 to 0.018 wanted −0.020 p 0.31",
        "insufficient n",
        "card/model-card.md of the MLflow run, and the description of version 7 in the registry",
        "From scratch",
        "Majority class",
        "seven is filled up with augmented copies of its own training clips.",
        "the file holds text, not audio",
        "a3b1c2d4e5f60718293a4b5c6d7e8f90.dir",
        "6f1d0a52c1a94b6e8f6c4d6a1f0b2c3d",
        "licence Apache-2.0",
        "params.yaml",
        "1 min 6 s",
    ],
)
def test_says(page: Page, expected: str) -> None:
    assert expected in page.text


def test_links_within_the_page_lead_somewhere(page: Page) -> None:
    anchors = {href[1:] for href in page.all("href") if href.startswith("#")}
    assert {"rules", "models", "findings", "listen", "quarantine", "lineage"} <= anchors
    assert anchors <= set(page.all("id"))


def test_nothing_is_loaded_from_outside(page: Page) -> None:
    assert page.all("src")
    assert all(source.startswith("data:") for source in page.all("src"))
    assert not [tag for tag, _ in page.elements if tag in ("link", "iframe", "object", "embed", "base")]
    assert "url(" not in (TEMPLATES / "report.css").read_text()


def test_the_policy_allows_the_pages_own_script_and_no_other(page: Page) -> None:
    (policy,) = [a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    (script,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in str(policy)
    assert str(policy).startswith("default-src 'none'")


def test_data_docs_are_linked_relative_to_the_page(page: Page, report: Path, inputs: ReportInputs) -> None:
    assert inputs.validation and inputs.validation.data_docs
    (link,) = [href for href in page.all("href") if href.endswith("docs/index.html")]
    assert (report.parent / link).resolve() == (inputs.validation.data_docs / "index.html").resolve()


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}'


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    run = sample.whole_run(tmp_path, per_cell=1)
    assert run.evaluation and run.quarantine_path and run.clips_path
    clips = pd.read_parquet(run.clips_path).assign(source=HOSTILE, label=HOSTILE)
    clips.to_parquet(run.clips_path)
    answers = pd.read_parquet(run.evaluation.probabilities_path).assign(label=HOSTILE, group_speaker=HOSTILE)
    answers.to_parquet(run.evaluation.probabilities_path)
    pd.DataFrame([{"path": HOSTILE, "reason": HOSTILE, "detail": HOSTILE, "label": HOSTILE}]).to_parquet(
        run.quarantine_path
    )
    finding = Finding(expectation=HOSTILE, severity="warn", success=False, summary=HOSTILE, groups=(HOSTILE,))
    labels = (HOSTILE, *sample.DIGITS[1:])
    hostile = replace(
        run,
        name=HOSTILE,
        validation=ValidationReport(findings=(finding,)),
        evaluation=run.evaluation.model_copy(
            update={
                "labels": labels,
                "per_class": {"candidate": {HOSTILE: {"recall": 0.5, "support": 2.0}}},
                "per_group": {"candidate": {HOSTILE: {HOSTILE: {"accuracy": 0.5, "support": 2.0}}}},
                "per_slice": {"candidate": {HOSTILE: {HOSTILE: {"accuracy": 0.5, "support": 2.0}}}},
            }
        ),
        environment={HOSTILE: HOSTILE},
        approval=HOSTILE,
        mlflow_url="javascript:alert(3)",
        prefect_url='http://127.0.0.1/"onclick="alert(4)',
    )
    page = Page(write_report(hostile, tmp_path / "page.html"))
    assert len(page.scripts) == 1
    assert all(source.startswith("data:") for source in page.all("src"))
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert not [href for href in page.all("href") if href.startswith("javascript:")]
    assert page.text.count(HOSTILE) >= 12


def test_a_name_that_is_not_utf8_is_written(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.wav")
    verdict = Verdict(verdict="not evaluated", reasons=(f"{name} cannot be read.",), rules=())
    assert "caf?.wav cannot be read." in Page(write_report(early(verdict=verdict), tmp_path / "page.html")).text


def test_a_run_stopped_by_validation_has_a_page(tmp_path: Path) -> None:
    stop = Finding(
        expectation="no_group_leakage",
        severity="stop",
        success=False,
        summary="Speaker ann is in train and test.",
        action="The run ends here.",
    )
    run = early(validation=ValidationReport(findings=(stop,)))
    page = Page(write_report(run, tmp_path / "page.html"))
    assert "Stopped by validation" in page.text
    assert "No model was registered." in page.text
    assert "Speaker ann is in train and test." in page.text
    assert "Models compared" not in page.text


def test_a_candidate_that_waits_has_a_page_that_says_for_what(inputs: ReportInputs, tmp_path: Path) -> None:
    passed = inputs.verdict.model_copy(update={"verdict": "promote"})
    page = Page(write_report(replace(inputs, verdict=passed), tmp_path / "page.html"))
    assert "Waits for approval" in page.text
    assert "tenuto approve 7 makes it the champion, tenuto refuse 7 does not;" in page.text
    said = replace(inputs, verdict=passed, approval="Refused by Ann: too noisy.")
    assert "Refused by Ann: too noisy." in Page(write_report(said, tmp_path / "page.html")).text


def test_a_worn_test_set_asks_for_a_fresh_one(inputs: ReportInputs, tmp_path: Path) -> None:
    assert inputs.verdict.account
    worn = inputs.verdict.account.model_copy(update={"used": 48, "left": 0.08})
    page = write_report(replace(inputs, verdict=inputs.verdict.model_copy(update={"account": worn})), tmp_path / "p")
    assert "3 of 52 decisions left on test set 1" in Page(page).text
    assert "tenuto holdout rotate brings in fresh clips before these are used up." in Page(page).text


def test_few_clips_are_marked(inputs: ReportInputs, tmp_path: Path) -> None:
    assert inputs.evaluation
    row = {"accuracy": 0.5, "support": 9.0}
    bands = {"candidate": {"noise": {"under 10 dB": row, "over 30 dB": row | {"support": 10.0}}}}
    evaluation = inputs.evaluation.model_copy(update={"per_slice": bands})
    marked = Page(write_report(replace(inputs, evaluation=evaluation), tmp_path / "page.html")).text
    assert "few 9" in marked and "few 10" not in marked


def test_the_least_that_is_known_makes_a_page(tmp_path: Path) -> None:
    page = Page(write_report(early(), tmp_path / "new" / "page.html"))
    assert "Too few clips." in page.text
    assert "champion" not in page.text  # nothing is claimed about what was not looked up
    anchors = {href[1:] for href in page.all("href") if href.startswith("#")}
    assert anchors <= set(page.all("id"))


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = write_report(early(name="first"), tmp_path / "page.html")
    with pytest.raises(AttributeError):
        write_report(early(started_at="yesterday"), path)
    assert "first" in path.read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [path]


def test_the_page_stays_small_however_long_the_clips(
    inputs: ReportInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "MOST_SOUND_BYTES", 400_000)
    data = tmp_path / "data"
    assert inputs.clips_path
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 44_100).astype(np.float32)
    source = tmp_path / "noise.wav"
    soundfile.write(source, noise, 44_100)
    clips = pd.read_parquet(inputs.clips_path)
    for path in clips.loc[clips["split"] == "test", "path"]:
        (data / path).parent.mkdir(parents=True, exist_ok=True)
        (data / path).symlink_to(source)
    page = write_report(replace(inputs, data=data, params=None), tmp_path / "page.html")
    assert 300_000 < page.stat().st_size < 600_000
    assert "without a player" in Page(page).text


def contrast(first: str, second: str) -> float:
    """The contrast ratio of two hex colours, 1 to 21, as WCAG 2.2 defines it."""

    def luminance(colour: str) -> float:
        channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _six_digits(value: str) -> str:
    return "#" + (value if len(value) == 6 else "".join(2 * digit for digit in value))


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_text_has_enough_contrast(scheme: str) -> None:
    css = (TEMPLATES / "report.css").read_text()
    block = re.findall(r":root \{(.*?)\}", css, flags=re.DOTALL)[("light", "dark", "print").index(scheme)]
    colours = {name: _six_digits(value) for name, value in re.findall(r"--([\w-]+): #(\w+)", block)}
    for name in ("ink", "soft", "good", "hold", "bad", "link"):
        for ground in ("paper", "raised"):
            assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    chrome = browsers.start(tmp_path_factory.mktemp("chromium"))
    yield chrome
    chrome.quit()


def show(browser: Any, page: Path, width: int, scheme: str = "light") -> None:
    browsers.show(browser, page.as_uri(), width, scheme)


SCROLLS = """
const root = document.documentElement;
window.scrollTo(1000, 0);
return [root.scrollWidth - root.clientWidth, window.scrollX];
"""
OVERFLOWING = """
const wide = document.documentElement.clientWidth;
return [...document.querySelectorAll('body *')].filter(e => !e.closest('.hidden, .skip, details:not([open])'))
  .filter(e => e.getBoundingClientRect().right > wide + 1).map(e => e.outerHTML.slice(0, 120));
"""


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 768, 390, 320])
def test_no_sideways_scrolling(browser: Any, report: Path, width: int) -> None:
    show(browser, report, width)
    browser.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert browser.execute_script(SCROLLS) == [0, 0]
    assert browser.execute_script(OVERFLOWING) == []
    assert browser.get_log("browser") == []


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_many_classes_with_long_names_fit(browser: Any, tmp_path: Path, width: int) -> None:
    page = write_report(sample.many_classes(tmp_path), tmp_path / "page.html")
    show(browser, page, width)
    browser.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert browser.execute_script(SCROLLS) == [0, 0]
    assert browser.execute_script(OVERFLOWING) == []


@pytest.mark.browser
def test_the_first_screen_of_a_phone_answers(browser: Any, report: Path) -> None:
    show(browser, report, 390)
    for selector in (".run", "h1", ".sentence", ".reasons li", ".next a"):
        bottom = browser.execute_script(
            "return document.querySelector(arguments[0]).getBoundingClientRect().bottom", selector
        )
        assert 0 < bottom < 844, selector


@pytest.mark.browser
def test_dark_and_light(browser: Any, report: Path) -> None:
    grounds = set()
    for scheme in ("light", "dark"):
        show(browser, report, 1280, scheme)
        grounds.add(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert grounds == {"rgb(251, 251, 249)", "rgb(21, 23, 26)"}


PLAYING = "return [...document.querySelectorAll('.player audio')].map(a => !a.paused)"


@pytest.mark.browser
def test_players_play_by_keyboard_one_at_a_time(browser: Any, report: Path) -> None:
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    show(browser, report, 390)
    browser.execute_script("document.querySelectorAll('audio').forEach(a => { a.loop = true; })")
    first, second = browser.find_elements("css selector", ".player button")[:2]
    wait = WebDriverWait(browser, 10)
    for button, key, playing, says in (
        (first, Keys.ENTER, [True, False], "Pause "),
        (second, Keys.SPACE, [False, True], "Pause "),
        (second, Keys.ENTER, [False, False], "Play "),
    ):
        button.send_keys(key)
        wait.until(lambda _, playing=playing: browser.execute_script(PLAYING)[:2] == playing)
        # The label follows the audio's own event, which the browser sends a moment after.
        wait.until(lambda _, b=button, says=says: b.get_attribute("aria-label").startswith(says))


@pytest.mark.browser
def test_every_sound_can_be_decoded(browser: Any, report: Path) -> None:
    show(browser, report, 1280)
    browser.set_script_timeout(20)
    broken = browser.execute_async_script(
        """
        const done = arguments[arguments.length - 1];
        Promise.all([...document.querySelectorAll('audio')].map((audio) => new Promise((resolve) => {
          audio.addEventListener('loadeddata', () => resolve(audio.duration > 0.3 ? 0 : 1));
          audio.addEventListener('error', () => resolve(1));
          audio.preload = 'auto';
          audio.load();
        }))).then((results) => done([results.length, results.reduce((a, b) => a + b, 0)]));
        """
    )
    assert broken[0] > 20
    assert broken[1] == 0
