"""Takes labelled recordings from a source into the dataset.

Recordings are read once: what was measured is kept by the hash of a file's bytes, so adding a grown source again works
on the new files alone. The source is never changed. What cannot be used goes into the quarantine table with its reason.
Recordings for which consent was withdrawn (`tenuto.tracing.erasure`) are counted and nothing of them is kept. The
manifest is replaced last and at once, so a kill at any moment leaves the dataset as it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from tenuto.dataset import manifest, sources
from tenuto.dataset.sorting import Found, quarantined, sorted_out
from tenuto.errors import ClipError, DatasetError, SourceError
from tenuto.records import GROUP_PREFIX, Quarantined
from tenuto.settings import DataSettings
from tenuto.sound import audio, families
from tenuto.sound.facts import FactStore
from tenuto.tracing.erasure import refusals
from tenuto.workspace import Workspace

Progress = Callable[[int, int], None]

_CLIPS = "clips"


@dataclass(frozen=True)
class IngestResult:
    """How many clips are new, how many recordings were there already, and what this source had to leave out.

    `refused` counts recordings for which consent was withdrawn, by the number of the certificate in `erasures/`.
    """

    added: int
    unchanged: int
    quarantined: tuple[Quarantined, ...]
    refused: dict[str, int] = field(default_factory=dict)


def add(
    source: Path,
    data: Path,
    cache: Path,
    settings: DataSettings,
    *,
    pattern: str | None = None,
    on_progress: Progress | None = None,
) -> IngestResult:
    """Take the recordings of `source` into the dataset folder `data`.

    `cache` keeps what was measured per file; it may be deleted at any time. `on_progress` is told how many of how
    many files were looked at. Raises SourceError when the source cannot be read or holds nothing, DatasetError when
    the dataset is damaged.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / "ingest.lock"):
        plan = _plan(source, data, cache, settings, pattern, on_progress, is_dry_run=False)
        plan.write(data)
    return plan.result


def check(
    source: Path,
    data: Path,
    cache: Path,
    settings: DataSettings,
    *,
    pattern: str | None = None,
    on_progress: Progress | None = None,
) -> IngestResult:
    """What `add` would return, without writing anything."""
    return _plan(source, data, cache, settings, pattern, on_progress, is_dry_run=True).result


@dataclass(frozen=True)
class _Plan:
    """What an addition will do."""

    source_name: str
    known: pd.DataFrame
    new: list[Found]
    unchanged: int
    quarantined: tuple[Quarantined, ...]
    looked_at: frozenset[str]
    refused: Counter[str]

    @property
    def result(self) -> IngestResult:
        return IngestResult(len(self.new), self.unchanged, self.quarantined, dict(sorted(self.refused.items())))

    def write(self, data: Path) -> None:
        """Clips first and both tables last; then what no manifest names is removed. Without any clip, nothing."""
        if not self.new and self.known.empty:
            return
        for clip in self.new:
            _copy(clip, data)
        seen = {f"{self.source_name}/{path}" for path in self.looked_at}
        kept = [row for row in manifest.read_quarantine(data / manifest.QUARANTINE_FILE_NAME) if row.path not in seen]
        # other sources may hold a file of the same name
        left_out = [row.model_copy(update={"path": f"{self.source_name}/{row.path}"}) for row in self.quarantined]
        manifest.replace(_grown(self.known, self.new, data), [*kept, *left_out], data)
        sweep(data)


