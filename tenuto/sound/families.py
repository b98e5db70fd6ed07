"""Puts near-duplicates into families: clips that are the same recording under another coding, gain or cut.

A family is named by its oldest clip, so that its name never changes when more clips arrive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from tenuto.sound import audio, fingerprint
from tenuto.sound.audio import Recording, Wave

_WAVES_KEPT = 256


def assign(
    known_families: Sequence[str],
    known_prints: Sequence[bytes],
    new_clips: Sequence[str],
    new_prints: Sequence[bytes],
    listen: Callable[[int], Recording],
) -> list[str]:
    """The family of each new clip: that of the oldest clip of which it is, directly or through others, a copy.

    Known clips come oldest first; a new clip without a copy is its own family. `listen` gives the recording at a place
    in `[*known, *new]`, and is asked only for pairs that their fingerprints make likely.
    """
    families = [*known_families, *new_clips]
    root = list(range(len(families)))

    def find(place: int) -> int:
        while root[place] != place:
            place = root[place]
        return place

    @lru_cache(_WAVES_KEPT)
    def wave(place: int) -> tuple[Wave, int]:
        recording = listen(place)
        return audio.mono(recording.samples), recording.sample_rate_hz

    for i, j in fingerprint.near_duplicates(new_prints, known_prints):
        older, younger = sorted((find(i), find(j)))
        if older != younger and fingerprint.same_recording(*wave(i), *wave(j)):
            root[younger] = older
    return [families[find(len(known_families) + place)] for place in range(len(new_clips))]
