"""`tenuto audit` from its command line, on the small registry of the benchmark: no server, and mostly no MLflow."""

from __future__ import annotations

import csv
import json
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from benchmarks import audit as benchmark
from tasks import audit as filling
from tasks.registry import store
from tenuto.sound import audio
from tenuto.tracing import ledger, served
from tenuto.tracing.erasure import refusals
from tenuto.tracing.served import Served
from tenuto.workspace import Workspace
from tests.flows.shell import Shell

VERSIONS, CLIPS, SPEAKERS = 5, 400, 20


@pytest.fixture(scope="module")
def whole() -> pa.Table:
    return benchmark.clips_table(CLIPS, SPEAKERS, np.random.default_rng(1))


@pytest.fixture(scope="module")
def workspace(whole: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace whose index is filled when it is first asked."""
    made = benchmark.make_workspace(tmp_path_factory.mktemp("audit") / "calls")
    benchmark.fill_registry(made, whole, VERSIONS)
    return made


@pytest.fixture(scope="module")
def offline() -> Shell:
    """The command line; nothing here needs a server."""
    return Shell("http://127.0.0.1:1/api")


@pytest.fixture
def ask(workspace: Workspace, offline: Shell) -> Any:
    """The object that `tenuto audit ... --json` prints."""
    return lambda *arguments: offline.json(workspace.root, "audit", *arguments)


@pytest.fixture
def complaint(workspace: Workspace, offline: Shell) -> Any:
    """What `tenuto audit ...` says when it cannot answer."""

    def said(*arguments: str) -> str:
        code, out, err = offline.run(workspace.root, "audit", *arguments)
        assert (code, out) == (1, "") and "Traceback" not in err
        return " ".join(err.split())

    return said


def counted(whole: pa.Table, version: int, speaker: str) -> dict[str, int]:
    """A speaker's clips per role in a version, counted from the table."""
    share = benchmark.FIRST_SHARE + (1 - benchmark.FIRST_SHARE) * version / VERSIONS
    rows = whole.slice(0, round(CLIPS * share)).to_pylist()
    roles = {"train": "trained", "validation": "tuned", "test": "tested"}
    splits = [roles[row["split"]] for row in rows if row["group_speaker"] == speaker]
    return {role: splits.count(role) for role in set(splits)}


def test_a_speaker_leads_to_every_version_that_heard_her(ask: Any, whole: pa.Table) -> None:
    for speaker in ("speaker-000", "speaker-004", "speaker-005"):
        found = ask("--group", f"speaker={speaker}")
        assert {v["version"]: v["roles"] for v in found["versions"]} == {
            str(version): counted(whole, version, speaker) for version in range(1, VERSIONS + 1)
        }
    assert found["aliases_from"] == "ledger"
    assert [d["runs"] for d in found["datasets"]] == [1] * VERSIONS


def test_the_champion_leads_to_its_clips(ask: Any, whole: pa.Table) -> None:
    found = ask()
    assert (found["version"], found["aliases"], found["listed"]) == ("5", ["champion"], CLIPS)
    assert (found["as_of"]["entry"], found["as_of"]["store"]) == (5, "own")
    assert sum(share["clips"] for share in found["clips"]) == CLIPS
    trained = [row for row in whole.to_pylist() if row["split"] == "train"]
    shares = [share for share in found["clips"] if share["split"] == "train"]
    assert sum(share["clips"] for share in shares) == len(trained)
    assert sum(share["copies"] for share in shares) == sum(row["copies"] for row in trained)
    assert found["run"]["code"]["commit"] == f"{5:040x}" and found["decision"] == 5


@pytest.mark.parametrize("asked", ["@champion", "5", "calls", "calls@champion", "calls/5", "/5"])
def test_a_version_has_several_names(ask: Any, asked: str) -> None:
    assert ask(asked)["version"] == "5"


def test_an_index_that_is_there_is_asked_without_mlflow_or_pandas(workspace: Workspace, ask: Any) -> None:
    ask("@champion")
    program = (
        "import sys; from pathlib import Path; from flows import audit; from tenuto.settings import load_params\n"
        "from tenuto.workspace import Workspace; w = Workspace(Path('.').resolve())\n"
        "with audit.opened(w, load_params(w.params, ())) as opened:\n"
        "    audit.model(opened, '@champion'); audit.group(opened, 'speaker=speaker-001')\n"
        "print([name for name in ('mlflow', 'pandas', 'prefect', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=workspace.root, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_what_the_ledger_names_and_the_index_lacks_is_fetched(workspace: Workspace, ask: Any) -> None:
    ask("@champion")
    with sqlite3.connect(workspace.audit_index) as database:
        database.execute("DELETE FROM run WHERE run_id = (SELECT run_id FROM version WHERE version = '3')")
    assert ask("calls/3")["listed"] == round(CLIPS * (0.3 + 0.7 * 3 / 5))
    workspace.audit_index.write_bytes(b"damaged" * 1000)
    assert len(ask("--group", "speaker=speaker-000")["versions"]) == VERSIONS


def test_without_a_ledger_mlflow_says_where_aliases_point(workspace: Workspace, ask: Any) -> None:
    kept = workspace.ledger.read_bytes()
    workspace.ledger.unlink()
    try:
        found = ask("@champion")
    finally:
        workspace.ledger.write_bytes(kept)
    assert (found["version"], found["aliases_from"]) == ("5", "MLflow")


@pytest.fixture
def other_host(workspace: Workspace, tmp_path: Path) -> Path:
    """A workspace of another host on the same MLflow, whose ledger ends with entry 3 and whose index knows no more."""
    uri, lines = f"sqlite:///{workspace.mlflow_db}", workspace.ledger.read_text().splitlines()
    client = MlflowClient(uri, uri)
    experiment = client.get_experiment_by_name("calls").experiment_id
    for number, line in enumerate(lines, start=1):
        client.set_experiment_tag(experiment, f"{store.LEDGER}{number:06d}", line)
    here = benchmark.make_workspace(tmp_path / "other")
    here.params.write_text(f"name: calls\ntracking_uri: {uri}\n")
    here.ledger.write_text("\n".join(lines[:3]) + "\n")
    filling.catch_up(uri, "calls", here.audit_index)
    with sqlite3.connect(here.audit_index) as database:
        database.execute("DELETE FROM run WHERE run_id IN (SELECT run_id FROM version WHERE version > '3')")
        database.execute("DELETE FROM version WHERE version > '3'")
    return here.root


def test_what_another_host_did_is_in_the_answer(other_host: Path, offline: Shell) -> None:
    before = Workspace(other_host).ledger.read_bytes()
    found = offline.json(other_host, "audit", "@champion")
    assert (found["version"], found["listed"], found["decision"]) == ("5", CLIPS, 5)
    assert (found["as_of"]["entry"], found["as_of"]["store"]) == (5, "shared")
    assert len(offline.json(other_host, "audit", "--group", "speaker=speaker-000")["versions"]) == VERSIONS
    assert Workspace(other_host).ledger.read_bytes() == before


def test_a_shared_mlflow_that_is_not_reached_is_said(
    other_host: Path, offline: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    found = offline.json(other_host, "audit", "@champion")
    assert (found["version"], found["as_of"]["entry"], found["as_of"]["store"]) == ("3", 3, "not reached")
    assert "127.0.0.1:1 takes no connection" in found["as_of"]["why"]
    code, out, _ = offline.run(other_host, "audit", "--group", "speaker=speaker-000")
    assert code == 0 and "entry 3" in out and "on this host alone" in " ".join(out.split())


def test_clips_are_listed_and_written(
    workspace: Workspace, ask: Any, offline: Shell, whole: pa.Table, tmp_path: Path
) -> None:
    expected = {row["clip_id"]: (row["split"], int(row["split"] == "train")) for row in whole.to_pylist()}
    listed = ask("--clips")["clip_table"]
    assert {row["clip_id"]: (row["split"], row["weight"]) for row in listed} == expected
    written = ask("--output", str(tmp_path / "clips.csv"))["written"]
    with Path(written[0]).open(newline="") as file:
        assert {row["clip_id"]: (row["split"], float(row["weight"])) for row in csv.DictReader(file)} == expected
    ask("--output", str(tmp_path / "clips.parquet"))
    assert pq.read_table(tmp_path / "clips.parquet").num_rows == CLIPS
    code, out, _ = offline.run(workspace.root, "audit", "--clips")
    assert code == 0 and all(clip in out for clip in expected)


def test_a_clip_is_found_by_id_by_source_and_by_its_sound(ask: Any, workspace: Workspace, whole: pa.Table) -> None:
    row = whole.slice(7, 1).to_pylist()[0]
    for asked in (row["clip_id"], row["clip_id"][:10], row["source"], "call-000007.wav"):
        found = ask("--clip", asked)
        assert [clip["clip_id"] for clip in found["clips"]] == [row["clip_id"]]
        assert len(found["versions"]) == VERSIONS
    wave = np.random.default_rng(2).normal(0, 0.1, 8000).astype(np.float32)
    path = workspace.root / "call-000007.wav"
    path.write_bytes(audio.encode_wav(wave, 16_000))
    try:
        # the sound is nobody's here, so the name counts
        assert ask("--clip", str(path))["clips"][0]["clip_id"] == row["clip_id"]
        clip_id = audio.clip_id(audio.decode(path))
        with sqlite3.connect(workspace.audit_index) as database:
            database.execute("UPDATE clip SET clip_id = ? WHERE clip_id = ?", (clip_id, whole["clip_id"][8].as_py()))
        assert ask("--clip", str(path))["clips"][0]["source"].endswith("call-000008.wav")
    finally:
        path.unlink()
        workspace.audit_index.unlink()


def test_a_served_prediction_leads_to_its_recordings(ask: Any, complaint: Any, workspace: Workspace) -> None:
    at = datetime(2026, 3, 3, tzinfo=UTC)
    call = Served(request_id="call-7", at=at, model="calls", version="2", label="class-01", probability=0.5)
    served.record(workspace.served, call)
    try:
        found = ask("--served", "call-7")
        assert (found["version"], found["served"]["request_id"], found["listed"]) == ("2", "call-7", 232)
        assert "No prediction has the request id 'call-8'; 1 are on record" in complaint("--served", "call-8")
    finally:
        workspace.served.unlink()
    missing = complaint("--served", "call-7")
    assert "There is no log of served predictions" in missing and "`tenuto serve` writes it" in missing


def test_what_was_erased_leads_to_its_certificate(ask: Any, workspace: Workspace) -> None:
    number = "0001"
    refused = refusals.read(workspace.erasures).extended(["e" * 32], [("speaker", "zoe")], number)
    refusals.save(refused, workspace.erasures)
    run = ask("calls/2")["run"]["run_id"]
    trace = {"run": run, "version": "2", "clips": {"trained": 6, "chosen": 1, "scored": 2}}
    certificate = {"number": number, "at": "2026-03-03T00:00:00Z", "runs": [trace]}
    (workspace.erasures / f"{number}.json").write_text(json.dumps(certificate))
    for asked in (("--group", "speaker=zoe"), ("--clip", "e" * 32)):
        (erased,) = ask(*asked)["erased"]
        assert (erased["number"], erased["runs"][0]["roles"]) == (number, {"trained": 6, "tuned": 1, "tested": 2})
    assert ask("--group", "speaker=speaker-000")["erased"] == []
    assert ask("calls/2")["certificates"] == {number: 9}
    assert ask("calls/3")["certificates"] == {}


def test_pages_are_written_where_the_reports_are_and_elsewhere(
    ask: Any, workspace: Workspace, offline: Shell, tmp_path: Path
) -> None:
    (written,) = ask("--page")["written"]
    assert Path(written) == workspace.audits / "calls-5.html"
    (written,) = ask("--group", "speaker=speaker-000", "--output", str(tmp_path / "ann.html"))["written"]
    assert "<svg" in Path(written).read_text()
    assert not list(workspace.reports.glob("*.html")), "it would be taken for a run's report"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--group", "speaker=speaker-0001"], "speaker=speaker-0001. Of 20 speaker values, near it: speaker-001"),
        (
            ["--group", "spaker=ann"],
            "No clip has a group 'spaker'. Known groups: accent (12 values), speaker (20 values)",
        ),
        (["--group", "ann"], "--group 'ann' is no group; wanted NAME=VALUE such as speaker=ann"),
        (["--group", "speaker="], "is no group; wanted NAME=VALUE"),
        (["--clip", "week-00/call-00000.wav"], "Near it: week-00/call-00000"),
        (["--clip", "abcdef"], "No run and no dataset version has a clip 'abcdef'"),
        (["calls/9"], "calls has no version '9'; there is 5, from 1 to 5"),
        (["calls@champ"], "calls has no alias @champ; there is @champion (version 5)"),
        (["cals"], "No model 'cals' is registered; there is calls"),
        (["a@b@c"], "names no model; wanted NAME, NAME@alias, NAME/3, @alias or 3"),
        (["@champion", "--group", "a=b"], "@champion and --group: one question at a time"),
        (["--clips", "--group", "a=b"], "--clips lists the clips of a model"),
        (["--output", "clips.txt"], "--output clips.txt ends in '.txt'; wanted .csv or .parquet"),
        (["--output", "no/such/clips.csv"], "there is no folder"),
    ],
)
def test_what_cannot_be_answered_says_what_there_is(complaint: Any, arguments: list[str], message: str) -> None:
    assert message in complaint(*arguments)


def test_an_empty_workspace_has_no_versions(offline: Shell, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("name: bells\n")
    ledger.append(
        tmp_path / ".tenuto" / "ledger.jsonl",
        ledger.Decision(at=datetime.now(UTC), actor="retrain", event="decision", model="bells"),
    )
    code, _, err = offline.run(tmp_path, "audit")
    assert code == 1 and "No version of bells is registered yet; `tenuto retrain` makes one" in err


def test_the_terminal_shows_the_whole_chain(workspace: Workspace, offline: Shell) -> None:
    code, out, _ = offline.run(workspace.root, "audit", "@champion")
    assert code == 0
    for step in (
        "calls version 5 @champion",
        "run  ",
        "flow run  ",
        "code  ",
        "environment  ",
        "dataset  ",
        "trained on",
    ):
        assert step in out
    code, out, _ = offline.run(workspace.root, "audit", "--group", "speaker=speaker-005")
    assert "0 versions heard it (trained or tuned), 5 only tested on it" in out
    assert "`tenuto ledger verify` checks them" in " ".join(out.split())
