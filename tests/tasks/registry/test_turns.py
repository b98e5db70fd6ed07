"""One at a time, and once or not at all, whenever a process ends.

The kill tests end a process right before each call that changes the registry or the ledger: the quick ones by an
exception that nothing cleans up after, the slow ones by SIGKILL in a process of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tasks import registry as registries
from tasks.registry import packaging, pending, turns
from tenuto.errors import RegistryError
from tenuto.processes import this_process
from tenuto.records import Account, Verdict
from tenuto.tracing import ledger
from tests.tasks.registry.conftest import HOLD, PROMOTE, REJECT, RULE, Registry, copied, save_little
from tests.tasks.registry.test_registration import BEFORE

CHANGES = (
    "create_logged_model",
    "log_model_artifacts",
    "finalize_logged_model",
    "log_outputs",
    "create_registered_model",
    "create_model_version",
    "set_experiment_tag",
    "set_registered_model_alias",
    "delete_registered_model_alias",
    "set_model_version_tag",
    "delete_experiment_tag",
    "set_logged_model_tags",
    "delete_model_version_tag",
)
PROMOTED = {
    "aliases": {"champion": "3", "previous": "2"},
    "versions": {1, 2, 3},
    "pending": [],
    "models": 3,
    "told": [*BEFORE["told"], ("decision", "3")],
}
HELD = {**PROMOTED, "aliases": {"champion": "2", "previous": "1", "challenger": "3"}}
REJECTED = {**BEFORE, "told": [*BEFORE["told"], ("decision", None)]}
ROLLED_BACK = {
    **BEFORE,
    "aliases": {"champion": "1", "previous": "2"},
    "told": [*BEFORE["told"], ("rollback", "1")],
}

Act = Callable[[Registry], Any]


def promote(registry: Registry) -> None:
    registry.carry_out(PROMOTE, "2")


def hold(registry: Registry) -> None:
    registry.carry_out(HOLD, "2")


def reject(registry: Registry) -> None:
    registry.carry_out(REJECT, "2")


def roll_back(registry: Registry) -> None:
    registry.ask(registries.rollback)


class Interrupted(BaseException):
    """Stands in for Ctrl-C."""


def before_change(step: int, then: Callable[[], None], patch: pytest.MonkeyPatch) -> None:
    """Calls `then` right before the change to registry or ledger that is number `step` from now."""
    from mlflow import MlflowClient

    calls = count(1)

    def stopping(original: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            if next(calls) == step:
                then()
            return original(*arguments, **named)

        return call

    for name in CHANGES:
        patch.setattr(MlflowClient, name, stopping(getattr(MlflowClient, name)))
    patch.setattr(ledger, "_add_lines", stopping(ledger._add_lines))


def stop() -> None:
    raise Interrupted


def stopped_dead(registry: Registry, act: Act, step: int) -> bool:
    """Leaves the registry as a process would that is killed before change `step`; True when it got through."""
    dead = this_process().model_copy(update={"began": "1"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pending, "roll_back", lambda *_: None)
        patch.setattr(turns, "_give_up", lambda *_: None)
        patch.setattr(pending, "this_process", lambda: dead)
        patch.setattr(turns, "this_process", lambda: dead)
        patch.setattr(Registry, "new_run", lambda registry: registry.run_id + "x" if act is reject else registry.run_id)
        before_change(step, stop, patch)
        try:
            act(registry)
        except Interrupted:
            return False
    return True


def killed(registry: Registry, act: Act, step: int) -> bool:
    """The same with SIGKILL, in a process of its own."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["mlflow.store.tracking.sqlalchemy_store", "tasks.registry"])
    child = processes.Process(target=_act_and_die, args=(registry, act, step))
    child.start()
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode == 0


def _act_and_die(registry: Registry, act: Act, step: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packaging, "save_model", save_little)
        before_change(step, lambda: os.kill(os.getpid(), signal.SIGKILL), patch)
        act(registry)


def ended_at_each_step(end: Callable[..., bool], settled: Registry, act: Act, folder: Path) -> Iterator[Registry]:
    """Copies of the registry as each end leaves them; the last one got through."""
    for step in count(1):
        left = copied(settled, folder / str(step))
        through = end(left, act, step)
        yield left
        if through:
            return


slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("end", "act", "after"),
    [
        pytest.param(stopped_dead, roll_back, ROLLED_BACK, id="stopped-rollback", marks=slow),
        pytest.param(stopped_dead, promote, PROMOTED, id="stopped-promotion", marks=slow),
        pytest.param(stopped_dead, hold, HELD, id="stopped-challenger", marks=slow),
        pytest.param(stopped_dead, reject, REJECTED, id="stopped-reject", marks=slow),
        pytest.param(killed, promote, PROMOTED, id="killed-promotion", marks=slow),
        pytest.param(killed, roll_back, ROLLED_BACK, id="killed-rollback", marks=slow),
    ],
)
@pytest.mark.timeout(900)
def test_ended_before_any_change_all_is_as_before_or_as_after(
    end: Callable[..., bool], act: Act, after: dict[str, Any], settled: Registry, tmp_path: Path
) -> None:
    seen = []
    for left in ended_at_each_step(end, settled, act, tmp_path):
        assert left.state["aliases"]["champion"] in ("2", after["aliases"]["champion"])  # what a service sees meanwhile
        pending.settle(left.client, "bells", left.ledger)
        state = left.state
        assert state in (BEFORE, after)
        assert left.breaches() == left.turns == []
        seen.append(state == after)
    assert seen == sorted(seen)
    assert seen.count(False) >= 3  # choosing, the number, the decision
    assert seen.count(True) >= 4  # entry, version, file, the turn's end


@pytest.mark.parametrize("step", [3, 5])
def test_a_rollback_that_was_stopped_is_taken_back_or_finished(settled: Registry, step: int) -> None:
    assert not stopped_dead(settled, roll_back, step)
    pending.settle(settled.client, "bells", settled.ledger)
    assert settled.state in (BEFORE, ROLLED_BACK)
    assert settled.breaches() == settled.turns == []


@pytest.mark.parametrize("step", [pytest.param(11, id="between the aliases"), pytest.param(12, id="before the entry")])
def test_after_a_killed_promotion_the_next_one_goes_through(settled: Registry, step: int) -> None:
    assert not stopped_dead(settled, promote, step)
    assert settled.state["pending"] == [3]
    assert len(settled.turns) == 1
    moved = settled.state["aliases"]["champion"] == "3"
    assert moved is (step == 12)
    settled.carry_out(PROMOTE, "3" if moved else "2")
    assert settled.state["told"] == [*BEFORE["told"], *([("decision", "3")] if moved else []), ("decision", "4")]
    assert settled.breaches() == settled.turns == []


def test_a_reader_that_knows_no_ledger_leaves_an_announced_decision_alone(settled: Registry, tmp_path: Path) -> None:
    assert not stopped_dead(settled, promote, 12)
    found = registries.champion.fn(settled.tracking_uri, "bells", tmp_path / "cache")
    assert found is not None
    assert found.version == "3"
    assert settled.state["pending"] == [3]
    assert registries.champion.fn(settled.tracking_uri, "bells", tmp_path / "cache", settled.ledger) is not None
    assert settled.state == PROMOTED


