import builtins
from typing import Any

import numpy as np
import pytest

from tenuto.dataset.espeak import Espeak
from tenuto.errors import SourceError


@pytest.fixture
def espeak() -> Espeak:
    pytest.importorskip("espeakng_loader", reason="needs espeak-ng: pip install 'tenuto[starter]'")
    return Espeak()


def say(espeak: Espeak, text: str = "seven", voice: str = "en-us+m1", **how: int) -> np.ndarray:
    settings = {"words_per_minute": 160, "pitch": 50, "pitch_range": 50, "seed": 7} | how
    return espeak.say(text, voice=voice, **settings)


def pitch_hz(wave: np.ndarray, sample_rate_hz: int) -> float:
    """The strongest period between 50 and 400 Hz, by autocorrelation."""
    correlation = np.correlate(wave, wave, "full")[len(wave) - 1 :]
    shortest = sample_rate_hz // 400
    return sample_rate_hz / (shortest + int(np.argmax(correlation[shortest : sample_rate_hz // 50])))


def test_a_word_is_a_half_second_of_sound_within_range(espeak: Espeak) -> None:
    wave = say(espeak)
    assert espeak.sample_rate_hz == 22_050
    assert wave.dtype == np.float32
    assert 0.3 < len(wave) / espeak.sample_rate_hz < 1.0
    assert 0.1 < np.abs(wave).max() <= 1.0


def test_two_synthesisers_that_say_the_same_things_give_the_same_samples(espeak: Espeak) -> None:
    other = Espeak()
    for text in ("seven", "six", "seven"):
        np.testing.assert_array_equal(say(espeak, text), say(other, text))


def test_faster_is_shorter_and_higher_is_higher(espeak: Espeak) -> None:
    assert len(say(espeak, words_per_minute=250)) < 0.8 * len(say(espeak, words_per_minute=120))
    low, high = say(espeak, "nine", pitch=20), say(espeak, "nine", pitch=80)
    assert pitch_hz(high, espeak.sample_rate_hz) > 1.3 * pitch_hz(low, espeak.sample_rate_hz)


def test_an_unknown_voice_is_named(espeak: Espeak) -> None:
    with pytest.raises(SourceError, match="no voice 'xx-nowhere'"):
        say(espeak, voice="xx-nowhere")


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "espeakng_loader":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(SourceError, match=r"pip install 'tenuto\[starter\]'"):
        Espeak()
