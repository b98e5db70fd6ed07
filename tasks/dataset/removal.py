"""Recordings taken out of the dataset, and out of every store of DVC's that holds them.

DVC keeps what any dataset version ever held. An erasure deletes the clips' objects, the tables of the versions that
list them, and last the listings themselves, so that an erasure that was killed finds the rest again. It works through
DVC's object databases, so a folder and a bucket are one and the same.
"""

from __future__ import annotations

import io
import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pandas as pd

from tasks.dataset import versions
from tenuto.dataset import manifest
from tenuto.errors import DatasetError
from tenuto.records import DatasetVersion, Record
from tenuto.tracing.erasure import dataset
from tenuto.tracing.erasure.identities import Identities
from tenuto.tracing.erasure.records import Purged
from tenuto.tracing.erasure.scrub import table as table_without
from tenuto.workspace import Workspace

if TYPE_CHECKING:
    from dvc.repo import Repo

log = logging.getLogger(__name__)

CACHE = "DVC cache"
_TABLES = (manifest.FILE_NAME, manifest.QUARANTINE_FILE_NAME)
_BUCKET = "its bucket may keep old versions of deleted objects; have them expire"


class CachedVersion(Record):
    """A dataset version that a store of DVC's holds."""

    md5: str
    places: tuple[str, ...]
    clips: tuple[str, ...]
    """Ids of its clips."""


@dataclass
class _Store:
    """One object database with the dataset versions in it: per listing, path in `data/` to object id."""

    place: str
    odb: Any
    is_read_only: bool
    listings: dict[str, dict[str, str]] = field(default_factory=dict)

    def read(self, oid: str) -> bytes:
        with self.odb.fs.open(self.odb.oid_to_path(oid), "rb") as file:
            content: bytes = file.read()
        return content

    def delete(self, oids: set[str]) -> int:
        """How many of the objects were there, and are no more."""
        there = list(self.odb.oids_exist(sorted(oids)))
        for oid in there:
            self.odb.delete(oid)
        return len(there)


def remove(root: Path, who: Identities, *, push: bool) -> tuple[DatasetVersion | None, Purged]:
    """The new dataset version without the recordings, recorded in `data.dvc` and, with `push`, sent to the remote.

    None when the workspace has no dataset. What the remote did not take is in the second record.
    """
    workspace = Workspace(root)
    removed = dataset.remove(workspace.data, who)
    if not workspace.manifest.is_file():
        return None, removed
    version = versions.recorded(root, push=False)
    if push:
        try:
            version = versions.recorded(root, push=True)
        except DatasetError as error:
            removed = removed.model_copy(update={"unreached": f"the new dataset version was not pushed: {error}"})
    return version, removed


def cached_versions(root: Path) -> tuple[tuple[CachedVersion, ...], list[pd.DataFrame], dict[str, str]]:
    """Every dataset version in the cache and the remotes, their manifests, and the stores that could not be read."""
    found: dict[str, CachedVersion] = {}
    tables: dict[str, pd.DataFrame] = {}
    with versions.repository(root) as repo:
        stores, unread = _stores(repo)
        for store in stores:
            for oid, entries in store.listings.items():
                clips = tuple(sorted({PurePosixPath(path).stem for path in entries if _is_clip(path)}))
                before = found[oid].places if oid in found else ()
                found[oid] = CachedVersion(md5=oid, places=(*before, store.place), clips=clips)
                table = entries.get(manifest.FILE_NAME)
                if table and table not in tables and (content := _frame(store, table)) is not None:
                    tables[table] = content
    return tuple(found.values()), list(tables.values()), unread


def purge(root: Path, who: Identities) -> tuple[Purged, ...]:
    """What was deleted from DVC's cache, its own indexes and every remote that may be written."""
    with versions.repository(root) as repo:
        stores, unread = _stores(repo)
        current = _current(repo, stores)
        kept = set(current.values())
        clips = {oid for store in stores for entries in store.listings.values() for oid in _hers(entries, who)} - kept
        done = [_purge(store, who, clips, kept) for store in stores]
        indexes = Path(repo.site_cache_dir)
    done += [Purged(place=place, unreached=why) for place, why in unread.items()]
    had_indexes = indexes.is_dir()
    shutil.rmtree(indexes, ignore_errors=True)
    return (*done, Purged(place="DVC's indexes", counts={"folders": int(had_indexes)}))


