from pathlib import Path

import numpy as np
import pytest

from tenuto.errors import BackboneError
from tenuto.learning import backbones
from tenuto.learning.preprocessing import FILE_NAME, Preprocessing
from tenuto.sound import audio
from tests.chirps import chirp, tiny_checkpoint


def of(name: str, max_clip_seconds: float = 10.0) -> Preprocessing:
    backbone = backbones.resolve(name)
    return Preprocessing.of(backbone.feature_extractor, backbone.config, max_clip_seconds)


@pytest.fixture(scope="module")
def embedded() -> Preprocessing:
    return of("speech-embedding")


@pytest.mark.parametrize(
    ("samples", "length"),
    [
        (1, 20_480),  # the shortest: 1.28 s
        (20_480, 20_480),
        (20_481, 24_355),  # 1.28 s x 2^(1/4)
        (40_960, 40_960),  # one octave up
        (160_000, 160_000),
        (500_000, 160_000),  # cut to 10 s
    ],
)
def test_lengths_are_four_per_octave(samples: int, length: int, embedded: Preprocessing) -> None:
    assert embedded.length(samples) == length


def test_short_clips_lie_in_the_middle_of_silence(embedded: Preprocessing) -> None:
    fitted = embedded.fit(np.ones(3, np.float32), 8)
    assert fitted.tolist() == [0, 0, 1, 1, 1, 0, 0, 0]


def test_long_clips_keep_their_middle(embedded: Preprocessing) -> None:
    assert embedded.fit(np.arange(9, dtype=np.float32), 4).tolist() == [2, 3, 4, 5]


def test_batches_hold_every_clip_once_and_one_length_each(embedded: Preprocessing) -> None:
    rng = np.random.default_rng(0)
    waves = [np.full(rng.integers(1, 60_000), index, np.float32) for index in range(50)]
    seen: list[int] = []
    for positions, features in embedded.batches(iter(waves), batch_size=4):
        assert len(positions) <= 4
        assert {embedded.length(len(waves[position])) for position in positions} == {features.shape[1]}
        assert [float(row.max()) for row in features] == positions
        seen += positions
    assert sorted(seen) == list(range(50))


def test_reads_recordings_as_audio_does(embedded: Preprocessing, tmp_path: Path) -> None:
    (tmp_path / "clip.wav").write_bytes(audio.encode_wav(chirp("up", np.random.default_rng(0)), 16_000))
    np.testing.assert_array_equal(
        embedded.read(tmp_path / "clip.wav"), audio.load_waveform(tmp_path / "clip.wav", 16_000)
    )


@pytest.mark.parametrize(("family", "seconds"), [("ast", 0.96), ("whisper", 1.0)])
def test_extractors_with_a_window_pad_by_themselves(family: str, seconds: float, tmp_path: Path) -> None:
    preprocessing = of(str(tiny_checkpoint(family, tmp_path)))
    assert preprocessing.pads_itself
    assert preprocessing.max_seconds == seconds
    waves = [np.ones(count, np.float32) for count in (100, 8_000, 50_000)]
    assert len({tuple(features.shape[1:]) for _, features in preprocessing.batches(waves, 1)}) == 1


def test_saving_and_loading_gives_the_same(embedded: Preprocessing, tmp_path: Path) -> None:
    embedded.save(tmp_path)
    again = Preprocessing.load(tmp_path)
    assert again.sha256 == embedded.sha256
    assert again.sample_rate_hz == 16_000


def test_another_clip_length_is_another_preprocessing(embedded: Preprocessing) -> None:
    assert of("speech-embedding", 5.0).sha256 != embedded.sha256


def test_a_folder_without_preprocessing_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="holds no whole Tenuto checkpoint"):
        Preprocessing.load(tmp_path)


def test_another_version_is_refused(embedded: Preprocessing, tmp_path: Path) -> None:
    embedded.save(tmp_path)
    choices = tmp_path / FILE_NAME
    choices.write_text(choices.read_text().replace('"version": 1', '"version": 99'))
    with pytest.raises(BackboneError, match="another version of Tenuto"):
        Preprocessing.load(tmp_path)
