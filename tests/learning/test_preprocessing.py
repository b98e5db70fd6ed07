import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

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
    assert embedded.framing.length(samples) == length


def test_short_clips_lie_in_the_middle_of_silence(embedded: Preprocessing) -> None:
    fitted = embedded.framing.fit(np.ones(3, np.float32), 8)
    assert fitted.tolist() == [0, 0, 1, 1, 1, 0, 0, 0]


def test_long_clips_keep_their_middle(embedded: Preprocessing) -> None:
    assert embedded.framing.fit(np.arange(9, dtype=np.float32), 4).tolist() == [2, 3, 4, 5]


def test_batches_hold_every_clip_once_and_one_length_each(embedded: Preprocessing) -> None:
    rng = np.random.default_rng(0)
    waves = [np.full(rng.integers(1, 60_000), index, np.float32) for index in range(50)]
    seen: list[int] = []
    for positions, features in embedded.batches(iter(waves), batch_size=4):
        values = features["input_values"]
        assert len(positions) <= 4
        assert {embedded.framing.length(len(waves[position])) for position in positions} == {values.shape[1]}
        assert [float(row.max()) for row in values] == positions
        seen += positions
    assert sorted(seen) == list(range(50))


def test_reads_recordings_as_audio_does(embedded: Preprocessing, tmp_path: Path) -> None:
    (tmp_path / "clip.wav").write_bytes(audio.encode_wav(chirp("up", np.random.default_rng(0)), 16_000))
    np.testing.assert_array_equal(
        embedded.read(tmp_path / "clip.wav"), audio.load_waveform(tmp_path / "clip.wav", 16_000)
    )


@pytest.mark.parametrize(("family", "seconds"), [("ast", 0.96), ("whisper", 1.0), ("clap", 1.0)])
def test_extractors_with_a_window_pad_by_themselves(family: str, seconds: float, tmp_path: Path) -> None:
    preprocessing = of(str(tiny_checkpoint(family, tmp_path)))
    assert preprocessing.framing.pads_itself
    assert preprocessing.framing.max_seconds == seconds
    waves = [np.ones(count, np.float32) for count in (100, 8_000, 50_000)]
    shapes = {tuple(features[preprocessing.main_input].shape[1:]) for _, features in preprocessing.batches(waves, 1)}
    assert len(shapes) == 1


def test_saving_and_loading_gives_the_same(embedded: Preprocessing, tmp_path: Path) -> None:
    embedded.save(tmp_path)
    again = Preprocessing.load(tmp_path)
    assert again.sha256 == embedded.sha256
    assert again.sample_rate_hz == 16_000


def test_another_clip_length_is_another_preprocessing(embedded: Preprocessing) -> None:
    assert of("speech-embedding", 5.0).sha256 != embedded.sha256


def heard_after(silence: int, folder: Path, family: str, masks: bool | None = None) -> torch.Tensor:
    """Logits of 0.6 s with so many samples of silence after it, as a clip that shares its batch with a longer one."""
    backbone = backbones.resolve(str(tiny_checkpoint(family, folder, layers=2)))
    preprocessing = Preprocessing.of(backbone.feature_extractor, backbone.config, 10.0)
    if masks is not None:
        preprocessing = replace(preprocessing, framing=replace(preprocessing.framing, masks=masks))
    wave = chirp("up", np.random.default_rng(0), 0.6)
    model = backbone.pretrained(("down", "up"), seed=0)
    backbones.head(model).weight.data *= 50
    with torch.no_grad():
        scores: torch.Tensor = model(**preprocessing._masked([wave], len(wave) + silence)).logits
    return scores


