"""Stored decisions judged again: which flip, by which rule, and on which account of the test set."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from flows import replay, servers
from tasks.replay import Decision
from tenuto.deciding import gate
from tenuto.deciding.policy import Policy, load_policy
from tenuto.errors import SettingsError
from tenuto.records import Account, Evaluation, Verdict
from tenuto.settings import Params
from tenuto.typed_yaml import digest
from tenuto.workspace import Workspace
from tests.answers import clips_table, imagined
from tests.flows.shell import Shell
from tests.tasks.test_replay import store as store_run

FLOOR = "rules:\n  - {name: floor, metric: accuracy, at_least: %s, severity: reject}\n"
BETTER = {"name": "better", "metric": "accuracy", "versus": "champion", "better_by": 0.0, "severity": "reject"}
BETTER_YAML = f"resamples: 100\nrules:\n  - {json.dumps(BETTER)}\n"
PARAMS = Params(name="bells")

Store = Callable[..., Decision]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    found = Workspace(tmp_path)
    found.promotion.parent.mkdir()
    found.promotion.write_text(FLOOR % 0.5)
    monkeypatch.setattr(servers, "tracking_uri", lambda *_: "nowhere")
    return found


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Stores a decision a week after the one before; `wrong` is the share of clips that each model misses."""
    kept: list[Decision] = []
    monkeypatch.setattr("tasks.replay.decisions", lambda *_: iter(kept))

    def add(verdict: Verdict | None = None, problem: str = "", **wrong: float | np.ndarray) -> Decision:
        number = len(kept)
        about = Decision(
            run_id=f"run{number}",
            at=datetime(2026, 1, 4, tzinfo=UTC) + timedelta(weeks=number),
            version=str(number) if wrong else None,
            verdict=verdict,
            problem=problem,
        )
        if wrong:
            folder = tmp_path / f"evaluation{number}"
            folder.mkdir()
            evaluation = imagined(clips_table(400, speaker=40), folder, wrong)
            about = about.model_copy(update={"evaluation": evaluation, "verdict": verdict or judged(evaluation)})
        kept.append(about)
        return about

    return add


def judged(evaluation: Evaluation, account: Account | None = None) -> Verdict:
    rule = {"name": "floor", "metric": "accuracy", "at_least": 0.5, "severity": "reject"}
    return gate.judge(Policy.model_validate({"rules": [rule]}), evaluation, account)


def test_under_the_same_policy_nothing_flips(workspace: Workspace, store: Store) -> None:
    store(candidate=0.1)
    store(candidate=0.7)
    found = replay.replay(workspace, PARAMS)
    assert (found.judged, found.flips, found.unjudged) == (2, (), ())
    assert found.policy == str(workspace.promotion)


def test_a_stricter_policy_turns_those_that_it_fails(workspace: Workspace, store: Store, tmp_path: Path) -> None:
    store(candidate=0.02)
    store(candidate=0.3)
    store(candidate=0.7)
    strict = tmp_path / "strict.yaml"
    strict.write_text(FLOOR % 0.9)
    found = replay.replay(workspace, PARAMS, strict)
    (flip,) = found.flips
    assert (found.judged, flip.run_id, flip.version) == (3, "run1", "1")
    assert flip.at == datetime(2026, 1, 11, tzinfo=UTC)
    assert (flip.then.verdict, flip.then.rule, flip.then.reason) == ("promote", "", "all rules passed")
    assert (flip.now.verdict, flip.now.rule, flip.now.outcome) == ("reject", "floor", "fail")
    assert flip.now.reason.startswith("accuracy 0.700 ")


def test_a_milder_policy_names_the_rule_that_decided_then(workspace: Workspace, store: Store) -> None:
    store(candidate=0.7)
    workspace.promotion.write_text(FLOOR % 0.1)
    (flip,) = replay.replay(workspace, PARAMS).flips
    assert (flip.then.verdict, flip.then.rule, flip.then.outcome) == ("reject", "floor", "fail")
    assert flip.now.verdict == "promote"


