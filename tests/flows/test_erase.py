"""One speaker is erased, and every byte of the workspace is searched for her."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import uuid4

import pandas as pd
import pytest

from benchmarks.search import needles, search
from flows import erase, servers
from flows.data import add
from flows.workspace import create
from tasks import dataset, registry
from tasks.erase import flow_runs
from tenuto.dataset import manifest
from tenuto.settings import SplitSettings, load_params
from tenuto.splitting import holdout, splits
from tenuto.tracing import ledger
from tenuto.tracing.erasure.identities import Identities
from tenuto.tracing.erasure.records import Journal
from tenuto.workspace import Workspace
from tests.flows.shell import QUICK, Shell

SPEAKER = "Zyxelquor"
POLICY = "rules:\n  - {name: good enough, metric: accuracy, of: worst group=speaker, at_least: 0.0, severity: reject}\n"
PATTERN = ("--pattern", "{label}_{speaker}_{index}.wav")


@pytest.fixture(scope="module")
def source(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recordings of the other tests, with a name that is in no other word."""
    folder = tmp_path_factory.mktemp("erased") / "recordings"
    folder.mkdir()
    for path in recordings.glob("*_[01].wav"):
        shutil.copy(path, folder / path.name.replace("gus", SPEAKER))
    return folder


@pytest.fixture(scope="module", params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["data", "retrained"])
def is_retrained(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def root(shell: Shell, source: Path, is_retrained: bool) -> Path:
    """A workspace with a dataset, or one with a version 1, too, and her name in parameters, reasons and pages."""
    root = source.parent / ("birds" if is_retrained else "eggs")
    shell.json(root.parent, "init", root.name)
    shell.json(root, "data", "add", str(source), *PATTERN)
    (root / "mlflow" / "promotion.yaml").write_text(POLICY)
    if is_retrained:
        shell.json(root, "retrain", *QUICK, "--set", f"split.hold_out.speaker=[ann, {SPEAKER}]", code=None)
    return root


def divided(root: Path) -> pd.Series:
    """The split of every clip by its id."""
    table, kept = manifest.read(root / "data" / "manifest.parquet"), holdout.read(root / "holdout.yaml")
    return splits.assign(table, SplitSettings(), kept).set_index("clip_id")["split"]


@pytest.fixture(scope="module")
def divided_before(root: Path) -> pd.Series:
    return divided(root)


@pytest.fixture(scope="module")
def wanted(root: Path) -> dict[str, list[bytes]]:
    """All that must not be found afterwards."""
    table = manifest.read(root / "data" / "manifest.parquet")
    hers = table[table["group_speaker"] == SPEAKER]
    files = {row.clip_id: root / "data" / row.path for row in hers.itertuples()}
    return needles(files, {"ids": list(hers["clip_id"]), "files": list(hers["source"]), "name": [SPEAKER]})


@pytest.fixture(scope="module")
def erased(shell: Shell, root: Path, wanted: dict[str, list[bytes]], divided_before: pd.Series) -> dict[str, Any]:
    """What `erase --json` printed; the first attempt was ended in the middle."""
    with mock.patch("tasks.dataset.purge", side_effect=KeyboardInterrupt):
        shell.run(root, "erase", "--group", f"speaker={SPEAKER}", "--yes", "--reason", "a letter", "--actor", "dpo")
    assert (root / ".tenuto" / "erasure.json").is_file()
    for arguments in (("data", "add", str(root.parent / "recordings"), *PATTERN), ("retrain", *QUICK)):
        code, _, err = shell.run(root, *arguments)
        assert code == 1
        assert "erasure was begun here and not finished" in err
    return shell.json(root, "erase", "--yes")


def test_the_search_finds_her_before(root: Path, wanted: dict[str, list[bytes]], is_retrained: bool) -> None:
    hits = search(root, wanted)[1]
    kinds = {"whole files", "pieces of files", "pieces of samples"}
    assert kinds <= set(hits["data/clips"])
    assert kinds <= set(hits[".dvc/cache/files"])
    assert kinds <= set(hits[".dvc/remote/files"])
    assert {"pieces of samples", "ids", "name"} <= {kind for counts in hits.values() for kind in counts}
    of_runs = (".tenuto/reports", ".tenuto/mlartifacts", ".tenuto/mlflow.db") if is_retrained else ()
    for place in ("data/manifest.parquet", *of_runs):
        assert "name" in hits[place], place


def test_a_dry_run_lists_what_would_change_and_changes_nothing(shell: Shell, root: Path, is_retrained: bool) -> None:
    def content() -> dict[str, bytes]:
        files = (path for path in root.rglob("*") if path.is_file() and ".git/" not in path.as_posix())
        return {str(path): path.read_bytes() for path in files if ".dvc/tmp" not in path.as_posix()}

    before = content()
    plan = shell.json(root, "erase", "--group", f"speaker={SPEAKER}", "--dry-run")
    assert content() == before
    assert len(plan["clips"]) == 6
    assert plan["labels"] == {"down": 2, "flat": 2, "up": 2}
    assert plan["groups"] == [f"speaker={SPEAKER}"]
    assert [version["places"] for version in plan["dataset_versions"]] == [["DVC cache", "DVC remote 'local'"]]
    assert [run["clips"] for run in plan["runs"]] == ([{"scored": 6}] if is_retrained else [])
    assert plan["files"].get("reports", 0) == is_retrained
    assert (plan["moved"], plan["settings"], plan["unread"]) == (0, [], {})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--group", "speaker"), "wanted NAME=VALUE"),
        (("--group", "speakr=ann"), r"no group 'speakr' \(did you mean 'speaker'\?\); known groups: speaker"),
        (("--group", "speaker=zyxelquo"), f"did you mean '{SPEAKER}'"),
        (("--clip", "0" * 32), "no recording has this id"),
        (("--group", f"speaker={SPEAKER}", "--reason", f"{SPEAKER} wrote"), "names whom it erases"),
    ],
)
def test_mistakes_are_said_before_anything_happens(
    shell: Shell, root: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, _, err = shell.run(root, "erase", *arguments, "--yes")
    assert code == 1
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(" ".join(err.split()))
    assert not (root / "erasures").exists()


def test_erasing_asks_first_and_wants_to_know_whom(shell: Shell, root: Path) -> None:
    assert shell.run(root, "erase")[0] == 2
    code, _, err = shell.run(root, "erase", "--group", f"speaker={SPEAKER}")
    assert code == 2
    assert "--yes" in err


def test_settings_that_name_her_have_to_be_edited_first(shell: Shell, root: Path) -> None:
    rule = f"  - {{name: her, metric: accuracy, of: speaker={SPEAKER}, at_least: 0.0, severity: hold}}\n"
    (root / "mlflow" / "promotion.yaml").write_text(POLICY + rule)
    code, _, err = shell.run(root, "erase", "--group", f"speaker={SPEAKER}", "--yes")
    (root / "mlflow" / "promotion.yaml").write_text(POLICY)
    assert code == 1
    assert "mlflow/promotion.yaml, line 3" in err
    assert not (root / ".tenuto" / "erasure.json").exists()


def test_nothing_of_hers_is_found_afterwards(
    root: Path, wanted: dict[str, list[bytes]], erased: dict[str, Any]
) -> None:
    files, hits = search(root, wanted, skip="erasures/")
    assert hits == {}
    assert sum(files.values()) > 100
    assert erased["verified"]["files that still name her"] == 0


def test_nobody_else_is_in_another_split_afterwards(
    root: Path, divided_before: pd.Series, erased: dict[str, Any]
) -> None:
    after = divided(root)
    assert len(after) == 36
    assert (after == divided_before[after.index]).all()


def test_the_certificate_names_nobody_and_says_what_was_not_reached(
    root: Path, erased: dict[str, Any], wanted: dict[str, list[bytes]]
) -> None:
    assert (erased["number"], erased["actor"], erased["reason"]) == ("0001", "dpo", "a letter")
    assert len(erased["clips"]) == 6
    assert erased["clips_left"] == 36
    assert {"git", "weights", "where the recordings came from"} <= set(erased["unreached"])
    for path in (root / "erasures").iterdir():
        assert not any(text in path.read_bytes() for kind in ("ids", "files", "name") for text in wanted[kind])


def test_the_ledger_has_it_and_is_sound(shell: Shell, root: Path, erased: dict[str, Any]) -> None:
    lines = (root / ".tenuto" / "ledger.jsonl").read_text().splitlines()
    assert sum('"event":"erasure"' in line and erased["sha256"] in line for line in lines) == 1


def test_her_recordings_do_not_come_back(shell: Shell, root: Path, source: Path, erased: dict[str, Any]) -> None:
    added = shell.json(root, "data", "add", str(source), *PATTERN)
    assert (added["added"], added["unchanged"], added["quarantined"]) == (0, 36, [])
    assert added["refused"] == {"0001": 6}
    code, _, err = shell.run(root, "erase", "--group", f"speaker={SPEAKER}", "--yes")
    assert code == 1
    assert "was erased before (erasures/0001.json)" in err


@pytest.fixture(scope="module")
def original(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a dataset and without runs."""
    root = tmp_path_factory.mktemp("untrained") / "w"
    create(root)
    add(Workspace(root), load_params(root / "params.yaml"), source, pattern=PATTERN[1])
    return root


KILLED_AFTER = [
    pytest.param(step, marks=() if step in ("dataset", "files") else pytest.mark.slow) for step in erase._STEPS
]


@pytest.mark.parametrize("step", KILLED_AFTER)
def test_an_erasure_that_was_killed_is_finished_by_the_next(
    step: str, original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(Path(shutil.copytree(original, tmp_path / "w")))
    params = load_params(workspace.params)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    # the mirror of the ledger in MLflow is tested with the registry
    monkeypatch.setattr(registry, "record", lambda uri, path, decision: ledger.append(path, decision))
    planned = erase.plan(workspace, params, [f"speaker={SPEAKER}"], [], actor="dpo")
    take = erase._STEPS[step]

    def killed(*arguments: Any) -> Journal:
        take(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setitem(erase._STEPS, step, killed)
    with pytest.raises(KeyboardInterrupt):
        erase.finish(workspace, params, erase.begin(workspace, params, planned))
    monkeypatch.setitem(erase._STEPS, step, take)
    journal = erase.begun(workspace)
    assert journal is not None
    certificate = erase.finish(workspace, params, journal)
    assert (len(certificate.clips), certificate.clips_left) == (6, 36)
    assert erase.begun(workspace) is None
    hers = needles({}, {"ids": list(journal.who.clips), "name": [SPEAKER]})
    assert search(workspace.root, hers, skip="erasures/")[1] == {}
    assert [entry.event for entry in ledger.read(workspace.ledger)] == ["erasure"]
    assert dataset.fetch.fn(workspace.root).md5 == certificate.dataset_md5_after
    after = divided(workspace.root)
    assert (after == divided(original)[after.index]).all()


def test_everybody_can_be_erased(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(Path(shutil.copytree(original, tmp_path / "w")))
    params = load_params(workspace.params)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr(registry, "record", lambda uri, path, decision: ledger.append(path, decision))
    every = list(pd.read_parquet(workspace.manifest)["clip_id"])
    planned = erase.plan(workspace, params, [], every, actor="dpo")
    assert planned.short_labels == ("down", "flat", "up")
    certificate = erase.finish(workspace, params, erase.begin(workspace, params, planned))
    assert (len(certificate.clips), certificate.clips_left) == (42, 0)
    assert dataset.fetch.fn(workspace.root).clips == 0


@pytest.mark.servers
def test_a_retrain_is_asked_for_where_the_workspace_is_deployed(
    live: tuple[Workspace, servers.Servers], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    workspace, running = live
    assert running.prefect is not None
    params = load_params(workspace.params, [f"name=erased-{tmp_path.name[-8:]}"])
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert erase.request_retrain(workspace, params) is None
    monkeypatch.setenv("PREFECT_API_URL", running.prefect.address)
    with temporary_settings({PREFECT_API_URL: running.prefect.address}), get_client(sync_client=True) as client:
        assert erase.request_retrain(workspace, params) is None
        flow = client.create_flow_from_name("retrain")
        client.create_deployment(flow, params.name, parameters={"root": str(workspace.root)})
        assert erase.request_retrain(Workspace(tmp_path), params) is None
        name = erase.request_retrain(workspace, params)
        (asked,) = (run for run in client.read_flow_runs() if run.name == name)
        assert asked.parameters == {"root": str(workspace.root)}
        client.delete_flow_run(asked.id)


@pytest.mark.servers
def test_artifacts_and_flow_runs_on_another_prefect_server_that_name_her_go(
    live: tuple[Workspace, servers.Servers],
) -> None:
    from prefect import flow, get_client
    from prefect.artifacts import create_markdown_artifact
    from prefect.settings import PREFECT_API_URL, temporary_settings

    @flow(name="named", persist_result=False)
    def named(who: str) -> str:
        from prefect import runtime

        create_markdown_artifact(f"worst is {SPEAKER}" if who == "ben" else "nobody", key="worst")
        return str(runtime.flow_run.id)

    who = Identities(clips=("a" * 32,), groups=(("speaker", SPEAKER),))
    assert live[1].prefect is not None
    address = live[1].prefect.address
    with temporary_settings({PREFECT_API_URL: address}), get_client(sync_client=True) as client:
        by_name, by_artifact = named(SPEAKER), named("ben")
        done = flow_runs.purge(address, [by_name, by_artifact, str(uuid4())], who)
        assert (done.counts, done.unreached) == ({"artifacts": 1, "flow runs": 1}, "")
        assert {str(run.id) for run in client.read_flow_runs()} & {by_name, by_artifact} == {by_artifact}