def test_a_masked_clip_is_heard_the_same_whatever_silence_comes_after_it(tmp_path: Path) -> None:
    short, long = (heard_after(silence, tmp_path, "wav2vec2-stable") for silence in (100, 9_000))
    torch.testing.assert_close(short, long, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", ["wav2vec2", "hubert"])
def test_a_group_norm_hears_silence_that_a_mask_hides(family: str, tmp_path: Path) -> None:
    """Why these get no mask: their first layer divides by the loudness over all of time, before any mask counts."""
    short, long = (heard_after(silence, tmp_path, family, masks=True) for silence in (100, 9_000))
    assert (short - long).abs().max() > 1e-3
    assert not of(str(tmp_path)).framing.masks


def test_a_mask_covers_the_silence_at_the_end(tmp_path: Path) -> None:
    preprocessing = of(str(tiny_checkpoint("wav2vec2-stable", tmp_path)))
    assert preprocessing.framing.masks
    waves = [np.ones(9_000, np.float32), np.ones(10, np.float32), np.ones(9_513, np.float32)]
    batches = {tuple(positions): features for positions, features in preprocessing.batches(waves, 4)}
    assert batches[0, 2]["attention_mask"].sum(dim=1).tolist() == [9_000, 9_513]
    assert batches[0, 2]["input_values"].shape == (2, 9_514)  # half a second, a quarter of an octave longer
    assert not batches[0, 2]["input_values"][0, 9_000:].any()
    assert batches[(1,)]["attention_mask"].sum() == 8_000  # half a second is heard in any case


def test_a_mask_is_saved_and_loaded(tmp_path: Path) -> None:
    preprocessing = of(str(tiny_checkpoint("wav2vec2-stable", tmp_path / "backbone")))
    (tmp_path / "checkpoint").mkdir()
    preprocessing.save(tmp_path / "checkpoint")
    again = Preprocessing.load(tmp_path / "checkpoint")
    assert again.framing.masks
    assert again.sha256 == preprocessing.sha256


def test_what_an_older_tenuto_wrote_is_read_and_known_by_the_same_hash(embedded: Preprocessing, tmp_path: Path) -> None:
    embedded.feature_extractor.save_pretrained(tmp_path)
    written = {"max_seconds": 10.0, "min_seconds": 1.28, "pads_itself": False, "version": 1}
    (tmp_path / FILE_NAME).write_text(json.dumps(written))
    again = Preprocessing.load(tmp_path)
    assert again.sha256 == embedded.sha256
    again.save(tmp_path)
    assert json.loads((tmp_path / FILE_NAME).read_text()) == written


def windowed(seconds: float = 1.0, overlap: float = 0.5, **choices: float) -> Preprocessing:
    backbone = backbones.resolve("log-mel-cnn")
    most = choices.get("max_clip_seconds", 600.0)
    return Preprocessing.of(
        backbone.feature_extractor, backbone.config, most, window_seconds=seconds, window_overlap=overlap
    )


@pytest.mark.parametrize(
    ("samples", "overlap", "starts"),
    [
        (16_000, 0.5, (0,)),
        (16_001, 0.5, (0, 1)),
        (24_000, 0.5, (0, 8_000)),
        (40_000, 0.5, (0, 8_000, 16_000, 24_000)),
        (41_000, 0.5, (0, 8_000, 16_000, 24_000, 25_000)),
        (40_000, 0.0, (0, 16_000, 24_000)),
    ],
)
def test_windows_cover_a_clip_up_to_its_end(samples: int, overlap: float, starts: tuple[int, ...]) -> None:
    assert windowed(overlap=overlap).framing.windows(samples) == starts


def test_windows_of_a_clip_hold_its_samples_and_no_others() -> None:
    """What is split are clips: a window never reaches into another one, whatever shares its batch."""
    rng = np.random.default_rng(0)
    waves = [rng.normal(size=size).astype(np.float32) for size in (41_000, 40_100, 9_000, 24_000)]
    heard: dict[int, torch.Tensor] = {}
    for positions, features in windowed().batches(waves, 32):
        heard |= dict(zip(positions, features["input_values"], strict=True))
    for position, starts in enumerate([(0, 8_000, 16_000, 24_000, 25_000), (0, 8_000, 16_000, 24_000, 24_100)]):
        expected = np.stack([waves[position][start : start + 16_000] for start in starts])
        np.testing.assert_array_equal(heard[position], expected)
    assert heard[2].shape == (1, 9_514)  # shorter than a window: padded as without
    assert heard[3].shape == (2, 16_000)


def test_a_long_clip_is_cut_before_it_is_heard_through_windows() -> None:
    assert windowed(max_clip_seconds=3.0).features([np.ones(80_000, np.float32)])["input_values"].shape == (
        1,
        5,
        16_000,
    )


def test_clips_that_augmentation_made_longer_still_share_a_batch() -> None:
    waves = [np.ones(size, np.float32) for size in (24_000, 33_000, 15_000)]
    assert windowed().features(waves)["input_values"].shape == (3, 4, 16_000)


def test_ten_minutes_are_few_windows_in_training_and_a_batch_of_their_own() -> None:
    ten_minutes = np.zeros(600 * 16_000, np.float32)
    preprocessing = windowed(seconds=10.0)
    batches = list(preprocessing.batches([ten_minutes, ten_minutes], 32))
    assert [features["input_values"].shape for _, features in batches] == [(1, 119, 160_000)] * 2
    assert preprocessing.features([ten_minutes], most_windows=16)["input_values"].shape == (1, 16, 160_000)


def test_windows_keep_the_mask_of_short_clips(tmp_path: Path) -> None:
    backbone = backbones.resolve(str(tiny_checkpoint("wav2vec2-stable", tmp_path)))
    preprocessing = Preprocessing.of(backbone.feature_extractor, backbone.config, 10.0, window_seconds=1.0)
    assert preprocessing.features([np.ones(9_000, np.float32)])["attention_mask"].sum(dim=2).tolist() == [[9_000]]
    assert preprocessing.features([np.ones(20_000, np.float32)])["attention_mask"].sum(dim=2).tolist() == [[16_000] * 2]


def test_extractors_with_a_window_hear_long_clips_through_shorter_ones(tmp_path: Path) -> None:
    backbone = backbones.resolve(str(tiny_checkpoint("ast", tmp_path)))
    preprocessing = Preprocessing.of(backbone.feature_extractor, backbone.config, 10.0, window_seconds=0.96)
    assert preprocessing.features([np.ones(32_000, np.float32)])["input_values"].shape == (1, 4, 96, 32)
    with pytest.raises(BackboneError, match=r"model.window_seconds: 2: this backbone hears windows from 0.5 s to 0.96"):
        Preprocessing.of(backbone.feature_extractor, backbone.config, 10.0, window_seconds=2.0)


def test_windows_are_saved_and_loaded(tmp_path: Path) -> None:
    backbone = backbones.resolve("speech-embedding")
    preprocessing = Preprocessing.of(backbone.feature_extractor, backbone.config, 60.0, window_seconds=2.0)
    preprocessing.save(tmp_path)
    again = Preprocessing.load(tmp_path)
    assert (again.framing.window_seconds, again.framing.window_overlap, again.framing.max_seconds) == (2.0, 0.5, 60.0)
    assert again.sha256 == preprocessing.sha256 != of("speech-embedding", 60.0).sha256


def test_a_folder_without_preprocessing_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="holds no whole Tenuto checkpoint"):
        Preprocessing.load(tmp_path)


def test_another_version_is_refused(embedded: Preprocessing, tmp_path: Path) -> None:
    embedded.save(tmp_path)
    choices = tmp_path / FILE_NAME
    choices.write_text(choices.read_text().replace('"version": 1', '"version": 99'))
    with pytest.raises(BackboneError, match="another version of Tenuto"):
        Preprocessing.load(tmp_path)
