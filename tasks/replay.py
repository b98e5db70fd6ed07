"""Stored decisions: what every finished run of a model was judged on, and what it came to.

Fetched from MLflow once and kept in the cache, for a finished run does not change. What cannot be read is named with
the reason and left out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, ValidationError

from tasks import store
from tenuto.records import Evaluation, Record, RegisteredModel, Verdict

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_VERDICT, _EVALUATION, _PROBABILITIES = (
    "verdict/verdict.json",
    "evaluation/evaluation.json",
    "evaluation/probabilities.parquet",
)
_RUNS_PER_CALL = 500


class Decision(Record):
    """A decision as it was taken, with all that it rests on; `problem` says why it cannot be judged again."""

    run_id: str
    at: datetime
    version: str | None = Field(description="the registered version that came of it")
    verdict: Verdict | None = None
    evaluation: Evaluation | None = None
    problem: str = ""


def decisions(tracking_uri: str, name: str, cache: Path) -> Iterator[Decision]:
    """Every decision on the model `name`, the oldest first, its files kept under `cache`."""
    client = store.connect(tracking_uri)
    for run in _finished(client, name):
        yield _decision(client, run, cache / "runs" / str(run.info.run_id))


def _finished(client: MlflowClient, name: str) -> Iterator[Run]:
    experiment = client.get_experiment_by_name(name)
    page: str | None = None
    while experiment is not None:
        runs = client.search_runs(
            [experiment.experiment_id],
            filter_string="attributes.status = 'FINISHED' and tags.`tenuto.verdict` != ''",
            order_by=["attributes.start_time ASC"],
            max_results=_RUNS_PER_CALL,
            page_token=page,
        )
        yield from runs
        page = runs.token
        if not page:
            return


def _decision(client: MlflowClient, run: Run, folder: Path) -> Decision:
    tags = run.data.tags
    about = Decision(
        run_id=str(run.info.run_id),
        at=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
        version=RegisteredModel.model_validate_json(tags["tenuto.model"]).version if "tenuto.model" in tags else None,
    )
    verdict = None
    try:
        verdict = Verdict.model_validate_json(_kept(client, about.run_id, _VERDICT, folder).read_bytes())
        evaluation = Evaluation.model_validate_json(_kept(client, about.run_id, _EVALUATION, folder).read_bytes())
        answers = _kept(client, about.run_id, _PROBABILITIES, folder)
    except _MissingError as error:
        return about.model_copy(update={"problem": _why_missing(error, verdict)})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return about.model_copy(update={"problem": f"its {error.title} is of another format ({where}: {first['msg']})"})
    evaluation = evaluation.model_copy(update={"probabilities_path": answers})
    return about.model_copy(update={"verdict": verdict, "evaluation": evaluation})


class _MissingError(Exception):
    """A file that the run should hold and does not."""


def _why_missing(error: _MissingError, verdict: Verdict | None) -> str:
    """A run that ended early has nothing to judge, which is no loss."""
    ended_early = verdict is not None and verdict.verdict == "not evaluated" and not verdict.rules
    return f"nothing was scored: {verdict.reasons[0]}" if verdict and ended_early else str(error)


def _kept(client: MlflowClient, run_id: str, artifact: str, folder: Path) -> Path:
    """The run's file, fetched whole or not at all."""
    from mlflow.exceptions import MlflowException

    kept = folder / Path(artifact).name
    if kept.is_file():
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            Path(client.download_artifacts(run_id, artifact, scratch)).replace(kept)
    except (MlflowException, OSError) as error:
        raise _MissingError(f"its {artifact} is gone") from error
    return kept
