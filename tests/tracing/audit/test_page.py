"""The page: self-contained, without script, escaped, and drawn for every answer that there can be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tenuto.tracing.audit import answers, page
from tenuto.tracing.audit.answers import Erased, ErasedTrace, HeardAudit, ModelAudit
from tenuto.tracing.audit.index import Index
from tenuto.tracing.served import Served
from tests.tracing.audit.sample import clip, fill, run, version

ALIASES = {"champion": "2", "previous": "1"}


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.open(tmp_path / "i.sqlite") as opened:
        fill(opened)
        yield opened


@pytest.fixture
def made(index: Index) -> ModelAudit:
    return answers.model(index, version(2, 3), ALIASES, decision=7)


def heard(index: Index, speaker: str) -> HeardAudit:
    numbers = index.by_group("speaker", speaker)
    return answers.heard(index, numbers, {"bells": ALIASES}, {"group": f"speaker={speaker}"})


def drawings(text: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)]


def words(svg: ElementTree.Element) -> set[str]:
    return {element.text or "" for element in svg.iter("text")}


def test_nothing_is_loaded_and_no_script_may_run(made: ModelAudit) -> None:
    text = page.render(made)
    assert "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'" in text
    assert "<script" not in text and "http:" not in text and "https:" not in text


def test_both_drawings_hold_every_step_of_the_lineage(made: ModelAudit) -> None:
    wide, tall = drawings(page.render(made))
    for svg in (wide, tall):
        steps = {"source files", "dataset version", "validation report", "code", "environment", "flow run", "run"}
        assert steps | {"trained on", "tuned on", "golden", "version 2", "@champion"} <= words(svg)
    assert "week/a1.wav" in words(wide)


def test_the_list_of_packages_is_named_with_its_hash(made: ModelAudit, index: Index) -> None:
    text = page.render(made)
    assert f"<code>{'10c4' * 16}</code>" in text and "<code>file:///store/inputs/environment.lock</code>" in text
    index.add(run(4, lock=None), [])
    assert "The list of all packages was not recorded" in page.render(answers.model(index, version(4), {}))


@pytest.mark.parametrize(
    ("weighting", "said"),
    [
        ("even", "Each clip counts alike (weight 1)"),
        ("uneven", "0.5"),
        ("group DRO", "varies: the group that fares worst"),
        ("unknown", "What each clip counted was not recorded"),
    ],
)
def test_weights_are_said(index: Index, weighting: str, said: str) -> None:
    clips = [clip("a", "ann")]
    index.add(run(4, weighting=weighting, loss="focal"), clips, {("up", clips[0].groups): 0.5})
    index.set_versions("bells", [version(4)])
    text = page.render(answers.model(index, version(4), {}))
    assert said in text and ("Each clip counts alike" in text) == (weighting == "even") and "The loss is focal" in text


def test_the_page_of_a_prediction_names_it(made: ModelAudit) -> None:
    call = Served(
        request_id="call-7",
        at=datetime(2026, 3, 3, tzinfo=UTC),
        model="bells",
        version="2",
        label="up",
        probability=0.5,
    )
    text = page.render(made.model_copy(update={"served": call}))
    assert "It answered request <code>call-7</code> with up on 3 March 2026" in text


def test_names_from_recordings_are_escaped(index: Index) -> None:
    index.add(run(4), [clip("<b>&x", "<script>alert(1)</script>")])
    index.set_versions("bells", [version(4)])
    for found in (answers.model(index, version(4), {}), heard(index, "<script>alert(1)</script>")):
        text = page.render(found)
        assert "<script>alert" not in text and "<b>&x" not in text
        assert len(drawings(text)) == 2


def test_a_version_without_run_has_a_page(index: Index) -> None:
    assert "its clips are unknown" in page.render(answers.model(index, version(5, 99), {}))


def test_the_page_of_a_group_draws_versions_and_aliases(index: Index) -> None:
    text = page.render(heard(index, "ann"))
    assert "2 versions heard them" in text
    assert {"speaker=ann", "version 1", "version 2", "@champion", "@previous"} <= words(drawings(text)[0])
    assert "No version was trained on it" in page.render(heard(index, "cat"))


def test_many_versions_alike_are_one_box(index: Index) -> None:
    for number in range(4, 60):
        index.add(run(number), [clip("a1", "ann"), clip(f"z{number}", "zoe")])
    index.set_versions("bells", [version(1), *(version(number) for number in range(4, 60))])
    found = heard(index, "ann")
    assert [len(group) for group in page.alike(found.versions)] == [56, 1]
    assert "versions 4 to 59" in words(drawings(page.render(found))[0])


def test_what_was_erased_is_said_with_its_certificate() -> None:
    trace = ErasedTrace(run="run-1", version="1", roles={"trained": 6})
    gone = HeardAudit(
        asked={"group": "speaker=ann"},
        erased=(Erased(number="0001", at=datetime(2026, 3, 3, tzinfo=UTC), runs=(trace,)),),
    )
    assert "Erased on 3 March 2026, 00:00 UTC, certificate 0001" in page.render(gone)


def test_the_file_is_named_after_the_question(made: ModelAudit, index: Index, tmp_path: Path) -> None:
    assert page.file_name(made) == "bells-2.html"
    assert page.file_name(heard(index, "ann")) == "group-speaker-ann.html"
    place = page.write(made, tmp_path / "new" / "page.html")
    assert place.read_text().startswith("<!doctype html>") and list(place.parent.iterdir()) == [place]
