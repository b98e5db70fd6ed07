from __future__ import annotations

import re
from pathlib import Path

import pytest

from tenuto.errors import BackboneError
from tenuto.serving.hearing import bundle as bundles
from tests.bundles import write_tones


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert write_tones(tmp_path) == bundles.read(tmp_path)


def test_a_folder_without_a_bundle_says_so(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"holds no exported model: serving\.json is not there"):
        bundles.read(tmp_path)


@pytest.mark.parametrize(("was", "becomes"), [('"labels"', '"lables"'), ('"version": 1', '"version": 2'), ("}", "")])
def test_a_damaged_file_and_one_of_another_release_are_named(tmp_path: Path, was: str, becomes: str) -> None:
    write_tones(tmp_path)
    path = tmp_path / bundles.FILE_NAME
    path.write_text(path.read_text().replace(was, becomes))
    with pytest.raises(BackboneError, match=f"^{re.escape(str(path))} cannot be read"):
        bundles.read(tmp_path)


def test_an_artefact_that_is_not_published_is_refused_by_name(tmp_path: Path) -> None:
    bundle = write_tones(tmp_path)
    assert bundle.artefact().name == bundle.artefact("fp32").name == "fp32"
    with pytest.raises(BackboneError, match="no published artefact 'int8-static'; published: fp32"):
        bundle.artefact("int8-static")
