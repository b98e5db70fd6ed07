"""Served recordings that a person should label: chosen, reviewed on a page, and taken into the dataset.

Plain functions and not Prefect flows, as for `tenuto data`: a person waits at the terminal.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

from flows import data
from tenuto.dataset import manifest
from tenuto.dataset.ingest import Progress
from tenuto.errors import DatasetError, WorkspaceError
from tenuto.labelling import choice, queue
from tenuto.labelling.queue import Item
from tenuto.labels import UNKNOWN, classes
from tenuto.records import GROUP_PREFIX, AddResult, Record
from tenuto.settings import Params
from tenuto.tracing import served
from tenuto.workspace import Workspace


class Exported(Record):
    """What is in the queue now."""

    folder: Path
    recordings: int
    of: int
    """How many kept recordings without a label there were to choose from: those that one version heard."""
    version: str
    """The last version that heard any."""
    of_other_versions: int
    """Kept recordings without a label that only other versions heard, and that were left out."""
    reasons: dict[str, int]


class Accepted(Record):
    """What became of the labels."""

    added: AddResult | None
    """To the dataset; None when there was nothing to add."""
    labelled: int
    unknown: int
    """Clips that are none of the classes: feedback, and nothing to train on."""
    gone: int
    """Labels of recordings that are no longer kept: feedback where the log still holds the answer, and no clips."""
    undecided: int


def export(workspace: Workspace, params: Params, size: int, folder: Path | None = None) -> Exported:
    """The queue of the `size` recordings that are most worth labelling, in `folder` (default: the workspace's own).

    Raises WorkspaceError when there is nothing to listen to, saying why.
    """
    rows = served.frame(workspace.served, model=params.name, is_kept=True)
    _require_recordings(workspace, params.name, rows)
    recordings = served.audio_folder(workspace.served)
    known = _manifest(workspace)
    kept = choice.candidates(rows, frozenset(known["clip_id"]))
    kept = kept[[(recordings / name).is_file() for name in kept["audio"]]]
    found = choice.of_one_version(kept)
    if found.empty:
        raise WorkspaceError("Every recording that was kept has a label, or is gone again; there is nothing to label.")
    version = str(found["version"].iloc[0])
    heard = served.frame(workspace.served, version=version, model=params.name, is_labelled=True)
    heard = heard[~heard["is_shadow"]]
    near = np.stack(list(heard["embedding"])) if len(heard) else None
    chosen = choice.choose(found, size, params.data.labels, near)
    target = folder or workspace.label_queue
    items = queue.create(target, chosen, recordings, manifest.group_names(known))
    reasons = dict(sorted(Counter(item.reason for item in items).items()))
    return Exported(
        folder=target,
        recordings=len(items),
        of=len(found),
        version=version,
        of_other_versions=kept["clip_id"].nunique() - len(found),
        reasons=reasons,
    )


def review(
    workspace: Workspace,
    params: Params,
    reviewer: str,
    port: int,
    on_start: Callable[[str], None],
    folder: Path | None = None,
) -> tuple[Item, ...]:
    """The queue as it is when the reviewer ends the page's server with Ctrl-C; `on_start` is told its address."""
    import socket

    import uvicorn

    from tenuto.labelling.review import Reviewing, create_app

    target = folder or workspace.label_queue
    queue.read(target)
    known = _manifest(workspace)
    names = manifest.group_names(known)
    groups = {name: sorted(set(known[GROUP_PREFIX + name].dropna()) - {""}) for name in names}
    app = create_app(Reviewing(target, _classes(workspace, params), params.data.labels, reviewer, groups))
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
        except OSError as error:
            raise WorkspaceError(
                f"--port {port} cannot be used ({error.strerror}); leave it out for any free one."
            ) from None
        on_start(f"http://127.0.0.1:{listening.getsockname()[1]}/")
        uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off")).run(sockets=[listening])
    return queue.read(target)


def accept(
    workspace: Workspace,
    params: Params,
    reviewer: str,
    folder: Path | None = None,
    on_progress: Progress | None = None,
) -> Accepted:
    """What was done with the labels in the queue: feedback in the log, and clips in the next dataset version.

    A clip's source in the manifest says where it came from: `served/version 3/REQUEST.0 by ann.flac`. May be repeated
    after a kill: what is there already is not added twice. Raises DatasetError for a label that is no class.
    """
    target = folder or workspace.label_queue
    items = queue.entries(target)
    kinds = _classes(workspace, params)
    named = [item.model_copy(update={"reviewer": item.reviewer or reviewer}) for item in items]
    labelled = [queue.checked(item, kinds, params.data.labels) for item in named if item.decision == "labelled"]
    kept = [item for item in labelled if queue.is_kept(target, item)]
    taken = [item for item in kept if item.label != UNKNOWN]
    _give_feedback(workspace, labelled)
    result = _add(workspace, params, target, taken, on_progress) if taken else None
    queue.accept(target, [item.key for item in labelled])
    return Accepted(
        added=result,
        labelled=len(kept),
        unknown=len(kept) - len(taken),
        gone=len(labelled) - len(kept),
        undecided=sum(item.decision not in ("labelled", "accepted") for item in queue.read(target)),
    )


def _require_recordings(workspace: Workspace, model: str, rows: pd.DataFrame) -> None:
    if len(rows):
        return
    if not (answers := served.count(workspace.served, model)):
        raise WorkspaceError(
            f"Nothing was served yet ({workspace.served} holds no prediction of {model}): `tenuto serve` writes that "
            "log unless `log.is_on` in mlflow/serving.yaml is false."
        )
    raise WorkspaceError(
        f"{answers:,} predictions are on record and none with its recording, so there is nothing to listen to. "
        "`log.keep_audio_days` in mlflow/serving.yaml keeps recordings for so many days; the people who are heard "
        "in them have to agree."
    )


def _add(
    workspace: Workspace, params: Params, folder: Path, items: list[Item], on_progress: Progress | None
) -> AddResult:
    """Adds the recordings by a table like any other source, under names that say where they came from."""
    workspace.state.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="accepted-", dir=workspace.state) as made:
        folder_of = Path(made) / "label-queue"
        lines = []
        for item in items:
            recording = (folder / item.audio).resolve()
            name = f"{_plain(item.request_id)}.{item.position} by {_plain(item.reviewer)}{recording.suffix}"
            path = folder_of / "served" / f"version {_plain(item.version)}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(recording, path)
            lines.append({"path": str(path.relative_to(folder_of)), "label": item.label, **item.groups})
        table = pd.DataFrame(lines).fillna("").astype(str)
        is_known = (table != "").any() | table.columns.isin(["path", "label"])
        table.loc[:, is_known].to_parquet(folder_of / "accepted.parquet", index=False)
        return data.add(workspace, params, folder_of / "accepted.parquet", on_progress=on_progress)


