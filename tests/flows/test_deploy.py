"""The schedule: what is written and applied, and which of several piled-up runs goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from flows import deploy, servers
from tenuto.errors import ServerError, SettingsError
from tenuto.settings import Params
from tenuto.workspace import Workspace

BELLS = Params(name="bells")
NOT_SOON = f"0 {(datetime.now(UTC).hour + 12) % 24} * * *"
STUB = """
    from pathlib import Path
    from prefect import flow
    from flows.deploy import superseded

    @flow(name="retrain")
    def retrain(root: str, overrides: list[str] | None = None, force: bool = False):
        if (ended := superseded()) is not None:
            return ended
        with (Path(root) / "ran.txt").open("a") as ran:
            ran.write("ran\\n")
    """


def written(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text())


def test_prefect_yaml_names_flow_schedule_and_pool(tmp_path: Path) -> None:
    entry = deploy._entry(Workspace(tmp_path), BELLS, "0 3 * * 1", "Europe/Berlin", deploy.FLOW)
    deploy._write(tmp_path / "prefect.yaml", entry)
    (found,) = written(tmp_path / "prefect.yaml")["deployments"]
    assert found["name"] == "bells"
    assert found["entrypoint"] == "flows.retrain.retrain"
    assert found["parameters"] == {"root": str(tmp_path)}
    assert found["schedules"] == [{"cron": "0 3 * * 1", "timezone": "Europe/Berlin", "active": True}]
    assert found["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}
    assert found["work_pool"]["name"] == "tenuto"


def test_a_person_is_asked_by_a_deployment_without_a_schedule(tmp_path: Path) -> None:
    entry = deploy._approval_entry(Workspace(tmp_path), BELLS)
    assert (entry["name"], entry["entrypoint"]) == ("bells-approval", "flows.approval.approve_model")
    assert (entry["schedules"], entry["parameters"]) == ([], {"root": str(tmp_path), "name": "bells"})
    assert "concurrency_limit" not in entry, "a run that waits for a person must not keep another from asking"


def test_drift_and_new_labels_start_a_retrain_and_a_drop_of_quality_does_not(tmp_path: Path) -> None:
    (trigger,) = deploy._entry(Workspace(tmp_path), BELLS, NOT_SOON, "UTC", deploy.FLOW)["triggers"]
    assert trigger["match"] == {"prefect.resource.id": "tenuto.model.bells"}
    assert trigger["expect"] == ["tenuto.drift.found", "tenuto.labels.arrived"]


def test_a_look_at_what_was_served_is_scheduled_every_day(tmp_path: Path) -> None:
    entry = deploy._monitor_entry(Workspace(tmp_path), BELLS, "Europe/Berlin")
    assert (entry["name"], entry["entrypoint"]) == ("bells-monitor", "flows.monitor.monitor")
    assert entry["schedules"] == [{"cron": "0 6 * * *", "timezone": "Europe/Berlin", "active": True}]
    assert "triggers" not in entry, "a look must not start itself"


def test_the_job_gets_the_chosen_store_and_shows_tenutos_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    unset = deploy._job_environment(Workspace(tmp_path))
    assert "MLFLOW_TRACKING_URI" not in unset
    assert unset["PREFECT_LOGGING_EXTRA_LOGGERS"] == "tenuto,tasks"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://models:5000")
    entry = deploy._entry(Workspace(tmp_path), BELLS, "0 3 * * 1", "UTC", deploy.FLOW)
    assert entry["work_pool"]["job_variables"]["env"] == {**unset, "MLFLOW_TRACKING_URI": "http://models:5000"}


def test_other_deployments_and_comments_stay_and_the_own_one_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "prefect.yaml"
    path.write_text("# mine\nname: project\ndeployments:\n- name: other  # keep\n- name: bells\n  old: true\n")
    entry = deploy._entry(Workspace(tmp_path), BELLS, "* * * * *", "UTC", deploy.FLOW)
    for _ in range(2):
        deploy._write(path, entry)
    assert [one["name"] for one in written(path)["deployments"]] == ["other", "bells"]
    assert written(path)["name"] == "project"
    assert "old" not in path.read_text()
    assert "# mine" in path.read_text()
    assert "# keep" in path.read_text()


@pytest.mark.parametrize("text", ["- 1\n", "deployments: 3\n", "deployments: [1]\n", "a: [\n"])
def test_a_damaged_prefect_yaml_is_an_error_and_stays(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prefect.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"prefect\.yaml is no prefect\.yaml"):
        deploy._write(path, {"name": "bells"})
    assert path.read_text() == text


@pytest.mark.parametrize(("cron", "timezone"), [("every day", "UTC"), ("0 3 * * 1", "Mars/Olympus")])
def test_an_unreadable_schedule_is_an_error_that_names_it(tmp_path: Path, cron: str, timezone: str) -> None:
    with pytest.raises(SettingsError, match=f"--cron '{cron.replace('*', '.')}' --timezone '{timezone}'"):
        deploy.deploy(Workspace(tmp_path), BELLS, cron, timezone)


def test_a_schedule_needs_a_server_that_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(ServerError, match="tenuto up"):
        deploy.deploy(Workspace(tmp_path), BELLS, "0 3 * * 1", "UTC")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with pytest.raises(ServerError, match=r"http://127\.0\.0\.1:9/api does not answer"):
        deploy.deploy(Workspace(tmp_path), BELLS, "0 3 * * 1", "UTC")
    assert not (tmp_path / "prefect.yaml").exists()


@pytest.fixture(scope="module")
def deployed(live: tuple[Workspace, servers.Servers]) -> Iterator[tuple[Workspace, deploy.Deployment]]:
    """A stub of the retrain flow, deployed to the live server by a schedule that is not due while tests run."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    workspace, running = live
    (workspace.root / "stub.py").write_text(textwrap.dedent(STUB))
    assert running.prefect is not None
    with pytest.MonkeyPatch.context() as patch:
        for name, value in servers.environment(workspace).items():
            patch.setenv(name, value)
        patch.setenv("PREFECT_API_URL", running.prefect.address)
        # as a command has it, which sets the environment before it imports Prefect
        with temporary_settings({PREFECT_API_URL: running.prefect.address}):
            yield workspace, deploy.deploy(workspace, BELLS, NOT_SOON, "UTC", entrypoint="stub.py:retrain")


