"""What `tenuto curve` runs: the label-efficiency curve of the present dataset version.

Plain functions and no Prefect flow: nothing is registered. The curve is a picture and a JSON file among the reports.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from flows.present import present
from tenuto.learning import curve
from tenuto.reporting import curves
from tenuto.settings import Params
from tenuto.workspace import Workspace


def measure(
    workspace: Workspace,
    params: Params,
    sizes: Sequence[int],
    *,
    seeds: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[curve.Curve, Path]:
    """The curve on the clips and splits that a retrain would use, and its picture."""
    with present(workspace, params, "curve") as now:
        found = curve.measure(
            now.clips, workspace.data, params, workspace.cache, sizes, seeds=seeds, on_progress=on_progress
        )
        workspace.reports.mkdir(parents=True, exist_ok=True)
        picture = workspace.reports / f"curve-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.png"
        picture.with_suffix(".json").write_text(found.model_dump_json(indent=2), encoding="utf-8")
        curves.draw(found, picture, title=f"{params.name}: {params.backbone} and training from scratch")
    return found, picture
