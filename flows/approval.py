"""A person's consent to a candidate that passed the gate: from Prefect's page, or from the command line.

The retrain flow registers the candidate as @challenger, starts this flow where it is deployed, and ends. This flow
suspends until somebody answers on Prefect's page. It is a flow of its own because Prefect runs a suspended flow again
from its start when it is resumed, and a retrain would do everything twice.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prefect import State, flow, runtime
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.states import Completed
from pydantic import Field

from flows import deploy, registry, servers
from tenuto.errors import RegistryError
from tenuto.settings import Params, load_params
from tenuto.tracing.ledger import Entry
from tenuto.workspace import Workspace

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

log = logging.getLogger(__name__)

FLOW_NAME = "approve-model"
_APPROVED, _REFUSED, _OVERTAKEN = "Approved", "Refused", "Overtaken"
_STATES = {"approval": _APPROVED, "refusal": _REFUSED}


class Answer(RunInput):
    """What a person says on Prefect's page."""

    decision: Literal["approve", "refuse"] = Field(description="approve: the version becomes @champion at once")
    name: str = Field(description="who decides", min_length=1)
    reason: str = Field(description="why; the ledger keeps it for good, so name no speaker", min_length=1)
    accept_changes: bool = Field(default=False, description="even if its classes or its preprocessing differ")


def _run_name() -> str:
    given = runtime.flow_run.parameters
    return f"approve-{given['name']}-{given['version']}"


@flow(name=FLOW_NAME, flow_run_name=_run_name, validate_parameters=False, persist_result=True)
def approve_model(root: str, name: str, version: str) -> State[Any]:
    """How a person decided on `version`, as a Prefect state: Approved or Refused; Overtaken when nobody could any more.

    Suspends until the answer is there. A version that was decided on meanwhile, by `tenuto approve`, ends at once.
    """
    workspace = Workspace(Path(root))
    # a retrain may have been given another name than params.yaml has
    params = load_params(workspace.params).model_copy(update={"name": name})
    if said := registry.decided(workspace, params, version):
        return Completed(name=said.split()[0].capitalize(), message=f"Version {version} was {said}.")
    question = f"Version {version} of {name} passed the gate. Shall it be @champion?"
    answer = suspend_flow_run(wait_for_input=Answer.with_initial_data(description=question))
    try:
        entry = _act(workspace, params, version, answer)
    except RegistryError as error:
        # such as a champion that moved: that is a result, and nothing to try again
        return Completed(name=_OVERTAKEN, message=str(error))
    return Completed(name=_STATES[entry.event], message=_sentence(entry))


def _act(workspace: Workspace, params: Params, version: str, answer: Answer) -> Entry:
    if answer.decision == "refuse":
        return registry.refuse(workspace, params, version, actor=answer.name, reason=answer.reason)
    return registry.approve(
        workspace, params, version, actor=answer.name, reason=answer.reason, accept_changes=answer.accept_changes
    )


def ask(workspace: Workspace, params: Params, version: str) -> str | None:
    """The name of the flow run that waits for a person's answer; None where the flow is not deployed."""
    from prefect.deployments import run_deployment
    from prefect.exceptions import ObjectNotFound

    given = {"root": str(workspace.root), "name": params.name, "version": version}
    try:
        # a run of its own, since the retrain ends before anybody answers
        run = run_deployment(
            f"{FLOW_NAME}/{deploy.approval_name(params)}", parameters=given, timeout=0, as_subflow=False
        )
    except ObjectNotFound:
        return None
    return str(run.name)  # type: ignore[union-attr]


def approve(
    workspace: Workspace,
    params: Params,
    version: str,
    *,
    actor: str | None,
    reason: str,
    accept_changes: bool = False,
) -> Entry:
    """The ledger's entry of a person's consent; a flow run that waits for the same answer ends with it."""
    entry = registry.approve(workspace, params, version, actor=actor, reason=reason, accept_changes=accept_changes)
    _end_waiting(workspace, params, entry)
    return entry


def refuse(workspace: Workspace, params: Params, version: str, *, actor: str | None, reason: str) -> Entry:
    """The ledger's entry of a person's refusal; a flow run that waits for the same answer ends with it."""
    entry = registry.refuse(workspace, params, version, actor=actor, reason=reason)
    _end_waiting(workspace, params, entry)
    return entry


def _end_waiting(workspace: Workspace, params: Params, entry: Entry) -> None:
    """Ends the flow runs that wait for an answer which has been given here, on a Prefect server that answers."""
    address = os.environ.get("PREFECT_API_URL", "")
    if not address or not servers.answers(f"{address.rstrip('/')}/health"):
        return
    from prefect import get_client

    try:
        with get_client(sync_client=True) as client:
            for run in _waiting(client, workspace, params, str(entry.version)):
                state: State[Any] = Completed(name=_STATES[entry.event], message=_sentence(entry))
                client.set_flow_run_state(run.id, state, force=True)
    except Exception as error:
        # the decision stands; a run that goes on waiting ends by itself when it is answered
        log.warning("the flow run that waits for this answer could not be ended: %s", error)


def _waiting(client: SyncPrefectClient, workspace: Workspace, params: Params, version: str) -> list[FlowRun]:
    """The runs of `approve_model` for this version that have not ended."""
    from prefect.client.schemas.filters import (
        FlowFilter,
        FlowFilterName,
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType

    types = [StateType.SCHEDULED, StateType.PENDING, StateType.PAUSED]
    found = client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=[FLOW_NAME])),
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=types))),
    )
    wanted = {"root": str(workspace.root), "name": params.name, "version": version}
    return [run for run in found if run.parameters == wanted]


def _sentence(entry: Entry) -> str:
    done = "approved" if entry.event == "approval" else "refused"
    return f"Version {entry.version} was {done} by {entry.actor}: {'; '.join(entry.reasons)}"