def _plan(
    source: Path,
    data: Path,
    cache: Path,
    settings: DataSettings,
    pattern: str | None,
    on_progress: Progress | None,
    *,
    is_dry_run: bool,
) -> _Plan:
    if source.resolve().is_relative_to(data.resolve()):
        raise SourceError(f"{source} lies in the dataset folder {data}; wanted recordings from elsewhere.")
    known = manifest.read(data / manifest.FILE_NAME) if (data / manifest.FILE_NAME).exists() else manifest.empty()
    # a list beside the dataset, not a setting: no import may get past it
    refused = refusals.read(Workspace(data.parent).erasures)
    found = sources.scan(source, pattern, exclude=data, refuses=refused.of_groups, kind=settings.labels)
    store = FactStore(cache, settings, is_read_only=is_dry_run)
    usable: list[Found] = []
    rejected = list(found.rejected)
    for done, entry in enumerate(found.entries):
        if on_progress:
            on_progress(done, len(found.entries))
        try:
            recording = Found(entry, *store.read(entry.path))
        except ClipError as error:
            rejected.append(quarantined(entry, error.reason, error.detail))
            continue
        if number := refused.of_clip(recording.clip_id):
            store.forget(recording.file_sha256)
            found.refused[number] += 1
        else:
            usable.append(recording)
    store.flush()
    if on_progress:
        on_progress(len(found.entries), len(found.entries))
    new, unchanged, doubtful = sorted_out(usable, known, settings.labels)
    looked_at = frozenset(e.shown for e in found.entries) | {row.path for row in found.rejected}
    return _Plan(_source_name(source), known, new, unchanged, (*rejected, *doubtful), looked_at, found.refused)


def _source_name(source: Path) -> str:
    """The name of the source's folder."""
    folder = source.resolve()
    return sources.shown_name((folder.parent if folder.is_file() else folder).name)


def _grown(known: pd.DataFrame, new: list[Found], data: Path) -> pd.DataFrame:
    """The manifest with the new clips, each in the family of its oldest near-duplicate."""
    if not new:
        return known
    batch = int(known["batch"].max()) + 1 if len(known) else 0
    family_of = _family_of(known, new, data)
    added = pd.DataFrame([_row(found, batch, family_of[found.clip_id]) for found in new])
    whole = pd.concat([known, added], ignore_index=True) if len(known) else added
    return whole.astype({column: object for column in whole.columns if column.startswith(GROUP_PREFIX)})


def _row(found: Found, batch: int, family: str) -> dict[str, Any]:
    suffix = found.entry.path.suffix[1:].lower()
    if suffix not in sources.AUDIO_SUFFIXES:
        suffix = found.facts["codec"].partition("/")[0].lower()
    return {
        **{name: value for name, value in found.facts.items() if name in manifest.COLUMNS},
        **{GROUP_PREFIX + name: value for name, value in found.entry.groups.items()},
        "path": f"{_CLIPS}/{found.clip_id[:2]}/{found.clip_id}.{suffix}",
        "source": found.entry.shown,
        "label": found.entry.label,
        "batch": batch,
        "family": family,
    }


def _family_of(known: pd.DataFrame, new: list[Found], data: Path) -> dict[str, str]:
    """Family per new clip, older clips heard from the dataset and new ones from the source."""
    oldest_first = known.sort_values(["batch", "clip_id"])
    paths = [*(data / path for path in oldest_first["path"]), *(found.entry.path for found in new)]
    found = families.assign(
        list(oldest_first["family"]),
        list(oldest_first["fingerprint"]),
        [found.clip_id for found in new],
        [found.facts["fingerprint"] for found in new],
        lambda place: _heard(paths[place]),
    )
    return dict(zip((clip.clip_id for clip in new), found, strict=True))


def _heard(path: Path) -> audio.Recording:
    try:
        return audio.decode(path)
    except ClipError as error:
        raise DatasetError(f"{path} cannot be compared with new clips ({error}); `dvc pull` gets it back.") from error


def _copy(found: Found, data: Path) -> None:
    target = data / _row(found, 0, "")["path"]
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{uuid.uuid4().hex}.part")
    with audio.open_recording(found.entry.path) as original, temporary.open("wb") as copy:
        shutil.copyfileobj(original, copy)
    with temporary.open("rb") as copy:
        if hashlib.file_digest(copy, "sha256").hexdigest() != found.file_sha256:
            raise SourceError(f"{found.entry.shown} changed while it was being added; run the command again.")
    temporary.replace(target)


def sweep(data: Path) -> None:
    """Remove clip files that the manifest does not name: what a killed addition left behind, or an erasure takes."""
    named = set(manifest.read(data / manifest.FILE_NAME)["path"])
    for path in data.glob(".*.part"):
        path.unlink()
    for folder in (data / _CLIPS).glob("*"):
        for path in folder.iterdir():
            if str(path.relative_to(data)) not in named:
                path.unlink()
        with contextlib.suppress(OSError):
            folder.rmdir()
