"""Acoustic fingerprints, which find the same recording under another coding, gain or cut.

After Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR 2002, which keeps one bit per band and
frame: the sign of an energy difference. There are two words of 64 bits a frame, one for level differences between
neighbouring bands, which are narrow enough to tell the pitch, and one for how these change over time; and each bit
comes with another that says whether it is reliable. Only bits reliable in both clips are compared.

That paper compares three seconds. Clips here may last a third of one, and the same speaker says the same word again
and again: fingerprints choose the few pairs worth hearing, and `same_recording` decides on their waves.

A steady tone has no reliable change and is never reported: two recordings of one machine are not duplicates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from tenuto.sound import audio
from tenuto.sound.audio import Wave

_RATE_HZ = 16_000
_WINDOW = 2_048
_HOP = 512
_LAG_FRAMES = 3
_BANDS = 65
_MAX_FRAMES = 500
_ONSET_DB = 35.0
_HEARD_DB = 50.0
_RELIABLE_LEVEL_NEPERS = 0.5
_RELIABLE_CHANGE_NEPERS = 0.5

_MAX_SHIFT_FRAMES = 6
_MIN_COMMON_FRAMES = 0.7
# the two ends of a steady tone alone give some 35
_MIN_RELIABLE_BITS = 48
_MAX_LEVEL_ERRORS = 0.1
_MAX_CHANGE_ERRORS = 0.2
_MIN_OUTLINE_COSINE = 0.65
_MAX_ALIKE = 50
_MAX_CANDIDATES = 8
_BLOCK = 1_024
_PAIRS_AT_ONCE = 2_000

_HEARD_SECONDS = 16.0
_WHITENING_HZ = 60.0
# different utterances by one speaker reach 0.77, the worst MP3 coding of one 0.78 (8 kHz telephone speech)
_MIN_CORRELATION = 0.79
_OVERSAMPLING = 4

Words = npt.NDArray[np.uint64]


def fingerprint(wave: Wave, sample_rate_hz: int) -> bytes:
    """The fingerprint of an (n,) mono wave: 32 bytes per frame of 32 ms, for at most the first 16 s of sound.

    Little-endian uint64 (frames, 4): level bits, which of them are reliable, change bits, which of them are reliable.
    It begins where the sound does, so leading silence does not count; b"" when there is no sound at all.
    """
    energy = _band_energies(audio.resample(wave, sample_rate_hz, _RATE_HZ))
    loudest = float(energy.max(initial=0.0))
    if loudest <= 0:
        return b""
    total = energy.sum(axis=1)
    onset = int(np.argmax(total > total.max() * 10 ** (-_ONSET_DB / 10)))
    levels = np.log(energy[onset : onset + _MAX_FRAMES] + loudest * 10 ** (-_HEARD_DB / 10))
    slope = np.diff(levels, axis=1)
    change = np.zeros_like(slope)
    change[_LAG_FRAMES:] = slope[_LAG_FRAMES:] - slope[:-_LAG_FRAMES]
    words = (slope > 0, np.abs(slope) > _RELIABLE_LEVEL_NEPERS, change > 0, np.abs(change) > _RELIABLE_CHANGE_NEPERS)
    return np.stack([_packed(word) for word in words], axis=1).astype("<u8").tobytes()


def near_duplicates(new: Sequence[bytes], existing: Sequence[bytes] = ()) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of places in `[*existing, *new]` that may be the same recording; the likeliest first.

    j is always a new one, and of the many that may resemble it the 8 likeliest are given. Pairs are first chosen by
    averages over time, all at once by matrix products, then compared bit by bit.
    """
    prints = [np.frombuffer(data, dtype="<u8").reshape(-1, 4) for data in (*existing, *new)]
    chosen = _alike_on_average(prints, first_new=len(existing))
    lengths = np.array([len(words) for words in prints])
    # neighbours in length share a block, so that little of a block is padding
    chosen = chosen[np.argsort(lengths[chosen].max(axis=1, initial=0), kind="stable")]
    blocks = [chosen[start : start + _PAIRS_AT_ONCE] for start in range(0, len(chosen), _PAIRS_AT_ONCE)]
    errors = [_errors([prints[i] for i in block[:, 0]], [prints[j] for j in block[:, 1]]) for block in blocks]
    ranked = sorted(
        (float(error), int(i), int(j))
        for (i, j), error in zip(chosen, np.concatenate([np.empty(0), *errors]), strict=True)
        if error <= 1
    )
    tries: Counter[int] = Counter()
    pairs = []
    for _, i, j in ranked:
        tries[j] += 1
        if tries[j] <= _MAX_CANDIDATES:
            pairs.append((i, j))
    return pairs


