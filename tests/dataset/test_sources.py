from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from tenuto.dataset import sources
from tenuto.dataset.sources import scan
from tenuto.errors import SourceError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def labels(found: sources.Scan) -> dict[str, str]:
    return {entry.shown: entry.label for entry in found.entries}


def reasons(found: sources.Scan) -> dict[str, str]:
    return {row.path: row.reason for row in found.rejected}


def test_a_folder_per_class(tmp_path):
    touch(tmp_path, "yes/a.wav", "yes/deep/er/b.flac", "no/c.OGG", "no/d.Mp3", "no/e.opus", "no/notes.txt", "README.md")
    found = scan(tmp_path)
    assert labels(found) == {
        "no/c.OGG": "no",
        "no/d.Mp3": "no",
        "no/e.opus": "no",
        "yes/a.wav": "yes",
        "yes/deep/er/b.flac": "yes",
    }
    assert found.rejected == []
    assert found.entries[0].path == tmp_path / "no/c.OGG"


def test_labels_may_hold_blanks_signs_and_any_script(tmp_path):
    names = ["dog bark", "c#", "50% off", "鳥", "Grünspecht", "a'b\"c", "می\u200cخواهم", "🐦"]
    touch(tmp_path, *(f"{unicodedata.normalize('NFD', name)}/a.wav" for name in names))
    assert sorted(labels(scan(tmp_path)).values()) == sorted(names)


def test_file_names_that_follow_a_pattern(tmp_path):
    touch(tmp_path, "7_ann_1.wav", "8_ben_2.WAV", "sub/8_cy_1.wav", "other.wav")
    found = scan(tmp_path, "{label}_{speaker}_{index}.wav")
    assert [(e.label, e.groups) for e in found.entries] == [
        ("7", {"speaker": "ann"}),
        ("8", {"speaker": "ben"}),
        ("8", {"speaker": "cy"}),
    ]
    assert reasons(found) == {"other.wav": "pattern-mismatch"}


def test_a_table_names_files_relative_to_its_folder_or_anywhere(tmp_path, monkeypatch):
    touch(tmp_path, "set/audio/a.wav", "set/b.wav", "elsewhere/c.wav", "elsewhere/d.wav")
    table = tmp_path / "set/labels.csv"
    table.write_text(f"path,label,speaker\naudio/a.wav,yes,ann\n b.wav ,no,\n../elsewhere/c.wav,no,ben\n"
                     f"{tmp_path}/elsewhere/d.wav,yes,ben\naudio\\a.wav,yes,ann\n")  # fmt: skip
    monkeypatch.chdir("/")
    found = scan(table)
    assert found.rejected == []
    assert {e.shown: (e.label, e.groups) for e in found.entries} == {
        "audio/a.wav": ("yes", {"speaker": "ann"}),
        "b.wav": ("no", {}),
        "../elsewhere/c.wav": ("no", {"speaker": "ben"}),
        f"{tmp_path}/elsewhere/d.wav": ("yes", {"speaker": "ben"}),
        "audio\\a.wav": ("yes", {"speaker": "ann"}),
    }
    assert all(entry.path.is_file() for entry in found.entries)


def test_a_table_finds_names_whose_accents_are_decomposed(tmp_path):
    touch(tmp_path, unicodedata.normalize("NFD", "é.wav"))
    (tmp_path / "labels.csv").write_text(unicodedata.normalize("NFC", "path,label\né.wav,yes\n"), encoding="utf-8")
    assert [entry.path.is_file() for entry in scan(tmp_path / "labels.csv").entries] == [True]


def test_rows_that_cannot_be_used_are_rejected_with_the_reason(tmp_path):
    touch(tmp_path, "a.wav", "b.m4a", "folder.wav/x")
    (tmp_path / "outside.wav").symlink_to("/etc/hostname")
    (tmp_path / "labels.csv").write_text(
        "path,label,note\na.wav,yes,\nabsent.wav,yes,\n,yes,\na.wav,,\nb.m4a,yes,\nfolder.wav,no,\noutside.wav,no,\nshort\na\0.wav,no,\n"
    )
    found = scan(tmp_path / "labels.csv")
    assert labels(found) == {"a.wav": "yes"}
    assert sorted((row.path, row.reason) for row in found.rejected) == [
        ("a.wav", "no-label"),
        ("absent.wav", "missing-file"),
        ("b.m4a", "unsupported-format"),
        ("folder.wav", "not-a-file"),
        ("labels.csv", "unknown-column"),
        ("labels.csv:10", "bad-row"),
        ("labels.csv:4", "bad-row"),
        ("labels.csv:9", "bad-row"),
        ("outside.wav", "outside-source"),
    ]


def test_hidden_files_and_what_macos_leaves_are_passed_over(tmp_path):
    touch(tmp_path, "yes/a.wav", "yes/._a.wav", "yes/.b.wav", ".cache/c.wav", "__MACOSX/yes/a.wav", "yes/.DS_Store")
    found = scan(tmp_path)
    assert labels(found) == {"yes/a.wav": "yes"}
    assert found.rejected == []