def test_what_cannot_be_judged_is_counted_apart(workspace: Workspace, store: Store) -> None:
    store(candidate=0.1)
    store(problem="its verdict/verdict.json is gone")
    progress: list[tuple[int, int]] = []
    found = replay.replay(workspace, PARAMS, on_progress=lambda done, total: progress.append((done, total)))
    assert found.judged == 1
    assert [(run.run_id, run.reason) for run in found.unjudged] == [("run1", "its verdict/verdict.json is gone")]
    assert progress == [(1, 2), (2, 2)]


def test_without_decisions_there_is_nothing_to_judge(workspace: Workspace, store: Store) -> None:
    found = replay.replay(workspace, PARAMS)
    assert (found.judged, found.flips, found.unjudged) == (0, (), ())


def test_answers_that_cannot_be_read_do_not_end_the_replay(workspace: Workspace, store: Store) -> None:
    damaged = store(candidate=0.1)
    assert damaged.evaluation
    damaged.evaluation.probabilities_path.write_text("no table")
    store(candidate=0.1)
    found = replay.replay(workspace, PARAMS)
    assert found.judged == 1
    assert found.unjudged[0].reason.startswith("its answers cannot be judged: ")


def account(**more: object) -> Account:
    known = {"holdout": "1", "alpha": 0.05, "decisions": 52, "used": 0, "level": 0.04, "left": 1.0}
    return Account.model_validate({**known, **more})


def lead(clips: int) -> dict[str, np.ndarray]:
    """A candidate ahead on so many clips of as many speakers and behind on none: p is 1/2 to that power."""
    champion = np.zeros(400, dtype=bool)
    champion[: 10 * clips : 10] = True
    return {"candidate": np.zeros(400, dtype=bool), "champion": champion}


def seen(monkeypatch: pytest.MonkeyPatch) -> list[Account | None]:
    """The accounts that the gate is given."""
    given: list[Account | None] = []
    real = gate.judge

    def judge(policy: Policy, evaluation: Evaluation, account: Account | None = None) -> Verdict:
        given.append(account)
        return real(policy, evaluation, account)

    monkeypatch.setattr(gate, "judge", judge)
    return given


