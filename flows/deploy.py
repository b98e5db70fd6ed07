"""The schedule of the retrain flow: a deployment in prefect.yaml on a process work pool, or one process that serves it.

Beside it stand a daily look at what was served (`flows.monitor`), whose events of drift and of enough new labels start
a retrain as well, and a deployment without a schedule, which asks a person about a candidate (`flows.approval`). The
retrain deployment is named after the model and runs one at a time; of a dataset that did not change it makes nothing.
Runs that piled up behind it (a long run, a worker that was off) would all execute one after the other; `superseded`
lets the newest alone go on.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flows.servers import QUIET, answers
from tenuto.errors import ServerError, SettingsError
from tenuto.monitoring import events
from tenuto.records import Record
from tenuto.settings import Params
from tenuto.workspace import Workspace

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

POOL = "tenuto"
FLOW = "flows.retrain.retrain"
MONITOR_FLOW = "flows.monitor.monitor"
MONITOR_CRON = "0 6 * * *"
"""A look a day; what it may alarm falsely is a seventh of what a weekly one may."""
APPROVAL_FLOW = "flows.approval.approve_model"
SUPERSEDED = "Superseded"
"""The name of the state in which a run ends that a newer one replaces."""
_ONE_AT_A_TIME = {"limit": 1, "collision_strategy": "ENQUEUE"}
_HEADER = "# Written by `tenuto deploy`, which replaces the deployment of its model and leaves the others alone.\n"


class Deployment(Record):
    """What was scheduled, and how to have it run."""

    name: str
    """As Prefect names it: flow/model."""
    work_pool: str
    cron: str
    timezone: str
    prefect_yaml: Path
    server: str
    """Address of the Prefect server's API."""
    worker: str
    """The command that starts a worker for it."""


def deploy(
    workspace: Workspace,
    params: Params,
    cron: str,
    timezone: str,
    serve: bool = False,
    entrypoint: str = FLOW,
) -> Deployment:
    """The deployment of the retrain flow, written to prefect.yaml and applied to the Prefect server.

    With `serve` nothing is written: this process schedules and runs the flow until it is interrupted. Raises
    SettingsError for a cron line or time zone that cannot be read and for a deployment of this name that retrains
    another workspace, and ServerError when no Prefect server answers.
    """
    _check_schedule(cron, timezone)
    server = _server()
    _check_root(workspace, params)
    if serve:
        _serve(workspace, params, cron, timezone, entrypoint)
    else:
        _create_pool()
        entries = [
            _entry(workspace, params, cron, timezone, entrypoint),
            _approval_entry(workspace, params),
            _monitor_entry(workspace, params, timezone),
        ]
        _write(workspace.root / "prefect.yaml", *entries)
        _apply(workspace, *(entry["name"] for entry in entries))
    return Deployment(
        name=f"{FLOW.rpartition('.')[2]}/{params.name}",
        work_pool="" if serve else POOL,
        cron=cron,
        timezone=timezone,
        prefect_yaml=workspace.root / "prefect.yaml",
        server=server,
        worker=_worker_command(server),
    )


def superseded() -> State[Any] | None:
    """The state in which the current flow run ends because a newer run of its deployment waits; None to go on.

    Ends the other runs that wait behind the newest as well, so that none of them starts. Outside a deployment, None.
    """
    from prefect import get_client, runtime
    from prefect.states import Cancelled, Completed

    if not runtime.deployment.id or not runtime.flow_run.id:
        return None
    with get_client(sync_client=True) as client:
        me = client.read_flow_run(runtime.flow_run.id)
        *older, newest = sorted([*_waiting(client, me), me], key=lambda run: (_due(run), str(run.id)))
        message = f"A newer run of this deployment, {newest.name}, takes its place."
        for run in older:
            if run.id != me.id:
                client.set_flow_run_state(run.id, Cancelled(name=SUPERSEDED, message=message), force=True)
    # completed, not cancelled: Prefect would raise, and the worker log a traceback
    return None if newest.id == me.id else Completed(name=SUPERSEDED, message=message)


