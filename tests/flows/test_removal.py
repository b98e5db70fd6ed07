"""`tenuto data remove` on a workspace without runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest

from flows import removal
from flows.data import add
from flows.workspace import create
from tasks import dataset
from tenuto.dataset import manifest
from tenuto.settings import Params, load_params
from tenuto.splitting import holdout, splits
from tenuto.workspace import Workspace
from tests.flows.shell import Shell

PATTERN = "{label}_{speaker}_{index}.wav"
PARAMS = Params(name="chirps")


@pytest.fixture(scope="module")
def original(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("removal") / "w"
    create(root)
    source = root.parent / "recordings"
    shutil.copytree(recordings, source, ignore=shutil.ignore_patterns("up_ann_9.wav"))
    add(Workspace(root), load_params(root / "params.yaml"), source, pattern=PATTERN)
    return root


@pytest.fixture
def workspace(original: Path, tmp_path: Path) -> Workspace:
    return Workspace(Path(shutil.copytree(original, tmp_path / "w")))


def divided(workspace: Workspace) -> pd.DataFrame:
    table = manifest.read(workspace.manifest)
    return splits.assign(table, PARAMS.split, holdout.read(workspace.holdout)).set_index("clip_id")


def trained_speaker(workspace: Workspace) -> str:
    clips = divided(workspace)
    return str(clips.loc[clips["split"] == "train", "group_speaker"].min())


def test_a_speaker_goes_and_nobody_else_moves(shell: Shell, workspace: Workspace) -> None:
    before, speaker = divided(workspace), trained_speaker(workspace)
    options = ("data", "remove", "--group", f"speaker={speaker}")
    planned = shell.json(workspace.root, *options, "--dry-run")
    assert (planned["labels"], planned["left"], planned["moved"]) == ({"down": 2, "flat": 2, "up": 2}, 36, 0)
    assert (planned["stops"], planned["lost_labels"], planned["is_dry_run"], planned["md5"]) == ("", [], True, "")
    assert not workspace.holdout.exists()
    code, _, err = shell.run(workspace.root, *options)
    assert code == 2
    assert "add --yes, or look first with --dry-run" in err
    pd.testing.assert_frame_equal(divided(workspace), before)
    done = shell.json(workspace.root, *options, "--yes")
    assert done["clips"] == planned["clips"]
    assert dataset.fetch.fn(workspace.root).md5 == done["md5"]
    assert done["md5"] in workspace.data_dvc.read_text()
    after = divided(workspace)
    assert len(after) == 36
    assert (after["split"] == before.loc[after.index, "split"]).all()
    assert not workspace.erasures.exists()


def test_a_recording_with_a_wrong_label_comes_back_under_another_into_the_same_split(
    shell: Shell, workspace: Workspace, original: Path, tmp_path: Path
) -> None:
    before = divided(workspace)
    wrong = before.index[before["split"] == "test"][0]
    shell.json(workspace.root, "data", "remove", "--clip", wrong, "--yes")
    name = before.loc[wrong, "source"]
    right = "up" if before.loc[wrong, "label"] != "up" else "down"
    corrected = tmp_path / "corrected" / f"{right}_{name.partition('_')[2]}"
    corrected.parent.mkdir()
    shutil.copy(original.parent / "recordings" / name, corrected)
    added = shell.json(workspace.root, "data", "add", str(corrected.parent), "--pattern", PATTERN)
    assert (added["added"], added["quarantined"], added["refused"]) == (1, [], {})
    after = divided(workspace)
    assert after.loc[wrong, "label"] == right
    assert (after["split"] == before.loc[after.index, "split"]).all()


def test_older_versions_keep_what_was_removed(shell: Shell, workspace: Workspace) -> None:
    first = workspace.data_dvc.read_text()
    shell.json(workspace.root, "data", "remove", "--label", "up", "--yes")
    assert len(manifest.read(workspace.manifest)) == 28
    workspace.data_dvc.write_text(first)
    assert dataset.fetch.fn(workspace.root).clips == 42


def test_a_removal_after_which_nothing_can_be_trained_says_so_and_is_done(shell: Shell, workspace: Workspace) -> None:
    options = ("data", "remove", "--label", "up", "--label", "flat")
    code, out, _ = shell.run(workspace.root, *options, "--yes")
    assert code == 0
    assert "no recording is left of flat, up; the next model will not know it" in out
    assert "not possible afterwards: all 14 clips have the class 'down'; a classifier needs at least 2" in out
    done = shell.json(workspace.root, "data", "remove", "--label", "down", "--yes")
    assert (done["left"], done["stops"]) == (
        0,
        "there are no clips: add recordings of at least 2 classes.",
    )
    assert dataset.fetch.fn(workspace.root).clips == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--label", "dwon"),
            r"--label dwon: no recording has this label (did you mean 'down'?); known labels: down, f",
        ),
        (("--group", "speaker=guss"), "did you mean 'gus'"),
        (("--group", "speakr=ann"), "no group 'speakr' (did you mean 'speaker'?)"),
        (("--group", "ann"), "wanted NAME=VALUE"),
        (("--clip", "12"), "--clip 12: no recording has this id"),
        ((), "say which recordings"),
    ],
)
def test_what_is_not_known_is_an_error_with_what_was_probably_meant(
    shell: Shell, original: Path, options: tuple[str, ...], message: str
) -> None:
    code, _, err = shell.run(original, "data", "remove", *options, "--yes")
    assert code == (1 if options else 2)
    assert message in " ".join(err.replace("│", " ").split())


def test_a_removal_that_was_killed_leaves_the_dataset_as_before_or_as_after(workspace: Workspace) -> None:
    before, speaker = divided(workspace), trained_speaker(workspace)
    planned = removal.plan(workspace, PARAMS, [], [f"speaker={speaker}"], [])
    with (
        mock.patch("tenuto.tracing.erasure.dataset.remove", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        removal.remove(workspace, PARAMS, planned)
    assert dataset.fetch.fn(workspace.root).clips == 42
    pd.testing.assert_series_equal(divided(workspace)["split"], before["split"])
    with mock.patch("tasks.dataset.versions.recorded", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        removal.remove(workspace, PARAMS, planned)
    assert dataset.fetch.fn(workspace.root).clips == 36
    after = divided(workspace)["split"]
    assert (after == before.loc[after.index, "split"]).all()


def test_the_only_speaker_of_a_split_may_go_and_others_take_her_place(workspace: Workspace) -> None:
    before = divided(workspace)
    tested = sorted(set(before.loc[before["split"] == "test", "group_speaker"]))
    planned = removal.plan(workspace, PARAMS, [], [f"speaker={name}" for name in tested], [])
    assert planned.holdout is None
    assert planned.moved > 0
    assert planned.stops == ""


def test_a_name_of_the_test_set_that_nobody_bears_any_more_has_to_leave_params(workspace: Workspace) -> None:
    params = load_params(workspace.params, ["split.hold_out.speaker=[ann, ben]"])
    planned = removal.plan(workspace, params, [], ["speaker=ann"], [])
    assert "split.hold_out.speaker = 'ann': no clip has this speaker" in planned.stops
