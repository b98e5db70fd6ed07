"""A flow that makes what a retrain makes, and the events that it told."""

from __future__ import annotations

import json
from typing import Any

from flows.stages import Stages
from tenuto.reporting.report import ReportInputs
from tenuto.workspace import Workspace


def events(workspace: Workspace) -> list[dict[str, Any]]:
    return [json.loads(line) for line in workspace.events.read_text().splitlines()]


def retrain(workspace: Workspace, run: ReportInputs) -> None:
    """A flow that makes what a retrain makes."""
    stages = Stages()
    with stages.flow("retrain", workspace, "digits"):
        with stages("fetch") as stage:
            stage.made(run.dataset)
        with stages("split") as stage:
            stage.made(run.clips_path)
        with stages("find champion") as stage:
            stage.made(run.champion)
        with stages("validate") as stage:
            stage.made(run.validation)
        for name in ("train candidate", "train baseline"):
            with stages(name) as stage:
                stage.made(run.checkpoint)
        with stages("evaluate") as stage:
            stage.made(run.evaluation)
        with stages("decide") as stage:
            stage.made(run.verdict)
        with stages("register") as stage:
            stage.made(run.registered)
        with stages("report"):
            pass


def of(told: list[dict[str, Any]], job: str, state: str = "COMPLETE") -> dict[str, Any]:
    (event,) = [e for e in told if e["job"]["name"] == job and e["eventType"] == state]
    return event
