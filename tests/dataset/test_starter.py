from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from tenuto.dataset import manifest, starter
from tenuto.errors import SourceError
from tenuto.settings import load_params

GROUPS = ["speaker", "accent", "condition"]


@pytest.fixture(scope="module")
def utterances() -> list[starter.Utterance]:
    return starter.plan(np.random.default_rng(0))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("espeakng_loader", reason="needs espeak-ng: pip install 'tenuto[starter]'")
    return starter.make(tmp_path_factory.mktemp("starter") / "set").parent


@pytest.fixture(scope="module")
def committed(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset that data.dvc names, checked out of the remote inside the repository."""
    from dvc.repo import Repo

    folder = tmp_path_factory.mktemp("committed") / "data"
    Repo.get(str(project_root), "data", out=str(folder), remote="starter")
    return folder


def some(**changes: object) -> starter.Utterance:
    values = {
        "accent": "american",
        "variant": "m1",
        "label": "3",
        "take": 0,
        "condition": "clean",
        "words_per_minute": 160,
        "pitch": 50,
        "pitch_range": 50,
        "margin_seconds": 0.0,
        "tilt_db": 0.0,
        "snr_db": 20.0,
        "reverberation_seconds": 0.2,
        "peak_dbfs": -6.0,
        "seed": 1,
    }
    return starter.Utterance(**(values | changes))  # type: ignore[arg-type]


def tone(hz: float, samples: int = 4000) -> np.ndarray:
    return 0.2 * np.sin(2 * np.pi * hz * np.arange(samples) / starter.SAMPLE_RATE_HZ)


def test_plan_is_the_same_for_the_same_seed_and_has_no_path_twice(utterances: list[starter.Utterance]) -> None:
    assert utterances == starter.plan(np.random.default_rng(0))
    assert utterances != starter.plan(np.random.default_rng(1))
    assert len({u.path for u in utterances}) == len(utterances)
    assert 1000 <= len(utterances) <= 1500


def test_every_accent_has_held_out_voices_that_say_every_digit(utterances: list[starter.Utterance]) -> None:
    held_out = {(u.accent, u.label) for u in utterances if u.speaker in starter.HELD_OUT_SPEAKERS}
    assert held_out == {(accent, label) for accent in starter.ACCENTS for label in starter.LABELS}


def test_the_rare_are_rare_in_training_and_common_in_the_held_out_voices(utterances: list[starter.Utterance]) -> None:
    training = [u for u in utterances if u.speaker not in starter.HELD_OUT_SPEAKERS]
    held_out = [u for u in utterances if u.speaker in starter.HELD_OUT_SPEAKERS]
    labels, accents = Counter(u.label for u in training), Counter(u.accent for u in training)
    assert labels[starter.RARE_LABEL] == 10
    assert min(n for label, n in labels.items() if label != starter.RARE_LABEL) >= 80
    assert accents[starter.RARE_ACCENT] == 18
    assert min(n for accent, n in accents.items() if accent != starter.RARE_ACCENT) >= 140
    assert Counter(u.label for u in held_out)[starter.RARE_LABEL] >= 64
    assert Counter(u.accent for u in held_out)[starter.RARE_ACCENT] >= 64


def test_tilted_keeps_the_level_and_bends_the_spectrum() -> None:
    wave = tone(400) + tone(3600)
    bent = starter.tilted(wave, 8.0)
    before, after = np.abs(np.fft.rfft(wave)), np.abs(np.fft.rfft(bent))
    low, high = 400 * 4000 // 8000, 3600 * 4000 // 8000
    change_db = 20 * np.log10((after[high] / after[low]) / (before[high] / before[low]))
    assert change_db == pytest.approx(8.0 * (3600 - 400) / 4000, abs=0.05)  # of 8 dB over 4000 Hz
    assert np.mean(bent**2) == pytest.approx(np.mean(wave**2))


def test_room_starts_with_the_direct_sound_and_decays_by_sixty_decibels() -> None:
    response = starter.room(0.3, np.random.default_rng(0))
    assert len(response) == 2400
    assert response[0] == 1.0
    early, late = np.mean(response[1:240] ** 2), np.mean(response[-240:] ** 2)
    assert 10 * np.log10(early / late) == pytest.approx(54.0, abs=3.0)  # 60 dB over ten such stretches, nine apart


def test_record_sets_the_peak_in_every_condition() -> None:
    for condition in starter.CONDITIONS:
        heard = starter.record(tone(500), some(condition=condition, peak_dbfs=-6.0))
        assert 20 * np.log10(np.abs(heard).max()) == pytest.approx(-6.0)


def test_noise_lies_at_the_drawn_ratio_below_the_speech() -> None:
    wave = tone(500)
    heard = starter.record(wave, some(condition="noise", snr_db=12.0))
    scale = heard @ wave / (wave @ wave)
    noise = heard - scale * wave
    assert 10 * np.log10(np.mean((scale * wave) ** 2) / np.mean(noise**2)) == pytest.approx(12.0, abs=0.3)


def test_room_lengthens_the_word_by_its_reverberation() -> None:
    assert len(starter.record(tone(500), some(condition="room", reverberation_seconds=0.25))) == 4000 + 2000 - 1


def test_make_refuses_a_folder_with_files(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(SourceError, match="is not empty"):
        starter.make(tmp_path)


def test_make_writes_what_was_planned(made: Path) -> None:
    table = pd.read_csv(made / "labels.csv", dtype=str)
    assert list(table.columns) == ["path", "label", *GROUPS]
    assert {str(p.relative_to(made)) for p in made.rglob("*.flac")} == set(table["path"])
    info = soundfile.info(made / table["path"][0])
    assert (info.samplerate, info.channels, info.subtype) == (8000, 1, "PCM_16")


def test_the_projects_params_hold_out_the_sets_speakers(project_root: Path) -> None:
    params = load_params(project_root / "params.yaml")
    assert params.name == "spoken-digits"
    assert params.split.hold_out == {"speaker": starter.HELD_OUT_SPEAKERS}


def test_what_is_made_agrees_with_what_is_committed(made: Path, committed: Path) -> None:
    table = pd.read_csv(made / "labels.csv", dtype=str).set_index("path").sort_index()
    clips = manifest.read(committed / "manifest.parquet").set_index("source").sort_index()
    assert list(clips.index) == list(table.index)
    assert list(clips["label"]) == list(table["label"])
    assert manifest.group_names(clips) == sorted(GROUPS)
    for group in GROUPS:
        assert list(clips[f"group_{group}"]) == list(table[group])
    for source, path in clips["path"].items():
        again, _ = soundfile.read(made / str(source))
        kept, _ = soundfile.read(committed / path)
        assert len(again) == len(kept), source
        np.testing.assert_allclose(again, kept, atol=1e-3, err_msg=str(source))


def test_the_committed_set_is_small(project_root: Path) -> None:
    size = sum(p.stat().st_size for p in (project_root / ".dvc" / "starter").rglob("*") if p.is_file())
    assert 1e6 < size <= 12e6
