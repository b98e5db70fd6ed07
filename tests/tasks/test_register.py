"""The registry as readers find it: before or after a registration, whatever happened in between.

The kill tests end a registration right before each call that changes the registry: the quick ones by an exception
that nothing cleans up after, the slow ones by SIGKILL in a process of its own.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tasks import register
from tenuto.errors import TenutoError
from tenuto.processes import this_process
from tenuto.records import Checkpoint, Verdict

PROMOTE = Verdict(verdict="promote", reasons=("better", "fair"), rules=(), policy_sha256="policy")
HOLD = Verdict(verdict="register", reasons=("rare class unsure",), rules=())
CHANGES = (
    "create_logged_model",
    "log_model_artifacts",
    "finalize_logged_model",
    "log_outputs",
    "create_registered_model",
    "create_model_version",
    "set_registered_model_alias",
    "set_logged_model_tags",
    "delete_model_version_tag",
)


def save_little(folder: Path, checkpoint: Checkpoint, description: Any) -> None:
    """Stands in for MLflow's pyfunc format, which takes seconds to write."""
    shutil.copytree(checkpoint.path, folder / "artifacts" / "checkpoint")
    description.add_flavor("python_function", artifacts={"checkpoint": {"path": "artifacts/checkpoint"}})
    description.save(str(folder / "MLmodel"))


@pytest.fixture(autouse=True)
def _saved_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(register, "_save_model", save_little)


@dataclass
class Registry:
    """A store with one open run, and what it holds."""

    tracking_uri: str
    run_id: str
    checkpoint: Checkpoint

    @property
    def client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(self.tracking_uri)

    @property
    def state(self) -> dict[str, Any]:
        """Aliases, the versions without anything pending, and the models behind them."""
        experiment = self.client.get_experiment_by_name("bells").experiment_id
        versions = self.client.search_model_versions("name='bells'")
        return {
            "aliases": register._aliases(self.client, "bells"),
            "versions": {int(version.version) for version in versions},
            "pending": [version.version for version in versions if "tenuto.pending" in version.tags],
            "models": len(self.client.search_logged_models([experiment])),
        }

    def register(self, verdict: Verdict, against: str | None, sha256: str = "", **tags: str) -> Any:
        """Registers the checkpoint as one of other weights each time, or as that of `sha256`."""
        checkpoint = self.checkpoint.model_copy(update={"sha256": sha256 or uuid4().hex})
        return register.register.fn(self.tracking_uri, "bells", self.run_id, checkpoint, verdict, against, tags)

    def champion(self, cache: Path) -> register.Champion | None:
        return register.champion.fn(self.tracking_uri, "bells", cache)


def new_registry(database: Path) -> Registry:
    """A store with one run, whose artifacts lie beside the database, and no version."""
    from mlflow import MlflowClient

    folder = database.parent / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    checkpoint = Checkpoint(
        path=folder,
        sha256="c0ffee",
        backbone="speech-embedding",
        backbone_revision="1",
        preprocessing="p",
        labels=("low", "high"),
        trainable_parameters=12,
        seconds=1.5,
    )
    client = MlflowClient(f"sqlite:///{database}")
    experiment = client.create_experiment("bells", artifact_location=(database.parent / "mlartifacts").as_uri())
    run = client.create_run(experiment).info.run_id
    client.log_text(run, "stands for a table", "lineage/clips.parquet")
    return Registry(f"sqlite:///{database}", run, checkpoint)


def promote_twice(registry: Registry) -> Registry:
    registry.register(PROMOTE, None)
    registry.register(PROMOTE, "1")
    return registry


def copied(registry: Registry, folder: Path) -> Registry:
    """The same registry in another database; the artifacts are shared."""
    folder.mkdir(exist_ok=True)
    database = shutil.copy(registry.tracking_uri.removeprefix("sqlite:///"), folder / "mlflow.db")
    return Registry(f"sqlite:///{database}", registry.run_id, registry.checkpoint)


@pytest.fixture
def registry(tracking_uri: str) -> Registry:
    return new_registry(Path(tracking_uri.removeprefix("sqlite:///")))


