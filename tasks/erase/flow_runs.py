"""Somebody's name in the records of a Prefect server outside the workspace, and the retrain asked for afterwards.

The database of the workspace's own server is a file (`tenuto.tracing.erasure.databases`); of another one only the
interface is there. It deletes artifacts one by one, and logs with their flow run.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from tenuto.tracing.erasure.identities import Identities
from tenuto.tracing.erasure.records import Purged

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

_MOST_LOGS = 200


def purge(address: str, flow_runs: Collection[str], who: Identities) -> Purged:
    """What was deleted from the Prefect server in use: artifacts that name her, and flow runs whose logs do."""
    from prefect import get_client

    counts = {"artifacts": 0, "flow runs": 0}
    try:
        with get_client(sync_client=True) as client:
            for run in flow_runs:
                counts["artifacts"] += _delete_artifacts(client, run, who)
                counts["flow runs"] += _delete_if_named(client, run, who)
    except Exception as error:  # whatever a server between here and there may do
        why = f"the Prefect server {address} failed ({type(error).__name__}); delete the flow runs there"
        return Purged(place="Prefect server", counts=counts, unreached=why)
    return Purged(place="Prefect server", counts=counts)


def request_retrain(root: Path, name: str) -> str | None:
    """The name of the flow run that was asked for; None when the server in use has no deployment for the workspace."""
    from prefect import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            deployment = client.read_deployment_by_name(f"retrain/{name}")
        except ObjectNotFound:
            return None
        if deployment.parameters.get("root") != str(root):
            return None
        return str(client.create_flow_run_from_deployment(deployment.id).name)


def _delete_artifacts(client: SyncPrefectClient, flow_run: str, who: Identities) -> int:
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(flow_run)]))
    named = [
        item for item in client.read_artifacts(artifact_filter=mine) if who.are_in(f"{item.data} {item.description}")
    ]
    for item in named:
        client.delete_artifact(item.id)
    return len(named)


def _delete_if_named(client: SyncPrefectClient, flow_run: str, who: Identities) -> int:
    from prefect.exceptions import ObjectNotFound

    try:
        known = client.read_flow_run(UUID(flow_run))
    except ObjectNotFound:
        return 0
    if not (who.are_in(str(known.parameters)) or _logs_name(client, flow_run, who)):
        return 0
    client.delete_flow_run(known.id)
    return 1


def _logs_name(client: SyncPrefectClient, flow_run: str, who: Identities) -> bool:
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

    mine = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[UUID(flow_run)]))
    offset = 0
    while some := client.read_logs(mine, limit=_MOST_LOGS, offset=offset):
        if any(who.are_in(entry.message) for entry in some):
            return True
        offset += len(some)
    return False
