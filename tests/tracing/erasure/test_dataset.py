from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from tenuto.dataset import ingest, manifest
from tenuto.errors import WorkspaceError
from tenuto.settings import DataSettings
from tenuto.tracing.erasure import dataset, refusals
from tenuto.tracing.erasure.identities import Identities
from tenuto.tracing.erasure.records import next_number, require_finished, unfinished

PATTERN = "{label}_{speaker}_{index}.*"


def tone(hz: float, gain: float = 0.3) -> np.ndarray:
    return gain * np.sin(2 * np.pi * hz * np.arange(4000) / 8000)


def write(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        soundfile.write(folder / name, tone(150 + 37 * (sum(name.encode()) % 61)), 8000)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A dataset of two speakers, one of whom has a broken recording as well."""
    names = [
        f"{label}_{speaker}_{index}.wav" for label in ("up", "down") for speaker in ("ann", "ben") for index in "01"
    ]
    source = write(tmp_path / "source", *names)
    (source / "up_ann_9.wav").write_bytes(b"RIFF broken")
    add(tmp_path / "w", source)
    return tmp_path / "w"


def add(root: Path, source: Path) -> ingest.IngestResult:
    return ingest.add(source, root / "data", root / ".tenuto" / "cache", DataSettings(), pattern=PATTERN)


def of_ann(root: Path) -> Identities:
    table = manifest.read(root / "data" / "manifest.parquet")
    return Identities.of(table, list(table.loc[table["group_speaker"] == "ann", "clip_id"]), [("speaker", "ann")])


def refuse(root: Path, who: Identities, groups: list[tuple[str, str]]) -> None:
    refusals.save(refusals.read(root / "erasures").extended(who.clips, groups, "0001"), root / "erasures")


def test_the_dataset_loses_rows_files_and_quarantine_rows_and_once_more_nothing(root: Path) -> None:
    who = of_ann(root)
    assert dataset.remove(root / "data", who).counts == {"clips": 4, "quarantine rows": 1}
    table = manifest.read(root / "data" / "manifest.parquet")
    assert list(table["group_speaker"].unique()) == ["ben"]
    files = {path.relative_to(root / "data").as_posix() for path in (root / "data" / "clips").rglob("*.wav")}
    assert files == set(table["path"])
    assert manifest.read_quarantine(root / "data" / "quarantine.parquet") == ()
    assert dataset.remove(root / "data", who).counts == {"clips": 0, "quarantine rows": 0}


def test_removing_everything_leaves_an_empty_dataset(root: Path) -> None:
    table = manifest.read(root / "data" / "manifest.parquet")
    dataset.remove(root / "data", Identities.of(table, list(table["clip_id"]), []))
    assert len(manifest.read(root / "data" / "manifest.parquet")) == 0
    assert list((root / "data").rglob("*.wav")) == []


def test_a_family_whose_oldest_clip_goes_is_named_anew(root: Path) -> None:
    path = root / "data" / "manifest.parquet"
    table = manifest.read(path)
    anns, bens = table[table["group_speaker"] == "ann"], table[table["group_speaker"] == "ben"]
    head, copies = anns["clip_id"].iloc[0], list(bens["clip_id"].iloc[:2])
    manifest.write(table.assign(family=table["family"].where(~table["clip_id"].isin(copies), head)), path)
    dataset.remove(root / "data", of_ann(root))
    left = manifest.read(path).set_index("clip_id")["family"]
    assert set(left[copies]) == {min(copies)}


def test_recordings_of_a_refused_speaker_are_counted_and_leave_no_trace(root: Path, tmp_path: Path) -> None:
    who = of_ann(root)
    dataset.remove(root / "data", who)
    refuse(root, who, [("speaker", "ann")])
    again = write(tmp_path / "again", "up_ann_5.wav", "down_Ann_6.wav", "up_ben_5.wav")
    (again / "up_ann_7.m4a").touch()
    result = add(root, again)
    assert result.refused == {"0001": 3}
    assert (result.added, result.quarantined) == (1, ())
    facts = pd.concat(map(pd.read_parquet, (root / ".tenuto" / "cache" / "facts").rglob("*.parquet")))
    assert len(facts) == 9  # 8 from before the erasure, which purges them, and ben's


def test_a_refused_recording_is_known_without_its_group_and_losslessly_coded_anew(root: Path, tmp_path: Path) -> None:
    who = of_ann(root)
    data = root / "data"
    first = manifest.read(data / "manifest.parquet").set_index("clip_id").loc[who.clips[0]]
    samples, rate = soundfile.read(data / first["path"])
    dataset.remove(data, who)
    refuse(root, who, [])
    folder = write(tmp_path / "again" / "up", "other.wav")
    soundfile.write(folder / "copy.flac", samples, rate)
    cache = root / ".tenuto" / "cache"
    facts_before = sorted(cache.rglob("*.parquet"))
    result = ingest.add(folder.parent, data, cache, DataSettings())
    assert result.refused == {"0001": 1}
    assert result.added == 1
    new = pd.concat(pd.read_parquet(path) for path in cache.rglob("*.parquet") if path not in facts_before)
    assert not set(new["clip_id"]) & who.ids


def test_a_lossy_copy_without_its_group_cannot_be_refused(root: Path, tmp_path: Path) -> None:
    who = of_ann(root)
    samples, rate = soundfile.read(root / "data" / manifest.read(root / "data" / "manifest.parquet")["path"].iloc[0])
    dataset.remove(root / "data", who)
    refuse(root, who, [("speaker", "ann")])
    folder = write(tmp_path / "again" / "up", "other.wav")
    soundfile.write(folder / "copy.ogg", samples, rate)
    assert ingest.add(folder.parent, root / "data", root / ".tenuto" / "cache", DataSettings()).refused == {}


def test_a_table_of_nothing_but_refused_recordings_adds_nothing(root: Path, tmp_path: Path) -> None:
    refuse(root, of_ann(root), [("speaker", "ann")])
    table = tmp_path / "clips.csv"
    table.write_text("path,label,speaker\nnowhere.wav,up,ann\n,up,ANN\n")
    result = ingest.add(table, root / "data", root / ".tenuto" / "cache", DataSettings())
    assert (result.added, result.refused, result.quarantined) == (0, {"0001": 2}, ())


def test_an_unfinished_erasure_stops_everything_else(tmp_path: Path) -> None:
    journal = tmp_path / "erasure.json"
    require_finished(journal)
    assert unfinished(journal) is None
    journal.write_text("{")
    with pytest.raises(WorkspaceError, match="tenuto erase --yes"):
        require_finished(journal)
    with pytest.raises(WorkspaceError, match="cannot be read"):
        unfinished(journal)


def test_certificates_are_numbered_from_one(tmp_path: Path) -> None:
    assert next_number(tmp_path) == "0001"
    (tmp_path / "0009.json").touch()
    (tmp_path / "refusals.json").touch()
    assert next_number(tmp_path) == "0010"