def _purge(store: _Store, who: Identities, clips: set[str], kept: set[str]) -> Purged:
    listings = {oid for oid, entries in store.listings.items() if _names(store, entries, who)}
    tables = {store.listings[oid][name] for oid in listings for name in _TABLES if name in store.listings[oid]} - kept
    if store.is_read_only:
        held = len(list(store.odb.oids_exist(sorted(clips | tables | listings))))
        why = f"it is read and never written; {held} of its objects hold recordings or names" if held else ""
        return Purged(place=store.place, unreached=why)
    counts: dict[str, int] = {}
    try:
        counts["clip files"] = store.delete(clips)
        counts["tables"] = store.delete(tables | _orphans(store, who))
        counts["dataset versions"] = store.delete(listings)
    except Exception as error:  # each kind of remote has its own
        why = f"deleting failed ({type(error).__name__}: {' '.join(str(error).split())})"
        return Purged(place=store.place, counts=counts, unreached=why)
    is_bucket = store.odb.fs.protocol != "local" and any(counts.values())
    return Purged(place=store.place, counts=counts, unreached=_BUCKET if is_bucket else "")


def _stores(repo: Repo) -> tuple[list[_Store], dict[str, str]]:
    """The local cache and every remote with their listings, and the remotes that could not be read, with the reason."""
    stores, unread = [], {}
    for name in (None, *sorted(repo.config["remote"])):
        place = f"DVC remote {name!r}" if name else CACHE
        try:
            odb = repo.cloud.get_remote_odb(name) if name else repo.cache.local
            stores.append(_Store(place, odb, name == versions.READ_ONLY_REMOTE, _listings(odb)))
        except Exception as error:  # each kind of remote has its own
            unread[place] = f"it cannot be read ({type(error).__name__}: {' '.join(str(error).split())})"
    return stores, unread


def _listings(odb: Any) -> dict[str, dict[str, str]]:
    if odb.fs.protocol == "local" and not odb.fs.exists(odb.path):
        return {}
    if not odb.fs.CAN_TRAVERSE:
        raise DatasetError("what it holds can neither be listed nor deleted over this protocol")
    listings = {}
    for oid in list(odb.all()):
        if not oid.endswith(".dir"):
            continue
        with odb.fs.open(odb.oid_to_path(oid), "rb") as file:
            entries = json.load(file)
        listings[oid] = {str(entry["relpath"]): str(entry["md5"]) for entry in entries}
    return listings


def _current(repo: Repo, stores: list[_Store]) -> dict[str, str]:
    """The listing of the dataset version that `data.dvc` names; empty without one."""
    if not Path(repo.root_dir, "data.dvc").is_file():
        return {}
    oid = versions.tracked(repo).hash_info.value
    return next((store.listings[oid] for store in stores if oid in store.listings), {})


def _is_clip(path: str) -> bool:
    return path.startswith("clips/")


def _hers(entries: dict[str, str], who: Identities) -> Iterator[str]:
    return (oid for path, oid in entries.items() if _is_clip(path) and PurePosixPath(path).stem in who.ids)


def _names(store: _Store, entries: dict[str, str], who: Identities) -> bool:
    """True for a listing with a clip of hers, or whose table of left-out recordings names her."""
    if any(True for _ in _hers(entries, who)):
        return True
    quarantine = entries.get(manifest.QUARANTINE_FILE_NAME)
    return bool(quarantine and store.odb.exists(quarantine) and table_without(store.read(quarantine), who))


def _orphans(store: _Store, who: Identities) -> set[str]:
    """Tables that no listing names and that name her: what an addition that was killed left in the cache."""
    if store.place != CACHE:
        return set()
    listed = {oid for entries in store.listings.values() for oid in entries.values()}
    loose = (oid for oid in store.odb.all() if not oid.endswith(".dir") and oid not in listed)
    return {oid for oid in loose if _is_table(store, oid) and table_without(store.read(oid), who)}


def _is_table(store: _Store, oid: str) -> bool:
    with store.odb.fs.open(store.odb.oid_to_path(oid), "rb") as file:
        return bool(file.read(4) == b"PAR1")


def _frame(store: _Store, oid: str) -> pd.DataFrame | None:
    try:
        return pd.read_parquet(io.BytesIO(store.read(oid)))
    except (OSError, ValueError):
        log.warning("a manifest of an old dataset version in the %s cannot be read", store.place)
        return None
