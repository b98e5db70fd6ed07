"""The log of served predictions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from tenuto.errors import RegistryError
from tenuto.tracing import served
from tenuto.tracing.served import Feedback, Served

AT = datetime(2026, 3, 3, 9, 30, tzinfo=UTC)
CALL = Served(
    request_id="call-7",
    at=AT,
    model="bells",
    version="4",
    alias="champion",
    artefact="fp32",
    label="up",
    probability=0.75,
    probabilities={"down": 0.25, "up": 0.75},
    novelty=0.5,
    embedding=(0.5, -2.0),
    duration_seconds=1.25,
    level_dbfs=-20.0,
    latency_ms=3.0,
)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "served.sqlite"


def test_a_prediction_is_found_by_its_request(tmp_path: Path) -> None:
    path = tmp_path / "new" / "served.sqlite"
    served.record(path, CALL)
    served.record(path, CALL.model_copy(update={"request_id": "call-8", "version": "5"}))
    assert served.find(path, "call-7") == CALL
    assert served.find(path, "call-8").version == "5"


def test_a_request_is_answered_once(log: Path) -> None:
    served.record(log, CALL)
    with pytest.raises(ValueError, match="'call-7' was recorded before"):
        served.record(log, CALL.model_copy(update={"label": "down"}))
    assert served.find(log, "call-7") == CALL


def test_an_unknown_request_and_a_log_that_is_not_there_are_told_apart(log: Path) -> None:
    with pytest.raises(RegistryError, match=r"no log of served .* request 'call-9'.*`log.is_on`"):
        served.find(log, "call-9")
    assert not log.exists()
    served.record(log, CALL)
    with pytest.raises(RegistryError, match="request id 'call-9'; 1 are on record, the newest of 2026-03-03"):
        served.find(log, "call-9")
    with pytest.raises(RegistryError, match="'call-7' has no clip 3; its clips are 0 to 0"):
        served.find(log, "call-7", 3)


def test_a_request_that_is_not_there_is_looked_up_without_reading_the_log(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert served.look_up(log, "call-9") is None and not log.exists()
    served.record(log, CALL)
    assert served.look_up(log, "call-7") == CALL
    with served.opened(log) as database:
        asked: list[str] = []
        database.set_trace_callback(asked.append)

        @contextmanager
        def watched(_: Path) -> Iterator[sqlite3.Connection]:
            yield database

        monkeypatch.setattr(served, "opened", watched)
        assert served.look_up(log, "call-9") is None
        plans = [str(row[3]) for sql in asked for row in database.execute(f"EXPLAIN QUERY PLAN {sql}")]
    assert any("USING INDEX" in plan for plan in plans) and not any("SCAN" in plan for plan in plans)


def test_the_answer_is_found_and_not_the_shadow(log: Path) -> None:
    shadow = CALL.model_copy(update={"version": "5", "is_shadow": True, "at": AT - timedelta(seconds=1)})
    assert served.add(log, [shadow, CALL]) == 2
    assert served.find(log, "call-7") == CALL


def test_what_is_there_already_stays_as_it_was(log: Path) -> None:
    served.record(log, CALL)
    fresh = CALL.model_copy(update={"position": 1})
    assert served.add(log, [CALL.model_copy(update={"label": "down"}), fresh]) == 1
    assert [served.find(log, "call-7", place).label for place in (0, 1)] == ["up", "up"]


def test_a_frame_has_a_row_per_clip_and_version_with_the_true_label(log: Path) -> None:
    shadow = CALL.model_copy(update={"version": "5", "is_shadow": True, "probabilities": {"up": 0.6, "left": 0.4}})
    later = CALL.model_copy(update={"request_id": "call-8", "at": AT + timedelta(days=1), "novelty": None})
    served.add(log, [later, shadow, CALL])
    served.feedback(log, [Feedback(request_id="call-7", label="down", at=AT, groups={"speaker": "ann"})])
    table = served.frame(log)
    assert list(table["request_id"]) == ["call-7", "call-7", "call-8"]
    assert list(table["is_shadow"]) == [False, True, False]
    assert list(table["true_label"]) == ["down", "down", None]
    assert list(table["groups"]) == [{"speaker": "ann"}, {"speaker": "ann"}, {}]
    assert table["p_down"].tolist()[::2] == [0.25, 0.25] and np.isnan(table["p_down"][1])
    assert table["p_left"][1] == 0.4 and "probabilities" not in table
    assert np.isnan(table["novelty"][2]) and table["level_dbfs"][0] == -20.0
    assert table["embedding"][0].dtype == np.float32 and table["embedding"][0].tolist() == [0.5, -2.0]
    assert table["at"][0] == AT and str(table["at"].dtype.tz) == "UTC"


def test_a_frame_is_cut_by_time_and_version(log: Path) -> None:
    served.add(
        log,
        [
            CALL.model_copy(update={"request_id": f"{day}", "at": AT + timedelta(days=day), "version": str(day % 2)})
            for day in range(4)
        ],
    )
    cut = served.frame(log, since=AT + timedelta(days=1), until=AT + timedelta(days=3))
    assert list(cut["request_id"]) == ["1", "2"]
    assert list(served.frame(log, version="1")["request_id"]) == ["1", "3"]


def test_a_frame_without_rows_has_the_columns(log: Path) -> None:
    empty = served.frame(log)
    assert len(empty) == 0 and not log.exists()
    served.record(log, CALL)
    filled = served.frame(log)
    assert [name for name in filled if not name.startswith("p_")] == list(empty)
    assert (filled[list(empty)].dtypes == empty.dtypes).all()


def test_feedback_is_corrected_by_later_feedback_and_needs_its_request(log: Path) -> None:
    served.record(log, CALL)
    for label in ("down", "up"):
        served.feedback(log, [Feedback(request_id="call-7", label=label, at=AT, source="rita")])
    assert list(served.frame(log)["true_label"]) == ["up"]
    assert list(served.frame(log)["label_source"]) == ["rita"]
    wrong = [Feedback(request_id="call-7", label="left", at=AT), Feedback(request_id="call-9", label="up", at=AT)]
    with pytest.raises(RegistryError, match="request id 'call-9'"):
        served.feedback(log, wrong)
    assert list(served.frame(log)["true_label"]) == ["up"]


def test_embeddings_beyond_half_precision_stay_finite(log: Path) -> None:
    served.record(log, CALL.model_copy(update={"embedding": (1e6, -1e6, 1 / 3)}))
    (kept,) = served.frame(log)["embedding"]
    np.testing.assert_allclose(kept, [65504, -65504, 1 / 3], rtol=2**-11)


def test_a_log_of_the_first_release_migrates(log: Path) -> None:
    with closing(sqlite3.connect(log)) as old, old:
        old.execute(
            "CREATE TABLE served (request_id TEXT PRIMARY KEY, at TEXT NOT NULL, model TEXT NOT NULL, "
            "version TEXT NOT NULL, label TEXT NOT NULL, probability REAL NOT NULL) WITHOUT ROWID"
        )
        old.execute("INSERT INTO served VALUES ('old-1', '2026-02-01T08:00:00+00:00', 'bells', '3', 'up', 0.5)")
    assert served.find(log, "old-1").version == "3"
    served.record(log, CALL)
    assert list(served.frame(log)["request_id"]) == ["old-1", "call-7"]
    assert list(served.frame(log, since=datetime(2026, 2, 1, 8, tzinfo=UTC))["request_id"]) == ["old-1", "call-7"]
    assert np.isnan(served.frame(log)["latency_ms"][0])


def test_a_log_from_before_streams_were_told_apart_migrates(log: Path) -> None:
    served.record(log, CALL)
    with closing(sqlite3.connect(log)) as old, old:
        old.execute("ALTER TABLE served DROP COLUMN is_window")
        old.execute("PRAGMA user_version = 2")
    assert served.find(log, "call-7") == CALL
    served.record(log, CALL.model_copy(update={"request_id": "call-8", "is_window": True}))
    assert list(served.frame(log)["is_window"]) == [False, True]


def test_a_frame_holds_what_is_asked_for(log: Path) -> None:
    other = CALL.model_copy(update={"request_id": "call-8", "model": "gongs"})
    kept = CALL.model_copy(update={"request_id": "call-9", "audio": "a.flac", "clip_id": "c"})
    served.add(log, [CALL, other, kept])
    served.feedback(log, [Feedback(request_id=name, label="up", at=AT) for name in ("call-7", "call-8")])
    assert list(served.frame(log, model="bells")["request_id"]) == ["call-7", "call-9"]
    assert list(served.frame(log, model="bells", is_labelled=True)["request_id"]) == ["call-7"]
    assert list(served.frame(log, is_kept=True)["request_id"]) == ["call-9"]
    whole, less = served.frame(log), served.frame(log, without=["embedding", "probabilities", "labelled_at"])
    assert set(whole) - set(less) == {"embedding", "labelled_at", "p_down", "p_up"}
    assert less.equals(whole[list(less)])


def test_answers_and_labels_are_counted_per_model_and_without_shadows_and_windows(log: Path) -> None:
    assert (served.count(log, "bells"), served.count_labels(log, "bells")) == (0, 0)
    names = ("clip", "gong", "window", "shadow")
    facts = ({}, {"model": "gongs"}, {"is_window": True}, {"is_shadow": True})
    served.add(log, [CALL.model_copy(update={"request_id": n} | f) for n, f in zip(names, facts, strict=True)])
    with served.opened(log) as written:
        written.executemany(
            "INSERT INTO feedback VALUES (?, 0, 'up', ?, '', '{}')", [(n, served.text(AT)) for n in names]
        )
    assert (served.count(log, "bells"), served.count_labels(log, "bells")) == (1, 1)
    assert served.count_labels(log, "bells", AT) == 0
    assert served.count_labels(log, "gongs", AT - timedelta(seconds=1)) == 1


def test_what_is_on_record_is_told(log: Path) -> None:
    assert served.on_record(log, [("call-7", 0)]) == set()
    served.record(log, CALL)
    assert served.on_record(log, [("call-7", 0), ("call-7", 1), ("call-9", 0)]) == {("call-7", 0)}
