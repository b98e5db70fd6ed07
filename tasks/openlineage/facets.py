"""The facets of jobs and runs: where the code is, what went wrong, and our own for evaluation and verdict.

The two custom ones are described by the JSON schemas beside this file; no group, clip or recording is named in them.
"""

from __future__ import annotations

import importlib.metadata
import math
import re
import subprocess
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import attr
from openlineage.client.facet_v2 import (
    JobFacet,
    RunFacet,
    error_message_run,
    job_type_job,
    nominal_time_run,
    parent_run,
    processing_engine_run,
    source_code_location_job,
)

from tenuto.records import Evaluation, Interval, Verdict

_SCHEMAS = "urn:tenuto:openlineage:1-0-0"
_SCP_ADDRESS = re.compile(r"(?P<host>[\w.-]+@[\w.-]+):(?P<path>[^/].*)")


@attr.define
class TenutoEvaluationRunFacet(RunFacet):
    """What the models of one run scored on the same test clips."""

    testClips: int  # noqa: N815 - OpenLineage writes its keys so
    resampled: str
    labels: int
    leftOut: int  # noqa: N815
    metrics: dict[str, dict[str, float | None]]
    intervals: dict[str, dict[str, float | None]]
    differences: dict[str, dict[str, float | None]]

    @staticmethod
    def _get_schema() -> str:
        return f"{_SCHEMAS}:TenutoEvaluationRunFacet#/$defs/TenutoEvaluationRunFacet"


@attr.define
class TenutoVerdictRunFacet(RunFacet):
    """The decision of the gate, with the outcome of every rule."""

    verdict: str
    policySha256: str  # noqa: N815
    rules: list[dict[str, Any]]
    pValue: float | None = None  # noqa: N815
    account: dict[str, Any] | None = None

    @staticmethod
    def _get_schema() -> str:
        return f"{_SCHEMAS}:TenutoVerdictRunFacet#/$defs/TenutoVerdictRunFacet"


def evaluation(found: Evaluation) -> TenutoEvaluationRunFacet:
    """The figures over all test clips; those of classes and groups stay in the run's artifacts."""
    first = next(iter(found.intervals.values()), None)
    return TenutoEvaluationRunFacet(
        testClips=first.n if first else 0,
        resampled=found.unit_name,
        labels=len(found.labels),
        leftOut=len(found.left_out),
        metrics={model: _finite(figures) for model, figures in found.metrics.items()},
        intervals={model: _bounds(interval) for model, interval in found.intervals.items()},
        differences={model: _bounds(interval) for model, interval in found.differences.items()},
    )


def verdict(decision: Verdict, discreet: Callable[[str], str]) -> TenutoVerdictRunFacet:
    """The verdict with its rules in the plain words that name no group; rules' own names go through `discreet`."""
    return TenutoVerdictRunFacet(
        verdict=decision.verdict,
        policySha256=decision.policy_sha256,
        rules=[
            {
                "rule": discreet(rule.rule),
                "outcome": rule.outcome,
                "severity": rule.severity,
                "reason": rule.plain,
                **_finite({"observed": rule.observed, "threshold": rule.threshold, "low": rule.low, "high": rule.high}),
            }
            for rule in decision.rules
        ],
        pValue=decision.p_value,
        account=decision.account.model_dump(mode="json") if decision.account else None,
    )


def code(root: Path) -> dict[str, JobFacet]:
    """Commit, branch and address of the repository that holds `root`; nothing without a commit.

    A repository that has no remote is named by its folder. Names and passwords in an address are left out.
    """
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return {}
    address = _address(_git(root, "config", "--get", "remote.origin.url") or "") or _folder(root)
    return {
        "sourceCodeLocation": source_code_location_job.SourceCodeLocationJobFacet(
            type="git",
            url=address,
            repoUrl=address,
            path=(_git(root, "rev-parse", "--show-prefix") or "").rstrip("/") or None,
            version=commit,
            branch=_git(root, "symbolic-ref", "--short", "HEAD"),
        )
    }


def job_type(kind: str) -> JobFacet:
    """That this is a batch job of Tenuto: FLOW or STAGE."""
    return job_type_job.JobTypeJobFacet(processingType="BATCH", integration="TENUTO", jobType=kind)


def engine() -> RunFacet:
    """The releases of Prefect, which runs the flow, and of Tenuto, which sends the events."""
    return processing_engine_run.ProcessingEngineRunFacet(
        version=importlib.metadata.version("prefect"),
        name="Prefect",
        openlineageAdapterVersion=importlib.metadata.version("tenuto"),
    )


def parent(run_id: str, namespace: str, name: str) -> RunFacet:
    """The flow run that a stage belongs to, which is the root of all."""
    return parent_run.ParentRunFacet(
        run=parent_run.Run(run_id),
        job=parent_run.Job(namespace, name),
        root=parent_run.Root(parent_run.RootRun(run_id), parent_run.RootJob(namespace, name)),
    )


def nominal_time(scheduled_at: datetime) -> RunFacet:
    """When the run was due."""
    return nominal_time_run.NominalTimeRunFacet(scheduled_at.isoformat())


def error(raised: BaseException, discreet: Callable[[str], str]) -> RunFacet:
    """Kind and message of what ended a stage; the trace is in the logs."""
    said = discreet(str(raised))
    message = f"{type(raised).__name__}: {said}" if said else type(raised).__name__
    return error_message_run.ErrorMessageRunFacet(message, "PYTHON")


def _bounds(interval: Interval) -> dict[str, float | None]:
    return _finite({"value": interval.value, "low": interval.low, "high": interval.high})


def _finite(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    # JSON has neither infinity nor NaN
    return {name: value for name, value in figures.items() if value is not None and math.isfinite(value)}


def _address(remote: str) -> str | None:
    """A remote as a URL without credentials; None for none and for a folder."""
    if match := _SCP_ADDRESS.fullmatch(remote):
        return f"ssh://{match['host']}/{match['path']}"
    parts = urlsplit(remote)
    if not parts.scheme or not parts.hostname:
        return None
    host = parts.hostname if parts.port is None else f"{parts.hostname}:{parts.port}"
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def _folder(root: Path) -> str:
    return Path(_git(root, "rev-parse", "--show-toplevel") or root).as_uri()


def _git(root: Path, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace").strip() or None if done.returncode == 0 else None
