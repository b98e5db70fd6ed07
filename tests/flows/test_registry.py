"""The commands that move @champion and tell of it, in a workspace with three versions."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from flows import registry as flows
from tasks.registry import packaging
from tenuto.errors import RegistryError
from tenuto.workspace import Workspace
from tests.flows.shell import Shell
from tests.tasks.registry.conftest import PROMOTE, Registry, copied, new_registry, save_little

SHELL = Shell("http://127.0.0.1:9/api")
"""No Prefect server answers there, and none of these commands needs one."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Version 2 is champion, 1 previous, 3 waits for approval and is challenger."""
    folder = tmp_path_factory.mktemp("registry")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packaging, "save_model", save_little)
        registry = new_registry(f"sqlite:///{folder / 'mlflow.db'}", folder / "store")
        registry.carry_out(PROMOTE, None)
        registry.carry_out(PROMOTE, "1")
        registry.carry_out(PROMOTE, "2", needs_approval=True)
    return registry


@pytest.fixture
def workspace(template: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    found = Workspace(tmp_path)
    found.params.write_text("name: bells\n")
    copied(template, found.state)
    return found


def test_a_persons_decisions_end_in_the_history(workspace: Workspace) -> None:
    root = workspace.root
    by = ("--reason", "a test", "--actor", "ann")
    assert SHELL.json(root, "approve", "3", *by)["aliases"] == {"champion": "3", "previous": "2"}
    assert SHELL.json(root, "rollback", *by)["aliases"] == {"champion": "2", "previous": "3"}
    assert SHELL.json(root, "promote", "1", *by, "--accept-stale")["event"] == "promotion"
    told = SHELL.json(root, "history")
    assert [(r["version"], r["how"], r["actor"]) for r in told["reigns"]] == [
        ("1", "decision", "retrain"),
        ("2", "decision", "retrain"),
        ("3", "approval", "ann"),
        ("2", "rollback", "ann"),
        ("1", "promotion", "ann"),
    ]
    assert told["reigns"][-1]["until"] is None
    now = SHELL.json(root, "champion")
    assert (now["version"], now["reign"]["reasons"], now["is_recorded"]) == ("1", ["a test"], True)
    today = SHELL.json(root, "champion", "--on", datetime.now().strftime("%Y-%m-%d"))
    assert (today["version"], today["earlier_that_day"]) == ("1", ["2", "3"])
    shown = SHELL.json(root, "ledger", "show")["entries"]
    assert [entry["number"] for entry in shown] == [1, 2, 3, 4, 5, 6]
    clean = SHELL.json(root, "ledger", "verify")
    assert (clean["clean"], clean["entries"], clean["head"]) == (True, 6, shown[-1]["sha256"])


def test_a_touched_ledger_and_a_moved_alias_are_found_and_the_file_is_restored(
    workspace: Workspace, template: Registry
) -> None:
    registry = Registry(f"sqlite:///{workspace.mlflow_db}", workspace.ledger, "", template.checkpoint)
    registry.client.set_registered_model_alias("bells", "champion", "1")
    workspace.ledger.write_text(workspace.ledger.read_text().replace("retrain", "mallory", 1))
    found = SHELL.json(workspace.root, "ledger", "verify", code=2)
    assert {breach["kind"] for breach in found["breaches"]} == {"edited", "alias"}
    code, out, _ = SHELL.run(workspace.root, "ledger", "verify")
    assert code == 2
    assert "@champion was moved from 2 to 1 behind the ledger's back" in out
    assert SHELL.json(workspace.root, "champion")["is_recorded"] is False
    assert Path(SHELL.json(workspace.root, "ledger", "restore")["kept"]).is_file()
    left = SHELL.json(workspace.root, "ledger", "verify", code=2)["breaches"]
    assert [breach["kind"] for breach in left] == ["alias"]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (
            ("promote", "99", "--reason", "why"),
            "'99' is no version of bells. Registered: 1, 2, 3; aliases: @",
        ),
        (("promote", "3", "--reason", "why"), "waits for approval"),
        (("promote", "1", "--reason", " "), "--reason is empty"),
        (("promote", "1", "--reason", "why", "--actor", ""), "--actor is empty"),
        (("rollback", "--to", "abc", "--reason", "why"), "'abc' is no version"),
        (("approve", "1", "--reason", "why"), "does not wait for approval; those that do: 3"),
        (("refuse", "@nobody", "--reason", "why"), "'@nobody' is no version"),
        (("champion", "--on", "3.3.2026"), "'3.3.2026' is no date"),
        (("champion", "--on", "2999-01-01"), "in the future"),
        (("champion", "--on", "1999-01-01"), "The ledger begins at"),
    ],
)
def test_a_mistake_is_named_and_changes_nothing(workspace: Workspace, command: tuple[str, ...], told: str) -> None:
    before = workspace.ledger.read_bytes()
    assert told in SHELL.json(workspace.root, *command, code=1)["error"]
    assert workspace.ledger.read_bytes() == before


def test_people_are_told_in_tables(workspace: Workspace) -> None:
    for command, told in (
        (("models",), ("version 3: waits for `tenuto approve 3` or `tenuto refuse 3`",)),
        (("history",), ("the ledger begins at", "to now decision by retrain: good: 0.9")),
        (("champion",), ("version 2 of bells, since", "decision by retrain")),
        (("ledger", "show"), ("retrain decision: promote of version 2, then @champion 2 @previous 1", "good: 0.9")),
        (("ledger", "verify"), ("the ledger of bells is whole: 3 entries",)),
        (("refuse", "3", "--reason", "no"), ("version 3 of bells is refused", "ledger entry 4")),
    ):
        code, out, err = SHELL.run(workspace.root, *command)
        assert code == 0, err
        for words in told:
            assert words in " ".join(out.split()), (command, out)


def test_before_the_first_run_there_is_nothing_to_tell(workspace: Workspace) -> None:
    other = ("--set", "name=gongs")
    assert SHELL.json(workspace.root, "history", *other) == {"model": "gongs", "ledger_began": None, "reigns": []}
    assert SHELL.json(workspace.root, "champion", *other)["version"] is None
    assert SHELL.json(workspace.root, "ledger", "verify", *other)["entries"] == 0
    assert "has no entry yet" in SHELL.run(workspace.root, "ledger", "show", *other)[1]


def test_who_acts_is_the_one_named_else_git_else_the_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    monkeypatch.setenv("LOGNAME", "login")
    workspace = Workspace(tmp_path)
    assert flows.named(" Ann  Lee ", workspace) == "Ann Lee"
    assert flows.named(None, workspace) == "login"
    (tmp_path / "gitconfig").write_text("[user]\n\tname = Ben Git\n")
    assert flows.named(None, workspace) == "Ben Git"
    with pytest.raises(RegistryError, match="--actor is empty"):
        flows.named(" ", workspace)
