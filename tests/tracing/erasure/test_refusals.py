import hashlib
import hmac
from pathlib import Path

import pytest

from tenuto.errors import DatasetError
from tenuto.tracing.erasure import refusals
from tenuto.tracing.erasure.refusals import Refusals

SALT = "00112233445566778899aabbccddeeff"


def test_hashes_are_those_of_the_standard_functions() -> None:
    listed = Refusals(salt=SALT)
    salt = bytes.fromhex(SALT)
    assert listed.clip_hash("abc") == hmac.new(salt, b"clip abc", hashlib.sha256).hexdigest()
    assert (
        listed.group_hash("speaker", "Ann ")
        == hashlib.scrypt(b"speaker=ann", salt=salt, n=8192, r=8, p=1, dklen=32).hex()
    )


def test_the_list_refuses_what_is_on_it_and_nothing_else(tmp_path: Path) -> None:
    listed = refusals.read(tmp_path).extended(["clip1"], [("speaker", "Ann")], "0001")
    refusals.save(listed.extended(["clip1", "clip2"], [], "0002"), tmp_path)
    read = refusals.read(tmp_path)
    assert [read.of_clip(clip) for clip in ("clip1", "clip2", "clip3")] == ["0001", "0002", None]
    assert read.of_groups({"site": "rome", "speaker": "ANN"}) == "0001"
    assert read.of_groups({"speaker": "anna"}) is read.of_groups({"site": "ann"}) is read.of_groups({}) is None


def test_the_file_names_nobody(tmp_path: Path) -> None:
    refusals.save(refusals.read(tmp_path).extended(["0123abcd"], [("speaker", "Zyxelquor")], "0001"), tmp_path)
    text = (tmp_path / refusals.FILE_NAME).read_text().lower()
    assert "zyxelquor" not in text
    assert "0123abcd" not in text


def test_two_workspaces_hash_the_same_name_differently(tmp_path: Path) -> None:
    one, other = (refusals.read(tmp_path / name).group_hash("speaker", "ann") for name in ("one", "other"))
    assert one != other


def test_a_damaged_list_stops_imports(tmp_path: Path) -> None:
    (tmp_path / refusals.FILE_NAME).write_text("{")
    with pytest.raises(DatasetError, match="nobody knows whose recordings are refused"):
        refusals.read(tmp_path)