@pytest.fixture
def prefect(deployed: tuple[Workspace, deploy.Deployment]) -> Iterator[Any]:
    from prefect import get_client

    with get_client(sync_client=True) as client:
        yield client


def due(prefect: Any, minutes_ago: int) -> Any:
    """A run of the deployment that was scheduled so long ago."""
    from prefect.states import Scheduled

    deployment = prefect.read_deployment_by_name("retrain/bells")
    when = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    return prefect.create_flow_run_from_deployment(deployment.id, state=Scheduled(scheduled_time=when))


@pytest.mark.servers
def test_the_deployment_is_on_the_server(deployed: tuple[Workspace, deploy.Deployment], prefect: Any) -> None:
    _, deployment = deployed
    found = prefect.read_deployment_by_name(deployment.name)
    assert found.work_pool_name == "tenuto"
    assert [(s.schedule.cron, s.schedule.timezone, s.active) for s in found.schedules] == [(NOT_SOON, "UTC", True)]
    assert found.global_concurrency_limit.limit == 1
    assert found.concurrency_options.collision_strategy == "ENQUEUE"
    assert prefect.read_work_pool("tenuto").type == "process"
    approval = prefect.read_deployment_by_name("approve-model/bells-approval")
    assert (approval.work_pool_name, approval.schedules) == ("tenuto", [])
    assert f"PREFECT_API_URL={deployment.server}" in deployment.worker
    look = prefect.read_deployment_by_name("monitor/bells-monitor")
    assert [schedule.schedule.cron for schedule in look.schedules] == ["0 6 * * *"]


