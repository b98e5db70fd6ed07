from __future__ import annotations

import numpy as np
import pytest

from tenuto.sound.audio import Recording, Wave
from tenuto.sound.families import assign
from tenuto.sound.fingerprint import fingerprint
from tests.recordings import RATE_HZ, speechlike


def families_of(known: dict[str, tuple[str, Wave]], new: dict[str, Wave], heard: list[int] | None = None) -> list[str]:
    waves = [*(wave for _, wave in known.values()), *new.values()]
    prints = [fingerprint(wave, RATE_HZ) for wave in waves]

    def listen(place: int) -> Recording:
        if heard is not None:
            heard.append(place)
        return Recording(waves[place][:, None], RATE_HZ, "", False)

    return assign(
        [family for family, _ in known.values()], prints[: len(known)], list(new), prints[len(known) :], listen
    )


def test_a_clip_without_a_copy_is_its_own_family_and_is_not_listened_to():
    heard: list[int] = []
    assert families_of({"a": ("a", speechlike(1))}, {"b": speechlike(2), "c": speechlike(3)}, heard) == ["b", "c"]
    assert heard == []


def test_copies_join_the_family_of_the_oldest():
    wave = speechlike(1)
    known = {"z": ("z", wave), "other": ("other", speechlike(2))}
    assert families_of(known, {"a": 0.3 * wave, "b": -wave, "c": speechlike(3)}) == ["z", "z", "c"]
    assert families_of({}, {"a": wave, "b": 0.5 * wave}) == ["a", "a"]


def test_a_copy_of_a_copy_joins_the_family_of_the_first():
    wave = speechlike(1)
    assert families_of({"first": ("first", speechlike(9)), "copy": ("first", wave)}, {"new": 0.5 * wave}) == ["first"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_one_clip_that_bridges_two_families_takes_the_older(order):
    wave = speechlike(1)
    versions = [wave, 0.5 * wave]
    known = {"old": ("old", versions[order[0]]), "young": ("young", versions[order[1]])}
    assert families_of(known, {"new": -0.7 * wave}) == ["old"]


def test_alike_fingerprints_alone_make_no_family():
    wave = speechlike(1)
    prints = [fingerprint(wave, RATE_HZ)] * 2
    unrelated = [wave, np.random.default_rng(0).standard_normal(len(wave)).astype("f4")]
    found = assign([], [], ["a", "b"], prints, lambda place: Recording(unrelated[place][:, None], RATE_HZ, "", False))
    assert found == ["a", "b"]
