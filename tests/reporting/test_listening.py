from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tenuto.records import Evaluation
from tenuto.reporting import listening
from tests.reporting.sample import write_clip

CASES = {
    # clip: label, candidate's answer and probability, opponent's
    "lost-sure": ("a", ("b", 0.9), ("a", 0.9)),
    "lost-unsure": ("a", ("b", 0.6), ("a", 0.6)),
    "won": ("b", ("b", 0.7), ("a", 0.6)),
    "both-wrong": ("c", ("b", 0.7), ("a", 0.6)),
    "in-doubt": ("c", ("a", 0.7), ("a", 0.6)),
    "agreed": ("a", ("a", 0.9), ("a", 0.9)),
}


def answer(clip: str, label: str, model: str, predicted: str, probability: float) -> dict[str, Any]:
    rest = (1 - probability) / 2
    row: dict[str, Any] = {"clip_id": clip, "label": label, "group_speaker": "ann", "group_site": None}
    return {
        **row,
        "model": model,
        "predicted": predicted,
        **{f"p_{c}": rest for c in "abc"},
        f"p_{predicted}": probability,
    }


def evaluation(folder: Path, opponents: tuple[str, ...] = ("champion", "baseline")) -> Evaluation:
    rows = [answer(clip, label, "candidate", *ours) for clip, (label, ours, _) in CASES.items()]
    rows += [answer(clip, label, o, *theirs) for o in opponents for clip, (label, _, theirs) in CASES.items()]
    path = folder / "probabilities.parquet"
    pd.DataFrame(rows).to_parquet(path)
    empty: dict[str, Any] = {"metrics": {}, "per_class": {}, "per_group": {}, "gaps": {}, "confusion": {}}
    return Evaluation(probabilities_path=path, labels=("a", "b", "c"), **empty)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for clip in CASES:
        write_clip(tmp_path / "data" / f"{clip}.flac", 440, seconds=0.1)
    return tmp_path / "data"


@pytest.fixture
def clips() -> pd.DataFrame:
    return pd.DataFrame([{"clip_id": c, "path": f"{c}.flac", "source": f"in/{c}.wav"} for c in CASES])


def heard(evaluation: Evaluation, *more: Any) -> listening.Listening:
    result = listening.worth_hearing(evaluation, *(more or (None, None)))
    assert result is not None
    return result


def test_each_clip_is_of_the_right_kind_and_losses_come_first_the_surest_first(tmp_path: Path) -> None:
    result = heard(evaluation(tmp_path))
    assert [(one.clip_id, one.kind) for one in result.clips] == [
        ("lost-sure", "lost"),
        ("lost-unsure", "lost"),
        ("won", "won"),
        ("both-wrong", "both wrong"),
        ("in-doubt", "label in doubt"),
    ]
    assert result.totals == {"lost": 2, "won": 1, "both wrong": 1, "label in doubt": 1}
    assert result.by_kind[0][0] == "lost"
    first = result.clips[0]
    assert (first.candidate, first.candidate_probability, first.opponent_probability) == ("b", 0.9, 0.9)
    assert first.groups == ["speaker ann"]


def test_the_opponent_is_the_champion_or_else_the_baseline_or_else_nobody(tmp_path: Path) -> None:
    assert heard(evaluation(tmp_path)).opponent == "champion"
    assert heard(evaluation(tmp_path, ("majority", "baseline"))).opponent == "baseline"
    assert listening.worth_hearing(evaluation(tmp_path, ("majority",)), None, None) is None
    assert listening.worth_hearing(None, None, None) is None


def test_players_come_with_the_sources_name(tmp_path: Path, data: Path, clips: pd.DataFrame) -> None:
    result = heard(evaluation(tmp_path), clips, data)
    assert all(one.sound and one.sound.address.startswith("data:audio/flac;base64,") for one in result.clips)
    assert result.clips[0].source == "in/lost-sure.wav"
    assert result.without_player == 0


def test_an_unreadable_clip_is_listed_without_a_player(
    tmp_path: Path, data: Path, clips: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    (data / "lost-sure.flac").write_bytes(b"no sound")
    (data / "won.flac").unlink()
    with caplog.at_level(logging.WARNING):
        result = heard(evaluation(tmp_path), clips, data)
    assert [one.clip_id for one in result.clips if one.sound is None] == ["lost-sure", "won"]
    assert "lost-sure.flac" in caplog.text


def test_sound_ends_where_the_page_is_full(
    tmp_path: Path, data: Path, clips: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = heard(evaluation(tmp_path), clips, data)
    assert whole.clips[0].sound is not None
    monkeypatch.setattr(listening, "MOST_SOUND_BYTES", 2 * len(whole.clips[0].sound.address))
    result = heard(evaluation(tmp_path), clips, data)
    assert [one.sound is not None for one in result.clips] == [True, True, False, False, False]
    assert result.without_player == 3


def test_only_so_many_of_a_kind_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(listening.MOST_PER_KIND, "lost", 1)
    result = heard(evaluation(tmp_path))
    assert [one.clip_id for one in result.clips if one.kind == "lost"] == ["lost-sure"]
    assert result.totals["lost"] == 2
    assert result.invitation == "Listen to 3 of the 4 clips on which candidate and champion disagree"


@pytest.mark.parametrize(
    ("dropped", "invitation"),
    [
        ((), "Listen to 4 clips on which candidate and champion disagree"),
        (("lost", "won", "both wrong"), "Listen to 1 clip whose label both models contradict"),
        (tuple(listening.MOST_PER_KIND), ""),
    ],
)
def test_the_invitation_counts_what_is_there(tmp_path: Path, dropped: tuple[str, ...], invitation: str) -> None:
    result = heard(evaluation(tmp_path))
    left = [one for one in result.clips if one.kind not in dropped]
    totals = {kind: 0 if kind in dropped else n for kind, n in result.totals.items()}
    assert listening.Listening(result.opponent, totals, left, 0).invitation == invitation
