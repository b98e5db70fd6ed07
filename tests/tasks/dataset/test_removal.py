import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tasks import dataset
from tenuto.dataset import ingest, manifest
from tenuto.errors import WorkspaceError
from tenuto.settings import DataSettings
from tenuto.tracing.erasure.identities import Identities

# pygtrie inside dvc
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")


def add_recordings(root: Path, *speakers: str) -> None:
    """Two tones of two classes by each speaker, in `root`/data."""
    source = root.parent / "source"
    source.mkdir(exist_ok=True)
    names = [
        f"{label}_{speaker}_{index}.wav" for speaker in speakers for label in ("low", "high") for index in range(2)
    ]
    for place, name in enumerate(names):
        wave = 0.3 * np.sin(2 * np.pi * 150 * 1.17**place * np.arange(4000) / 8000)
        soundfile.write(source / name, wave, 8000)
    ingest.add(
        source, root / "data", root / ".tenuto" / "cache", DataSettings(), pattern="{label}_{speaker}_{index}.wav"
    )


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset whose first version holds ben alone, and whose second one ann too; both pushed."""
    root = tmp_path_factory.mktemp("original") / "w"
    root.mkdir()
    dataset.initialise(root)
    for speakers in (("ben",), ("ben", "ann")):
        add_recordings(root, *speakers)
        dataset.record.fn(root, push=True)
    return root


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "w"))


def ann(root: Path) -> Identities:
    table = manifest.read(root / "data" / "manifest.parquet")
    return Identities.of(table, list(table.loc[table["group_speaker"] == "ann", "clip_id"]), [("speaker", "ann")])


def objects(folder: Path) -> dict[str, bytes]:
    return {path.parent.name + path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_versions_in_cache_and_remote_are_known_with_their_clips(root: Path) -> None:
    versions, tables, unread = dataset.cached_versions(root)
    assert sorted(len(version.clips) for version in versions) == [4, 8]
    assert {version.places for version in versions} == {("DVC cache", "DVC remote 'local'")}
    assert sorted(map(len, tables)) == [4, 8]
    assert unread == {}


def test_every_object_that_holds_her_goes_from_cache_and_remote_and_the_rest_stays(root: Path) -> None:
    who = ann(root)
    files = {path.stem: path.read_bytes() for path in (root / "data" / "clips").rglob("*.wav")}
    before = dataset.cached_versions(root)[0]
    version, _ = dataset.remove(root, who, push=True)
    assert version is not None
    assert version.clips == 4
    purged = {done.place: done for done in dataset.purge(root, who)}
    for place, folder in {"DVC cache": ".dvc/cache", "DVC remote 'local'": ".dvc/remote"}.items():
        assert purged[place].counts == {"clip files": 4, "tables": 1, "dataset versions": 1}
        held = objects(root / folder)
        assert not {files[clip] for clip in who.ids} & set(held.values())
        assert {files[clip] for clip in files.keys() - who.ids} <= set(held.values())
        assert not any(clip.encode() in content for clip in who.ids for content in held.values())
        # the version without her and the one from before she came
        assert {oid for oid in held if oid.endswith(".dir")} == {
            version.md5,
            *(old.md5 for old in before if who.ids.isdisjoint(old.clips)),
        }
    assert {done.counts.get("clip files") for done in dataset.purge(root, who)} == {0, None}


def test_the_new_version_can_be_pulled_from_the_remote(root: Path) -> None:
    dataset.remove(root, ann(root), push=True)
    dataset.purge(root, ann(root))
    for path in (root / "data" / "clips").rglob("*.wav"):
        path.unlink()
    for path in (root / ".dvc" / "cache").rglob("*"):
        if path.is_file():
            path.unlink()
    assert dataset.fetch.fn(root).clips == 4


def test_a_purge_that_was_killed_finds_the_rest_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc_data.hashfile.db import HashFileDB

    who = ann(root)
    dataset.remove(root, who, push=True)
    delete, left = HashFileDB.delete, 2

    def killed(self: HashFileDB, oid: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        delete(self, oid)

    monkeypatch.setattr(HashFileDB, "delete", killed)
    with pytest.raises(KeyboardInterrupt):
        dataset.purge(root, who)
    monkeypatch.undo()
    dataset.purge(root, who)
    for folder in ("cache", "remote"):
        assert not any(clip.encode() in data for clip in who.ids for data in objects(root / ".dvc" / folder).values())


def test_what_a_read_only_and_an_absent_remote_hold_is_said_and_left(root: Path, tmp_path: Path) -> None:
    config = root / ".dvc" / "config"
    config.write_text(
        config.read_text()
        + "['remote \"starter\"']\n    url = starter\n['remote \"far\"']\n    url = http://127.0.0.1:9/dvc\n"
    )
    (root / ".dvc" / "starter").symlink_to(root / ".dvc" / "remote")
    held = set(objects(root / ".dvc" / "remote"))
    who = ann(root)
    unread = dataset.cached_versions(root)[2]
    assert list(unread) == ["DVC remote 'far'"]
    config.write_text(
        config.read_text().replace("remote = local", "remote = starter").replace("url = remote", "url = no")
    )
    dataset.remove(root, who, push=True)
    unreached = {done.place: done.unreached for done in dataset.purge(root, who) if done.unreached}
    assert "never written; 6 of its objects hold" in unreached["DVC remote 'starter'"]
    assert "cannot be read" in unreached["DVC remote 'far'"]
    assert held == set(objects(root / ".dvc" / "remote"))


def test_a_remote_that_cannot_be_written_keeps_its_objects_and_is_said(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc_data.hashfile.db import HashFileDB
    from dvc_data.hashfile.db.local import LocalHashFileDB

    def refused(self: HashFileDB, oid: str) -> None:
        raise PermissionError("read-only bucket")

    who = ann(root)
    dataset.remove(root, who, push=False)
    monkeypatch.setattr(LocalHashFileDB, "delete", refused)
    said = [done.unreached for done in dataset.purge(root, who) if done.unreached]
    assert said == ["deleting failed (PermissionError: read-only bucket)"] * 2


def test_a_table_that_only_a_killed_addition_left_in_the_cache_goes_too(root: Path) -> None:
    who = ann(root)
    dataset.remove(root, who, push=True)
    listing = next(
        path
        for path in (root / ".dvc" / "cache").rglob("*.dir")
        if any(Path(entry["relpath"]).stem in who.ids for entry in json.loads(path.read_bytes()))
    )
    listing.unlink()
    purged = {done.place: done.counts for done in dataset.purge(root, who)}
    assert purged["DVC cache"] == {"clip files": 4, "tables": 1, "dataset versions": 0}


def test_nothing_is_fetched_or_recorded_while_an_erasure_is_unfinished(root: Path) -> None:
    (root / ".tenuto").mkdir(exist_ok=True)
    (root / ".tenuto" / "erasure.json").write_text("{}")
    with pytest.raises(WorkspaceError, match="begun here and not finished"):
        dataset.fetch.fn(root)
    with pytest.raises(WorkspaceError, match="begun here and not finished"):
        dataset.record.fn(root, push=False)
