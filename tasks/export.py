"""Exports the candidate: the folder that a server needs, or the reason why there is none."""

from __future__ import annotations

import logging
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tenuto.serving.hearing.bundle import Exported

log = logging.getLogger(__name__)


@task(name="export", task_run_name="export-{checkpoint.name}", cache_policy=NO_CACHE, persist_result=False)
def export(checkpoint: Path, clips: Path, data: Path, output: Path) -> Exported:
    """The bundle of a checkpoint as the folder `output`; one that is finished there is taken.

    Never raises for a model that cannot be exported: hours of training are not lost over how it is served.
    """
    from tenuto.errors import ExportError
    from tenuto.exporting import making

    try:
        return Exported(folder=output, bundle=making.export(checkpoint, clips, data, output))
    except ExportError as error:
        reason = str(error)
    except Exception as error:
        log.exception("the export failed")
        reason = f"{type(error).__name__}: {error}"
    log.warning("The candidate was not exported: %s", reason)
    return Exported(reason=reason)
