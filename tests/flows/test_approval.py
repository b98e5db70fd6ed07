"""A person's answer through a real Prefect server: suspended, resumed with input, ended from the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from flows import approval, servers
from flows import registry as asked
from tasks import registry as registries
from tasks.registry import packaging
from tenuto.errors import RegistryError
from tenuto.settings import Params
from tenuto.workspace import Workspace
from tests.tasks.registry.conftest import PROMOTE, Registry, new_registry, save_little

pytestmark = pytest.mark.servers
ANSWER = {"decision": "approve", "name": "ann", "reason": "listened to all of it"}


@pytest.fixture
def waiting(
    live: tuple[Workspace, servers.Servers], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Workspace, Params, Registry]]:
    """A workspace whose version 2 passed the gate and waits for a person; version 1 is champion."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    _, running = live
    assert running.prefect is not None
    assert running.mlflow is not None
    monkeypatch.setattr(packaging, "save_model", save_little)
    monkeypatch.setenv("PREFECT_API_URL", running.prefect.address)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", running.mlflow.address)
    workspace, params = Workspace(tmp_path), Params(name=f"model-{tmp_path.name}")
    workspace.params.write_text(f"name: {params.name}\n")
    registry = new_registry(running.mlflow.address, tmp_path / "store", params.name)
    registry.ledger = workspace.ledger
    registry.carry_out(PROMOTE, None)
    registry.carry_out(PROMOTE, "1", needs_approval=True)
    with temporary_settings({PREFECT_API_URL: running.prefect.address}):
        yield workspace, params, registry


def started(workspace: Workspace, params: Params) -> Any:
    """A run of the flow by a deployment, as a worker gets it."""
    from prefect import get_client

    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(approval.approve_model)
        deployment = client.create_deployment(flow_id, name=f"{params.name}-approval")
    name = approval.ask(workspace, params, "2")
    assert name is not None
    with get_client(sync_client=True) as client:
        (run,) = [run for run in client.read_flow_runs() if run.deployment_id == deployment]
    return run


def worked_on(run: Any) -> Any:
    """The state after a worker's process has executed the run."""
    from prefect import get_client
    from prefect.exceptions import Pause
    from prefect.flow_engine import run_flow

    with get_client(sync_client=True) as client:
        fresh = client.read_flow_run(run.id)
        with suppress(Pause):
            run_flow(approval.approve_model, flow_run=fresh, parameters=fresh.parameters, return_type="state")
        return client.read_flow_run(run.id).state


def test_a_suspended_run_resumes_with_a_persons_answer(waiting: tuple[Workspace, Params, Registry]) -> None:
    from prefect.flow_runs import resume_flow_run

    workspace, params, registry = waiting
    run = started(workspace, params)
    assert worked_on(run).name == "Suspended"
    assert registry.state["aliases"] == {"champion": "1", "challenger": "2"}
    resume_flow_run(run.id, run_input=ANSWER)
    state = worked_on(run)
    assert (state.name, state.type.value) == ("Approved", "COMPLETED")
    assert registry.state["aliases"] == {"champion": "2", "previous": "1"}
    entry = registry.entries[-1]
    assert (entry.event, entry.version, entry.actor, entry.reasons) == (
        "approval",
        "2",
        "ann",
        ("listened to all of it",),
    )
    assert registry.breaches() == []


def test_a_refusal_on_the_page_leaves_the_champion(waiting: tuple[Workspace, Params, Registry]) -> None:
    from prefect.flow_runs import resume_flow_run

    workspace, params, registry = waiting
    assert approval.ask(workspace, params, "2") is None, "the flow is not deployed yet"
    run = started(workspace, params)
    worked_on(run)
    with pytest.raises(RuntimeError, match="decision"):
        resume_flow_run(run.id, run_input={**ANSWER, "decision": "maybe"})
    assert registry.state["aliases"] == {"champion": "1", "challenger": "2"}
    resume_flow_run(run.id, run_input={**ANSWER, "decision": "refuse"})
    assert worked_on(run).name == "Refused"
    assert registry.state["aliases"] == {"champion": "1"}


def test_the_command_line_ends_the_run_that_waits(waiting: tuple[Workspace, Params, Registry]) -> None:
    from prefect import get_client

    workspace, params, registry = waiting
    run = started(workspace, params)
    worked_on(run)
    approval.approve(workspace, params, "2", actor="ben", reason="by the terminal")
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(run.id).state
    assert (state.name, state.message) == ("Approved", "Version 2 was approved by ben: by the terminal")
    assert registry.state["aliases"] == {"champion": "2", "previous": "1"}


def test_a_run_that_comes_late_ends_with_what_was_decided(waiting: tuple[Workspace, Params, Registry]) -> None:
    workspace, params, _ = waiting
    run = started(workspace, params)
    asked.refuse(workspace, params, "2", actor="ben", reason="no")
    state = worked_on(run)
    assert (state.name, state.message) == ("Refused", "Version 2 was refused by ben.")


def test_a_champion_that_moved_meanwhile_overtakes_the_answer(waiting: tuple[Workspace, Params, Registry]) -> None:
    from prefect.flow_runs import resume_flow_run

    workspace, params, registry = waiting
    run = started(workspace, params)
    worked_on(run)
    registry.carry_out(PROMOTE, "1")
    resume_flow_run(run.id, run_input=ANSWER)
    state = worked_on(run)
    assert state.name == "Overtaken"
    assert "evaluated against version 1, and version 3 is champion now" in state.message
    assert registry.state["aliases"]["champion"] == "3"
    with pytest.raises(RegistryError, match="tenuto retrain --force"):
        registry.ask(registries.approve, "2")
