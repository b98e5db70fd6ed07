import hashlib
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from tenuto import scaffold
from tenuto.errors import WorkspaceError
from tenuto.store import ClipStore
from tenuto.tracing import served
from tenuto.tracing.erasure import databases, traces
from tenuto.tracing.erasure.identities import Identities
from tenuto.tracing.served import Feedback, Served
from tenuto.workspace import Workspace

ANN, BEN = "a" * 32, "b" * 32
NOTHING = {"predictions": 0, "feedback": 0, "recordings": 0}
WHO = Identities(clips=(ANN,), groups=(("speaker", "ann"),))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "w")
    scaffold.create(workspace.root, "w")
    workspace.state.mkdir(exist_ok=True)
    return workspace


def purge(workspace: Workspace, clean_pages: tuple[str, ...] = ()) -> dict[str, dict[str, int]]:
    return {done.place: done.counts for done in traces.purge(workspace, WHO, (BEN,), clean_pages, "0001")}


def test_settings_that_name_her_are_pointed_out_and_the_shipped_examples_are_not(workspace: Workspace) -> None:
    assert "speaker=ann" in workspace.promotion.read_text()  # as an example
    assert traces.mentions(workspace, WHO) == ()
    first = len(workspace.params.read_text().splitlines()) + 1
    with workspace.params.open("a") as file:
        file.write("split:\n  hold_out: {speaker: [ben, ann]}\n")
    (found,) = traces.mentions(workspace, WHO)
    assert (found.file, found.line, found.text) == ("params.yaml", first + 1, "hold_out: {speaker: [ben, ann]}")


def test_shards_of_the_caches_lose_her_rows_and_are_named_by_their_new_bytes(workspace: Workspace) -> None:
    facts = ClipStore(workspace.cache, "facts", "v1")
    facts.add(pd.DataFrame({"clip_id": [ANN, BEN, "left out"]}, index=["file1", "file2", "file3"]))
    embeddings = ClipStore(workspace.cache, "embeddings", "k")
    embeddings.add(pd.DataFrame({"embedding": [[1.0], [2.0], [3.0]]}, index=[ANN, f"{ANN}-12ab", BEN]))
    done = purge(workspace)
    assert done["facts"] == {"rows": 2}
    assert done["other files"] == {"cache/embeddings": 1}
    assert list(facts.load().index) == ["file2"]
    assert list(embeddings.load().index) == [BEN]
    for path in workspace.cache.rglob("*.parquet"):
        assert path.stem == hashlib.sha256(path.read_bytes()).hexdigest()
    assert purge(workspace)["facts"] == {"rows": 0}


def test_what_a_run_can_make_again_is_removed(workspace: Workspace) -> None:
    for folder in (workspace.checkpoints, workspace.runs, workspace.served_models, workspace.data_docs):
        (folder / "one").mkdir(parents=True)
    workspace.audit_index.write_bytes(b"SQLite")
    Path(f"{workspace.audit_index}-wal").write_bytes(b"log")
    done = purge(workspace)
    assert [
        done[place]["folders"] for place in ("finished trainings", "tables of runs", "downloaded models", "Data Docs")
    ] == [1] * 4
    assert done["audit index"] == {"files": 2}
    assert not workspace.audit_index.exists()


def test_pages_stay_only_when_they_never_held_her(workspace: Workspace) -> None:
    workspace.audits.mkdir(parents=True)
    pages = {
        name: workspace.reports / name for name in ("clean.html", "played.html", "audit/bells.html", "audit/ann.html")
    }
    for name, page in pages.items():
        page.write_text(f"<html>{'speaker ann' if 'ann' in name else 'a sound'}</html>")
    assert purge(workspace, ("clean.html",))["pages"] == {"replaced": 2}
    withdrawn = {name for name, page in pages.items() if "withdrawn" in page.read_text()}
    assert withdrawn == {"played.html", "audit/ann.html"}
    assert purge(workspace, ("clean.html",))["pages"] == {"replaced": 0}


def test_logs_and_events_are_rewritten_and_the_ledger_and_the_code_of_models_are_not(workspace: Workspace) -> None:
    code = workspace.mlflow_artifacts / "models" / "m" / "artifacts" / "code" / "example.yaml"
    code.parent.mkdir(parents=True)
    for path in (code, workspace.ledger, workspace.events, workspace.state / "mlflow-server.log"):
        path.write_text('{"who": "it is ann"}\n')
    assert traces.held(workspace, WHO) == {"mlflow-server.log": 1, "openlineage.jsonl": 1}
    assert traces.left(workspace, WHO)[1] == (".tenuto/mlflow-server.log", ".tenuto/openlineage.jsonl")
    purge(workspace)
    assert workspace.events.read_text() == '{"who": "it is (erased)"}\n'
    assert "ann" in code.read_text()
    assert "ann" in workspace.ledger.read_text()
    assert traces.left(workspace, WHO)[1] == ()


def test_an_erasure_does_not_end_while_a_database_is_locked(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "_BUSY_SECONDS", 0.05)
    with closing(sqlite3.connect(workspace.mlflow_db, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        with pytest.raises(WorkspaceError, match=r"mlflow.db cannot be rewritten .*`tenuto erase --yes`"):
            traces.purge_databases(workspace, "sqlite:///nowhere.db", WHO)
    assert [done.counts for done in traces.purge_databases(workspace, "http://host", WHO)] == [{"entries": 0}] * 2 + [
        NOTHING
    ]


def test_clips_that_were_sent_to_a_server_are_hers_by_row_and_not_by_chance_bytes(workspace: Workspace) -> None:
    at = datetime(2026, 3, 3, tzinfo=UTC)
    for name in ("call-1", "call-2"):
        row = Served(request_id=name, at=at, model="w", version="1", label="ann", probability=0.5)
        served.record(workspace.served, row)
    assert traces.held(workspace, WHO) == {} and traces.left(workspace, WHO)[1] == ()
    given = Feedback(request_id="call-1", label="up", at=at, groups={"speaker": "ann"})
    served.feedback(workspace.served, [given])
    assert traces.held(workspace, WHO) == {"served predictions": 1}
    assert traces.left(workspace, WHO)[1] == (".tenuto/served.sqlite",)
    done = traces.purge_databases(workspace, "sqlite:///nowhere.db", WHO)[-1]
    assert (done.place, done.counts) == ("served predictions", {"predictions": 1, "feedback": 1, "recordings": 0})
    assert traces.left(workspace, WHO)[1] == ()
    assert list(served.frame(workspace.served)["request_id"]) == ["call-2"]
