"""One trial of a search, as a task of its own: Prefect shows it, and its task runner runs several at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from tenuto.settings import Params

if TYPE_CHECKING:
    from tenuto.learning.tuning.trials import Asked, Result


class EndedError(Exception):
    """The search is ended by Ctrl-C; the trial is tried again by the next one."""


@task(name="trial", task_run_name="trial-{number}", cache_policy=NO_CACHE, persist_result=False)
def trial(
    number: int,
    asked: Asked,
    clips: Path,
    data: Path,
    params: Params,
    cache: Path,
    work: Path,
    is_ended: Callable[[], bool],
) -> Result:
    """What the settings of `asked` come to on the validation clips of the table at `clips`."""
    import pandas as pd

    from tenuto.learning.tuning import trials

    def on_progress(done: int, total: int) -> None:
        if is_ended():
            raise EndedError

    return trials.run(asked, pd.read_parquet(clips), data, params, cache, work, on_progress=on_progress)
