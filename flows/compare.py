"""What `tenuto compare` runs: several backbones and heads on the present dataset version, side by side.

Plain functions and no Prefect flow: a person waits at the terminal, and nothing is registered. Every row is a child run
in MLflow, and the page lies among the reports.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from flows import servers
from flows.present import present
from tasks.track import trials
from tenuto.learning.comparison import running, table
from tenuto.learning.comparison.choices import Choice
from tenuto.learning.comparison.table import Comparison
from tenuto.reporting import comparisons
from tenuto.settings import Params
from tenuto.tracing import lineage
from tenuto.workspace import Workspace


def compare(
    workspace: Workspace,
    params: Params,
    chosen: Sequence[Choice],
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Comparison, Path]:
    """The rows on the clips and splits that a retrain would use, and their page."""
    with present(workspace, params, "compare") as now:
        found = running.compare(
            now.clips,
            workspace.data,
            params,
            now.group,
            workspace.cache,
            chosen,
            identity=(now.dataset_md5, now.division_sha256, lineage.source_sha256()),
            on_progress=on_progress,
        )
        picture = comparisons.draw(found)
        made_at = datetime.now(UTC)
        page = workspace.reports / "compare" / f"{made_at:%Y%m%dT%H%M%SZ}.html"
        comparisons.write(found, page, name=params.name, made_at=made_at, picture=picture)
        _track(servers.tracking_uri(workspace, params), params, now.dataset_md5, found, picture)
    return found, page


def _track(tracking_uri: str, params: Params, md5: str, found: Comparison, picture: bytes) -> None:
    """A parent run with the picture, and a child run for each row; no name of a group, which may be a person's."""
    parent = trials.start(tracking_uri, params.name, "compare", params, md5)
    for row in found.rows:
        about = row.choice.model_dump() | ({"licence": row.figures.licence} if row.figures else {})
        problem = {"problem": row.problem[:500]} if row.problem else {}
        trials.log(tracking_uri, parent, row.choice.title, about | problem, table.flat(row))
    with tempfile.TemporaryDirectory(prefix="tenuto-compare-") as folder:
        path = Path(folder) / "pareto.png"
        path.write_bytes(picture)
        trials.finish(tracking_uri, parent, [path])