@pytest.mark.servers
def test_drift_starts_the_retrain_deployment_and_a_drop_of_quality_starts_nothing(prefect: Any) -> None:
    from tasks import monitor as events

    deployment = prefect.read_deployment_by_name("retrain/bells")
    before = {run.id for run in prefect.read_flow_runs()}
    events.tell("bells", {"tenuto.quality.dropped": {}})
    events.tell("gongs", {"tenuto.drift.found": {}})
    events.tell("bells", {"tenuto.drift.found": {"signals": ["level"]}})
    deadline = time.monotonic() + 60
    while not (started := [r for r in prefect.read_flow_runs() if r.id not in before and not r.auto_scheduled]):
        assert time.monotonic() < deadline, "no run was started by the event"
        time.sleep(0.5)
    time.sleep(1)
    started = [run for run in prefect.read_flow_runs() if run.id not in before and not run.auto_scheduled]
    assert [run.deployment_id for run in started] == [deployment.id]
    prefect.delete_flow_run(started[0].id)


@pytest.mark.servers
def test_a_deployment_of_another_workspace_is_not_taken_over(
    deployed: tuple[Workspace, deploy.Deployment], prefect: Any, tmp_path: Path
) -> None:
    workspace, deployment = deployed
    with pytest.raises(SettingsError, match=f"{workspace.root}, not {tmp_path}.*`name`.*deployment delete"):
        deploy.deploy(Workspace(tmp_path), BELLS, NOT_SOON, "UTC")
    assert prefect.read_deployment_by_name(deployment.name).parameters == {"root": str(workspace.root)}
    assert not (tmp_path / "prefect.yaml").exists()


@pytest.mark.servers
def test_the_server_plans_runs_by_the_schedule(prefect: Any) -> None:
    deadline = time.monotonic() + 60
    while not (planned := [run for run in prefect.read_flow_runs() if run.auto_scheduled]):
        assert time.monotonic() < deadline, "no run was planned: the Prefect server's log tells why its scheduler fails"
        time.sleep(0.5)
    assert all(run.name and run.state.is_scheduled() for run in planned)


@pytest.mark.servers
def test_the_newest_of_piled_up_runs_goes_on_and_ends_the_others(prefect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    oldest, middle, newest = (due(prefect, minutes) for minutes in (30, 20, 10))
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", str(newest.deployment_id))
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", str(middle.id))
    ended = deploy.superseded()
    assert ended is not None
    assert (ended.name, ended.type.value) == ("Superseded", "COMPLETED")
    assert newest.name in (ended.message or "")
    assert prefect.read_flow_run(oldest.id).state.name == "Superseded"
    assert prefect.read_flow_run(newest.id).state.name == "Scheduled"
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", str(newest.id))
    assert deploy.superseded() is None
    assert prefect.read_flow_run(middle.id).state.name == "Superseded"
    prefect.delete_flow_run(newest.id)


def test_outside_a_deployment_nothing_is_superseded() -> None:
    assert deploy.superseded() is None


@pytest.mark.slow
@pytest.mark.servers
def test_a_worker_runs_the_newest_of_three(
    deployed: tuple[Workspace, deploy.Deployment], prefect: Any, project_root: Path
) -> None:
    workspace, deployment = deployed
    runs = [due(prefect, minutes) for minutes in (30, 20, 10)]
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", deployment.work_pool]
    environment = {**os.environ, "PREFECT_API_URL": deployment.server, "PYTHONPATH": str(project_root)}
    worker = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 150
        while not (states := final_states(prefect, runs)) and time.monotonic() < deadline:
            time.sleep(0.5)
    finally:
        worker.terminate()
        worker.wait()
    assert states == ["Superseded", "Superseded", "Completed"]
    assert (workspace.root / "ran.txt").read_text() == "ran\n"


def final_states(prefect: Any, runs: list[Any]) -> list[str] | None:
    states = [prefect.read_flow_run(run.id).state for run in runs]
    return [state.name for state in states] if all(state.is_final() for state in states) else None
