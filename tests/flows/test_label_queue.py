"""Served recordings become labelled clips: chosen, labelled, added, with where they came from."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows import cli, data, label_queue
from flows.workspace import create
from tenuto.dataset import manifest
from tenuto.errors import DatasetError, WorkspaceError
from tenuto.labelling import queue
from tenuto.settings import Params
from tenuto.sound import audio
from tenuto.tracing import kept_audio, served
from tenuto.tracing.served import Served
from tenuto.workspace import Workspace
from tests.flows.test_data import PATTERN

PARAMS = Params(name="chirps")
AT = datetime(2026, 3, 2, 12, tzinfo=UTC)

# pygtrie inside dvc
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")


@pytest.fixture
def workspace(tmp_path: Path, recordings: Path) -> Workspace:
    """Ann's recordings are the dataset."""
    create(tmp_path / "w", "chirps")
    (tmp_path / "ann").mkdir()
    for path in recordings.glob("*_ann_[01].wav"):
        shutil.copy(path, tmp_path / "ann")
    workspace = Workspace(tmp_path / "w")
    data.add(workspace, PARAMS, tmp_path / "ann", pattern=PATTERN)
    return workspace


def serve(workspace: Workspace, recordings: list[Path], *, keep: bool = True) -> None:
    """What a server logs of these recordings, the first the most doubtful; request ids 'bird/0', 'bird/1' ..."""
    folder = served.audio_folder(workspace.served)
    rows = []
    for number, path in enumerate(recordings):
        at = AT + timedelta(minutes=number)
        name = kept_audio.name(f"bird/{number}", 0, at)
        first = 0.5 + 0.05 * number
        rows.append(
            Served(
                request_id=f"bird/{number}",
                at=at,
                model="chirps",
                version="3",
                label="down",
                probability=first,
                probabilities={"down": first, "flat": 1 - first, "up": 0.0},
                novelty=0.5,
                embedding=tuple(float(place == number) for place in range(8)),
                duration_seconds=0.8,
                audio=name if keep else None,
                clip_id=kept_audio.keep(folder, name, path.read_bytes()) if keep else None,
            )
        )
    served.add(workspace.served, rows)


def of(recordings: Path, name: str) -> list[Path]:
    return sorted(recordings.glob(f"*_{name}_[01].wav"))


def test_the_way_from_an_answer_to_a_labelled_clip(workspace: Workspace, recordings: Path) -> None:
    serve(workspace, [*of(recordings, "ben"), *of(recordings, "ann")[:1]])
    made = label_queue.export(workspace, PARAMS, size=3)
    # hers are in the dataset already
    assert (made.recordings, made.of, made.reasons) == (3, 6, {"uncertain": 3})
    first, second, third = queue.read(workspace.label_queue)
    assert first.request_id == "bird/0" and first.groups == {"speaker": ""}

    queue.decide(made.folder, first.key, "labelled", "down", "bo", {"speaker": "ben"})
    queue.decide(made.folder, second.key, "labelled", "unknown", "bo")
    queue.decide(made.folder, third.key, "skipped")
    done = label_queue.accept(workspace, PARAMS, "ci")
    assert done.added is not None
    assert (done.added.added, done.added.quarantined, done.added.md5 != "") == (1, (), True)
    assert (done.labelled, done.unknown, done.undecided) == (2, 1, 1)

    clips = manifest.read(workspace.manifest).set_index("clip_id")
    assert len(clips) == 7
    new = clips.loc[first.clip_id]
    assert (new["source"], new["label"], new["group_speaker"]) == (
        "served/version 3/bird%2F0.0 by bo.flac",
        "down",
        "ben",
    )
    log = served.frame(workspace.served).set_index("request_id")
    assert log.loc["bird/0", ["true_label", "label_source"]].tolist() == ["down", "label queue: bo"]
    assert log.loc["bird/0", "groups"] == {"speaker": "ben"}
    assert log.loc[second.request_id, "true_label"] == "unknown" and log.loc[third.request_id, "true_label"] is None
    assert list(workspace.state.glob("accepted-*")) == []

    again = label_queue.accept(workspace, PARAMS, "ci")
    assert (again.labelled, again.added) == (0, None)
    assert label_queue.export(workspace, PARAMS, size=9).of == 4


def test_recordings_of_another_model_are_not_asked_about(workspace: Workspace, recordings: Path) -> None:
    serve(workspace, of(recordings, "ben"))
    with served.opened(workspace.served) as log:
        log.execute("UPDATE served SET model = 'gongs' WHERE request_id = 'bird/0'")
    assert label_queue.export(workspace, PARAMS, size=9).of == 5


def test_a_label_counts_as_new_from_when_it_is_accepted(workspace: Workspace, recordings: Path) -> None:
    serve(workspace, of(recordings, "ben")[:1])
    made = label_queue.export(workspace, PARAMS, size=3)
    queue.decide(made.folder, ("bird/0", 0), "labelled", "down", "bo")
    looked_at = datetime.now(UTC)
    label_queue.accept(workspace, PARAMS, "bo")
    assert served.count_labels(workspace.served, "chirps", looked_at) == 1


