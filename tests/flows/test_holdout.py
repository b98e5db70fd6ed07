"""`tenuto holdout` on a workspace whose registry is stood in for; the slow test has a real one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows import holdout
from tasks.holdout import Heard
from tenuto.dataset import manifest
from tenuto.errors import LedgerError, RegistryError, TrainingError
from tenuto.records import DatasetVersion
from tenuto.settings import Params
from tenuto.sound import audio
from tenuto.splitting import holdout as holdouts
from tenuto.splitting import rotation, splits
from tenuto.splitting.holdout import Score
from tenuto.tracing import ledger
from tenuto.workspace import Workspace
from tests import chirps
from tests.dataset.test_manifest import clips as rows
from tests.flows.shell import QUICK, Shell
from tests.recordings import speechlike

PARAMS = Params(name="bells")


class Registry:
    """Stands in for MLflow: what was heard, and what was recorded."""

    def __init__(self) -> None:
        self.versions, self.clips = 1, frozenset[str]()
        self.recorded: list[ledger.Decision] = []

    def heard(self, *_: object) -> Heard:
        return Heard(versions=self.versions, clips=self.clips)

    def record(self, tracking_uri: str, path: Path, decision: ledger.Decision) -> None:
        self.recorded.append(decision)
        ledger.append(path, decision)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Two clips each of 12 speakers in the first batch and of 16 in the second."""
    found = Workspace(tmp_path)
    found.params.write_text("name: bells\n")
    found.promotion.parent.mkdir()
    found.promotion.write_text("rules: []\n")
    table = [
        rows(f"{batch}{index:02d}{label}", label=label, batch=batch, group_speaker=f"s{batch}{index:02d}")
        for batch, count in ((0, 12), (1, 16))
        for index in range(count)
        for label in ("yes", "no")
    ]
    manifest.write(pd.concat(table).assign(family=lambda clips: clips["clip_id"]), found.manifest)
    return found