def _check_schedule(cron: str, timezone: str) -> None:
    from prefect.client.schemas.schedules import CronSchedule

    try:
        CronSchedule(cron=cron, timezone=timezone)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ").rstrip(".")
        raise SettingsError(
            f"--cron {cron!r} --timezone {timezone!r} is no schedule: {reason}. "
            "Wanted five fields such as '0 3 * * 1' and a zone such as Europe/Berlin."
        ) from None


def _server() -> str:
    """The address of the Prefect server that is to run the schedule; an embedded one would end with this process."""
    address = os.environ.get("PREFECT_API_URL", "")
    if not address:
        raise ServerError("A schedule needs a Prefect server: start one with `tenuto up`, or set PREFECT_API_URL.")
    if not answers(f"{address.rstrip('/')}/health"):
        raise ServerError(f"The Prefect server at {address} does not answer; check PREFECT_API_URL, or `tenuto up`.")
    return address


def _check_root(workspace: Workspace, params: Params) -> None:
    """Raises SettingsError when the server has a deployment of this name for another workspace."""
    from prefect import get_client
    from prefect.exceptions import ObjectNotFound

    name = f"{FLOW.rpartition('.')[2]}/{params.name}"
    with get_client(sync_client=True) as client:
        try:
            root = client.read_deployment_by_name(name).parameters.get("root")
        except ObjectNotFound:
            return
    if root and Path(root) != workspace.root:
        raise SettingsError(
            f"The deployment {name} retrains the workspace {root}, not {workspace.root}. Choose another `name` in "
            f"{workspace.params}, or delete the deployment with `prefect deployment delete {shlex.quote(name)}`."
        )


def _job_environment(workspace: Workspace) -> dict[str, str]:
    """What the worker's process gets: the settings of this command, and Tenuto's log lines in Prefect's."""
    chosen = {name: value for name in ("MLFLOW_TRACKING_URI",) if (value := os.environ.get(name))}
    return {
        **QUIET,
        "PREFECT_HOME": str(workspace.prefect_home),
        "PREFECT_LOGGING_EXTRA_LOGGERS": "tenuto,tasks",
        **chosen,
    }


def _entry(workspace: Workspace, params: Params, cron: str, timezone: str, entrypoint: str) -> dict[str, Any]:
    """The deployment as prefect.yaml has it."""
    return {
        "name": params.name,
        "description": f"Retrains {params.name} when recordings, settings or code changed.",
        "tags": ["tenuto"],
        "entrypoint": entrypoint,
        "parameters": {"root": str(workspace.root)},
        "schedules": [{"cron": cron, "timezone": timezone, "active": True}],
        # serving pauses the deployment when it ends
        "paused": False,
        "concurrency_limit": dict(_ONE_AT_A_TIME),
        "triggers": [_trigger(params)],
        **_runs_where(workspace),
    }


def _trigger(params: Params) -> dict[str, Any]:
    """What else starts a retrain: drift, or enough new labels, as `tasks.monitor` tells them."""
    return {
        "type": "event",
        "name": f"{params.name}: drift or new labels",
        "match": {"prefect.resource.id": events.resource(params.name)},
        "expect": [events.DRIFT_FOUND, events.LABELS_ARRIVED],
    }


def _monitor_entry(workspace: Workspace, params: Params, timezone: str) -> dict[str, Any]:
    """The daily look at what was served."""
    return {
        "name": f"{params.name}-monitor",
        "description": f"Looks at what {params.name} was served: drift, abstentions, quality.",
        "tags": ["tenuto"],
        "entrypoint": MONITOR_FLOW,
        "parameters": {"root": str(workspace.root)},
        "schedules": [{"cron": MONITOR_CRON, "timezone": timezone, "active": True}],
        "paused": False,
        **_runs_where(workspace),
    }


def approval_name(params: Params) -> str:
    """The name of the deployment that asks a person about a candidate of the model, without its flow's."""
    return f"{params.name}-approval"


def _approval_entry(workspace: Workspace, params: Params) -> dict[str, Any]:
    """The deployment that asks a person; each of its runs is given the version that waits."""
    return {
        "name": approval_name(params),
        "description": f"Asks a person whether a candidate of {params.name} shall be champion, and waits.",
        "tags": ["tenuto"],
        "entrypoint": APPROVAL_FLOW,
        "parameters": {"root": str(workspace.root), "name": params.name},
        "schedules": [],
        "paused": False,
        **_runs_where(workspace),
    }