def same_recording(first: Wave, first_hz: int, second: Wave, second_hz: int) -> bool:
    """Whether two (n,) waves are one recording, but for coding, gain, polarity, some noise and a cut of up to a third.

    Decided by the largest normalised cross-correlation, over all delays, of the first 16 s of the waves with flattened
    spectra; without flattening, two vowels of one pitch correlate as well as copies do.
    """
    rate_hz = min(first_hz, second_hz, _RATE_HZ)
    one, other = _flattened(first, first_hz, rate_hz), _flattened(second, second_hz, rate_hz)
    shortest = min(len(one), len(other))
    delay = _best_delay(one, other)
    one, other = one[max(0, delay) :], other[max(0, -delay) :]
    common = min(len(one), len(other))
    if common < max(1.0, _MIN_COMMON_FRAMES * shortest):
        return False
    one, other = one[:common], other[:common]
    near = _correlations(one, other)
    # the delay found above is a whole number of samples; the rest of it is less than one
    peak = max(near[:_OVERSAMPLING].max(), near[-_OVERSAMPLING:].max())
    return bool(peak >= _MIN_CORRELATION * np.sqrt(np.sum(one**2) * np.sum(other**2)) > 0)


def _flattened(wave: Wave, from_hz: int, to_hz: int) -> npt.NDArray[np.float64]:
    """The start of an (n,) wave at another rate, its spectrum divided by its average over 60 Hz around."""
    wave = audio.resample(wave[: int(_HEARD_SECONDS * from_hz)], from_hz, to_hz)
    length = fft.next_fast_len(len(wave), real=True)
    spectrum = fft.rfft(wave, length)
    power = np.square(np.abs(spectrum), dtype=np.float64)
    around = ndimage.uniform_filter1d(power, max(3, round(_WHITENING_HZ * length / to_hz)), mode="nearest")
    return np.asarray(fft.irfft(spectrum / np.sqrt(around + power.max() * 1e-3 + 1e-20), length)[: len(wave)])