def _give_feedback(workspace: Workspace, items: Iterable[Item]) -> None:
    """Tells the log what the clips were; predictions that it no longer holds are passed over."""
    labelled = {item.key: item for item in items}
    on_record = served.on_record(workspace.served, labelled)
    now = datetime.now(UTC)
    given = [
        served.Feedback(
            request_id=item.request_id,
            position=item.position,
            label=item.label,
            # not when it was decided: a look at the log since then has counted the labels that it held
            at=now,
            source=served.LABEL_QUEUE + item.reviewer,
            groups={name: value for name, value in item.groups.items() if value},
        )
        for key, item in labelled.items()
        if key in on_record
    ]
    if given:
        served.feedback(workspace.served, given)


def _plain(text: str) -> str:
    """Text as part of a file name; a client may have chosen it."""
    return quote(text, safe=" ")[:120]


def _manifest(workspace: Workspace) -> pd.DataFrame:
    return manifest.read(workspace.manifest) if workspace.manifest.is_file() else manifest.empty()


def _classes(workspace: Workspace, params: Params) -> tuple[str, ...]:
    """The labels of the dataset."""
    known = _manifest(workspace)
    if known.empty:
        raise DatasetError(f"{workspace.root} has no recordings, so there are no labels to choose from; `dvc pull`.")
    return classes(known["label"], params.data.labels)
