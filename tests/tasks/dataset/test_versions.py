import gc
import os
import shutil
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tasks import dataset
from tenuto.dataset import ingest
from tenuto.errors import DatasetError, WorkspaceError
from tenuto.records import DatasetVersion
from tenuto.settings import DataSettings

# pygtrie inside dvc
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")


class Empty(BaseHTTPRequestHandler):
    """A store that has nothing."""

    def do_GET(self) -> None:
        self.send_error(404)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def _unclosed_sessions() -> Iterator[None]:
    """DVC leaves its HTTP sessions to the garbage collector, which may come for them in any later test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


def tone(hz: float) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hz * np.arange(4000) / 8000)


def add_recordings(root: Path, pitches_hz: tuple[float, ...]) -> None:
    """Two classes of tones, in `root`/data."""
    source = root.parent / f"source-{root.name}"
    for label, factor in {"low": 1.0, "high": 1.5}.items():
        (source / label).mkdir(parents=True, exist_ok=True)
        for hz in pitches_hz:
            soundfile.write(source / label / f"{hz:.0f}.wav", tone(hz * factor), 8000)
    ingest.add(source, root / "data", root / ".tenuto" / "cache", DataSettings())


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = tmp_path / "w"
    root.mkdir()
    dataset.initialise(root)
    return root


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DatasetVersion]:
    root = tmp_path_factory.mktemp("original") / "w"
    root.mkdir()
    dataset.initialise(root)
    add_recordings(root, (200, 317, 431))
    return root, dataset.record.fn(root, push=True)


@pytest.fixture
def recorded(original: tuple[Path, DatasetVersion], tmp_path: Path) -> tuple[Path, DatasetVersion]:
    """A workspace with six clips, pushed to its local remote."""
    root = shutil.copytree(original[0], tmp_path / "w")
    return root, original[1].model_copy(update={"manifest_path": root / "data" / "manifest.parquet"})


def lose_local_bytes(root: Path) -> None:
    shutil.rmtree(root / "data")
    shutil.rmtree(root / ".dvc" / "cache")


def test_record_names_the_dataset_and_counts_it(recorded: tuple[Path, DatasetVersion]) -> None:
    root, version = recorded
    assert dataset.record.fn(root, push=False) == version
    assert version.md5 in (root / "data.dvc").read_text()
    assert (version.clips, version.quarantined) == (6, 0)


def test_fetch_of_what_is_there_is_the_same_version_at_once(recorded: tuple[Path, DatasetVersion]) -> None:
    root, version = recorded
    dataset.fetch.fn(root)
    start = time.perf_counter()
    assert dataset.fetch.fn(root) == version
    assert time.perf_counter() - start < 20


def test_fetch_pulls_missing_bytes_from_the_remote(recorded: tuple[Path, DatasetVersion]) -> None:
    root, version = recorded
    before = {p.relative_to(root): p.read_bytes() for p in (root / "data").rglob("*") if p.is_file()}
    lose_local_bytes(root)
    assert dataset.fetch.fn(root) == version
    assert {p.relative_to(root): p.read_bytes() for p in (root / "data").rglob("*") if p.is_file()} == before


def test_fetch_names_remote_and_md5_when_the_remote_lacks_bytes(recorded: tuple[Path, DatasetVersion]) -> None:
    root, version = recorded
    lose_local_bytes(root)
    next(p for p in (root / ".dvc/remote/files/md5").rglob("*") if p.is_file() and p.suffix != ".dir").unlink()
    with pytest.raises(DatasetError, match=rf"dataset {version.md5}.*remote 'local' \(.*lacks them.*`dvc push`"):
        dataset.fetch.fn(root)


@pytest.mark.usefixtures("_unclosed_sessions")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_remote_that_takes_no_connection_is_not_said_to_lack_the_bytes(
    recorded: tuple[Path, DatasetVersion],
) -> None:
    root, version = recorded
    lose_local_bytes(root)
    config = root / ".dvc" / "config"
    config.write_text(config.read_text().replace("url = remote", "url = http://127.0.0.1:9/bytes"))
    with pytest.raises(dataset.RemoteUnreadableError, match=rf"{version.md5}.*cannot be read .*`dvc remote list`"):
        dataset.fetch.fn(root)


@pytest.mark.usefixtures("_unclosed_sessions")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_http_remote_that_answers_may_lack_the_bytes(recorded: tuple[Path, DatasetVersion]) -> None:
    root, _ = recorded
    lose_local_bytes(root)
    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        config = root / ".dvc" / "config"
        config.write_text(config.read_text().replace("url = remote", f"url = http://127.0.0.1:{server.server_port}/x"))
        with pytest.raises(DatasetError, match="lacks them"):
            dataset.fetch.fn(root)
        server.shutdown()


def test_a_transfer_that_fails_is_no_lack_of_bytes(
    recorded: tuple[Path, DatasetVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc.exceptions import DownloadError
    from dvc.repo import Repo

    def fails(*_: object, **__: object) -> None:
        raise DownloadError(3)

    root, _ = recorded
    lose_local_bytes(root)
    monkeypatch.setattr(Repo, "fetch", fails)
    with pytest.raises(dataset.RemoteUnreadableError, match=r"cannot be read \(3 files failed to download"):
        dataset.fetch.fn(root)


@pytest.mark.parametrize("missing", ["*.dir", "*[!r]"])
def test_only_a_remote_that_cannot_be_read_is_tried_again(recorded: tuple[Path, DatasetVersion], missing: str) -> None:
    from prefect.states import Failed

    root, _ = recorded
    lose_local_bytes(root)
    next(path for path in (root / ".dvc/remote/files/md5").rglob(missing) if path.is_file()).unlink()
    with pytest.raises(DatasetError, match="lacks them") as lacking:
        dataset.fetch.fn(root)
    retried = dataset.fetch.retry_condition_fn
    assert retried is not None
    assert not retried(dataset.fetch, None, Failed(data=lacking.value))
    assert retried(dataset.fetch, None, Failed(data=dataset.RemoteUnreadableError("refused")))


def test_fetch_without_a_default_remote_says_how_to_add_one(recorded: tuple[Path, DatasetVersion]) -> None:
    root, version = recorded
    lose_local_bytes(root)
    (root / ".dvc" / "config").write_text("")
    with pytest.raises(DatasetError, match=rf"{version.md5}.*none is configured; `dvc remote add --default"):
        dataset.fetch.fn(root)


def test_fetch_without_recordings_says_how_to_add_some(workspace: Path) -> None:
    with pytest.raises(DatasetError, match=r"no data\.dvc.*`tenuto data add SOURCE`"):
        dataset.fetch.fn(workspace)


def test_fetch_restores_a_clip_that_was_changed_in_place(recorded: tuple[Path, DatasetVersion]) -> None:
    root, version = recorded
    clip = next((root / "data" / "clips").rglob("*.wav"))
    whole = clip.read_bytes()
    clip.write_bytes(whole[:100])
    assert dataset.fetch.fn(root) == version
    assert clip.read_bytes() == whole


def test_fetch_removes_what_an_addition_killed_halfway_left(recorded: tuple[Path, DatasetVersion]) -> None:
    root, version = recorded
    orphan = root / "data" / "clips" / "00" / "orphan.wav"
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"half a clip")
    assert dataset.fetch.fn(root) == version
    assert not orphan.exists()


def test_fetch_records_an_addition_killed_before_data_dvc_named_it(recorded: tuple[Path, DatasetVersion]) -> None:
    root, version = recorded
    add_recordings(root, (200, 317, 431, 550))
    later = dataset.fetch.fn(root)
    assert later.clips == 8
    assert later.md5 != version.md5
    assert later.md5 in (root / "data.dvc").read_text()


def test_fetch_records_a_first_addition_killed_before_there_was_a_data_dvc(workspace: Path) -> None:
    add_recordings(workspace, (200, 317))
    assert dataset.fetch.fn(workspace).clips == 4
    assert (workspace / "data.dvc").is_file()


def test_fetch_of_an_older_version_goes_back_to_it(recorded: tuple[Path, DatasetVersion]) -> None:
    root, version = recorded
    older = (root / "data.dvc").read_text()
    add_recordings(root, (200, 317, 431, 550))
    dataset.record.fn(root, push=False)
    (root / "data.dvc").write_text(older)
    assert dataset.fetch.fn(root) == version


def test_fetch_never_removes_files_that_somebody_put_into_data(recorded: tuple[Path, DatasetVersion]) -> None:
    root, _ = recorded
    (root / "data" / "my recordings").mkdir()
    (root / "data" / "my recordings" / "a.wav").write_bytes(b"dear to me")
    with pytest.raises(DatasetError, match="holds my recordings, which Tenuto did not put there"):
        dataset.fetch.fn(root)
    assert (root / "data" / "my recordings" / "a.wav").exists()


def test_record_without_a_manifest_is_refused(workspace: Path) -> None:
    with pytest.raises(DatasetError, match="holds no manifest"):
        dataset.record.fn(workspace, push=True)


def test_record_does_not_write_the_starter_remote(recorded: tuple[Path, DatasetVersion]) -> None:
    root, _ = recorded
    config = root / ".dvc" / "config"
    config.write_text(config.read_text().replace("local", "starter").replace("url = remote", "url = starter"))
    add_recordings(root, (200, 317, 431, 550))
    dataset.record.fn(root, push=True)
    assert not (root / ".dvc" / "starter").exists()


def test_record_says_that_the_remote_did_not_take_the_bytes(recorded: tuple[Path, DatasetVersion]) -> None:
    root, _ = recorded
    shutil.rmtree(root / ".dvc" / "remote")
    (root / ".dvc" / "remote").write_text("a file in the place of the folder")
    add_recordings(root, (200, 317, 431, 550))
    with pytest.raises(DatasetError, match=r"is recorded in data\.dvc, but the DVC remote 'local'"):
        dataset.record.fn(root, push=True)


def test_a_damaged_manifest_is_told(recorded: tuple[Path, DatasetVersion]) -> None:
    root, _ = recorded
    (root / "data" / "manifest.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DatasetError, match=r"manifest\.parquet is damaged"):
        dataset.record.fn(root, push=False)


def test_a_workspace_outside_git_works(recorded: tuple[Path, DatasetVersion]) -> None:
    root, version = recorded
    shutil.rmtree(root / ".git")
    lose_local_bytes(root)
    assert dataset.fetch.fn(root) == version
    assert dataset.record.fn(root, push=True) == version


def test_a_folder_without_dvc_is_no_workspace(tmp_path: Path) -> None:
    (tmp_path / "data.dvc").write_text("outs: []")
    with pytest.raises(WorkspaceError, match=r"no \.dvc folder; `tenuto init"):
        dataset.fetch.fn(tmp_path)


def test_initialise_starts_git_and_keeps_data_out_of_it(recorded: tuple[Path, DatasetVersion]) -> None:
    root, _ = recorded
    listed = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=all"], cwd=root, capture_output=True, text=True, check=True
    ).stdout
    tracked = {line[3:] for line in listed.splitlines()}
    assert {".dvc/config", ".dvcignore", "data.dvc"} <= tracked
    assert not [path for path in tracked if path.startswith(("data/", ".dvc/remote", ".dvc/cache"))]


def test_initialise_twice_changes_nothing(workspace: Path) -> None:
    (workspace / ".dvc" / "config").write_text("[core]\n    remote = mine\n")
    dataset.initialise(workspace)
    assert (workspace / ".dvc" / "config").read_text() == "[core]\n    remote = mine\n"


def test_initialise_below_a_git_repository_starts_no_second_one(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    root = tmp_path / "models" / "w"
    root.mkdir(parents=True)
    dataset.initialise(root)
    assert not (root / ".git").exists()
    add_recordings(root, (200, 317))
    assert dataset.record.fn(root, push=True) == dataset.fetch.fn(root)


def test_initialise_where_a_git_repository_ignores_it_starts_its_own(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("/scratch\n")
    root = tmp_path / "scratch" / "w"
    root.mkdir(parents=True)
    dataset.initialise(root)
    assert (root / ".git").is_dir()


def test_a_fresh_clone_pulls_the_starter_set_with_nothing_in_its_home(project_root: Path, tmp_path: Path) -> None:
    if not (project_root / ".git").exists():
        pytest.skip("not a git checkout")
    (tmp_path / "home").mkdir()
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--depth", "1", project_root.as_uri(), str(clone)], check=True)
    bare = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home")}
    subprocess.run([sys.executable, "-m", "dvc", "pull", "-q"], cwd=clone, env=bare, check=True)
    version = dataset.fetch.fn(clone)
    assert version.clips == 1144
    assert version.md5 in (project_root / "data.dvc").read_text()


def test_what_initialise_stages_is_what_lies_there(workspace: Path) -> None:
    for name in (".dvc/config", ".dvc/.gitignore"):
        staged = subprocess.run(["git", "show", f":{name}"], cwd=workspace, capture_output=True, text=True, check=True)
        assert staged.stdout == (workspace / name).read_text()