@pytest.fixture
def registry(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A version that learned from the first batch; a champion that scores 0.9 everywhere."""
    found = Registry()
    table = manifest.read(workspace.manifest)
    found.clips = frozenset(table.loc[table["batch"] == 0, "clip_id"])
    version = DatasetVersion(md5="0" * 32, manifest_path=workspace.manifest, clips=56, quarantined=0)
    score = Score(clips=10, accuracy=(0.9, 0.8, 1.0), macro_f1=(0.9, 0.8, 1.0))
    monkeypatch.setattr(holdout.dataset.fetch, "fn", lambda root: version)
    monkeypatch.setattr(holdout.heard_by, "heard", found.heard)
    monkeypatch.setattr(holdout.registry, "record", found.record)
    monkeypatch.setattr(holdout, "_champion_scores", lambda *_: dict.fromkeys((rotation.OLD, rotation.NEW), score))
    return found


def by_split(workspace: Workspace) -> dict[str, set[str]]:
    found = splits.assign(manifest.read(workspace.manifest), PARAMS.split, holdouts.read(workspace.holdout))
    return {split: set(part["group_speaker"]) for split, part in found.groupby("split")}


def test_a_rotation_brings_in_speakers_that_no_version_heard(workspace: Workspace, registry: Registry):
    before = by_split(workspace)
    done = holdout.rotate(workspace, PARAMS, reason="worn out")
    after = by_split(workspace)
    heard = {f"s0{index:02d}" for index in range(12)}
    assert not (after["test"] | after["golden"]) & (heard | before["test"])
    assert before["test"] <= after["train"]
    assert (done.generation, done.unit) == ("2", "speaker")
    assert (done.test.units, done.golden.units) == (len(after["test"]), len(after["golden"]))
    assert done.comparison.startswith("The old test set did not flatter the champion beyond chance: accuracy 0.900")


def test_the_ledger_hears_of_generations_and_counts_and_of_no_speaker(workspace: Workspace, registry: Registry):
    done = holdout.rotate(workspace, PARAMS, reason="worn out")
    (entry,) = registry.recorded
    sizes = f"{done.test.units} units to test on, {done.golden.units} new golden, {done.released.units} released"
    assert entry.event == "rotation"
    assert entry.reasons == (f"test set 1 gives way to 2: {sizes} to training", "worn out", done.comparison)
    assert "s1" not in entry.model_dump_json(include={"reasons"})


def test_a_dry_run_tells_the_same_and_writes_nothing(workspace: Workspace, registry: Registry):
    would = holdout.rotate(workspace, PARAMS, dry_run=True)
    assert not workspace.holdout.exists()
    assert registry.recorded == []
    done = holdout.rotate(workspace, PARAMS)
    assert (would.test, would.golden, would.released) == (done.test, done.golden, done.released)


def test_too_few_fresh_speakers_leave_everything_as_it_was(workspace: Workspace, registry: Registry):
    registry.clips = frozenset(manifest.read(workspace.manifest)["clip_id"])
    with pytest.raises(TrainingError, match=r"0 fresh speakers, wanted at least 10 \(5 to test on and 5 golden\)"):
        holdout.rotate(workspace, PARAMS)
    assert not workspace.holdout.exists()


def test_without_a_registered_version_nothing_has_worn_the_test_set(workspace: Workspace, registry: Registry):
    registry.versions = 0
    with pytest.raises(RegistryError, match="No version of bells is registered, so nothing has worn this test set"):
        holdout.rotate(workspace, PARAMS)


def test_a_test_set_by_name_is_kept_in_the_file_and_said(workspace: Workspace, registry: Registry):
    params = Params.model_validate({"name": "bells", "split": {"hold_out": {"speaker": ["s000", "s001"]}}})
    done = holdout.rotate(workspace, params)
    assert done.named == ("speaker",)
    assert done.released.units == 2
    assert holdouts.read(workspace.holdout).hold_out == {"speaker": ("s000", "s001")}


def test_show_before_and_after_a_decision_and_a_rotation(workspace: Workspace, registry: Registry):
    use = ledger.Use(holdout="1", level=0.0008, p_value=0.4, is_promotion=False)
    at = datetime(2026, 3, 2, tzinfo=UTC)
    ledger.append(workspace.ledger, ledger.Decision(at=at, actor="retrain", event="decision", model="bells", use=use))
    before = holdout.show(workspace, PARAMS)
    assert (before.generation, before.account.used, before.golden.units, before.rotated_at) == ("1", 1, 0, None)
    assert before.account.left == pytest.approx(1 - 0.001 / 0.05)
    assert before.remaining.startswith("51 of 52 decisions left")
    assert not before.is_counted
    holdout.rotate(workspace, PARAMS, reason="worn out")
    after = holdout.show(workspace, PARAMS)
    assert (after.generation, after.account.used, after.account.left, after.reason) == ("2", 0, 1, "worn out")
    assert after.rotated_at is not None
    assert after.champion[rotation.NEW].accuracy[0] == 0.9


def test_show_knows_whether_a_rule_draws_on_the_account(workspace: Workspace):
    rule = "{name: ahead, metric: accuracy, versus: champion, better_by: 0.0, severity: hold}"
    workspace.promotion.write_text(f"rules:\n  - {rule}\n")
    assert holdout.show(workspace, PARAMS).is_counted
    workspace.promotion.write_text(f"rules:\n  - {rule.replace('better_by: 0.0', 'better_by_percent: 1')}\n")
    assert holdout.show(workspace, PARAMS).is_counted


def test_a_rotation_that_was_killed_between_its_two_writes_opens_no_account_and_can_be_done_again(
    workspace: Workspace, registry: Registry, monkeypatch: pytest.MonkeyPatch
):
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(holdout.holdouts, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            holdout.rotate(workspace, PARAMS)
    assert [decision.event for decision in registry.recorded] == ["rotation"]
    assert holdout.show(workspace, PARAMS).generation == "1"
    holdout.rotate(workspace, PARAMS)
    assert holdout.show(workspace, PARAMS).generation == "2"


def test_a_rotation_that_was_pasted_into_the_file_is_refused(workspace: Workspace, registry: Registry):
    holdout.rotate(workspace, PARAMS)
    current = holdouts.read(workspace.holdout)
    pasted = current.rotations[-1].model_copy(update={"at": datetime(2026, 3, 2, tzinfo=UTC)})
    holdouts.write(current.model_copy(update={"rotations": (*current.rotations, pasted)}), workspace.holdout)
    with pytest.raises(LedgerError, match="a rotation of 2026-03-02 00:00:00, and the ledger has no entry of it"):
        holdout.show(workspace, PARAMS)


def record(folder: Path, speakers: list[str], seed: int) -> Path:
    """Two recordings of each class by each speaker."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    for label in chirps.SLOPES:
        for speaker in speakers:
            for index in range(2):
                wave = chirps.chirp(label, rng, 0.8) + 0.5 * speechlike(int(rng.integers(1 << 30)), seconds=0.8)
                (folder / f"{label}_{speaker}_{index}.wav").write_bytes(audio.encode_wav(wave, chirps.RATE_HZ))
    return folder


def test_the_command_line_shows_and_refuses(shell: Shell, retrained: Path) -> None:
    shown = shell.json(retrained, "holdout", "show")
    assert (shown["generation"], shown["unit"]) == ("1", "speaker")
    _, out, _ = shell.run(retrained, "holdout", "show")
    assert "test set 1" in out
    assert "golden   none yet; the first rotation draws it" in out
    refused = shell.json(retrained, "holdout", "rotate", code=1)
    assert "0 fresh speakers, wanted at least 10" in refused["error"]
    assert not (retrained / "holdout.yaml").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_real_workspace_is_rotated_and_retrained(shell: Shell, tmp_path: Path) -> None:
    shell.json(tmp_path, "init", "chirps")
    root, named = tmp_path / "chirps", ("--pattern", "{label}_{speaker}_{index}.wav")
    policy = "rules:\n  - {name: good enough, metric: accuracy, at_least: 0.05, severity: reject}\n"
    (root / "mlflow" / "promotion.yaml").write_text(policy)
    shell.json(root, "data", "add", str(record(tmp_path / "first", [f"a{i}" for i in range(7)], 1)), *named)
    shell.json(root, "retrain", *QUICK)
    shell.json(root, "data", "add", str(record(tmp_path / "second", [f"b{i:02d}" for i in range(20)], 2)), *named)
    done: dict[str, Any] = shell.json(root, "holdout", "rotate", "--reason", "worn out")
    assert done["champion"].keys() == {rotation.OLD, rotation.GOLDEN, rotation.NEW}
    assert shell.json(root, "holdout", "show")["generation"] == "2"
    assert ledger.read(Workspace(root).ledger)[-1].event == "rotation"
    assert shell.json(root, "retrain", *QUICK)["trained"]
