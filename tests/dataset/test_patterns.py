from __future__ import annotations

import unicodedata

import pytest

from tenuto.dataset.patterns import NamePattern, clean_text
from tenuto.errors import SourceError


@pytest.mark.parametrize(
    ("pattern", "name", "label", "groups"),
    [
        ("{label}_{speaker}_{index}.wav", "7_ann_12.wav", "7", {"speaker": "ann"}),
        ("{label}_{speaker}_{index}.wav", "7_mary_ann_12.WAV", "7", {"speaker": "mary_ann"}),
        ("{label}_{speaker}_{index}.wav", "sub/folder/7_ann_12.wav", "7", {"speaker": "ann"}),
        ("{label}/{speaker}_nohash_{index}.wav", "yes/0a7c_nohash_0.wav", "yes", {"speaker": "0a7c"}),
        ("{label}/{speaker}/*.wav", "dog bark/rex/any (1).wav", "dog bark", {"speaker": "rex"}),
        ("{_}/{label}/*.flac", "train/yes/a.flac", "yes", {}),
        ("{_}-{_}-{label}-{site}.*", "1-2-crow-north.ogg", "crow", {"site": "north"}),
        ("{path}/{label}-{index}.wav", "a/b/c/crow-1.wav", "crow", {}),
    ],
)
def test_a_name_gives_label_and_groups(pattern, name, label, groups):
    assert NamePattern(pattern).match(name) == (label, groups)


@pytest.mark.parametrize("name", ["7_ann.wav", "7_ann_x.wav", "7_ann_1.flac", "_ann_1.wav", "7_ann_1.wav.bak"])
def test_a_name_that_does_not_fit(name):
    assert NamePattern("{label}_{speaker}_{index}.wav").match(name) is None


def test_dots_and_brackets_are_no_wildcards():
    assert NamePattern("{label}.(a).wav").match("x.(a).wav") == ("x", {})
    assert NamePattern("{label}.(a).wav").match("x_a_wav") is None


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{speaker}_{index}.wav", "no {label}"),
        ("{label}_{Speaker Name}.wav", "{Speaker Name} is no field"),
        ("{label}_{}.wav", "{} is no field"),
        ("{label}_{label}.wav", "{label} twice"),
    ],
)
def test_a_pattern_that_cannot_be_used(pattern, message):
    with pytest.raises(SourceError, match=message):
        NamePattern(pattern)


def test_text_is_composed_and_trimmed():
    assert clean_text(" " + unicodedata.normalize("NFD", "Grünspecht") + "\t\n ruft ") == "Grünspecht ruft"
