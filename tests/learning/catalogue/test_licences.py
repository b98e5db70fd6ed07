from __future__ import annotations

import json
from pathlib import Path

import pytest

from tenuto.learning.catalogue import licences


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("Apache-2.0", True),
        ("apache-2.0", True),
        ("bsd-3-clause", True),
        ("CC-BY-SA-3.0", True),
        ("CC-BY-4.0", True),
        ("agpl-3.0", True),
        ("CC-BY-NC-4.0", False),
        ("cc-by-nc-sa-4.0", False),
        ("PolyForm-Noncommercial-1.0.0", False),
        ("flux-1-dev-non-commercial-license", False),
        ("other", None),
        ("openrail", None),
        ("unknown", None),
        ("", None),
        ("mitsubishi", None),
        ("arcade", None),
    ],
)
def test_an_identifier_says_whether_commercial_use_is_allowed(licence: str, allowed: bool | None) -> None:
    assert licences.allows_commercial_use(licence) is allowed
    assert licences.commercial_use(licence) == {True: "allowed", False: "forbidden", None: "unknown"}[allowed]


@pytest.mark.parametrize(
    ("licence", "words"),
    [
        ("MIT", "its licence MIT allows commercial use"),
        ("CC-BY-NC-4.0", "its licence CC-BY-NC-4.0 forbids commercial use"),
        ("other", "its licence is 'other' and unknown, and with it whether it allows commercial use"),
        ("unknown", "its licence is unknown, and with it whether it allows commercial use"),
    ],
)
def test_the_words_name_the_licence_and_what_it_means(licence: str, words: str) -> None:
    assert licences.in_words(licence) == words


def test_a_folder_without_a_card_has_the_licence_of_the_backbone_it_was_trained_from(tmp_path: Path) -> None:
    assert licences.of_folder(tmp_path) == "unknown"
    (tmp_path / "tenuto_checkpoint.json").write_text(json.dumps({"backbone_licence": "CC-BY-NC-4.0"}))
    assert licences.of_folder(tmp_path) == "CC-BY-NC-4.0"
    (tmp_path / "README.md").write_text('---\nlicense: "mit"\n---\n')
    assert licences.of_folder(tmp_path) == "mit"