def test_a_label_of_a_recording_that_is_gone_is_feedback_and_said(
    workspace: Workspace, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace.root)
    serve(workspace, of(recordings, "ben")[:1])
    made = label_queue.export(workspace, PARAMS, size=3)
    queue.decide(made.folder, ("bird/0", 0), "labelled", "down", "bo")
    next(served.audio_folder(workspace.served).rglob("*.flac")).unlink()
    assert "1 of recordings that are gone" in CliRunner().invoke(cli.app, ["label-queue", "accept"]).stdout
    assert served.frame(workspace.served)["true_label"].tolist() == ["down"]
    assert queue.entries(made.folder) == ()


def test_what_a_kill_left_half_done_is_finished_by_accepting_again(
    workspace: Workspace, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(workspace, of(recordings, "ben")[:1])
    made = label_queue.export(workspace, PARAMS, size=3)
    queue.decide(made.folder, ("bird/0", 0), "labelled", "down", "bo")
    with monkeypatch.context() as patch:
        patch.setattr(queue, "accept", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            label_queue.accept(workspace, PARAMS, "bo")
    done = label_queue.accept(workspace, PARAMS, "bo")
    assert done.added is not None and (done.added.added, done.added.unchanged) == (0, 1)


def test_a_prediction_that_the_log_no_longer_holds_is_added_all_the_same(
    workspace: Workspace, recordings: Path
) -> None:
    serve(workspace, of(recordings, "ben")[:1])
    made = label_queue.export(workspace, PARAMS, size=3)
    queue.decide(made.folder, ("bird/0", 0), "labelled", "down", "bo")
    with served.opened(workspace.served) as log:
        log.execute("DELETE FROM served")
    done = label_queue.accept(workspace, PARAMS, "bo")
    assert done.added is not None and done.added.added == 1


def test_a_label_that_is_no_class_stops_before_anything_is_done(workspace: Workspace, recordings: Path) -> None:
    serve(workspace, of(recordings, "ben")[:2])
    made = label_queue.export(workspace, PARAMS, size=3)
    queue.decide(made.folder, ("bird/0", 0), "labelled", "down", "bo")
    queue.decide(made.folder, ("bird/1", 0), "labelled", "dwon", "bo")
    with pytest.raises(DatasetError, match="the label 'dwon' is none of down, flat, up or unknown"):
        label_queue.accept(workspace, PARAMS, "bo")
    assert len(manifest.read(workspace.manifest)) == 6
    assert served.frame(workspace.served)["true_label"].isna().all()


def test_without_recordings_it_says_what_keeps_them(workspace: Workspace, recordings: Path) -> None:
    with pytest.raises(WorkspaceError, match="Nothing was served yet"):
        label_queue.export(workspace, PARAMS, size=3)
    serve(workspace, of(recordings, "ben"), keep=False)
    with pytest.raises(
        WorkspaceError, match=r"6 predictions are on record and none with its recording.*keep_audio_days"
    ):
        label_queue.export(workspace, PARAMS, size=3)


def test_recordings_that_only_other_versions_heard_are_counted_where_they_are_left_out(
    workspace: Workspace, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(workspace, of(recordings, "ben")[:3])
    with served.opened(workspace.served) as log:
        log.execute("UPDATE served SET version = '2' WHERE request_id = 'bird/0'")
    made = label_queue.export(workspace, PARAMS, size=9)
    assert (made.recordings, made.of, made.version, made.of_other_versions) == (2, 2, "3", 1)
    monkeypatch.chdir(workspace.root)
    told = CliRunner().invoke(cli.app, ["label-queue", "export"]).stdout
    assert "2 of 2 recordings that version 3 heard" in told
    assert "1 that only other versions heard are left out" in told


def test_when_all_is_labelled_or_gone_there_is_nothing_to_do(workspace: Workspace, recordings: Path) -> None:
    serve(workspace, of(recordings, "ann") + of(recordings, "ben")[:1])
    (served.audio_folder(workspace.served) / kept_audio.name("bird/6", 0, AT + timedelta(minutes=6))).unlink()
    with pytest.raises(WorkspaceError, match="Every recording that was kept has a label, or is gone again"):
        label_queue.export(workspace, PARAMS, size=3)


def test_the_commands(workspace: Workspace, recordings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tenuto(*arguments: str) -> str:
        return CliRunner().invoke(cli.app, ["label-queue", *arguments]).stdout

    monkeypatch.chdir(workspace.root)
    serve(workspace, of(recordings, "ben")[:2])
    assert json.loads(tenuto("export", "--size", "2", "--json"))["recordings"] == 2
    assert "left out" not in tenuto("export", "--size", "2")
    queue.decide(workspace.label_queue, ("bird/1", 0), "labelled", "up", "bo")
    done = json.loads(tenuto("accept", "--json"))
    assert (done["added"]["added"], done["labelled"], done["undecided"]) == (1, 1, 1)
    assert "no label to accept" in tenuto("accept")
    assert audio.clip_id(audio.decode(of(recordings, "ben")[1])) in set(manifest.read(workspace.manifest)["clip_id"])
