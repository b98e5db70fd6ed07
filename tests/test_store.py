from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

from tenuto.store import ClipStore


def rows(*ids: str, value: float = 1.0) -> pd.DataFrame:
    return pd.DataFrame({"value": [value] * len(ids), "text": list(ids)}, index=list(ids))


def test_an_empty_store_gives_an_empty_frame(tmp_path):
    assert ClipStore(tmp_path, "facts", "v1").load().empty
    ClipStore(tmp_path, "facts", "v1").add(pd.DataFrame())
    assert list(tmp_path.iterdir()) == []


def test_rows_come_back(tmp_path):
    store = ClipStore(tmp_path, "facts", "v1")
    store.add(rows("a", "b"))
    store.add(rows("c"))
    pd.testing.assert_frame_equal(store.load().sort_index(), rows("a", "b", "c"))
    assert ClipStore(tmp_path, "facts", "v2").load().empty


def test_vectors_come_back_as_float32(tmp_path):
    vectors = [np.arange(3, dtype="f4"), np.ones(3, dtype="f4")]
    store = ClipStore(tmp_path, "embeddings", "k")
    store.add(pd.DataFrame({"embedding": vectors}, index=["a", "b"]))
    loaded = np.stack(list(store.load()["embedding"]))
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, np.stack(vectors))


def test_the_first_of_two_rows_of_one_clip_wins_once(tmp_path):
    store = ClipStore(tmp_path, "facts", "v1")
    store.add(rows("a"))
    store.add(rows("a", "b"))
    assert sorted(store.load().index) == ["a", "b"]


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: b"", lambda data: data[:50] + b"?" + data[51:]]
)
def test_a_damaged_shard_is_removed_with_a_warning_and_the_rest_stays(tmp_path, caplog, damage):
    store = ClipStore(tmp_path, "facts", "v1")
    store.add(rows("a"))
    (first,) = store.folder.glob("*.parquet")
    store.add(rows("b"))
    first.write_bytes(damage(first.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert list(store.load().index) == ["b"]
    assert "damaged" in caplog.text
    assert not first.exists()
    store.add(rows("a"))
    assert sorted(store.load().index) == ["a", "b"]


def test_a_kill_while_writing_leaves_whole_shards_only(tmp_path, monkeypatch):
    store = ClipStore(tmp_path, "facts", "v1")
    store.add(rows("a"))
    with monkeypatch.context() as patched:
        patched.setattr(type(tmp_path), "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            store.add(rows("b"))
    assert list(store.load().index) == ["a"]


def test_many_shards_are_merged(tmp_path):
    store = ClipStore(tmp_path, "facts", "v1")
    for number in range(70):
        store.add(rows(f"{number:02d}", value=number))
    assert len(list(store.folder.glob("*.parquet"))) < 10
    loaded = store.load()
    assert sorted(loaded.index) == [f"{number:02d}" for number in range(70)]
    assert loaded.loc["42", "value"] == 42
