from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soxr

from tenuto.errors import ClipError
from tenuto.learning.calibration import PLAIN
from tenuto.learning.framing import Framing
from tenuto.serving.hearing.classifier import Classifier, Heard
from tenuto.serving.settings import StreamSettings
from tenuto.serving.streaming.stream import Cut, Cutter, Decoder, Event, Smoother, Window, starts, window_samples
from tenuto.sound.audio import Recording, waveform
from tests.bundles import FRAMING, LABELS, SAMPLE_RATE_HZ, tone, write_tones

GENERATOR = np.random.default_rng(5)


def cut_up(samples: np.ndarray, chunk: int, rate_hz: int = 8000, window: int = 2000, hop: int = 600) -> list[Cut]:
    cutter = Cutter(rate_hz, SAMPLE_RATE_HZ, window, hop)
    cuts = [cut for at in range(0, len(samples), chunk) for cut in cutter.push(samples[at : at + chunk])]
    return [*cuts, *cutter.finish()]


@pytest.mark.parametrize(
    ("samples", "wanted"),
    [
        (0, ()),
        (7, (0,)),
        (10, (0,)),
        (11, (0, 1)),
        (16, (0, 3, 6)),
        (17, (0, 3, 6, 7)),
    ],
)
def test_the_last_window_reaches_up_to_the_end(samples: int, wanted: tuple[int, ...]) -> None:
    assert starts(samples, window=10, hop=3) == wanted
    cutter = Cutter(8000, 8000, window=10, hop=3)
    cuts = [*cutter.push(np.zeros(samples, np.float32)), *cutter.finish()]
    assert tuple(cut.begin for cut in cuts) == wanted
    assert [cut.position for cut in cuts] == list(range(len(wanted)))


@pytest.mark.parametrize("rate_hz", [8000, 16000, 44100])
@pytest.mark.parametrize("chunk", [37, 4096, 10**6])
def test_windows_are_those_of_the_whole_recording_however_it_is_cut_up(rate_hz: int, chunk: int) -> None:
    samples = GENERATOR.uniform(-0.5, 0.5, rate_hz).astype(np.float32)
    whole = soxr.resample(samples, rate_hz, SAMPLE_RATE_HZ, quality="HQ")
    cuts = cut_up(samples, chunk, rate_hz)
    assert tuple(cut.begin for cut in cuts) == starts(len(whole), 2000, 600)
    for cut in cuts:
        piece = whole[cut.begin : cut.begin + 2000]
        wanted = waveform(Recording(piece[:, None], SAMPLE_RATE_HZ, "", False), SAMPLE_RATE_HZ)
        np.testing.assert_array_equal(cut.wave, wanted)


def test_windows_are_as_those_of_an_uploaded_file_without_offset_and_within_full_scale() -> None:
    samples = 3 * tone(500, 1.0, amplitude=1.0) + np.float32(0.5)
    for cut in cut_up(samples, 512):
        assert abs(cut.wave.mean()) < 1e-3
        assert np.abs(cut.wave).max() == pytest.approx(1.0)


def test_memory_does_not_grow_with_the_stream() -> None:
    cutter = Cutter(16000, SAMPLE_RATE_HZ, 2000, 600)
    chunk = np.zeros(1600, np.float32)
    sizes = []
    for _ in range(3):
        tracemalloc.start()
        for _ in range(300):
            for _ in cutter.push(chunk):
                pass
        sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    assert max(sizes) < 100_000
    assert cutter.end > 3 * 300 * 700


def test_a_window_may_leave_out_what_comes_between() -> None:
    # hops as long as the window: every sample is in one window, but for those that the last one hears again
    cuts = cut_up(np.zeros(7000, np.float32), 100, window=2000, hop=2000)
    assert [cut.begin for cut in cuts] == [0, 2000, 4000, 5000]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_bytes_may_be_cut_anywhere(size: int) -> None:
    for format, samples in (("s16le", np.array([0, 16384, -32768], "<i2")), ("f32le", np.array([0, 0.5, -1], "<f4"))):
        data, decoder = samples.tobytes(), Decoder(format)  # type: ignore[arg-type]
        found = [decoder.samples(data[at : at + size]) for at in range(0, len(data), size)]
        assert np.concatenate(found).tolist() == [0.0, 0.5, -1.0]


@pytest.mark.parametrize(("value", "said"), [(np.nan, "nan"), (np.inf, "inf"), (-32767, "32767")])
def test_numbers_that_are_no_sound_are_refused(value: float, said: str) -> None:
    with pytest.raises(ClipError, match=f"samples up to {said}; f32le has full scale at 1"):
        Decoder("f32le").samples(np.array([0.1, value], "<f4").tobytes())


