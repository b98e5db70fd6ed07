"""What earlier runs came to: the last verdict, and the clips that were trained on last."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from tasks.track.figures import overall
from tasks.track.store import connect, newest
from tenuto.records import Record, RegisteredModel
from tenuto.tracing.lineage import CLIPS

log = logging.getLogger(__name__)

REPORT = "tenuto.report"
"""The tag that says where a run's page lies."""


class LastRun(Record):
    """The last run of a model that came to a verdict."""

    run_id: str
    inputs: str
    verdict: str
    reasons: tuple[str, ...]
    model: RegisteredModel | None
    metrics: dict[str, dict[str, float]]
    """Per model: macro_f1, accuracy ..."""
    report: str | None
    """Path of its page."""


def last_run(tracking_uri: str, name: str) -> LastRun | None:
    """The newest finished run of `name` that has a verdict; None when there is none."""
    run = newest(connect(tracking_uri), name, "tags.`tenuto.verdict` != ''")
    if run is None:
        return None
    tags = run.data.tags
    return LastRun(
        run_id=run.info.run_id,
        inputs=tags.get("tenuto.inputs", ""),
        verdict=tags["tenuto.verdict"],
        reasons=tuple(tags.get("tenuto.reasons", "").splitlines()),
        model=RegisteredModel.model_validate_json(tags["tenuto.model"]) if "tenuto.model" in tags else None,
        metrics=overall(run.data.metrics),
        report=tags.get(REPORT),
    )


def last_trained_clips(tracking_uri: str, name: str, cache: Path) -> Path | None:
    """The clips table of the newest finished run that trained, copied under `cache`; None when there is none."""
    from mlflow.exceptions import MlflowException

    client = connect(tracking_uri)
    run = newest(client, name, "tags.`tenuto.trained` = 'true'")
    if run is None:
        return None
    kept = cache / "runs" / str(run.info.run_id) / "clips.parquet"
    if kept.is_file():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
            Path(client.download_artifacts(run.info.run_id, CLIPS, scratch)).replace(kept)
    except (MlflowException, OSError) as error:
        log.warning("the clips table of run %s is gone, so drift is not measured (%s)", run.info.run_id, error)
        return None
    return kept
