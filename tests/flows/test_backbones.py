"""`tenuto backbones` in terminals of two widths and a workspace with a hand-made manifest."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from rich.console import Console
from typer.testing import CliRunner

from flows import backbones as flow
from flows import cli, commands, terminal
from tenuto import scaffold
from tenuto.dataset import manifest
from tenuto.workspace import Workspace
from tests.dataset.test_manifest import clips as rows

IDS = ("speech-embedding", "MIT/ast-finetuned-audioset-10-10-0.4593", "microsoft/wavlm-base-plus")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    scaffold.create(tmp_path / "w", "digits")
    with contextlib.chdir(tmp_path / "w"):
        yield Workspace(tmp_path / "w")


def run(*arguments: str, width: int = 80, code: int = 0) -> str:
    """What `tenuto backbones ARGUMENTS` printed on a terminal of so many columns."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(terminal, "out", Console(soft_wrap=True, width=width))
        result = CliRunner().invoke(cli.app, ["backbones", *arguments])
    assert result.exit_code == code, result.output
    return result.output


def printed(*arguments: str) -> dict[str, Any]:
    return json.loads(run(*arguments, "--json"))


@pytest.mark.parametrize("width", [60, 100, 200])
def test_the_list_shows_every_id_whole_in_terminals_of_any_width(workspace: Workspace, width: int) -> None:
    text = run(width=width)
    for name in IDS:
        assert name in text
    assert "CC-BY-NC-4.0" in text and "forbidden" in text and "wants the hub" in text
    assert max(len(line) for line in text.splitlines()) <= max(width, 80)


def test_a_wide_terminal_gets_one_line_per_backbone(workspace: Workspace) -> None:
    lines = run(width=200).splitlines()
    (line,) = [line for line in lines if "openai/whisper-tiny" in line]
    assert "up to 30 s" in line and "8.2" in line and "Apache-2.0" in line


def test_the_list_works_outside_of_a_workspace(tmp_path: Path) -> None:
    with contextlib.chdir(tmp_path):
        assert len(printed()["backbones"]) == 14


def test_show_says_everything_of_one(workspace: Workspace) -> None:
    text = run("show", "openai/whisper-tiny")
    for what in (
        "8,208,384 parameters in 4 layers",
        "up to 30 s",
        "169d4a4341b33bc18d8881c4b69c2e104e1cc0af",
        "Radford",
    ):
        assert what in text
    assert printed("show", "m-a-p/MERT-v1-95M")["commercial_use"] == "forbidden"
    assert "did you mean 'openai/whisper-tiny'?" in run("show", "whisper", code=1)


def test_recommend_reads_the_present_dataset_and_says_what_it_assumed(workspace: Workspace) -> None:
    assert "tenuto data add" in run("recommend", code=1)
    manifest.write(manifests(40), workspace.manifest)
    found = printed("recommend")
    assert found["dataset"]["clips"] == 40 and "no --domain" in found["assumed"]
    text = run("recommend", "--domain", "speech", "--size-mb", "50")
    assert text.index("1. speech-embedding") < text.index("not facebook/wav2vec2-base: 377 MB, and 50 MB are allowed")
    assert "assumed" not in text


def test_recommend_obeys_the_promotion_policy(workspace: Workspace) -> None:
    manifest.write(manifests(40), workspace.manifest)
    text = workspace.promotion.read_text()
    workspace.promotion.write_text(text.replace("licences: any", "licences: commercial"))
    found = {place["id"]: place for place in printed("recommend", "--domain", "music")["backbones"]}
    assert "its licence CC-BY-NC-4.0 forbids commercial use" in found["m-a-p/MERT-v1-95M"]["excluded"]


def test_what_was_measured_is_shown_on_this_machine_only(workspace: Workspace) -> None:
    measured = printed("measure", "speech-embedding")
    assert 0.1 < measured["speeds"]["speech-embedding"]["p50_ms"] < 1000
    by_id = {record["id"]: record["latency_ms"] for record in printed()["backbones"]}
    assert by_id["speech-embedding"] == measured["speeds"]["speech-embedding"]["p50_ms"]
    assert by_id["openai/whisper-tiny"] is None
    stored = json.loads(workspace.speeds.read_text())
    stored["speech-embedding"]["machine"] = "another"
    workspace.speeds.write_text(json.dumps(stored))
    assert flow.speeds(workspace) == {}
    workspace.speeds.write_text("[damaged")
    assert flow.speeds(workspace) == {}


def test_what_cannot_be_loaded_is_said_when_it_is_to_be_measured(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenuto.learning.backbones.AutoConfig.from_pretrained", absent)
    assert "not measured ntu-spml/distilhubert: backbone 'ntu-spml/distilhubert'" in run(
        "measure", "ntu-spml/distilhubert", code=1
    )


@pytest.mark.parametrize(("card", "words"), [("cc-by-nc-4.0", "cc-by-nc-4.0 forbids commercial use"), ("", "unknown")])
def test_a_licence_that_does_not_allow_commercial_use_is_said_before_training_starts(
    workspace: Workspace, card: str, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "err", Console(stderr=True, soft_wrap=True, width=80))
    checkpoint = workspace.root / "mine"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text('{"model_type": "hubert", "num_hidden_layers": 2}')
    (checkpoint / "model.safetensors").touch()
    if card:
        (checkpoint / "README.md").write_text(f"---\nlicense: {card}\n---\n")
    with mock.patch.dict(os.environ):
        commands.prepare(["backbone=mine"])
        assert capsys.readouterr().err == ""
        commands.prepare(["backbone=mine"], trains=True)
        said = capsys.readouterr().err
        assert said.startswith("warning backbone 'mine': its licence") and words in said
        commands.prepare(trains=True)
        assert capsys.readouterr().err == ""


def absent(*_: object, **__: object) -> None:
    raise OSError("couldn't connect")


def manifests(clips: int) -> Any:
    """So many clips of two classes."""
    frame = rows(*(f"{number:032x}" for number in range(clips)))
    frame["label"] = ["one", "two"] * (clips // 2)
    return frame
