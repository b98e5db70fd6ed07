"""Writes the page that the person on duty reads, and links it from Prefect."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.artifacts import create_link_artifact
from prefect.cache_policies import NO_CACHE

from tenuto.reporting import report as pages


@task(name="report", task_run_name="report-{inputs.verdict.verdict}", cache_policy=NO_CACHE, persist_result=False)
def report(inputs: pages.ReportInputs, path: Path) -> Path:
    """The page at `path`, also a link artifact of the flow run."""
    page = pages.write_report(inputs, path)
    create_link_artifact(link=page.as_uri(), link_text=page.name, key="report", description=inputs.verdict.verdict)
    return page