@pytest.mark.parametrize("act", [promote, roll_back])
@pytest.mark.parametrize("change", ["set_registered_model_alias", "set_model_version_tag", "_add_lines"])
def test_what_fails_is_taken_back_at_once_unless_the_entry_is_written(
    settled: Registry, act: Act, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    target = ledger if change == "_add_lines" else MlflowClient
    original, calls = getattr(target, change), count()

    def failing(*arguments: Any, **named: Any) -> Any:
        if next(calls) == 0:
            raise OSError("disk full")
        return original(*arguments, **named)

    monkeypatch.setattr(target, change, failing)
    with pytest.raises(OSError, match="disk full"):
        act(settled)
    if change == "set_registered_model_alias":
        assert settled.state == BEFORE
        assert settled.turns == []
    else:
        assert settled.breaches() == []
        assert settled.state == (PROMOTED if act is promote else ROLLED_BACK)


def test_what_a_busy_process_announced_is_waited_for_and_then_reported(
    settled: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "LONGEST_SECONDS", 0.2)
    with ExitStack() as busy:
        busy.enter_context(turns.turn(settled.client, "bells", settled.ledger))
        with pytest.raises(RegistryError, match=f"Process {os.getpid()} on .* has been changing the registry of bells"):
            roll_back(settled)
    assert settled.state == BEFORE
    roll_back(settled)
    assert settled.state == ROLLED_BACK


def elsewhere(seconds_ago: float = 0.0) -> turns.Ticket:
    process = this_process().model_copy(update={"host": "elsewhere", "noted_at": time.time() - seconds_ago})
    return turns.Ticket(process=process, place="", number=1)


@pytest.mark.parametrize("skew_seconds", [-86400, 0, 86400])
def test_a_turn_of_another_host_is_dead_when_it_said_nothing_new_for_half_a_minute_by_our_own_clock(
    skew_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(turns.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(turns, "_seen", {})
    ticket = elsewhere(skew_seconds)
    assert not turns.is_dead("key", ticket)
    now[0] += turns.OTHER_HOST_SECONDS - 1
    assert not turns.is_dead("key", ticket)
    beating = ticket.model_copy(update={"beat": 1})
    assert not turns.is_dead("key", beating)
    now[0] += turns.OTHER_HOST_SECONDS - 1
    assert not turns.is_dead("key", beating)
    now[0] += 2
    assert turns.is_dead("key", beating)


def test_who_waits_shows_signs_of_life_and_takes_over_from_a_silent_host(
    settled: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "OTHER_HOST_SECONDS", 0.5)
    monkeypatch.setattr(turns, "REFRESH_SECONDS", 0.1)
    monkeypatch.setattr(turns, "_seen", {})
    experiment = settled.client.get_experiment_by_name("bells").experiment_id
    settled.client.set_experiment_tag(experiment, "tenuto.turn.0", elsewhere(-600).model_dump_json())
    with turns.turn(settled.client, "bells", settled.ledger) as mine:
        assert mine.ticket.beat >= 4  # joined, numbered, and at least twice while it waited
        assert settled.turns == [mine.key]
    assert settled.state == BEFORE


@pytest.mark.parametrize("change", [1, 2, 3])
def test_a_process_that_was_taken_for_dead_moves_no_alias_any_more(
    settled: Registry, change: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.registry import store

    original, calls = turns.Turn.require, count(1)

    def overtaken(mine: turns.Turn) -> None:
        if next(calls) == change:
            settled.client.delete_experiment_tag(mine.experiment, mine.key)
            turns._take_back(mine.client, mine.name, mine.ticket.decision) if mine.ticket.decision else None
        original(mine)

    monkeypatch.setattr(turns.Turn, "require", overtaken)
    with pytest.raises(RegistryError, match="another host settled what it had begun"):
        roll_back(settled)
    assert store.aliases(settled.client, "bells") == BEFORE["aliases"]
    assert settled.state == BEFORE
    assert settled.breaches() == settled.turns == []


def test_of_many_threads_only_one_has_the_turn(settled: Registry) -> None:
    inside, most = [], []

    def enter() -> None:
        with turns.turn(settled.client, "bells", settled.ledger):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 5


def test_two_hosts_share_one_chain(settled: Registry, tmp_path: Path) -> None:
    other = Registry(settled.tracking_uri, tmp_path / "other" / "ledger.jsonl", settled.run_id, settled.checkpoint)
    other.carry_out(REJECT, "2")
    settled.carry_out(REJECT, "2")
    assert [entry.number for entry in settled.entries] == [1, 2, 3, 4]
    assert other.entries == settled.entries[:3]
    assert settled.breaches() == other.breaches() == []
    assert registries.verify(other.tracking_uri, "bells", other.ledger).elsewhere == (4,)


def test_a_settling_host_writes_what_the_dead_one_announced(settled: Registry, tmp_path: Path) -> None:
    assert not stopped_dead(settled, promote, 12)
    other = Registry(settled.tracking_uri, tmp_path / "other" / "ledger.jsonl", settled.run_id, settled.checkpoint)
    pending.settle(other.client, "bells", other.ledger)
    assert other.state == PROMOTED
    assert other.breaches() == settled.breaches() == []


def verdicts_at_once(settled: Registry, verdict: Verdict) -> list[str]:
    results: list[str] = []

    def promote_one() -> None:
        try:
            settled.carry_out(verdict, "2")
            results.append("promoted")
        except registries.OvertakenError:
            results.append("moved")

    threads = [threading.Thread(target=promote_one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(results)


def test_of_two_claims_at_one_level_only_one_is_carried_out(settled: Registry) -> None:
    account = Account(holdout="1", alpha=0.05, decisions=52, used=0, level=0.04 / 41.8, left=1.0)
    rule = RULE.model_copy(update={"p_value": 0.3, "outcome": "inconclusive"})
    missed = REJECT.model_copy(update={"account": account, "p_value": 0.3, "rules": (rule,)})
    assert verdicts_at_once(settled, missed) == ["moved", "promoted"]
    assert settled.state["told"] == [*BEFORE["told"], ("decision", None)]


def test_of_two_promotions_at_once_one_wins(settled: Registry) -> None:
    assert verdicts_at_once(settled, PROMOTE) == ["moved", "promoted"]
    state = settled.state
    assert state["told"] == [*BEFORE["told"], ("decision", state["aliases"]["champion"])]
    assert state["aliases"]["previous"] == "2"
    assert len(state["versions"]) == 3
    assert settled.breaches() == settled.turns == []
