"""Acoustic fingerprints, which find the same recording under another coding, gain or cut.

After Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR 2002, which keeps one bit per band and
frame: the sign of an energy difference. Clips here may last half a second, where that paper takes three, and the same
speaker says the same word again and again. So there are two words of 64 bits a frame, one for level differences
between neighbouring bands, which are narrow enough to tell the pitch, and one for how these change over time; and each
bit comes with another that says whether it is reliable. Only bits reliable in both clips are compared.

A steady tone has no reliable change and is never reported: two recordings of one machine are not duplicates.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tenuto import audio
from tenuto.audio import Wave

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
_MIN_RELIABLE_BITS = 64
_MAX_LEVEL_ERRORS = 0.05
_MAX_CHANGE_ERRORS = 0.12
_MIN_OUTLINE_COSINE = 0.8
_BLOCK = 1_024
_PAIRS_AT_ONCE = 2_000

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
    """Pairs (i, j), i < j, of places in `[*existing, *new]` whose fingerprints are of the same recording.

    At least one of a pair is new. Found are copies under another coding or gain, or cut by some 0.2 s at either end.
    Pairs are first chosen by a mean over time, all at once by matrix products, then compared bit by bit.
    """
    prints = [np.frombuffer(data, dtype="<u8").reshape(-1, 4) for data in (*existing, *new)]
    chosen = _alike_on_average(prints, first_new=len(existing))
    lengths = np.array([len(words) for words in prints])
    # neighbours in length share a block, so that little of a block is padding
    chosen = chosen[np.argsort(lengths[chosen].max(axis=1), kind="stable")] if len(chosen) else chosen
    found = [
        pairs[_are_copies([prints[i] for i in pairs[:, 0]], [prints[j] for j in pairs[:, 1]])]
        for pairs in (chosen[start : start + _PAIRS_AT_ONCE] for start in range(0, len(chosen), _PAIRS_AT_ONCE))
    ]
    return sorted((int(i), int(j)) for i, j in np.concatenate(found)) if found else []


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
    """Pairs (n, 2) of clips whose reliable level bits are alike on average and whose lengths are within a third."""
    outlines = _outlines(prints)
    lengths = np.array([len(words) for words in prints], dtype=np.float32)
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for start in range(first_new, len(prints), _BLOCK):
        later = slice(start, min(start + _BLOCK, len(prints)))
        alike = outlines[: later.stop] @ outlines[later].T >= _MIN_OUTLINE_COSINE
        alike &= lengths[: later.stop, None] * _MIN_COMMON_FRAMES <= lengths[later]
        alike &= lengths[later] * _MIN_COMMON_FRAMES <= lengths[: later.stop, None]
        earlier, offset = np.nonzero(alike)
        found = np.stack([earlier, offset + start], axis=1)
        pairs.append(found[found[:, 0] < found[:, 1]])
    return np.concatenate(pairs)


def _outlines(prints: Sequence[Words]) -> npt.NDArray[np.float32]:
    """Per clip the mean over time of its reliable level bits as -1 and 1, scaled to length one; (clips, 64)."""
    outlines = np.zeros((len(prints), 64), dtype=np.float32)
    for row, words in zip(outlines, prints, strict=True):
        if len(words):
            bits = np.unpackbits(np.ascontiguousarray(words[:, :2]).view(np.uint8), axis=1, bitorder="little")
            row[:] = ((2.0 * bits[:, :64] - 1) * bits[:, 64:]).mean(axis=0)
    norms = np.linalg.norm(outlines, axis=1, keepdims=True)
    return outlines / np.maximum(norms, np.float32(1e-9))


def _are_copies(first: Sequence[Words], second: Sequence[Words]) -> npt.NDArray[np.bool_]:
    """Per pair, whether at some shift both kinds of bits agree."""
    frames = max(len(words) for words in (*first, *second))
    one, other = _padded(first, frames), _padded(second, frames)
    wanted = _MIN_COMMON_FRAMES * np.minimum([len(w) for w in first], [len(w) for w in second])
    copies = np.zeros(len(first), dtype=bool)
    for shift in range(-_MAX_SHIFT_FRAMES, _MAX_SHIFT_FRAMES + 1):
        early, late = max(0, -shift), max(0, shift)
        count = one.shape[1] - abs(shift)
        if count <= 0:
            continue
        a, b = one[:, early : early + count], other[:, late : late + count]
        copies |= (
            _agree(a[..., 0], a[..., 1], b[..., 0], b[..., 1], _MAX_LEVEL_ERRORS, wanted)
            & _agree(a[..., 2], a[..., 3], b[..., 2], b[..., 3], _MAX_CHANGE_ERRORS, wanted)
        )  # fmt: skip
    return copies


def _agree(
    a: Words, a_reliable: Words, b: Words, b_reliable: Words, max_errors: float, wanted: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    both = a_reliable & b_reliable
    compared = np.bitwise_count(both).sum(axis=1, dtype=np.int64)
    wrong = np.bitwise_count((a ^ b) & both).sum(axis=1, dtype=np.int64)
    return (compared >= _MIN_RELIABLE_BITS) & (wrong <= max_errors * compared)


def _padded(prints: Sequence[Words], frames: int) -> Words:
    """Fingerprints (pairs, frames, 4), the shorter ones filled up with unreliable bits."""
    padded = np.zeros((len(prints), frames, 4), dtype=np.uint64)
    for row, words in zip(padded, prints, strict=True):
        row[: len(words)] = words
    return padded
