"""The dataset version: what `data.dvc` names, fetched from and recorded with DVC.

DVC runs in process, on the workspace's own `.dvc` folder, whether git tracks the workspace or not. The remote named
`starter` holds the starter set inside the repository; it is read and never written.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from tenuto.dataset import manifest
from tenuto.errors import DatasetError, WorkspaceError
from tenuto.records import DatasetVersion
from tenuto.tracing.erasure.records import require_finished
from tenuto.workspace import Workspace

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.repo import Repo

log = logging.getLogger(__name__)

READ_ONLY_REMOTE = "starter"

DVC_CONFIG = """\
[core]
    remote = local
    analytics = false
    check_update = false
# Relative to this folder. For a bucket: url = s3://bucket/path (with `pip install dvc-s3`).
['remote "local"']
    url = remote
"""
"""A new workspace's `.dvc/config`."""


class RemoteUnreadableError(DatasetError):
    """The DVC remote did not answer, or failed while transferring, which may pass; missing bytes stay missing."""


def _is_transfer_failure(_task: Any, _run: Any, state: Any) -> bool:
    return isinstance(state.result(raise_on_failure=False), RemoteUnreadableError)


@task(
    name="fetch-data",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=5,
    retry_condition_fn=_is_transfer_failure,
)
def fetch(root: Path) -> DatasetVersion:
    """The dataset version that `data.dvc` names, its bytes in `data/`, pulled from the remote when they are not.

    An addition that was killed after it was complete and before `data.dvc` named it is recorded first. Raises
    DatasetError when there are no recordings, when the remote lacks the bytes or cannot be read (then its subclass
    RemoteUnreadableError, after retries), and when `data/` holds files that Tenuto did not put there and that pulling
    would remove.
    """
    workspace = Workspace(root)
    require_finished(workspace.erasure_journal)
    if not workspace.data_dvc.is_file() and not workspace.manifest.is_file():
        raise DatasetError(
            f"{root} has no data.dvc, so no recordings yet; add some with `tenuto data add SOURCE`, "
            "or the synthetic starter set with `tenuto data starter`."
        )
    with repository(root) as repo:
        if not workspace.data_dvc.is_file():
            return _version(workspace, _finished(repo, workspace))
        output = tracked(repo)
        if not output.exists or output.changed_checksum():
            if _is_unrecorded_addition(repo, workspace):
                return _version(workspace, _finished(repo, workspace))
            _pull(repo, output)
        return _version(workspace, output)


@task(name="record-data", cache_policy=NO_CACHE, persist_result=False)
def record(root: Path, push: bool) -> DatasetVersion:
    """The new dataset version: `data/` hashed into `data.dvc` and, with `push`, sent to the default remote.

    Raises DatasetError when `data/` holds no manifest or the remote cannot be written.
    """
    require_finished(Workspace(root).erasure_journal)
    return recorded(root, push)


def recorded(root: Path, push: bool) -> DatasetVersion:
    """As `record`, also while an erasure is under way."""
    workspace = Workspace(root)
    if not workspace.manifest.is_file():
        raise DatasetError(f"{workspace.data} holds no manifest; add recordings with `tenuto data add SOURCE`.")
    with repository(root) as repo:
        (stage,) = repo.add(str(workspace.data))
        if push:
            _push(repo, stage.outs[0])
        return _version(workspace, stage.outs[0])


def initialise(root: Path) -> None:
    """Leaves `root` tracked by git and DVC, with a local default remote; what is there already stays as it is."""
    from dvc.repo import Repo

    if (root / ".dvc").is_dir():
        return
    in_parent = _is_tracked_by_a_parent(root)
    if not in_parent and not (root / ".git").exists():
        _git_init(root)
    with _explained(root):
        Repo.init(str(root), subdir=in_parent).close()
    (root / ".dvc" / "config").write_text(DVC_CONFIG, encoding="utf-8")
    with (root / ".dvc" / ".gitignore").open("a", encoding="utf-8") as ignored:
        ignored.write("/remote\n")
    _stage_again(root)


