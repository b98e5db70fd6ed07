"""What `tenuto monitor` runs: a look at what the champion was served, its page, and events for what is new.

`watch` is a plain function, since a person waits at the terminal; `monitor` is the same as a flow, for the schedule
that `tenuto deploy` makes. The looks and the page stay in the workspace; nothing in the registry is touched.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
from prefect import State, flow
from prefect.states import Completed
from pydantic import Field

from flows import servers
from tasks import monitor as prefect_events
from tasks.follow import RegistrySource
from tenuto.errors import RegistryError
from tenuto.monitoring import events, looks
from tenuto.monitoring.looks import Look
from tenuto.records import Record
from tenuto.reporting import monitoring as pages
from tenuto.serving.hearing.bundle import REFERENCE_NAME
from tenuto.serving.hearing.sources import Source
from tenuto.settings import Params, load_params
from tenuto.tracing import ledger, served
from tenuto.workspace import Workspace

ROLLBACK = 'tenuto rollback --reason "quality dropped"'


class Watched(Record):
    """A look, and what came of it; `monitor --json` prints it, and scripts may rely on its shape."""

    look: Look
    is_new: bool = Field(description="something was found that Prefect was not told of before")
    events: tuple[str, ...] = Field(description="what Prefect was told, where a server runs")
    previous: str | None = Field(description="the version that a rollback would return to, if one is proposed")
    advice: str = Field(description="what to do when quality dropped")
    page: Path

    @property
    def exit_code(self) -> int:
        """0 steady or too few clips; 2 when something was found."""
        return 2 if self.look.found else 0


@flow(name="monitor", validate_parameters=False)
def monitor(root: str) -> State[Watched]:
    """The look at the workspace at `root` as a Prefect state, named after what was found."""
    workspace = Workspace(Path(root))
    watched = watch(workspace, load_params(workspace.params))
    return Completed(name=watched.look.status.capitalize(), message=looks.sentences(watched.look)[0], data=watched)


def watch(
    workspace: Workspace, params: Params, *, source: Source | None = None, now: datetime | None = None
) -> Watched:
    """The look at the champion now, kept and told; RegistryError without a champion that can be looked at.

    `source` is by default the registry.
    """
    now = now or datetime.now(UTC)
    source = source or RegistrySource(servers.tracking_uri(workspace, params), params.name, workspace.served_models)
    version, previous = source.resolve("champion"), source.resolve("previous")
    if version is None:
        raise RegistryError(f"{params.name} has no @champion, so nothing can be monitored; `tenuto retrain` makes one.")
    reference = _reference(source.fetch(version) / REFERENCE_NAME, params.name, version)
    earlier = looks.read(workspace.looks, params.name, version)
    since = now - timedelta(days=params.monitor.days)
    answered = served.frame(workspace.served, since, now, version, model=params.name)
    look = looks.look(
        reference,
        answered,
        params.monitor,
        earlier,
        model=params.name,
        version=version,
        now=now,
        new_labels=served.count_labels(
            workspace.served, params.name, looks.labels_told_at(workspace.looks, params.name)
        ),
    )
    news = looks.news(look, earlier)
    way_back, advice = _way_back(workspace, params.name, version, previous)
    told = prefect_events.tell(params.name, events.events(look, news, way_back))
    look = looks.after_telling(look, earlier, is_heard=bool(told))
    looks.keep(workspace.looks, look)
    page = workspace.reports / "monitor" / f"{now:%Y%m%dT%H%M%SZ}.html"
    pages.write([*earlier, look], page, advice=advice)
    return Watched(look=look, is_new=bool(news), events=told, previous=way_back, advice=advice, page=page)


def _way_back(workspace: Workspace, model: str, version: str, previous: str | None) -> tuple[str | None, str]:
    """The version to propose a rollback to, and the proposal; none to one that was itself left by a rollback."""
    if previous is None:
        return None, "There is no earlier version to return to."
    own = [entry for entry in ledger.readable(workspace.ledger) if entry.model == model]
    moves = [entry for entry in own if entry.aliases.get("champion") != entry.aliases_before.get("champion")]
    if moves and moves[-1].event == "rollback" and moves[-1].aliases_before.get("champion") == previous:
        to_another = '`tenuto rollback --to VERSION --reason "quality dropped"`'
        return None, (
            f"Version {previous}, the one before, was left by a rollback to version {version}: going back to it is not "
            f"proposed. {to_another} returns to another one; nothing moves by itself."
        )
    return previous, f"`{ROLLBACK}` returns to version {previous}; nothing moves by itself."


def _reference(path: Path, model: str, version: str) -> pd.DataFrame:
    if not path.is_file():
        raise RegistryError(
            f"{model} version {version} was exported without reference clips and cannot be monitored; "
            "`tenuto retrain --force` makes a version that can."
        )
    return pd.read_parquet(path)
