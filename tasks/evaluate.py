"""Scores candidate, from-scratch baseline, champion and majority class on the same test clips."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

from prefect import task
from prefect.cache_policies import NO_CACHE

from tenuto.records import Evaluation
from tenuto.settings import EvaluateSettings

log = logging.getLogger(__name__)


@task(
    name="evaluate",
    task_run_name="evaluate-{split}-{settings.resamples}-resamples",
    cache_policy=NO_CACHE,
    persist_result=False,
)
def evaluate(
    models: dict[str, Path],
    clips: Path,
    data: Path,
    settings: EvaluateSettings,
    group: str | None,
    contaminated: frozenset[str] | None,
    output: Path,
    split: Literal["test", "golden"] = "test",
) -> Evaluation:
    """The evaluation, its probabilities written under `output`.

    `group` is the column whose values are resampled; `contaminated` names test clips that the champion trained on,
    None when what it trained on is unknown. Golden clips are watched, not judged: no noise, no latency.
    """
    import pandas as pd

    from tenuto.scoring import evaluation

    table = pd.read_parquet(clips)
    heard, trained = table[table["split"] == split], table[table["split"] == "train"]
    return evaluation.evaluate(
        models,
        heard,
        data,
        settings,
        group,
        output,
        contaminated=contaminated,
        trained=trained["label"].tolist(),
        is_judged=split == "test",
        on_progress=_tell,
    )


def _tell(done: int, total: int) -> None:
    log.info("evaluate: %d of %d clips", done, total)
