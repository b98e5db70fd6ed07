from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tenuto.dataset import manifest
from tenuto.errors import DatasetError
from tenuto.records import Quarantined


def clips(*ids: str, **columns: object) -> pd.DataFrame:
    row = {
        "path": "clips/aa/a.wav", "source": "a.wav", "label": "yes", "batch": 0, "duration_seconds": 1.0,
        "sample_rate_hz": 8000, "channels": 1, "codec": "WAV/PCM_16", "peak_dbfs": -1.0, "level_dbfs": -20.0,
        "snr_db": 30.0, "clipped_fraction": 0.0, "dc_offset": 0.0, "bandwidth_hz": 4000.0, "has_dead_channel": False,
        "is_truncated": False, "is_fake_bandwidth": False, "fingerprint": b"\1\2", "family": "a",
    }  # fmt: skip
    return pd.DataFrame([{"clip_id": clip, **row, **columns} for clip in ids])


def test_a_manifest_comes_back_sorted_with_its_groups(tmp_path):
    path = tmp_path / "data/manifest.parquet"
    frame = clips("b", "a", group_speaker="ann")
    frame["group_accent"] = ["scots", np.nan]
    manifest.write(frame, path)
    read = manifest.read(path)
    assert list(read["clip_id"]) == ["a", "b"]
    assert manifest.group_names(read) == ["accent", "speaker"]
    assert list(read.columns[:6]) == ["clip_id", "path", "source", "label", "group_accent", "group_speaker"]
    assert read["group_accent"].isna().tolist() == [True, False]
    assert read["fingerprint"].tolist() == [b"\1\2", b"\1\2"]


def test_the_same_rows_in_any_order_give_the_same_bytes(tmp_path):
    frame = clips("c", "a", "b", group_speaker="ann")
    manifest.write(frame, tmp_path / "one.parquet")
    manifest.write(manifest.read(tmp_path / "one.parquet").iloc[::-1], tmp_path / "two.parquet")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_an_empty_manifest_can_be_written_and_read(tmp_path):
    manifest.write(manifest.empty(), tmp_path / "m.parquet")
    assert manifest.read(tmp_path / "m.parquet").empty


def test_a_manifest_that_cannot_be_used_is_an_error(tmp_path):
    path = tmp_path / "m.parquet"
    with pytest.raises(DatasetError, match=r"There is no .*m\.parquet.*tenuto data add"):
        manifest.read(path)
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(DatasetError, match=r"is damaged .* `dvc checkout`"):
        manifest.read(path)
    clips("a").drop(columns="snr_db").assign(extra=1, batch="one").to_parquet(path)
    with pytest.raises(DatasetError, match=r"lacks snr_db; it has unknown extra; it has the wrong type for .*batch"):
        manifest.read(path)
    manifest.write(clips("a", "a"), path)
    with pytest.raises(DatasetError, match="twice: a"):
        manifest.read(path)


def test_the_quarantine_comes_back_sorted(tmp_path):
    rows = [
        Quarantined(path="b.wav", reason="silent", detail="peak", label="yes"),
        Quarantined(path="a.wav", reason="not-audio", detail="text", label=None),
    ]
    path = tmp_path / manifest.QUARANTINE_FILE_NAME
    assert manifest.read_quarantine(path) == ()
    manifest.replace(manifest.empty(), rows, tmp_path)
    assert manifest.read_quarantine(path) == (rows[1], rows[0])
    assert list(pd.read_parquet(path).columns) == ["path", "reason", "detail", "label"]


def test_neither_table_changes_when_one_cannot_be_written(tmp_path):
    manifest.replace(clips("a"), [], tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    quarantined = Quarantined(path="b.wav", reason="silent", detail="")
    with pytest.raises(KeyError):
        manifest.replace(clips("b").drop(columns="family"), [quarantined], tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