def test_links(tmp_path):
    source = touch(tmp_path / "set", "yes/a.wav", "no/b.wav")
    touch(tmp_path, "elsewhere/c.wav")
    (source / "yes/inside.wav").symlink_to(source / "no/b.wav")
    (source / "yes/outside.wav").symlink_to(tmp_path / "elsewhere/c.wav")
    (source / "yes/broken.wav").symlink_to("nothing.wav")
    (source / "yes/itself.wav").symlink_to("itself.wav")
    (source / "yes/loop").symlink_to(source)
    (source / "maybe").symlink_to(tmp_path / "elsewhere")
    found = scan(source)
    assert labels(found) == {"no/b.wav": "no", "yes/a.wav": "yes", "yes/inside.wav": "yes"}
    assert reasons(found) == {
        "maybe": "outside-source",
        "yes/broken.wav": "missing-file",
        "yes/itself.wav": "unreadable",
        "yes/loop": "linked-folder",
        "yes/outside.wav": "outside-source",
    }


def test_a_source_that_is_itself_a_link_is_followed(tmp_path):
    touch(tmp_path / "set", "yes/a.wav")
    (tmp_path / "link").symlink_to(tmp_path / "set")
    assert labels(scan(tmp_path / "link")) == {"yes/a.wav": "yes"}


def test_what_is_named_like_audio_but_is_no_file(tmp_path):
    touch(tmp_path, "yes/a.wav", "yes/folder.wav/b.wav")
    os.mkfifo(tmp_path / "yes/pipe.wav")
    found = scan(tmp_path)
    assert labels(found) == {"yes/a.wav": "yes"}
    assert reasons(found) == {"yes/folder.wav": "not-a-file", "yes/pipe.wav": "not-a-file"}


def test_a_name_that_is_no_utf8_is_rejected_and_shown_escaped(tmp_path):
    touch(tmp_path, "yes/a.wav")
    Path(os.fsdecode(os.fsencode(tmp_path / "yes") + b"/caf\xe9.wav")).write_bytes(b"x")
    found = scan(tmp_path)
    assert reasons(found) == {r"yes/caf\xe9.wav": "name-not-utf8"}
    assert labels(found) == {"yes/a.wav": "yes"}


def test_audio_that_cannot_be_decoded_is_rejected_not_passed_over(tmp_path):
    touch(tmp_path, "yes/a.wav", "yes/b.m4a")
    assert reasons(scan(tmp_path)) == {"yes/b.m4a": "unsupported-format"}


def test_audio_beside_the_class_folders_has_no_label(tmp_path):
    touch(tmp_path, "yes/a.wav", "b.wav")
    assert reasons(scan(tmp_path)) == {"b.wav": "no-label"}


def test_control_characters_in_a_label_are_rejected(tmp_path):
    touch(tmp_path, "yes/a.wav", "y\x1b[31mes/b.wav")
    assert list(reasons(scan(tmp_path)).values()) == ["bad-label"]


def test_a_folder_that_cannot_be_listed_is_reported_and_the_rest_goes_on(tmp_path, monkeypatch):
    touch(tmp_path, "yes/a.wav", "no/b.wav")
    real = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "no":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(sources.os, "scandir", refuse)
    found = scan(tmp_path)
    assert reasons(found) == {"no": "unreadable"}
    assert labels(found) == {"yes/a.wav": "yes"}


def test_the_excluded_folder_is_not_entered(tmp_path):
    touch(tmp_path, "yes/a.wav", "data/clips/b.wav")
    assert labels(scan(tmp_path, exclude=tmp_path / "data")) == {"yes/a.wav": "yes"}


def test_a_source_without_recordings_is_an_error_that_says_what_was_looked_for(tmp_path, monkeypatch):
    with pytest.raises(SourceError, match="does not exist; wanted a folder"):
        scan(tmp_path / "absent")
    touch(tmp_path, "yes/notes.txt")
    with pytest.raises(SourceError, match=r"looked for a folder per class .* ending in .*flac.*ogg.*wav"):
        scan(tmp_path)
    touch(tmp_path, "a.wav", "labels.csv")
    with pytest.raises(SourceError, match=r"1 audio files lie in no class folder.*name it: .*labels\.csv"):
        scan(tmp_path)
    with pytest.raises(SourceError, match=r"fit '\{label\}_\{index\}.wav'.* 1 audio files .* 'a.wav'"):
        scan(tmp_path, "{label}_{index}.wav")
    with pytest.raises(SourceError, match="--pattern is for folders"):
        scan(tmp_path / "labels.csv", "{label}.wav")
    (tmp_path / "labels.csv").write_text("path,label\n")
    with pytest.raises(SourceError, match="lists no recordings"):
        scan(tmp_path / "labels.csv")

    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(sources.os, "scandir", refuse)
    with pytest.raises(SourceError, match="cannot be read: Permission denied"):
        scan(tmp_path)