def test_the_account_of_then_is_used(workspace: Workspace, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.promotion.write_text(BETTER_YAML)
    same = digest(load_policy(workspace.promotion))
    kept = account(used=7, level=0.04)
    then = Verdict(verdict="reject", reasons=("no",), rules=(), policy_sha256=same, account=kept, p_value=0.5)
    store(then, **lead(10))
    given = seen(monkeypatch)
    (flip,) = replay.replay(workspace, PARAMS).flips
    assert given == [then.account]
    assert flip.now.verdict == "promote"


def test_under_another_wear_the_account_is_folded_anew(
    workspace: Workspace, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.promotion.write_text("wear: {alpha: 0.02, decisions: 3}\n" + BETTER_YAML)
    then = Verdict(verdict="reject", reasons=("no",), rules=(), account=account(used=7), p_value=0.5)
    trailing = dict(zip(("champion", "candidate"), lead(10).values(), strict=True))
    store(then, **lead(2))  # p = 0.25: not shown, which costs
    store(then, **trailing)  # p = 1: clearly behind, which costs nothing
    store(then, **lead(2))
    store(then, **lead(2))
    given = seen(monkeypatch)
    replay.replay(workspace, PARAMS)
    assert [a.used for a in given if a] == [0, 1, 2, 3]
    # level = 0.8 B / (1 + 0.8 (m - 1)), and a decision that was missed takes B / (1 + 0.8 (m - 1))
    first = 0.02 / 2.6
    left = 0.02 - first
    assert [a.level for a in given if a] == pytest.approx([0.8 * first, 0.8 * left / 1.8, 0.8 * left, 0.0])


def test_under_another_policy_the_account_is_folded_anew_even_with_the_same_numbers(
    workspace: Workspace, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the policy of then claimed nothing, so that its account was unspent each time
    workspace.promotion.write_text(BETTER_YAML)
    then = Verdict(verdict="promote", reasons=("fine",), rules=(), policy_sha256="another", account=account(used=0))
    store(then, **lead(2))
    store(then, **lead(2))
    given = seen(monkeypatch)
    replay.replay(workspace, PARAMS)
    assert [a.used for a in given if a] == [0, 1]
    # 0.8 * (0.05 - 0.05 / 41.8) / 41
    assert [a.level for a in given if a] == pytest.approx([0.04 / 41.8, 0.8 * (0.05 - 0.05 / 41.8) / 41])


def test_decisions_older_than_accounts_are_folded_too(
    workspace: Workspace, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.promotion.write_text(BETTER_YAML)
    store(Verdict(verdict="reject", reasons=("no",), rules=()), **lead(10))
    given = seen(monkeypatch)
    replay.replay(workspace, PARAMS)
    assert [(a.holdout, a.used, a.decisions) for a in given if a] == [("1", 0, 52)]


def test_a_policy_that_cannot_be_used_is_refused_as_by_retrain(workspace: Workspace, store: Store) -> None:
    workspace.promotion.write_text("rules:\n  - {name: floor, metric: acuracy, at_least: 0.5, severity: reject}\n")
    with pytest.raises(SettingsError, match=r"promotion\.yaml, rule 'floor'.*metric.*acuracy"):
        replay.replay(workspace, PARAMS)
    with pytest.raises(SettingsError, match=r"absent\.yaml: cannot be read"):
        replay.replay(workspace, PARAMS, workspace.root / "absent.yaml")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_year_of_decisions_takes_well_under_a_minute(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setattr(servers, "tracking_uri", lambda *_: uri)
    policy = Path(__file__).parents[2] / "mlflow" / "promotion.yaml"
    workspace.promotion.write_text(policy.read_text())
    rng = np.random.default_rng(0)
    clips = clips_table(1000, speaker=50, site=5).assign(snr_db=np.arange(1000) % 50)
    kinds = []
    for kind in range(4):
        (folder := tmp_path / f"kind{kind}").mkdir()
        missed = {model: rng.random(1000) < 0.1 for model in ("candidate", "champion")}
        answered = imagined(clips, folder, {**missed, "baseline": 0.2, "majority": 0.9})
        kinds.append(
            {
                "verdict/verdict.json": gate.judge(load_policy(policy), answered).model_dump_json(),
                "evaluation/evaluation.json": answered.model_dump_json(),
                "evaluation/probabilities.parquet": answered.probabilities_path.read_bytes(),
            }
        )
    for week in range(52):
        store_run(uri, kinds[week % 4])
    started = time.process_time()
    found = replay.replay(workspace, PARAMS)
    assert time.process_time() - started < 45
    assert (found.judged, found.flips, found.unjudged) == (52, (), ())


def test_the_command_line_replays_a_real_run(shell: Shell, retrained: Path, tmp_path: Path) -> None:
    same = shell.json(retrained, "gate", "replay")
    assert (same["judged"], same["flips"], same["unjudged"]) == (1, [], [])
    strict = tmp_path / "strict.yaml"
    strict.write_text((FLOOR % 1.0).replace("severity", "min_clips: 10000, severity"))
    (flip,) = shell.json(retrained, "gate", "replay", "--policy", str(strict))["flips"]
    assert (flip["version"], flip["then"]["verdict"], flip["now"]["rule"]) == ("1", "promote", "floor")
    code, out, _ = shell.run(retrained, "gate", "replay", "--policy", str(strict))
    assert code == 0
    assert "1 decision judged again" in out and "1 flipped" in out and "promote -> " in out


def test_the_command_line_refuses_a_policy_without_a_traceback(shell: Shell, retrained: Path, tmp_path: Path) -> None:
    code, out, err = shell.run(retrained, "gate", "replay", "--policy", str(tmp_path / "absent.yaml"))
    assert (code, out) == (1, "")
    assert "absent.yaml: cannot be read" in err and "Traceback" not in err
