from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tenuto.dataset import ingest, manifest
from tenuto.dataset.ingest import IngestResult
from tenuto.errors import DatasetError, SourceError
from tenuto.settings import DataSettings
from tenuto.sound import facts
from tests.recordings import coded, speechlike, write


def add(tmp_path: Path, source: Path | str = "source", **options: object) -> IngestResult:
    settings = options.pop("settings", DataSettings())
    return ingest.add(tmp_path / source, tmp_path / "data", tmp_path / "cache", settings, **options)


def clips(tmp_path: Path):
    return manifest.read(tmp_path / "data/manifest.parquet")


def content(folder: Path) -> dict[str, object]:
    """Every file and link below a folder with a hash of what it holds."""
    return {str(path.relative_to(folder)): _held(path) for path in sorted(folder.rglob("*")) if not path.is_dir()}


def _held(path: Path) -> str:
    return str(path.readlink()) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()


def reasons(result: IngestResult) -> dict[str, str]:
    return {row.path: row.reason for row in result.quarantined}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two classes of three clips, a tenth of a second each."""
    for number in range(6):
        write(tmp_path / "source" / ("yes" if number % 2 else "no") / f"{number}.wav", speechlike(number, 0.1))
    return tmp_path / "source"


def test_clips_are_added_with_their_facts_and_their_bytes(tmp_path, source):
    result = add(tmp_path)
    assert (result.added, result.unchanged, result.quarantined) == (6, 0, ())
    frame = clips(tmp_path)
    assert sorted(frame["source"]) == ["no/0.wav", "no/2.wav", "no/4.wav", "yes/1.wav", "yes/3.wav", "yes/5.wav"]
    assert set(frame["batch"]) == {0}
    assert frame["clip_id"].is_monotonic_increasing
    assert (frame["family"] == frame["clip_id"]).all()
    for row in frame.itertuples():
        assert row.path == f"clips/{row.clip_id[:2]}/{row.clip_id}.wav"
        assert (tmp_path / "data" / row.path).read_bytes() == (source / row.source).read_bytes()
        assert row.label == row.source.partition("/")[0]
        assert row.duration_seconds == pytest.approx(0.1)


def test_adding_again_changes_nothing_and_decodes_nothing(tmp_path, source, monkeypatch):
    add(tmp_path)
    before = content(tmp_path / "data")
    monkeypatch.setattr(facts, "measure", lambda *_: pytest.fail("decoded again"))
    assert add(tmp_path) == IngestResult(0, 6, ())
    assert content(tmp_path / "data") == before


def test_new_files_alone_are_decoded_and_make_the_next_batch(tmp_path, source, monkeypatch):
    add(tmp_path)
    write(source / "yes/new.flac", speechlike(50, 0.1), file_format="FLAC")
    measured = []
    real = facts.measure
    monkeypatch.setattr(facts, "measure", lambda *args: measured.append(args) or real(*args))
    result = add(tmp_path)
    assert (result.added, result.unchanged, len(measured)) == (1, 6, 1)
    new = clips(tmp_path).query("batch == 1")
    assert list(new["source"]) == ["yes/new.flac"]
    assert new["path"].iloc[0].endswith(".flac")


def test_a_lossless_copy_and_a_second_name_are_the_same_clip(tmp_path, source):
    write(source / "yes/again.flac", np.round(speechlike(1, 0.1) * 32767) / 32768, file_format="FLAC")
    wave = np.round(speechlike(1, 0.1) * 32767) / 32768
    write(source / "yes/1.wav", wave)
    (source / "yes/link.wav").symlink_to("3.wav")
    result = add(tmp_path)
    assert (result.added, result.unchanged, result.quarantined) == (6, 2, ())


def test_a_dataset_made_again_has_the_same_bytes(tmp_path, source):
    write(source / "yes/silent.wav", np.zeros(4_000, "f4"))
    add(tmp_path)
    ingest.add(source, tmp_path / "other", tmp_path / "other-cache", DataSettings())
    assert content(tmp_path / "other") == content(tmp_path / "data")


def test_groups_come_from_names_and_tables_and_grow(tmp_path, source):
    add(tmp_path)
    table = write(tmp_path / "more/a.wav", speechlike(61, 0.1)).parent / "labels.csv"
    write(tmp_path / "more/b.wav", speechlike(62, 0.1))
    table.write_text("path,label,speaker\na.wav,yes,ann\nb.wav,no,\n")
    assert add(tmp_path, "more/labels.csv").added == 2
    frame = clips(tmp_path)
    assert manifest.group_names(frame) == ["speaker"]
    assert frame["group_speaker"].notna().sum() == 1
    assert frame.set_index("source").loc["a.wav", "group_speaker"] == "ann"


def test_a_coded_copy_joins_the_family_of_the_first_added(tmp_path, source):
    original = speechlike(70, 0.6)
    write(source / "yes/long.wav", original)
    add(tmp_path)
    write(source / "yes/copy.ogg", 0.5 * original[200:], file_format="OGG", subtype="VORBIS")
    add(tmp_path)
    by_source = clips(tmp_path).set_index("source")
    assert by_source.loc["yes/copy.ogg", "family"] == by_source.loc["yes/long.wav", "clip_id"]
    assert (by_source["family"] != by_source["clip_id"]).sum() == 1


def _not_utf8(source: Path) -> str:
    Path(os.fsdecode(os.fsencode(source / "yes") + b"/caf\xe9.wav")).write_bytes(coded(speechlike(90, 0.1)))
    return r"yes/caf\xe9.wav"


def _outside(source: Path) -> str:
    (source / "yes/link.wav").symlink_to(write(source.parent / "elsewhere/x.wav", speechlike(90, 0.1)))
    return "yes/link.wav"


def _holding(data: bytes) -> Callable[[Path], str]:
    def make(source: Path) -> str:
        (source / "yes/bad.wav").write_bytes(data)
        return "yes/bad.wav"

    return make


def _lone(source: Path) -> str:
    write(source / "maybe/a.wav", speechlike(90, 0.1))
    return "maybe/a.wav"


BAD_INPUTS = {
    "zero bytes": (_holding(b""), "empty-file"),
    "a truncated header": (_holding(coded(speechlike(90))[:20]), "damaged-header"),
    "a header and nothing else": (_holding(coded(speechlike(90))[:44]), "no-samples"),
    "text": (_holding(b"not audio at all\n" * 50), "not-audio"),
    "NaN": (_holding(coded(np.full(4_000, np.nan, "f4"), subtype="FLOAT")), "not-finite"),
    "one sample": (_holding(coded(np.ones(1, "f4") / 2)), "too-short"),
    "silence": (_holding(coded(np.zeros(8_000, "f4"))), "silent"),
    "a constant": (_holding(coded(np.full(8_000, 0.5, "f4"))), "silent"),
    "three hours": (_holding(coded(np.zeros(3 * 3_600 * 2_000, "f4"), 2_000, subtype="PCM_U8")), "too-long"),
    "a name that is no UTF-8": (_not_utf8, "name-not-utf8"),
    "a link out of the tree": (_outside, "outside-source"),
    "a label with one clip": (_lone, "lone-label"),
}


@pytest.mark.parametrize(("make", "reason"), BAD_INPUTS.values(), ids=BAD_INPUTS.keys())
def test_bad_input_is_quarantined_with_its_reason_and_the_rest_goes_on(tmp_path, source, make, reason):
    shown = make(source)
    before = content(source)
    result = add(tmp_path)
    assert result.added == 6
    assert reasons(result) == {shown: reason}
    assert result.quarantined[0].detail
    (row,) = manifest.read_quarantine(tmp_path / "data/quarantine.parquet")
    assert (row.path, row.reason) == (f"source/{shown}", reason)
    assert content(source) == before
    assert add(tmp_path) == IngestResult(0, 6, result.quarantined)


def test_one_recording_under_two_labels_is_quarantined_twice(tmp_path, source):
    for label in ("yes", "no"):
        write(source / label / "same.wav", speechlike(90, 0.1))
    result = add(tmp_path)
    assert result.added == 6
    assert reasons(result) == {"yes/same.wav": "two-labels", "no/same.wav": "two-labels"}
    assert "'no' and 'yes'" in result.quarantined[0].detail


def test_a_label_that_contradicts_the_dataset_is_quarantined(tmp_path, source):
    add(tmp_path)
    write(source / "no/same.wav", speechlike(1, 0.1))
    result = add(tmp_path)
    assert (result.added, reasons(result)) == (0, {"no/same.wav": "two-labels"})
    assert "in the dataset" in result.quarantined[0].detail
    assert len(clips(tmp_path)) == 6


def test_one_recording_under_two_speakers_is_added_once(tmp_path, source):
    for name in ("yes_ann_1", "yes_ben_1"):
        write(tmp_path / f"named/{name}.wav", speechlike(90, 0.1))
    write(tmp_path / "named/yes_cy_1.wav", speechlike(91, 0.1))
    result = add(tmp_path, "named", pattern="{label}_{speaker}_{index}.wav")
    assert (result.added, reasons(result)) == (2, {"yes_ben_1.wav": "conflicting-groups"})


def test_an_unknown_column_is_reported_and_the_rows_are_used(tmp_path, source):
    (source / "labels.csv").write_text("path,label,snr\n" + "".join(f"yes/{n}.wav,yes,{n}.5\n" for n in (1, 3, 5)))
    result = add(tmp_path, "source/labels.csv")
    assert (result.added, reasons(result)) == (3, {"labels.csv": "unknown-column"})
    assert "'snr'" in result.quarantined[0].detail


@pytest.mark.parametrize(("label", "kind"), [("unknown", "one"), ("rain; unknown", "many")])
def test_no_class_may_be_called_what_a_model_answers_to_clips_of_no_class(tmp_path, source, label, kind):
    (source / "labels.csv").write_text(f"path,label\nyes/1.wav,rain\nyes/3.wav,{label}\n")
    with pytest.raises(SourceError, match=r"yes/3\.wav has the label 'unknown', .* such as 'other'"):
        add(tmp_path, "source/labels.csv", settings=DataSettings(labels=kind))
    assert not (tmp_path / "data/manifest.parquet").exists()


def test_a_lone_label_comes_in_when_it_has_company(tmp_path, source):
    write(source / "maybe/a.wav", speechlike(90, 0.1))
    add(tmp_path)
    write(source / "maybe/b.wav", speechlike(91, 0.1))
    assert add(tmp_path).added == 2
    assert manifest.read_quarantine(tmp_path / "data/quarantine.parquet") == ()


def test_a_repaired_file_leaves_the_quarantine_and_those_of_other_sources_stay(tmp_path, source):
    (source / "yes/bad.wav").write_bytes(b"")
    add(tmp_path)
    (write(tmp_path / "week2/yes/a.wav", speechlike(80, 0.1)).parent / "bad.wav").write_bytes(b"")
    add(tmp_path, "week2")
    write(source / "yes/bad.wav", speechlike(81, 0.1))
    add(tmp_path)
    assert [row.path for row in manifest.read_quarantine(tmp_path / "data/quarantine.parquet")] == ["week2/yes/bad.wav"]


def test_nothing_usable_writes_nothing(tmp_path):
    (tmp_path / "source/yes").mkdir(parents=True)
    (tmp_path / "source/yes/bad.wav").write_bytes(b"")
    assert reasons(add(tmp_path)) == {"yes/bad.wav": "empty-file"}
    assert not (tmp_path / "data").exists()


def test_check_tells_the_same_and_writes_nothing(tmp_path, source):
    (source / "yes/bad.wav").write_bytes(b"")
    before = content(tmp_path)
    told = ingest.check(source, tmp_path / "data", tmp_path / "cache", DataSettings())
    assert content(tmp_path) == before
    assert told == add(tmp_path)


@pytest.mark.parametrize("step", ["_copy", "_grown", "manifest._staged", "manifest.replace"])
@pytest.mark.parametrize("is_first", [True, False])
def test_killed_in_the_middle_the_dataset_is_as_before_and_the_next_addition_mends_it(
    tmp_path, source, monkeypatch, step, is_first
):
    if not is_first:
        add(tmp_path)
        for number in range(20, 24):
            write(source / "yes" / f"{number}.wav", speechlike(number, 0.1))
        (source / "yes/bad.wav").write_bytes(b"")
    tables = (manifest.FILE_NAME, manifest.QUARANTINE_FILE_NAME)
    before = [(tmp_path / "data" / name).read_bytes() for name in tables if not is_first]
    module, _, name = step.rpartition(".")
    target = manifest if module else ingest
    real, calls = getattr(target, name), []

    def kill(*args: object) -> object:
        calls.append(args)
        if len(calls) == 2 or name in ("_grown", "replace"):
            raise KeyboardInterrupt
        return real(*args)

    with monkeypatch.context() as patched:
        patched.setattr(target, name, kill)
        with pytest.raises(KeyboardInterrupt):
            add(tmp_path)
    assert [(tmp_path / "data" / name).read_bytes() for name in tables if (tmp_path / "data" / name).exists()] == before
    add(tmp_path)
    left = {path for path in content(tmp_path / "data") if path not in tables}
    assert left == set(clips(tmp_path)["path"])
    assert len(left) == (6 if is_first else 10)


def test_a_file_that_changes_while_it_is_added_is_an_error(tmp_path, source, monkeypatch):
    real = ingest._plan

    def plan_then_change(*args: object, **options: object) -> object:
        plan = real(*args, **options)
        write(source / "yes/1.wav", speechlike(99, 0.1))
        return plan

    monkeypatch.setattr(ingest, "_plan", plan_then_change)
    with pytest.raises(SourceError, match=r"yes/1\.wav changed while"):
        add(tmp_path)
    assert not (tmp_path / "data/manifest.parquet").exists()


def test_the_dataset_is_no_source(tmp_path, source):
    add(tmp_path)
    with pytest.raises(SourceError, match="lies in the dataset folder"):
        add(tmp_path, "data/clips")
    assert (
        ingest.add(tmp_path, tmp_path / "data", tmp_path / "cache", DataSettings(), pattern="*/{label}/*.wav").added
        == 0
    )


def test_a_damaged_dataset_is_an_error_and_stays(tmp_path, source):
    add(tmp_path)
    (tmp_path / "data/manifest.parquet").write_bytes(b"?")
    with pytest.raises(DatasetError, match="damaged"):
        add(tmp_path)


def test_progress_reaches_the_number_of_files(tmp_path, source):
    seen: list[tuple[int, int]] = []
    add(tmp_path, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 6) for done in range(7)]


def test_real_recordings_are_added_in_seconds_and_again_at_once(tmp_path, fsdd):
    source = tmp_path / "source"
    source.mkdir()
    for path in sorted(fsdd.glob("*_[0-4].wav")):
        (source / path.name).write_bytes(path.read_bytes())
    pattern = "{label}_{speaker}_{index}.wav"
    started = time.process_time()
    assert add(tmp_path, pattern=pattern) == IngestResult(300, 0, ())
    first = time.process_time() - started
    assert first < 6
    frame = clips(tmp_path)
    assert frame.groupby("group_speaker").size().to_dict() == dict.fromkeys(
        ("george", "jackson", "lucas", "nicolas", "theo", "yweweler"), 50
    )
    assert (frame["family"] == frame["clip_id"]).all()
    assert set(frame["sample_rate_hz"]) == {8_000}
    started = time.process_time()
    assert add(tmp_path, pattern=pattern) == IngestResult(0, 300, ())
    assert time.process_time() - started < first / 3