def _stage_again(root: Path) -> None:
    """What DVC staged when it made its files, as they are now: else a commit would hold a config without a remote."""
    from scmrepo.git import Git

    with Git(str(root), search_parent_directories=True) as git:
        git.add([str(root / ".dvc" / "config"), str(root / ".dvc" / ".gitignore")])


def _git_init(root: Path) -> None:
    from scmrepo.git import Git

    with Git.init(str(root)):
        pass


def _is_tracked_by_a_parent(root: Path) -> bool:
    """True inside a git repository that starts above `root` and does not ignore it."""
    from scmrepo.exceptions import SCMError
    from scmrepo.git import Git

    try:
        with Git(str(root), search_parent_directories=True) as git:
            return Path(git.root_dir).resolve() != root.resolve() and not git.is_ignored(str(root / ".dvc"))
    except SCMError:
        return False


@contextmanager
def repository(root: Path) -> Iterator[Repo]:
    """The DVC repository of a workspace, inside or outside git."""
    from dvc.repo import Repo
    from dvc.scm import SCM, SCMError

    if not (root / ".dvc").is_dir():
        raise WorkspaceError(f"{root} has no .dvc folder; `tenuto init {root}` sets one up.")
    try:
        SCM(str(root), search_parent_directories=True).close()
        config = None
    except SCMError:
        config = {"core": {"no_scm": True}}
    with _explained(root), Repo(str(root), config=config, _wait_for_lock=True) as repo:
        yield repo


