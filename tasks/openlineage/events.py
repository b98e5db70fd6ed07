"""Which event is sent when, and what is in it."""

from __future__ import annotations

import importlib.metadata
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from openlineage.client.event_v2 import Job, Run, RunEvent, RunState, set_producer
from openlineage.client.facet_v2 import JobFacet, RunFacet
from openlineage.client.uuid import generate_new_uuid

from tasks.openlineage import facets
from tasks.openlineage.discretion import without_clips_and_groups
from tasks.openlineage.known import FLOW, Known
from tasks.openlineage.sending import Sender, client
from tenuto.workspace import Workspace

log = logging.getLogger(__name__)

PRODUCER = f"urn:tenuto:{importlib.metadata.version('tenuto')}"


class Events:
    """The events of one flow run."""

    def __init__(
        self,
        workspace: Workspace,
        model: str,
        flow: str,
        run_id: str | None = None,
        scheduled_at: datetime | None = None,
    ) -> None:
        """`run_id` is Prefect's id of the flow run, `scheduled_at` when it was due, None when started by hand."""
        set_producer(PRODUCER)  # the library keeps one for the process, which goes into every facet
        self._manifest = workspace.manifest
        self._namespace = os.environ.get("OPENLINEAGE_NAMESPACE") or "tenuto"
        self._name = f"{model}.{flow}"
        self._run_id = run_id or str(generate_new_uuid())
        self._code: dict[str, JobFacet] = facets.code(workspace.root)
        self._facets: dict[str, RunFacet] = {"processing_engine": facets.engine()}
        if scheduled_at:
            self._facets["nominalTime"] = facets.nominal_time(scheduled_at)
        self._known = Known(self._namespace, model, self._discreet)
        self._sender = Sender(client(workspace.root, workspace.events))

    def started(self, stage: str = FLOW) -> str:
        """The id of a new run of the stage, or of the flow's own, of which START is sent now."""
        run_id = self._run_id if stage == FLOW else str(generate_new_uuid())
        self._send(RunState.START, stage, run_id)
        return run_id

    def made(self, stage: str, record: Any) -> None:
        """Takes note of what the stage made, for its own last event and those that come after."""
        with harmless():
            self._known.learn(stage, record)

    def ended(self, run_id: str, error: BaseException | None, stage: str = FLOW) -> None:
        """Sends COMPLETE, or FAIL with the error, or ABORT when it is Ctrl-C or Prefect's signal to a process."""
        state = RunState.FAIL if isinstance(error, Exception) else RunState.ABORT if error else RunState.COMPLETE
        self._send(state, stage, run_id, error)

    def close(self) -> None:
        """Waits a moment for what is on its way."""
        self._sender.close()

    def _send(self, state: RunState, stage: str, run_id: str, error: BaseException | None = None) -> None:
        is_over = state is not RunState.START
        with harmless():
            event = RunEvent(
                eventTime=datetime.now(UTC).isoformat(timespec="milliseconds"),
                eventType=state,
                run=Run(run_id, self._facets | self._parent(stage) | (self._outcome(stage, error) if is_over else {})),
                job=self._job(stage),
                inputs=self._known.inputs(stage),
                outputs=self._known.outputs(stage) if is_over else [],
            )
            self._sender.send(event)

    def _outcome(self, stage: str, error: BaseException | None) -> dict[str, RunFacet]:
        failure = {"errorMessage": facets.error(error, self._discreet)} if error is not None else {}
        return self._known.facets(stage) | failure

    def _job(self, stage: str) -> Job:
        kind, name = ("FLOW", self._name) if stage == FLOW else ("STAGE", f"{self._name}.{stage.replace(' ', '-')}")
        return Job(self._namespace, name, {**self._code, "jobType": facets.job_type(kind)})

    def _parent(self, stage: str) -> dict[str, RunFacet]:
        return {} if stage == FLOW else {"parent": facets.parent(self._run_id, self._namespace, self._name)}

    def _discreet(self, text: str) -> str:
        return without_clips_and_groups(text, self._manifest)


@contextmanager
def harmless() -> Iterator[None]:
    """Turns an error into a warning: what is told of a run must not end it."""
    try:
        yield
    except Exception as error:
        log.warning("an OpenLineage event could not be made: %s", error)