def test_the_default_window_is_the_shortest_that_the_model_hears_whole() -> None:
    assert window_samples(FRAMING, StreamSettings()) == (2000, 2000)
    assert window_samples(FRAMING, StreamSettings(window_seconds=1.0)) == (8000, 2000)
    assert window_samples(FRAMING, StreamSettings(window_seconds=60.0, hop_seconds=60.0)) == (80000, 80000)
    windowed = Framing(8000, 0.25, 60.0, False, window_seconds=2.0)
    assert window_samples(windowed, StreamSettings(hop_seconds=0.5)) == (16000, 4000)


def windows(highs: list[float], unknown: tuple[int, ...] = (), **settings: float) -> tuple[list[Window], Smoother]:
    """Of a stream whose windows, a second long, half a second apart, give 'high' these probabilities."""
    smoother = Smoother(LABELS, "one", PLAIN, SAMPLE_RATE_HZ, StreamSettings(**settings))  # type: ignore[arg-type]
    probabilities = np.array([[high, 1 - high] for high in highs])
    is_unknown = np.isin(np.arange(len(highs)), unknown)
    decided = PLAIN.decide(probabilities, "one")
    heard = Heard(probabilities, decided, np.zeros((len(highs), 2), np.float32), is_unknown * 2.0, is_unknown)
    wave = np.zeros(SAMPLE_RATE_HZ, np.float32)
    found = [smoother.add(Cut(place, place * 4000, wave), heard, place) for place in range(len(highs))]
    return found, smoother


def test_probabilities_are_means_over_the_last_windows() -> None:
    found, _ = windows([1.0, 0.0, 0.2, 0.9], smoothing=3)
    assert [window.smoothed[0] for window in found] == pytest.approx([1.0, 0.5, 0.4, 1.1 / 3])
    assert [window.label for window in found] == ["high", "low", "low", "high"]
    assert [window.smoothed_label for window in found] == ["high", "high", "low", "low"]


def test_events_begin_and_end_halfway_between_the_middles_of_windows() -> None:
    # alone, windows of a second that begin at 0, 0.5, 1 ... have their middles at 0.5, 1, 1.5 ...
    found, smoother = windows([0.5, 0.8, 0.95, 0.5, 0.3, 0.3], smoothing=1, threshold=0.65)
    assert [window.middle_seconds for window in found] == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    assert [event for window in found for event in window.events] == [
        Event("begin", "high", 0.75, 0.8),
        Event("end", "high", 1.75, 0.95),
        Event("begin", "low", 2.25, 0.7),
    ]
    assert smoother.finish() == (Event("end", "low", 3.5, 0.7),)
    assert smoother.finish() == ()


def test_most_windows_unknown_is_unknown_and_ends_events() -> None:
    found, smoother = windows([0.9] * 6, unknown=(2, 3, 4), smoothing=3)
    assert [window.label for window in found] == ["high"] * 2 + ["unknown"] * 3 + ["high"]
    assert [window.smoothed_label for window in found] == ["high"] * 3 + ["unknown"] * 3
    # three windows reach from 0 to 2 s and, one later, from 0.5 to 2.5 s: their middles are 1 and 1.5 s
    assert [window.middle_seconds for window in found] == [0.5, 0.75, 1.0, 1.5, 2.0, 2.5]
    assert [(event.kind, event.at_seconds) for window in found for event in window.events] == [
        ("begin", 0.0),
        ("end", 1.25),
    ]
    assert smoother.finish() == ()


def test_labels_that_do_not_exclude_one_another_have_events_of_their_own() -> None:
    smoother = Smoother(("dog", "rain"), "many", PLAIN, 8000, StreamSettings(smoothing=1))
    probabilities = np.array([[0.9, 0.1], [0.9, 0.8], [0.1, 0.8]])
    heard = Heard(
        probabilities,
        PLAIN.decide(probabilities, "many"),
        np.zeros((3, 2), np.float32),
        np.zeros(3),
        np.zeros(3, bool),
    )
    found = [smoother.add(Cut(place, place * 8000, np.zeros(8000, np.float32)), heard, place) for place in range(3)]
    assert [window.label for window in found] == ["dog", "dog;rain", "rain"]
    told = [(event.kind, event.label) for window in found for event in window.events]
    assert told == [("begin", "dog"), ("begin", "rain"), ("end", "dog")]


def test_a_stream_tells_when_a_tone_changes(tmp_path: Path) -> None:
    write_tones(tmp_path)
    classifier = Classifier.load(tmp_path)
    cuts = cut_up(np.concatenate([tone(400, 1.5), tone(2500, 1.5)]), 700, window=2000, hop=1000)
    heard = classifier.hear([cut.wave for cut in cuts])
    smoother = Smoother(LABELS, "one", PLAIN, SAMPLE_RATE_HZ, StreamSettings())
    events = [event for row, cut in enumerate(cuts) for event in smoother.add(cut, heard, row).events]
    assert [(event.kind, event.label) for event in events] == [("begin", "low"), ("end", "low"), ("begin", "high")]
    assert events[1].at_seconds == events[2].at_seconds == pytest.approx(1.5, abs=0.1)
