"""What `tenuto data add` says of recordings whose consent was withdrawn."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flows import data, terminal
from flows.workspace import create
from tenuto.errors import DatasetError, WorkspaceError
from tenuto.records import AddResult
from tenuto.settings import Params
from tenuto.tracing.erasure import refusals
from tenuto.workspace import Workspace

PATTERN = "{label}_{speaker}_{index}.wav"
PARAMS = Params(name="chirps")

# pygtrie inside dvc
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    create(tmp_path / "w")
    return Workspace(tmp_path / "w")


@pytest.fixture
def of_ann(recordings: Path, tmp_path: Path) -> Path:
    """Her six recordings."""
    folder = tmp_path / "ann"
    folder.mkdir()
    for path in recordings.glob("*_ann_[01].wav"):
        shutil.copy(path, folder)
    return folder


def refuse_ann(workspace: Workspace) -> None:
    refusals.save(refusals.read(workspace.erasures).extended([], [("speaker", "ann")], "0001"), workspace.erasures)


def test_refused_recordings_are_counted_by_certificate(workspace: Workspace, of_ann: Path, recordings: Path) -> None:
    refuse_ann(workspace)
    for path in recordings.glob("*_ben_[01].wav"):
        shutil.copy(path, of_ann)
    for result in (
        data.check(workspace, PARAMS, of_ann, pattern=PATTERN),
        data.add(workspace, PARAMS, of_ann, pattern=PATTERN),
    ):
        assert (result.added, result.refused, result.quarantined) == (6, {"0001": 6}, ())


def test_when_all_are_refused_nothing_is_usable_and_that_is_why(workspace: Workspace, of_ann: Path) -> None:
    refuse_ann(workspace)
    with pytest.raises(DatasetError, match=r"holds 6 recordings .* \(6 refused since consent was withdrawn, see eras"):
        data.add(workspace, PARAMS, of_ann, pattern=PATTERN)
    assert not workspace.data_dvc.exists()


def test_the_first_recordings_do_not_come_in_while_an_erasure_is_unfinished(workspace: Workspace, of_ann: Path) -> None:
    workspace.erasure_journal.parent.mkdir(exist_ok=True)
    workspace.erasure_journal.write_text("{}")
    with pytest.raises(WorkspaceError, match="erasure was begun here and not finished"):
        data.add(workspace, PARAMS, of_ann, pattern=PATTERN)
    assert not workspace.manifest.exists()


def test_the_terminal_says_so_per_certificate(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    result = AddResult(added=1, unchanged=0, quarantined=(), md5="0" * 32, refused={"0001": 12, "0003": 1})
    monkeypatch.setattr(terminal, "out", terminal.Console(soft_wrap=True))
    terminal.print_add_result(result)
    out = capsys.readouterr().out
    assert "12 recordings refused: consent was withdrawn (erasures/0001.json)\n" in out
    assert "1 recording refused: consent was withdrawn (erasures/0003.json)\n" in out
    assert terminal.add_result_json(result)["refused"] == {"0001": 12, "0003": 1}
