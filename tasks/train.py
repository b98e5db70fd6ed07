"""Trains the candidate, its from-scratch twin and the comparison that shows what augmentation fill is worth."""

from __future__ import annotations

import logging
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tenuto.records import Checkpoint, FillComparison, Remedy
from tenuto.settings import Params

log = logging.getLogger(__name__)


@task(name="train-candidate", task_run_name="fine-tune-{params.backbone}", cache_policy=NO_CACHE, persist_result=False)
def train_candidate(clips: Path, data: Path, params: Params, cache: Path, output: Path) -> Checkpoint:
    """The pre-trained backbone, probed and fine-tuned; a finished checkpoint at `output` is reused."""
    import pandas as pd

    from tenuto.learning import finetune

    made = finetune.train_candidate(pd.read_parquet(clips), data, params, cache, output, on_progress=_tell)
    for note in made.notes:
        log.warning("%s", note)
    return made


@task(
    name="train-baseline",
    task_run_name="train-{params.backbone}-from-scratch",
    cache_policy=NO_CACHE,
    persist_result=False,
)
def train_baseline(clips: Path, data: Path, params: Params, cache: Path, output: Path) -> Checkpoint:
    """The same architecture from random weights with the same budget."""
    import pandas as pd

    from tenuto.learning import finetune

    return finetune.train_baseline(pd.read_parquet(clips), data, params, cache, output, on_progress=_tell)


@task(name="compare-fill", cache_policy=NO_CACHE, persist_result=False)
def compare_fill(clips: Path, data: Path, params: Params, cache: Path) -> FillComparison:
    """Recall of rare classes and groups with and without augmentation fill, by linear probes."""
    import pandas as pd

    from tenuto.learning import fill

    return fill.compare(pd.read_parquet(clips), data, params, cache)


@task(name="choose-remedy", cache_policy=NO_CACHE, persist_result=False)
def choose_remedy(clips: Path, data: Path, params: Params, group: str | None, cache: Path) -> Remedy:
    """What is done for rare classes and groups, chosen on the validation clips."""
    import pandas as pd

    from tenuto.learning.remedies import choice

    return choice.choose(pd.read_parquet(clips), data, params, group, cache)


def _tell(done: int, total: int) -> None:
    log.info("step %d of %d", done, total)
