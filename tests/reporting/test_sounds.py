from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib.image import imread

from tenuto.errors import ClipError
from tenuto.reporting import sounds
from tests.reporting.sample import tone, write_clip


def decoded(sound: sounds.Sound) -> tuple[np.ndarray, int]:
    kind, data = sound.address.split(",")
    assert kind == "data:audio/flac;base64"
    return soundfile.read(io.BytesIO(base64.b64decode(data)), dtype="float32")


def test_a_short_clip_is_played_as_it_is() -> None:
    wave = tone(440)
    sound = sounds.sound(wave, 8000)
    samples, rate_hz = decoded(sound)
    assert (rate_hz, sound.seconds, sound.is_cut) == (8000, 0.5, False)
    np.testing.assert_allclose(samples, wave, atol=2**-15)


def test_a_long_clip_is_cut_and_says_how_long_it_was() -> None:
    sound = sounds.sound(np.zeros(8000 * 12, np.float32), 8000)
    assert (len(decoded(sound)[0]), sound.seconds, sound.is_cut) == (5 * 8000, 12.0, True)


def test_a_fast_clip_is_resampled() -> None:
    samples, rate_hz = decoded(sounds.sound(tone(440, 1.0, 48_000), 48_000))
    assert rate_hz == 24_000
    assert len(samples) == pytest.approx(24_000, abs=2)


def test_a_peak_past_full_scale_is_clipped_not_wrapped() -> None:
    samples, _ = decoded(sounds.sound(np.array([0, 1.5, -1.5] * 100, np.float32), 8000))
    assert samples.max() > 0.99
    assert samples.min() < -0.99
    assert np.sign(samples[1]) == 1


def test_a_file_with_two_channels_is_played_as_one(tmp_path: Path) -> None:
    stereo = np.stack([tone(440), tone(440)], axis=1)
    soundfile.write(tmp_path / "two.wav", stereo, 8000)
    samples, _ = decoded(sounds.clip(tmp_path / "two.wav"))
    np.testing.assert_allclose(samples, tone(440), atol=2**-14)


def test_a_broken_file_raises(tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    with pytest.raises(ClipError):
        sounds.clip(tmp_path / "broken.wav")


def brightness(png: bytes) -> np.ndarray:
    return imread(io.BytesIO(png), format="png")[..., :3].sum(axis=-1)


def test_a_tone_is_one_bright_line_at_its_frequency() -> None:
    picture = brightness(sounds.spectrogram_png(tone(1000, 1.0), 8000, top_db=40.0))
    rows = len(picture)  # from 4,000 Hz at the top to 0 at the bottom
    brightest = int(picture[:, 100].argmax())
    assert brightest == pytest.approx(rows * (1 - 1000 / 4000), abs=1.5)


def test_what_lies_beyond_the_end_is_silent() -> None:
    picture = brightness(sounds.spectrogram_png(tone(1000, 0.5), 8000, top_db=40.0))
    assert picture[:, 60].max() > 1.5
    assert picture[:, 150].max() < 0.1


@pytest.mark.parametrize("length", [0, 1, 100])
def test_the_shortest_waves_have_a_picture(length: int) -> None:
    assert brightness(sounds.spectrogram_png(np.zeros(length, np.float32), length, top_db=0.0)).ndim == 2


def test_an_example_has_both_pictures_on_one_scale(tmp_path: Path) -> None:
    example = sounds.AugmentedExample("seven", "a.wav", "softer", tone(1000), tone(1000) * 0.01, 8000)
    picture = sounds.picture(example)
    loud, soft = (brightness(base64.b64decode(address.split(",")[1])).max() for _, address, _ in picture.panels)
    assert loud > soft + 0.5
    assert picture.top_khz == 4.0
    assert [caption for caption, _, _ in picture.panels] == ["Original", "Augmented"]


def test_written_clips_can_be_heard(tmp_path: Path) -> None:
    assert sounds.clip(write_clip(tmp_path / "a.flac", 440)).seconds == 0.5