@contextmanager
def _explained(root: Path) -> Iterator[None]:
    """Turns what DVC raises into one DatasetError."""
    from dvc.exceptions import DvcException

    # every failure is raised; what is left is advice for users of the `dvc` command
    for name in ("dvc", "dvc_data", "dvc_objects"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    except DvcException as error:
        raise DatasetError(f"DVC could not work on {root}: {error}") from error


def tracked(repo: Repo) -> Output:
    (stage,) = repo.stage.load_all(str(Path(repo.root_dir, "data.dvc")))
    (output,) = stage.outs
    if not output.hash_info:
        raise DatasetError(f"{repo.root_dir}/data.dvc names no md5; restore it from git, or run `tenuto data add`.")
    return output


def _finished(repo: Repo, workspace: Workspace) -> Output:
    """The output of `data.dvc` after a killed addition has been recorded in it."""
    log.warning("data/ holds an addition that data.dvc does not name yet; recording it")
    (stage,) = repo.add(str(workspace.data))
    return stage.outs[0]


def _is_unrecorded_addition(repo: Repo, workspace: Workspace) -> bool:
    """True when the manifest is in no dataset version that DVC keeps here, and all its clips are there.

    The manifest is replaced last, so a killed addition either shows nothing or is complete.
    """
    if not workspace.manifest.is_file():
        return False
    md5 = hashlib.md5(workspace.manifest.read_bytes(), usedforsecurity=False).hexdigest()
    if repo.cache.local.exists(md5):
        return False
    try:
        paths = manifest.read(workspace.manifest)["path"]
    except DatasetError:
        return False
    return all((workspace.data / path).is_file() for path in paths)


def _pull(repo: Repo, output: Output) -> None:
    md5, target = output.hash_info.value, output.stage.path
    log.info("pulling dataset %s from %s", md5, _remote(repo))
    _require_no_strangers(Path(output.fs_path), md5)
    try:
        repo.fetch(targets=[target])
        # forced, since what a killed addition left in data/ is in no dataset version
        repo.checkout(targets=[target], force=True)
    except Exception as error:  # each kind of remote has its own
        what = f"data.dvc names dataset {md5}, whose bytes are not here, and the DVC remote {_remote(repo)}"
        if failure := _why_unreadable(repo, output, error):
            raise RemoteUnreadableError(
                f"{what} cannot be read ({_one_line(failure)}). Check the connection, or the address with "
                "`dvc remote list`."
            ) from error
        raise DatasetError(
            f"{what} lacks them ({_one_line(error)}). Run `dvc push` where they were added, choose a remote that has "
            "them with `dvc remote default`, or go back to a data.dvc whose bytes exist."
        ) from error


def _why_unreadable(repo: Repo, output: Output, error: Exception) -> Exception | None:
    """What kept the remote from handing over the bytes; None when it answers that it lacks them.

    The remote is asked, since `error` does not tell: DVC takes one that refuses connections for an empty one, and a
    file that is not there for a failed transfer.
    """
    try:
        return None if _is_lacking(repo, output) else error
    except Exception as failure:
        return failure


def _is_lacking(repo: Repo, output: Output) -> bool:
    from dvc.config import NoRemoteError
    from dvc_data.hashfile.tree import Tree

    try:
        remote = repo.cloud.get_remote_odb(output.remote, hash_name=output.hash_name)
        remote.fs.info(remote.oid_to_path(output.hash_info.value))
    except NoRemoteError:
        return True
    except FileNotFoundError as absent:
        # over HTTP a refused connection comes as one, too
        cause = absent.__cause__
        if cause is None or isinstance(cause, FileNotFoundError) or getattr(cause, "status", None) == 404:
            return True
        raise cause from None
    oids = {oid.value for _, _, oid in Tree.load(remote, output.hash_info)}
    wanted = [oid for oid in oids if not repo.cache.local.exists(oid)]
    return len(list(remote.oids_exist(wanted))) < len(wanted)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _require_no_strangers(data: Path, md5: str) -> None:
    """Raises DatasetError when `data` holds files that are no part of any dataset version."""
    ours = {manifest.FILE_NAME, Workspace(data.parent).quarantine.name, "clips"}
    strangers = [p.name for p in data.glob("*") if p.name not in ours and p.suffix != ".part"]
    if strangers:
        raise DatasetError(
            f"{data} holds {', '.join(sorted(strangers)[:3])}, which Tenuto did not put there and which fetching "
            f"dataset {md5} would remove. Move it out; `tenuto data add SOURCE` takes recordings from any other folder."
        )


def _push(repo: Repo, output: Output) -> None:
    from dvc.exceptions import DvcException

    name = repo.config["core"].get("remote")
    if name in (None, READ_ONLY_REMOTE):
        log.info("dataset %s stays in .dvc/cache: the default DVC remote is %s", output.hash_info.value, name)
        return
    try:
        repo.push(targets=[output.stage.path])
    except (DvcException, OSError) as error:
        raise DatasetError(
            f"dataset {output.hash_info.value} is recorded in data.dvc, but the DVC remote {_remote(repo)} did not "
            f"take its bytes: {error}. Run `dvc push` when it does."
        ) from error


def _remote(repo: Repo) -> str:
    """The default remote for a person: name and address."""
    name = repo.config["core"].get("remote")
    if name is None:
        return "(none is configured; `dvc remote add --default NAME URL` does)"
    return f"{name!r} ({repo.config['remote'].get(name, {}).get('url', 'no url')})"


def _version(workspace: Workspace, output: Output) -> DatasetVersion:
    return DatasetVersion(
        md5=output.hash_info.value,
        manifest_path=workspace.manifest,
        clips=_rows(workspace.manifest),
        quarantined=_rows(workspace.quarantine),
    )


def _rows(path: Path) -> int:
    """Rows of a Parquet table, read from its footer alone; 0 when there is no file."""
    from pyarrow import ArrowInvalid
    from pyarrow.parquet import read_metadata

    if not path.is_file():
        return 0
    try:
        return int(read_metadata(path).num_rows)
    except ArrowInvalid as error:
        raise DatasetError(f"{path} is damaged ({error}); `dvc checkout --force data.dvc` restores it.") from error
