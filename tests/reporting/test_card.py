"""The card as a reader sees it: what it says, what it does not claim, and what hostile names cannot do to it."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt

from tenuto.errors import SettingsError
from tenuto.records import Evaluation
from tenuto.reporting import card
from tenuto.reporting.card import example, markdown
from tenuto.reporting.card.contents import MOST_ROWS, contents
from tenuto.scaffold import template_text
from tenuto.settings import CardSettings, Params
from tenuto.tracing.lineage import Lineage
from tests.reporting import sample

HOSTILE = "a|b `c` *d* <script>alert(1)</script> [e](javascript:f)\n# g \\| &amp; _h_ \x1b[31m\u202e"
NO_FILE = Path("there/is/none.md.j2")
STATED = CardSettings(
    intended_use="Hearing digits.\nNothing else.",
    limits="None known.",
    data_licence="CC-BY-4.0",
    contact="ann@example.org",
)


def inputs(folder: Path, params: Params) -> card.CardInputs:
    run = sample.whole_run(folder, per_cell=1)
    assert run.dataset and run.code and run.evaluation and run.checkpoint and run.clips_path and run.mlflow_run
    return card.CardInputs(
        params=params,
        lineage=Lineage(
            dataset=run.dataset,
            code=run.code,
            inputs="4" * 64,
            source_sha256="1" * 64,
            environment=run.environment,
            prefect_run=run.prefect_run,
        ),
        evaluation=run.evaluation,
        checkpoint=run.checkpoint.model_copy(update={"backbone_licence": "Apache-2.0"}),
        verdict=run.verdict,
        made_at=run.started_at,
        mlflow_run=run.mlflow_run,
        clips_path=run.clips_path,
        champion=run.champion,
        seconds={"fetch": 0.8, "train candidate": 41.5, "total": 66.2},
        cpu_seconds=50.0,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> card.CardInputs:
    return inputs(tmp_path_factory.mktemp("run"), Params(name="digits", card=STATED))


@pytest.fixture(scope="module")
def text(whole: card.CardInputs) -> str:
    return card.render(whole, NO_FILE)


def tables(text: str) -> list[list[list[str]]]:
    """The cells of every table, as a Markdown reader shows them."""
    found: list[list[list[str]]] = []
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    for place, token in enumerate(tokens):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type in ("th_open", "td_open"):
            inner = tokens[place + 1].children or []
            found[-1][-1].append("".join(child.content for child in inner))
    return found


def headings(text: str) -> list[str]:
    tokens = MarkdownIt("commonmark").parse(text)
    return [tokens[place + 1].content for place, token in enumerate(tokens) if token.type == "heading_open"]


def table(text: str, first: str) -> list[list[str]]:
    (found,) = [rows for rows in tables(text) if rows[0][0] == first]
    return found


@pytest.mark.parametrize(
    "expected",
    [
        "# Model card: digits",
        "**register**, compared with version 6",
        "**Intended use:** Hearing digits.\nNothing else.",
        "**Licence of the recordings:** CC-BY-4.0",
        "**Licence of the backbone:** Apache-2.0 (commercial use: allowed)",
        "seven (1)",
        "`a3b1c2d4e5f60718293a4b5c6d7e8f90.dir`",
        "commit `0a41992f0a41992f0a41992f0a41992f0a41992f` on main",
        "params.yaml, notes/today.md",
        "`6f1d0a52c1a94b6e8f6c4d6a1f0b2c3d`",
        "`d2f9a7b2-6f0e-4a55-9c7e-1b6b6f1d0a52`",
        f"sha256 `{'5f' * 32}`",
        "42.3 s until this card was made, with 50.0 s of processor time",
        "Energy: *not measured.*",
        "torch 2.13.0",
        "Intervals by resampling 8 speakers.",
    ],
)
def test_says(text: str, expected: str) -> None:
    assert expected in text


def test_the_comparison_has_intervals_and_leads(text: str, whole: card.CardInputs) -> None:
    (rows,) = [rows for rows in tables(text) if rows[0][1] == "Macro-F1"]
    assert [row[0] for row in rows[1:]] == ["Candidate", "From scratch", "Champion (version 6)"]
    interval = whole.evaluation.intervals["candidate"]
    assert rows[1][1:3] == [f"{interval.value:.3f}", f"{interval.low:.3f} to {interval.high:.3f}"]
    lead = whole.evaluation.differences["baseline"]
    assert rows[2][5] == f"{lead.value:+.3f} ({lead.low:+.3f} to {lead.high:+.3f})"


def test_groups_with_few_clips_are_marked(text: str) -> None:
    rows = table(text, "speaker")
    assert rows[0] == ["speaker", "Training clips", "Test clips", "Candidate", "From scratch", "Champion"]
    assert len(rows) == 9
    # one clip of each digit by each speaker, of which 'seven' is in training for ann alone
    assert {row[0]: row[1:3] for row in rows[1:]}["ann"] == ["10", "10 †"]
    assert {row[0]: row[1:3] for row in rows[1:]}["ben"] == ["9", "10 †"]
    assert "† fewer than 20 test clips" in text
    accents = {row[0]: row[2] for row in table(text, "accent")[1:]}
    assert set(accents.values()) == {"20"}


def test_calibration_is_told_in_words(whole: card.CardInputs, text: str) -> None:
    found = whole.evaluation.metrics["candidate"]
    error = found["expected_calibration_error"]
    assert f"Expected calibration error {error:.3f}" in text
    assert f"{100 * error:.1f} percentage points" in text
    answers = pd.read_parquet(whole.evaluation.probabilities_path)
    own = answers[answers["model"] == "candidate"]
    confidence = own[[f"p_{label}" for label in sample.DIGITS]].to_numpy().max(axis=1).mean()
    assert f"mean confidence {confidence:.3f}, accuracy {found['accuracy']:.3f}" in text


def test_latency_of_every_model_that_was_timed(whole: card.CardInputs) -> None:
    figures = {"p50_ms": 9.04, "p95_ms": 12.0, "real_time_factor": 0.0123, "size_mb": 1.32, "clips": 30.0}
    timed = replace(whole, evaluation=whole.evaluation.model_copy(update={"latency": {"candidate": figures}}))
    (rows,) = [rows for rows in tables(card.render(timed, NO_FILE)) if "Median" in rows[0]]
    assert rows[1:] == [["Candidate", "9.0 ms", "12.0 ms", "0.0123", "1.3 MB", "30"]]


def test_what_nobody_stated_or_measured_is_not_claimed(tmp_path: Path) -> None:
    bare, clips = example.bare()
    clips.to_parquet(tmp_path / "clips.parquet")
    text = card.render(replace(bare, clips_path=tmp_path / "clips.parquet"), NO_FILE)
    for what in ("Intended use", "Limits", "Contact", "Licence of the recordings", "Licence of the backbone"):
        assert f"**{what}:** *not stated*" in text
    assert "(commercial use: unknown)" in text
    assert "## Latency\n\n*Not measured.*" in text
    assert "## Compute\n\n*Not measured.*" in text
    assert "The clips carry no groups" in text
    assert "there was no champion to compare with" in text
    assert "not under version control" in text
    assert "None" not in text and "nan" not in text


def test_a_licence_that_forbids_commercial_use_says_so(whole: card.CardInputs) -> None:
    checkpoint = whole.checkpoint.model_copy(update={"backbone_licence": "CC-BY-NC-4.0"})
    text = card.render(replace(whole, checkpoint=checkpoint), NO_FILE)
    assert "**Licence of the backbone:** CC-BY-NC-4.0 (commercial use: forbidden)" in text


def hostile(whole: card.CardInputs, folder: Path) -> card.CardInputs:
    run = whole.evaluation
    row = next(iter(run.per_class["candidate"].values()))
    clips = pd.read_parquet(whole.clips_path).assign(label=HOSTILE, group_speaker=HOSTILE)
    clips = clips.rename(columns={"group_accent": "group_x|y"})
    clips.to_parquet(folder / "clips.parquet")
    rule = whole.verdict.rules[0].model_copy(update={"rule": HOSTILE, "reason": HOSTILE})
    models = list(run.metrics)
    return replace(
        whole,
        params=Params(name="digits", card=CardSettings(intended_use="# Big\n<img src=x>\n- a list", limits=HOSTILE)),
        evaluation=run.model_copy(
            update={
                "labels": (HOSTILE, *run.labels[1:]),
                "per_class": {model: {HOSTILE: row} for model in models},
                "per_group": {model: {"x|y": {HOSTILE: row}} for model in models},
                "per_slice": {model: {"noise": {HOSTILE: row}} for model in models},
                "probabilities_path": folder / "none.parquet",
            }
        ),
        verdict=whole.verdict.model_copy(update={"rules": (rule,)}),
        checkpoint=whole.checkpoint.model_copy(update={"backbone": HOSTILE, "backbone_licence": HOSTILE}),
        lineage=whole.lineage.model_copy(
            update={"code": whole.lineage.code.model_copy(update={"branch": HOSTILE, "dirty_files": (HOSTILE,)})}
        ),
        clips_path=folder / "clips.parquet",
    )


def test_hostile_names_stay_text_in_their_cells(whole: card.CardInputs, tmp_path: Path) -> None:
    text = card.render(hostile(whole, tmp_path), NO_FILE)
    shown = "a|b `c` *d* <script>alert(1)</script> [e](javascript:f) # g \\| &amp; _h_ [31m"
    for first in ("Class", "x|y", "Rule"):
        assert table(text, first)[1][0] == shown
    for rows in tables(text):
        assert {len(row) for row in rows} == {len(rows[0])}
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    assert "<script" not in html and "<img" not in html and 'javascript:f"' not in html
    assert not re.findall("[\x00-\x08\x0b-\x1f\u202e]", text)
    assert [name for name in headings(text) if name.startswith("By ")] == [
        "By x\\|y",
        "By recording condition",
        "By class",
    ]
    assert "Big" not in " ".join(headings(text))


def test_a_label_is_cut_and_not_its_neighbours() -> None:
    assert markdown.inline("x" * 200) == "x" * 119 + "…"
    assert markdown.inline("- item") == "\\- item"
    assert markdown.inline("-0.5 snake_case __init__") == "-0.5 snake_case \\_\\_init\\_\\_"


def thousands(folder: Path, whole: card.CardInputs) -> card.CardInputs:
    """A thousand classes and a thousand speakers with long names."""
    labels = tuple(f"class {n} " + "of a long name " * 5 for n in range(1000))
    rng = np.random.default_rng(0)
    row = {"recall": 0.5, "precision": 0.5, "f1": 0.5, "accuracy": 0.5, "macro_f1": 0.5, "support": 12.0}
    speakers = {f"speaker {n} " + "of a long name " * 5: row for n in range(1000)}
    rule = whole.verdict.rules[0].model_copy(update={"reason": "because of it " * 200})
    rows = {"label": rng.choice(labels, 5000), "group_speaker": rng.choice(list(speakers), 5000), "split": "train"}
    pd.DataFrame(rows).to_parquet(folder / "clips.parquet")
    models = ("candidate", "baseline", "champion")
    return replace(
        whole,
        evaluation=whole.evaluation.model_copy(
            update={
                "labels": labels,
                "per_class": {model: dict.fromkeys(labels, row) for model in models},
                "per_group": {model: {f"speaker{n}": speakers for n in range(30)} for model in models},
                "gaps": {},
                "probabilities_path": folder / "none.parquet",
            }
        ),
        verdict=whole.verdict.model_copy(update={"rules": (rule,) * 80}),
        clips_path=folder / "clips.parquet",
    )


def test_thousands_of_classes_and_speakers_stay_a_card(whole: card.CardInputs, tmp_path: Path) -> None:
    text = card.render(thousands(tmp_path, whole), NO_FILE)
    assert len(text) < card.LONGEST_CHARACTERS
    assert "The weakest 25 are shown; 975 more do better." in text
    assert len(table(text, "speaker0")) == 1 + MOST_ROWS
    assert "and 980 more." in text


def test_the_description_is_cut_between_sections(text: str) -> None:
    cut = card.description(text, "r" * 32)
    assert len(text) > card.DESCRIPTION_CHARACTERS >= len(cut) > 2000
    body, _, note = cut.strip().rpartition("\n\n")
    assert note == f"*The rest is in the run's artifact card/model-card.md (run {'r' * 32}).*"
    assert text.startswith(body)
    assert text[len(body) :].lstrip("\n").startswith("## ")
    assert {"Use and limits", "How well it does", "Calibration", "Latency", "Data", "Lineage"} <= set(headings(cut))


def test_a_short_card_is_its_own_description_and_one_without_sections_is_cut_at_a_line() -> None:
    assert card.description("# Card\n\nShort.\n", "r") == "# Card\n\nShort.\n"
    cut = card.description("# Card\n" + "a line of twenty-odd.\n" * 400, "r")
    assert len(cut) <= card.DESCRIPTION_CHARACTERS
    assert cut.splitlines()[-3] == "a line of twenty-odd."


def test_a_long_section_is_cut_at_a_line_rather_than_lost() -> None:
    cut = card.description("# Card\n\n## Use\n\n" + "a line of twenty-odd.\n" * 400 + "\n## Scores\n\nGood.\n", "r")
    assert card.DESCRIPTION_CHARACTERS >= len(cut) > 4500
    assert "Scores" not in cut


def test_the_packaged_template_passes_and_stands_in_for_a_missing_one(project_root: Path) -> None:
    card.check_template(project_root / "mlflow" / "model-card.md.j2")
    card.check_template(NO_FILE)


@pytest.mark.parametrize(
    ("source", "line", "problem"),
    [
        ("# {{ name }}\n\n{{ nonsense }}", 3, "'nonsense' is undefined"),
        ("one\n{% if name %}\n", 2, "Unexpected end of template"),
        ("\n\n\n{{ name | nofilter }}", 4, "No filter named 'nofilter'"),
        ("{{ lineage.dataset.md6 }}", 1, "has no attribute 'md6'"),
        ("a\n{{ 1 / 0 }}", 2, "division by zero"),
        ("a\n{{ ''.__class__.__mro__ }}", 2, "unsafe"),
        ("{% include 'other' %}", 1, "no loader"),
        ("{% macro m() %}\n{{ gone }}\n{% endmacro %}\n{{ m() }}", 2, "'gone' is undefined"),
        ("{% if champion is none %}\n{{ only_without_champion }}{% endif %}", 2, "'only_without_champion'"),
        ("{% if data.rare %}\n{{ only_with_rare }}{% endif %}", 2, "'only_with_rare'"),
    ],
)
def test_a_mistake_is_told_with_file_and_line(tmp_path: Path, source: str, line: int, problem: str) -> None:
    template = tmp_path / "model-card.md.j2"
    template.write_text(source)
    with pytest.raises(
        SettingsError, match=re.escape(f"{template}, line {line}: the model card cannot be made: ")
    ) as told:
        card.check_template(template)
    assert problem in str(told.value)


def test_a_template_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "latin.j2").write_bytes(b"caf\xe9")
    with pytest.raises(SettingsError, match=r"latin\.j2 is not UTF-8 text"):
        card.check_template(tmp_path / "latin.j2")
    with pytest.raises(SettingsError, match=r"cannot be read \(Is a directory\)"):
        card.check_template(tmp_path)


def test_a_workspaces_own_template_is_used(whole: card.CardInputs, tmp_path: Path) -> None:
    (tmp_path / "own.j2").write_text("{{ name }}: {{ models[0].metrics.macro_f1 | figure }}\n")
    score = whole.evaluation.metrics["candidate"]["macro_f1"]
    assert card.render(whole, tmp_path / "own.j2") == f"digits: {score:.3f}\n"


def test_a_template_that_fails_on_this_run_costs_no_training(
    whole: card.CardInputs, text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = tmp_path / "own.j2"
    own.write_text("{% if name == 'digits' %}{{ gone }}{% endif %}")
    card.check_template(own)
    with caplog.at_level(logging.WARNING):
        assert card.render(whole, own) == text
    assert "own.j2, line 1" in caplog.text and "The packaged template is used instead." in caplog.text


def test_a_template_sees_values_and_no_objects(whole: card.CardInputs) -> None:
    def leaves(value: Any) -> list[Any]:
        if isinstance(value, dict):
            return [leaf for item in value.values() for leaf in leaves(item)]
        return [leaf for item in value for leaf in leaves(item)] if isinstance(value, list) else [value]

    values = contents(whole, pd.read_parquet(whole.clips_path))
    kinds = {type(leaf).__name__ for leaf in leaves(values)}
    assert kinds <= {"str", "int", "float", "bool", "NoneType", "datetime"}


def test_the_template_documents_every_variable(whole: card.CardInputs) -> None:
    comment = template_text("mlflow/model-card.md.j2").partition("#}")[0]
    assert set(contents(whole, None)) <= set(re.findall(r"\w+", comment))


def test_slices_and_noise_have_their_tables(text: str, whole: card.CardInputs) -> None:
    assert isinstance(whole.evaluation, Evaluation)
    (noise,) = [rows for rows in tables(text) if "0 dB" in rows[0]]
    assert [row[0] for row in noise] == ["Model", "Candidate", "From scratch", "Champion"]
    assert ("By recording condition" in headings(text)) == bool(whole.evaluation.per_slice)