@pytest.fixture(scope="module")
def settled_template(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    database = Path(shutil.copy(empty_database, tmp_path_factory.mktemp("settled") / "mlflow.db"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(register, "_save_model", save_little)
        return promote_twice(new_registry(database))


@pytest.fixture
def settled(settled_template: Registry, tmp_path: Path) -> Registry:
    """Version 2 is champion, version 1 was before it."""
    return copied(settled_template, tmp_path)


BEFORE = {"aliases": {"champion": "2", "previous": "1"}, "versions": {1, 2}, "pending": [], "models": 2}
AFTER = {"aliases": {"champion": "3", "previous": "2"}, "versions": {1, 2, 3}, "pending": [], "models": 3}


def test_the_first_promotion_makes_a_champion_and_no_previous(registry: Registry) -> None:
    registered = registry.register(PROMOTE, None)
    assert (registered.name, registered.version, registered.aliases) == ("bells", "1", ("champion",))
    assert registry.state["aliases"] == {"champion": "1"}


def test_a_promotion_moves_the_champion_to_previous(settled: Registry) -> None:
    assert settled.state == BEFORE
    assert settled.register(PROMOTE, "2").version == "3"
    assert settled.state == AFTER


def test_a_held_model_is_challenger_and_the_champion_stays(settled: Registry) -> None:
    assert settled.register(HOLD, "2").aliases == ("challenger",)
    assert settled.state["aliases"] == {"champion": "2", "previous": "1", "challenger": "3"}


def test_a_checkpoint_that_is_champion_is_not_promoted_again(settled: Registry) -> None:
    promoted = settled.register(PROMOTE, "2", "c0ffee")
    assert settled.state == AFTER
    for verdict, against in ((PROMOTE, "3"), (PROMOTE, "2"), (HOLD, "3")):
        assert settled.register(verdict, against, "c0ffee") == promoted
        assert settled.state == AFTER


def test_a_checkpoint_that_is_challenger_is_held_once_and_may_be_promoted(settled: Registry) -> None:
    held = settled.register(HOLD, "2", "c0ffee")
    before = settled.state
    assert settled.register(HOLD, "2", "c0ffee") == held
    assert settled.state == before
    assert settled.register(PROMOTE, "2", "c0ffee").version == "4"
    assert settled.state["aliases"] == {"champion": "4", "previous": "2", "challenger": "3"}


def test_a_refused_model_is_not_registered(settled: Registry) -> None:
    refused = Verdict(verdict="reject", reasons=("worse",), rules=())
    with pytest.raises(ValueError, match="'reject'"):
        settled.register(refused, "2")
    assert settled.state == BEFORE


def test_a_version_repeats_verdict_and_lineage(registry: Registry) -> None:
    registry.register(PROMOTE, None, "c0ffee", **{"tenuto.dataset_md5": "d41d8", "tenuto.macro_f1": "0.75"})
    version = registry.client.get_model_version("bells", "1")
    assert version.description == "better\nfair"
    assert {name: version.tags[name] for name in version.tags if name != "tenuto.model_id"} == {
        "tenuto.verdict": "promote",
        "tenuto.reasons": "better\nfair",
        "tenuto.policy_sha256": "policy",
        "tenuto.evaluated_against": "no champion",
        "tenuto.backbone": "speech-embedding",
        "tenuto.backbone_revision": "1",
        "tenuto.preprocessing": "p",
        "tenuto.checkpoint_sha256": "c0ffee",
        "tenuto.dataset_md5": "d41d8",
        "tenuto.macro_f1": "0.75",
    }
    model = registry.client.get_logged_model(version.tags["tenuto.model_id"])
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "bells", "version": "1"}]


def test_the_models_are_listed_newest_first_without_unfinished_ones(settled: Registry) -> None:
    pending = register._Pending(alias="champion", aliases_before={}, process=this_process())
    tags = {"tenuto.pending": pending.model_dump_json()}
    settled.client.create_model_version("bells", source="file:///nowhere", run_id=settled.run_id, tags=tags)
    rows = register.models(settled.tracking_uri, "bells")
    assert [(row["version"], row["aliases"]) for row in rows] == [("2", ["champion"]), ("1", ["previous"])]
    assert rows[0]["verdict"] == "promote"
    assert register.models(settled.tracking_uri, "unknown") == []


def test_without_a_champion_there_is_none(registry: Registry, tmp_path: Path) -> None:
    assert registry.champion(tmp_path) is None
    registry.register(HOLD, None)
    assert registry.champion(tmp_path) is None


def test_the_champion_comes_with_checkpoint_and_clips(registry: Registry, tmp_path: Path) -> None:
    promote_twice(registry)
    for _ in range(2):  # the second time from the copy
        champion = registry.champion(tmp_path / "cache")
        assert champion is not None
        assert (champion.version, champion.run_id) == ("2", registry.run_id)
        assert (champion.checkpoint / "config.json").read_text() == "{}"
        assert champion.clips_path is not None
        assert champion.clips_path.read_text() == "stands for a table"
        shutil.rmtree(tmp_path / "mlartifacts", ignore_errors=True)


def test_a_champion_whose_files_are_gone_is_an_error_that_says_what_to_do(registry: Registry, tmp_path: Path) -> None:
    registry.register(PROMOTE, None)
    shutil.rmtree(tmp_path / "mlartifacts")
    with pytest.raises(TenutoError, match=r"bells version 1, the champion, cannot be read .* take the alias @champion"):
        registry.champion(tmp_path / "cache")
    assert list((tmp_path / "cache" / "champions").iterdir()) == []


def test_a_champion_without_clips_table_is_said(
    registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry.register(PROMOTE, None)
    shutil.rmtree(tmp_path / "mlartifacts" / registry.run_id)
    with caplog.at_level(logging.WARNING):
        champion = registry.champion(tmp_path / "cache")
    assert champion is not None
    assert champion.clips_path is None
    assert "has no clips table" in caplog.text


@pytest.mark.parametrize("verdict", [PROMOTE, HOLD])
def test_a_verdict_against_another_champion_registers_nothing(settled: Registry, verdict: Verdict) -> None:
    for stale in ("1", None):
        with pytest.raises(register.ChampionMovedError, match="is version 2 now"):
            settled.register(verdict, stale)
    assert settled.state == BEFORE


class Interrupted(BaseException):
    """Stands in for Ctrl-C."""


@pytest.mark.parametrize("change", [name for name in CHANGES[4:] if name != "create_registered_model"])
def test_an_interrupted_registration_is_undone_or_finished_at_once(
    settled: Registry, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    original = getattr(MlflowClient, change)
    calls = count()

    def interrupted(*arguments: Any, **named: Any) -> Any:
        if next(calls) == 0:
            raise Interrupted
        return original(*arguments, **named)

    monkeypatch.setattr(MlflowClient, change, interrupted)
    with pytest.raises(Interrupted):
        settled.register(PROMOTE, "2")
    aliased = change in ("set_logged_model_tags", "delete_model_version_tag")
    assert settled.state == (AFTER if aliased else BEFORE)


def change_number(step: int, then: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls `then` right before the change to the registry that is number `step` from now."""
    from mlflow import MlflowClient

    calls = count(1)

    def stopping(original: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            if next(calls) == step:
                then()
            return original(*arguments, **named)

        return call

    for name in CHANGES:
        monkeypatch.setattr(MlflowClient, name, stopping(getattr(MlflowClient, name)))


def stopped_dead(registry: Registry, verdict: Verdict, step: int) -> bool:
    """Leaves the registry as a run would that is killed before change `step`; True when it got through."""

    def stop() -> None:
        raise Interrupted

    dead = this_process().model_copy(update={"began": "1"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(register, "_roll_back_own", lambda *_: None)
        patch.setattr(register, "this_process", lambda: dead)
        change_number(step, stop, patch)
        try:
            registry.register(verdict, "2")
        except Interrupted:
            return False
    return True


def killed(registry: Registry, verdict: Verdict, step: int) -> bool:
    """The same with SIGKILL, in a process of its own."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["mlflow.store.tracking.sqlalchemy_store", "tasks.register"])
    child = processes.Process(target=_register_and_die, args=(registry, verdict, step))
    child.start()
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode == 0


def _register_and_die(registry: Registry, verdict: Verdict, step: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(register, "_save_model", save_little)
        change_number(step, lambda: os.kill(os.getpid(), signal.SIGKILL), patch)
        registry.register(verdict, "2")


def ended_at_each_step(
    end: Callable[..., bool], settled: Registry, verdict: Verdict, folder: Path
) -> Iterator[Registry]:
    """Copies of the registry as each end leaves them; the last run got through."""
    for step in count(1):
        left = copied(settled, folder / str(step))
        through = end(left, verdict, step)
        yield left
        if through:
            return


ENDS = [pytest.param(stopped_dead, id="stopped"), pytest.param(killed, id="killed", marks=pytest.mark.slow)]


@pytest.mark.parametrize("end", ENDS)
def test_ended_before_any_change_a_promotion_is_as_before_or_as_after(
    end: Callable[..., bool], settled: Registry, tmp_path: Path
) -> None:
    states = []
    for left in ended_at_each_step(end, settled, PROMOTE, tmp_path):
        assert left.state["aliases"]["champion"] in ("2", "3")  # what a service sees meanwhile
        register.settle(left.client, "bells")
        states.append(left.state)
        assert states[-1] in (BEFORE, AFTER)
    # nine kinds of change, one of them twice, and the run that got through
    assert [state == AFTER for state in states] == [False] * 8 + [True] * 3


@pytest.mark.slow
@pytest.mark.parametrize("end", [stopped_dead, killed])
def test_ended_before_any_change_a_challenger_is_as_before_or_as_after(
    end: Callable[..., bool], settled: Registry, tmp_path: Path
) -> None:
    after = {**AFTER, "aliases": {"champion": "2", "previous": "1", "challenger": "3"}}
    states = []
    for left in ended_at_each_step(end, settled, HOLD, tmp_path):
        register.settle(left.client, "bells")
        states.append(left.state)
        assert states[-1] in (BEFORE, after)
    assert [state == after for state in states] == [False] * 7 + [True] * 3


@pytest.mark.parametrize("end", ENDS)
def test_after_a_killed_promotion_the_next_one_goes_through(end: Callable[..., bool], settled: Registry) -> None:
    assert not end(settled, PROMOTE, 8)  # between the two aliases
    assert settled.state["pending"] == [3]
    assert settled.state["aliases"] == {"champion": "2", "previous": "2"}
    assert settled.register(PROMOTE, "2").version == "4"
    assert settled.state == {**AFTER, "aliases": {"champion": "4", "previous": "2"}, "versions": {1, 2, 4}}


def test_what_a_busy_run_has_pending_is_left_alone(settled: Registry) -> None:
    pending = register._Pending(alias="champion", aliases_before={}, process=this_process())
    tags = {"tenuto.pending": pending.model_dump_json()}
    settled.client.create_model_version("bells", source="file:///nowhere", run_id=settled.run_id, tags=tags)
    register.settle(settled.client, "bells")
    assert settled.state["versions"] == {1, 2, 3}


def test_a_promotion_waits_for_a_lower_version_and_gives_way(
    settled: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(register, "_RIVAL_SECONDS", 0.3)
    pending = register._Pending(alias="champion", aliases_before={}, process=this_process())
    tags = {"tenuto.pending": pending.model_dump_json()}
    settled.client.create_model_version("bells", source="file:///nowhere", run_id=settled.run_id, tags=tags)
    with pytest.raises(register.ChampionMovedError, match="Another run has been registering a version of bells"):
        settled.register(PROMOTE, "2")
    assert settled.state == {**BEFORE, "versions": {1, 2, 3}, "pending": [3]}


def test_of_two_promotions_at_once_one_wins(settled: Registry) -> None:
    outcomes: list[str] = []
    together = threading.Barrier(2)

    def promote() -> None:
        together.wait()
        try:
            outcomes.append(settled.register(PROMOTE, "2").version)
        except register.ChampionMovedError:
            outcomes.append("moved")

    threads = [threading.Thread(target=promote) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = set(outcomes) - {"moved"}
    assert sorted(outcomes) == sorted([winner, "moved"])
    assert settled.state == {
        "aliases": {"champion": winner, "previous": "2"},
        "versions": {1, 2, int(winner)},
        "pending": [],
        "models": 3,
    }
