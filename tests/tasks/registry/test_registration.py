"""What a verdict leaves: a version, an alias, and exactly one entry."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tasks import registry as registries
from tasks.registry import turns
from tenuto.errors import RegistryError
from tenuto.records import Account, Verdict
from tenuto.tracing.ledger import Grounds, Use
from tests.tasks.registry.conftest import HOLD, PROMOTE, REJECT, RULE, Registry

BEFORE = {
    "aliases": {"champion": "2", "previous": "1"},
    "versions": {1, 2},
    "pending": [],
    "models": 2,
    "told": [("decision", "1"), ("decision", "2")],
}


def test_the_first_promotion_makes_a_champion_and_no_previous(registry: Registry) -> None:
    done = registry.carry_out(PROMOTE, None)
    assert (done.model.name, done.model.version, done.model.aliases) == ("bells", "1", ("champion",))
    assert (done.entry.aliases_before, done.entry.aliases) == ({}, {"champion": "1"})
    assert registry.entries == (done.entry,)
    assert registry.breaches() == registry.turns == []


def test_a_promotion_moves_the_champion_to_previous(settled: Registry) -> None:
    assert settled.state == BEFORE
    entry = settled.carry_out(PROMOTE, "2").entry
    assert settled.state["aliases"] == entry.aliases == {"champion": "3", "previous": "2"}
    assert entry.aliases_before == {"champion": "2", "previous": "1"}
    assert settled.state["told"] == [*BEFORE["told"], ("decision", "3")]


def test_a_held_model_is_challenger_and_the_champion_stays(settled: Registry) -> None:
    assert settled.carry_out(HOLD, "2").model.aliases == ("challenger",)
    assert settled.state["aliases"] == {"champion": "2", "previous": "1", "challenger": "3"}


def test_a_promotion_that_needs_approval_waits_as_challenger(settled: Registry) -> None:
    done = settled.carry_out(PROMOTE, "2", needs_approval=True)
    assert done.model.aliases == ("challenger",)
    assert done.entry.verdict == "promote"
    assert settled.client.get_model_version("bells", "3").tags["tenuto.approval"] == "awaiting"
    settled.carry_out(HOLD, "2", needs_approval=True)
    assert "tenuto.approval" not in settled.client.get_model_version("bells", "4").tags


@pytest.mark.parametrize("verdict", ["reject", "inconclusive", "not evaluated"])
def test_any_other_verdict_is_an_entry_and_nothing_else(settled: Registry, verdict: Any) -> None:
    done = settled.carry_out(REJECT.model_copy(update={"verdict": verdict}), "2")
    assert (done.model, done.entry.verdict, done.entry.version) == (None, verdict, None)
    assert settled.state == {**BEFORE, "told": [*BEFORE["told"], ("decision", None)]}


def test_the_entry_names_grounds_and_plain_reasons_and_what_it_cost_the_test_set(registry: Registry) -> None:
    account = Account(holdout="1", alpha=0.05, decisions=52, used=0, level=0.0009, left=1.0)
    shown = RULE.model_copy(update={"p_value": 0.0004})
    verdict = PROMOTE.model_copy(update={"account": account, "p_value": 0.0004, "rules": (shown,)})
    grounds = Grounds(run_id=registry.run_id, dataset_md5="d41d8", code_commit="abc", evidence={"probabilities": "e1"})
    candidate = registries.Candidate(checkpoint=registry.checkpoint, evaluated_against=None, tags={})
    entry = registries.carry_out.fn(registry.tracking_uri, "bells", registry.ledger, verdict, grounds, candidate).entry
    assert entry.reasons == ("good: 0.9",)
    assert entry.evidence == {"checkpoint": "c0ffee", "probabilities": "e1"}
    assert (entry.run_id, entry.dataset_md5, entry.code_commit) == (registry.run_id, "d41d8", "abc")
    assert (entry.actor, entry.policy_sha256) == ("retrain", "policy")
    assert entry.use == Use(holdout="1", level=0.0009, p_value=0.0004, is_promotion=True)


def test_a_run_that_was_stopped_names_its_plain_reasons_only(registry: Registry) -> None:
    stopped = Verdict(verdict="not evaluated", reasons=("no leakage: speaker ann is in two splits",), rules=())
    for plain, told in (((), "ended before any rule was judged"), (("no leakage",), "no leakage")):
        grounds = Grounds(run_id=registry.new_run(), plain_reasons=plain)
        entry = registries.carry_out.fn(registry.tracking_uri, "bells", registry.ledger, stopped, grounds).entry
        assert told in entry.reasons[0]
        assert "ann" not in entry.model_dump_json()


def test_the_verdict_of_one_run_is_written_once(settled: Registry) -> None:
    run = settled.new_run()
    first = settled.carry_out(REJECT, "2", run_id=run).entry
    assert settled.carry_out(REJECT, "2", run_id=run).entry == first
    promoted = settled.carry_out(PROMOTE, "2", "beef", run_id=settled.run_id)
    again = settled.carry_out(PROMOTE, "2", "beef", run_id=settled.run_id)
    assert again == promoted
    assert len(settled.entries) == 4


def test_a_checkpoint_that_is_champion_is_not_promoted_again(settled: Registry) -> None:
    promoted = settled.carry_out(PROMOTE, "2", "c0ffee")
    for verdict, against in ((PROMOTE, "3"), (PROMOTE, "2"), (HOLD, "3")):
        done = settled.carry_out(verdict, against, "c0ffee")
        assert (done.model, done.entry.aliases) == (promoted.model, promoted.entry.aliases)
    assert settled.state["versions"] == {1, 2, 3}
    assert settled.breaches() == []


def test_a_checkpoint_that_is_challenger_is_held_once_and_may_be_promoted(settled: Registry) -> None:
    held = settled.carry_out(HOLD, "2", "c0ffee").model
    assert settled.carry_out(HOLD, "2", "c0ffee").model == held
    assert settled.carry_out(PROMOTE, "2", "c0ffee").model.version == "4"
    assert settled.state["aliases"] == {"champion": "4", "previous": "2", "challenger": "3"}


def tags(registry: Registry, number: str) -> dict[str, str]:
    return dict(registry.client.get_model_version("bells", number).tags)


def test_a_challenger_that_is_evaluated_again_says_what_was_found_then_and_may_be_promoted(settled: Registry) -> None:
    settled.carry_out(HOLD, "2", "c0ffee", tags={"tenuto.macro_f1": "0.5"})
    settled.carry_out(PROMOTE, "2")
    with pytest.raises(RegistryError, match=r"was evaluated against version 2, and version 4 is champion now"):
        settled.ask(registries.promote, "3")
    with pytest.raises(registries.ChampionMovedError, match="is version 4 now"):
        settled.carry_out(HOLD, "2", "c0ffee")
    again = HOLD.model_copy(update={"reasons": ("another rule",), "policy_sha256": "later"})
    settled.carry_out(again, "4", "c0ffee", tags={"tenuto.macro_f1": "0.6"})
    now = tags(settled, "3")
    assert (now["tenuto.evaluated_against"], now["tenuto.macro_f1"]) == ("4", "0.6")
    assert (now["tenuto.reasons"], now["tenuto.policy_sha256"]) == ("another rule", "later")
    assert settled.client.get_model_version("bells", "3").description == "another rule"
    settled.ask(registries.promote, "3")
    assert settled.state["aliases"]["champion"] == "3"
    assert settled.breaches() == []


def test_a_challenger_that_passes_later_waits_for_approval_and_one_that_no_longer_does_waits_no_more(
    settled: Registry,
) -> None:
    settled.carry_out(HOLD, "2", "c0ffee")
    assert settled.carry_out(PROMOTE, "2", "c0ffee", needs_approval=True).model.version == "3"
    assert (tags(settled, "3")["tenuto.approval"], tags(settled, "3")["tenuto.verdict"]) == ("awaiting", "promote")
    settled.carry_out(HOLD, "2", "c0ffee", needs_approval=True)
    assert "tenuto.approval" not in tags(settled, "3")
    settled.carry_out(PROMOTE, "2", "c0ffee", needs_approval=True)
    settled.ask(registries.approve, "3")
    assert settled.state["aliases"]["champion"] == "3"


def test_a_challenger_whose_entry_cannot_be_written_says_what_it_said_before(
    settled: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled.carry_out(HOLD, "2", "c0ffee", tags={"tenuto.macro_f1": "0.5"})
    before = tags(settled, "3")

    def failing(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(turns.Turn, "carry_out", failing)
    with pytest.raises(OSError, match="disk full"):
        settled.carry_out(PROMOTE, "2", "c0ffee", tags={"tenuto.macro_f1": "0.6"}, needs_approval=True)
    assert tags(settled, "3") == before
    assert settled.client.get_model_version("bells", "3").description == "rare class unsure"


def claim(p_value: float, level: float, outcome: Any = "inconclusive") -> dict[str, Any]:
    account = Account(holdout="1", alpha=0.05, decisions=52, used=0, level=level, left=1.0)
    shown = RULE.model_copy(update={"p_value": p_value, "outcome": outcome})
    return {"account": account, "p_value": p_value, "rules": (shown,)}


@pytest.mark.parametrize("verdict", [PROMOTE, REJECT, HOLD])
def test_a_verdict_at_a_level_that_another_run_has_spent_meanwhile_is_not_carried_out(
    settled: Registry, verdict: Verdict
) -> None:
    level = 0.04 / 41.8
    settled.carry_out(REJECT.model_copy(update=claim(0.3, level)), "2")
    before = settled.state
    with pytest.raises(registries.AccountSpentError, match=r"1 decisions are taken, and this one .* when 0 were"):
        settled.carry_out(verdict.model_copy(update=claim(0.0001, level, "pass")), "2", "c0ffee")
    assert settled.state == before
    # one that cost nothing makes the next level less strict, and is nobody's loss
    settled.carry_out(REJECT.model_copy(update=claim(0.9, level / 2)), "2")
    assert [entry.use.level for entry in settled.entries if entry.use] == [level, level / 2]


def test_a_verdict_that_registers_needs_a_candidate(registry: Registry) -> None:
    with pytest.raises(ValueError, match="'promote' registers a candidate"):
        registries.carry_out.fn(
            registry.tracking_uri, "bells", registry.ledger, PROMOTE, Grounds(run_id=registry.run_id)
        )


def test_a_version_repeats_verdict_and_lineage_and_its_entry(registry: Registry) -> None:
    done = registry.carry_out(PROMOTE, None, "c0ffee", tags={"tenuto.dataset_md5": "d41d8", "tenuto.macro_f1": "0.75"})
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
        "tenuto.ledger.000001": done.entry.model_dump_json(),
    }
    model = registry.client.get_logged_model(version.tags["tenuto.model_id"])
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "bells", "version": "1"}]


@pytest.mark.parametrize("verdict", [PROMOTE, HOLD])
def test_a_verdict_against_another_champion_registers_and_writes_nothing(settled: Registry, verdict: Verdict) -> None:
    for stale in ("1", None):
        with pytest.raises(registries.ChampionMovedError, match="is version 2 now"):
            settled.carry_out(verdict, stale)
    assert settled.state == BEFORE