def _runs_where(workspace: Workspace) -> dict[str, Any]:
    return {
        "work_pool": {"name": POOL, "job_variables": {"env": _job_environment(workspace)}},
        "pull": [{"prefect.deployments.steps.set_working_directory": {"directory": str(workspace.root)}}],
    }


def _write(path: Path, *entries: dict[str, Any]) -> None:
    """Puts the deployments into prefect.yaml in place of those with their names; comments and other entries stay."""
    yaml = YAML()
    try:
        content = yaml.load(path.read_text(encoding="utf-8")) if path.exists() else None
        deployments = content.setdefault("deployments", []) if content else []
        names = {entry["name"] for entry in entries}
        others = [other for other in deployments if other["name"] not in names]
    except (YAMLError, AttributeError, KeyError, TypeError) as error:
        raise SettingsError(f"{path} is no prefect.yaml ({error}); mend it, or move it away.") from error
    header = "" if path.exists() else _HEADER
    content = content or {}
    content["deployments"] = [*others, *entries]
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(header)
        yaml.dump(content, file)
    fresh.replace(path)


def _create_pool() -> None:
    from prefect import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    with get_client(sync_client=True) as client:
        try:
            client.create_work_pool(WorkPoolCreate(name=POOL, type=ProcessWorker.type, base_job_template=template))
        except ObjectAlreadyExists:
            return


def _apply(workspace: Workspace, *names: str) -> None:
    """Hands prefect.yaml to Prefect's own command, so that the file is what counts."""
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy"]
    command += [word for name in names for word in ("--name", name)]
    done = subprocess.run(command, cwd=workspace.root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise ServerError(f"Prefect did not take the deployment in {workspace.root / 'prefect.yaml'}:\n{said}")


def _worker_command(server: str) -> str:
    prefect = f"{shlex.quote(sys.executable)} -m prefect"
    return f"PREFECT_API_URL={shlex.quote(server)} {prefect} worker start --pool {POOL}"


def _serve(workspace: Workspace, params: Params, cron: str, timezone: str, entrypoint: str) -> None:
    from prefect import serve
    from prefect.client.schemas.objects import ConcurrencyLimitConfig
    from prefect.events import DeploymentEventTrigger
    from prefect.flows import load_flow_from_entrypoint
    from prefect.schedules import Cron
    from prefect.types.entrypoint import EntrypointType

    def served(flow: str, name: str, **named: Any) -> Any:
        return load_flow_from_entrypoint(flow, use_placeholder_flow=False).to_deployment(
            name=name,
            paused=False,
            # a path would have to lie in the current folder
            entrypoint_type=EntrypointType.MODULE_PATH,
            tags=["tenuto"],
            **named,
        )

    retrain = served(
        entrypoint,
        params.name,
        schedule=Cron(cron, timezone=timezone),
        parameters={"root": str(workspace.root)},
        concurrency_limit=ConcurrencyLimitConfig.model_validate(_ONE_AT_A_TIME),
        triggers=[DeploymentEventTrigger.model_validate(_trigger(params))],
    )
    look = served(
        MONITOR_FLOW,
        f"{params.name}-monitor",
        schedule=Cron(MONITOR_CRON, timezone=timezone),
        parameters={"root": str(workspace.root)},
    )
    approval = served(
        APPROVAL_FLOW, approval_name(params), parameters={"root": str(workspace.root), "name": params.name}
    )
    # all at a time: an answer or a look must not wait for a retrain to end
    serve(retrain, look, approval, limit=3, print_starting_message=False)


def _waiting(client: SyncPrefectClient, me: FlowRun) -> list[FlowRun]:
    """The other runs of the same deployment that are due and have not begun."""
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterId,
        FlowRunFilter,
        FlowRunFilterExpectedStartTime,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType

    assert me.deployment_id is not None
    types = FlowRunFilterStateType(any_=[StateType.SCHEDULED, StateType.PENDING])
    found = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=types),
            expected_start_time=FlowRunFilterExpectedStartTime.model_validate({"before_": datetime.now(UTC)}),
        ),
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[me.deployment_id])),
    )
    return [run for run in found if run.id != me.id]


def _due(run: FlowRun) -> datetime:
    return run.expected_start_time or datetime.max.replace(tzinfo=UTC)
