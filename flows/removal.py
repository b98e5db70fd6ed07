"""Recordings taken out of the dataset because something is wrong with them: what `tenuto data remove` runs.

Unlike an erasure (`flows.erase`) it purges nothing and refuses nothing: older dataset versions keep the recordings, and
the same ones may be added again, under another label for instance. Nobody else's split changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pandas as pd
from pydantic import Field

from tasks import dataset
from tenuto.dataset import manifest
from tenuto.errors import TenutoError
from tenuto.labels import classes, parts_of
from tenuto.records import Record
from tenuto.settings import Params
from tenuto.splitting import holdout, splits
from tenuto.splitting.holdout import Holdout
from tenuto.tracing.erasure import finding, refusals
from tenuto.tracing.erasure.identities import Identities, renamed_families
from tenuto.workspace import Workspace


class Removal(Record):
    """What a removal does, or would do; `tenuto data remove --json` prints it without `who` and `holdout`."""

    who: Identities
    holdout: Holdout | None = Field(description="what holdout.yaml becomes; None: it stays as it is")
    clips: tuple[str, ...] = Field(description="ids of the clips that go")
    labels: dict[str, int] = Field(description="how many of them, by label")
    left: int = Field(description="clips that stay")
    lost_labels: tuple[str, ...] = Field(description="classes that no clip is left of")
    moved: int = Field(description="other clips that go to another split: none, unless a split were left empty")
    stops: str = Field(description="why no retrain is possible afterwards; empty when one is")
    md5: str = Field(default="", description="the dataset version without them; empty before it is made")


def plan(
    workspace: Workspace, params: Params, clips: Sequence[str], groups: Sequence[str], labels: Sequence[str]
) -> Removal:
    """What taking out all recordings with one of these ids, groups ('speaker=ann') or labels would do.

    Raises DatasetError for an id, group or label that no recording of the present dataset has.
    """
    present = manifest.read(dataset.fetch.fn(workspace.root).manifest_path)
    asked = [finding.pair(text) for text in groups]
    ids = {
        *finding.of_ids(present, clips),
        *finding.of_groups(present, asked, refusals.read(workspace.erasures)),
        *finding.of_labels(present, labels),
    }
    gone = present["clip_id"].isin(ids)
    kind = params.data.labels
    families = renamed_families(present[gone], present[~gone])
    rest = present[~gone].assign(family=lambda rows: rows["family"].replace(families))
    before = holdout.read(workspace.holdout)
    after, moved, stops = _divided(present, rest, gone, params, before, families)
    return Removal(
        who=Identities(clips=tuple(sorted(ids)), families=families),
        holdout=after if after != before else None,
        clips=tuple(sorted(ids)),
        labels=dict(sorted(Counter(n for label in present.loc[gone, "label"] for n in parts_of(label, kind)).items())),
        left=len(rest),
        lost_labels=tuple(sorted(set(classes(present["label"], kind)) - set(classes(rest["label"], kind)))),
        moved=moved,
        stops=stops,
    )


def remove(workspace: Workspace, params: Params, planned: Removal) -> Removal:
    """The removal as it was done: `data.dvc` names the dataset version without the recordings."""
    # first, since under it the dataset is divided alike with them and without them
    if planned.holdout is not None:
        holdout.write(planned.holdout, workspace.holdout)
    version, done = dataset.remove(workspace.root, planned.who, push=params.data.upload)
    if done.unreached:
        planned = planned.model_copy(update={"stops": planned.stops or done.unreached})
    return planned.model_copy(update={"md5": version.md5 if version else ""})


def _divided(
    present: pd.DataFrame,
    rest: pd.DataFrame,
    gone: pd.Series,
    params: Params,
    before: Holdout,
    families: dict[str, str],
) -> tuple[Holdout, int, str]:
    """The holdout afterwards, how many other clips move, and why no retrain is possible then."""
    after = before
    try:
        after = splits.without(
            present, params.split, before, gone.to_numpy(), families, forgets=False, kind=params.data.labels
        )
        now = splits.assign(rest, params.split, after, kind=params.data.labels)["split"]
    except TenutoError as error:
        return after, 0, str(error)
    try:
        then = splits.assign(present, params.split, before, kind=params.data.labels)["split"]
    except TenutoError:
        return after, 0, ""
    return after, int((then[~gone] != now).sum()), ""