def _correlations(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Cross-correlation magnitudes at every quarter of a sample of delay, negative delays at the end."""
    length = fft.next_fast_len(len(one) + len(other), real=True)
    spectrum = fft.rfft(one, length) * np.conj(fft.rfft(other, length))
    return np.abs(fft.irfft(spectrum, _OVERSAMPLING * length)) * _OVERSAMPLING


def _best_delay(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> int:
    found = _correlations(one, other)
    place = int(found.argmax())
    return round((place if place < len(found) // 2 else place - len(found)) / _OVERSAMPLING)


@lru_cache(maxsize=1)
def _band_edges() -> npt.NDArray[np.int64]:
    """First FFT bins of the bands, 45 Hz wide up to 1.6 kHz to tell the pitch, then ever wider up to 7.2 kHz."""
    edges_hz = np.concatenate([np.linspace(150, 1_600, 34), np.geomspace(1_600, 7_200, _BANDS - 32)[1:]])
    return np.round(edges_hz * _WINDOW / _RATE_HZ).astype(np.int64)


def _band_energies(wave: Wave) -> npt.NDArray[np.float64]:
    """Energy (frames, bands) of an (n,) wave at 16 kHz, half a window of silence added at both ends."""
    padded = np.pad(wave, _WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP][: 4 * _MAX_FRAMES]
    window = np.hanning(_WINDOW).astype(np.float32)
    power = np.square(np.abs(np.fft.rfft(frames * window, axis=1)), dtype=np.float64)
    edges = _band_edges()
    return np.add.reduceat(power[:, : edges[-1]], edges[:-1], axis=1)


def _packed(flags: npt.NDArray[np.bool_]) -> Words:
    return np.packbits(flags, axis=1, bitorder="little").view("<u8")[:, 0]


def _alike_on_average(prints: Sequence[Words], first_new: int) -> npt.NDArray[np.int64]:
    """Pairs (n, 2) of clips with like outlines and lengths within a third; at most 50 earlier ones for a new clip."""
    outlines = _outlines(prints)
    lengths = np.array([len(words) for words in prints], dtype=np.float32)
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for start in range(first_new, len(prints), _BLOCK):
        later = slice(start, min(start + _BLOCK, len(prints)))
        cosine = outlines[later] @ outlines[: later.stop].T
        shorter = np.minimum(lengths[later, None], lengths[: later.stop])
        cosine[shorter < _MIN_COMMON_FRAMES * np.maximum(lengths[later, None], lengths[: later.stop])] = -1
        cosine[np.arange(start, later.stop)[:, None] <= np.arange(later.stop)] = -1
        if later.stop > _MAX_ALIKE:
            least = np.partition(cosine, -_MAX_ALIKE, axis=1)[:, -_MAX_ALIKE, None]
            cosine[cosine < least] = -1
        offset, earlier = np.nonzero(cosine >= _MIN_OUTLINE_COSINE)
        pairs.append(np.stack([earlier, offset + start], axis=1))
    return np.concatenate(pairs)


def _outlines(prints: Sequence[Words]) -> npt.NDArray[np.float32]:
    """Per clip the means over its first and second half of its reliable level bits as -1 and 1; (clips, 128)."""
    outlines = np.zeros((len(prints), 2, 64), dtype=np.float32)
    for row, words in zip(outlines, prints, strict=True):
        bits = np.unpackbits(np.ascontiguousarray(words[:, :2]).view(np.uint8), axis=1, bitorder="little")
        signs = (2.0 * bits[:, :64] - 1) * bits[:, 64:]
        for half, part in zip(row, np.array_split(signs, 2), strict=True):
            half[:] = part.sum(axis=0)
    flat = outlines.reshape(len(prints), 128)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), np.float32(1e-9))


def _errors(first: Sequence[Words], second: Sequence[Words]) -> npt.NDArray[np.float64]:
    """Per pair, the share of wrong bits at the best shift, in units of what is allowed: a copy has at most 1."""
    frames = max(len(words) for words in (*first, *second))
    one, other = _padded(first, frames), _padded(second, frames)
    errors = np.full(len(first), np.inf)
    for shift in range(-min(_MAX_SHIFT_FRAMES, frames - 1), min(_MAX_SHIFT_FRAMES, frames - 1) + 1):
        a = one[:, max(0, -shift) : frames - max(0, shift)]
        b = other[:, max(0, shift) : frames - max(0, -shift)]
        level = _wrong_bits(a[..., :2], b[..., :2]) / _MAX_LEVEL_ERRORS
        change = _wrong_bits(a[..., 2:], b[..., 2:]) / _MAX_CHANGE_ERRORS
        errors = np.minimum(errors, np.maximum(level, change))
    return errors


def _wrong_bits(a: Words, b: Words) -> npt.NDArray[np.float64]:
    """Per pair, the share of differing bits among those reliable in both; 1 when there are too few to tell."""
    both = a[..., 1] & b[..., 1]
    compared = np.bitwise_count(both).sum(axis=1, dtype=np.int64)
    wrong = np.bitwise_count((a[..., 0] ^ b[..., 0]) & both).sum(axis=1, dtype=np.int64)
    return np.where(compared >= _MIN_RELIABLE_BITS, wrong / np.maximum(compared, 1), 1.0)


def _padded(prints: Sequence[Words], frames: int) -> Words:
    """Fingerprints (pairs, frames, 4), the shorter ones filled up with unreliable bits."""
    padded = np.zeros((len(prints), frames, 4), dtype=np.uint64)
    for row, words in zip(padded, prints, strict=True):
        row[: len(words)] = words
    return padded
