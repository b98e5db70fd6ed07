"""What a person may do to the registry, and what is refused with nothing changed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks import registry as registries
from tenuto.errors import RegistryError
from tenuto.tracing.ledger import Decision
from tests.tasks.registry.conftest import HOLD, PROMOTE, Registry


def test_a_challenger_is_promoted_by_hand(settled: Registry) -> None:
    settled.carry_out(HOLD, "2")
    for version in ("@challenger",):
        entry = settled.ask(registries.promote, version, actor="ann", reason="the rare class")
    assert settled.state["aliases"] == entry.aliases == {"champion": "3", "previous": "2"}
    assert (entry.event, entry.version, entry.actor, entry.reasons) == ("promotion", "3", "ann", ("the rare class",))
    assert entry.dataset_md5 is None
    assert settled.breaches() == settled.turns == []


def test_a_promotion_beside_another_champion_is_stale(settled: Registry) -> None:
    settled.carry_out(HOLD, "2")
    settled.carry_out(PROMOTE, "2")
    before = settled.state
    stale = r"Version 3 of bells was evaluated against version 2, and version 4 is champion now.*retrain --force"
    with pytest.raises(RegistryError, match=f"{stale}.*--accept-stale"):
        settled.ask(registries.promote, "3")
    assert settled.state == before
    assert settled.ask(registries.promote, "v3", accept_stale=True).aliases["champion"] == "3"


@pytest.mark.parametrize("version", ["99", "abc", "@nobody", "", "3.5", "-1"])
def test_a_version_that_is_not_there_is_named_with_those_that_are(settled: Registry, version: str) -> None:
    before = settled.state
    with pytest.raises(RegistryError, match=f"'{version}' is no version of bells. Registered: 1, 2; .*@champion"):
        settled.ask(registries.promote, version)
    assert settled.state == before


def test_without_any_version_retrain_is_named(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="Registered: none; `tenuto retrain` makes one"):
        registry.ask(registries.promote, "1")
    with pytest.raises(RegistryError, match="bells has no @previous version to return to"):
        registry.ask(registries.rollback)


def test_what_may_not_be_champion(settled: Registry) -> None:
    with pytest.raises(RegistryError, match="Version 2 of bells is @champion already"):
        settled.ask(registries.promote, "2")
    settled.carry_out(PROMOTE, "2", needs_approval=True)
    with pytest.raises(RegistryError, match=r"Version 3 of bells waits for approval: `tenuto approve 3`"):
        settled.ask(registries.promote, "3")
    settled.client.set_model_version_tag("bells", "1", "tenuto.erased", "certificate 7")
    settled.client.set_model_version_tag("bells", "3", "tenuto.erased", "certificate 7")
    for call, version in ((registries.promote, "1"), (registries.rollback, "1"), (registries.approve, "3")):
        with pytest.raises(RegistryError, match=r"erased since \(certificate 7\); it cannot be champion"):
            settled.ask(call, version)
    settled.client.create_model_version("bells", source="file:///nowhere", tags={"tenuto.pending": "{}"})
    with pytest.raises(RegistryError, match="'4' is no version"):
        settled.ask(registries.promote, "4")
    assert settled.state["aliases"] == {"champion": "2", "previous": "1", "challenger": "3"}


def test_a_rollback_swaps_champion_and_previous(settled: Registry) -> None:
    for champion, previous in (("1", "2"), ("2", "1")):
        entry = settled.ask(registries.rollback)
        assert entry.aliases == {"champion": champion, "previous": previous}
    assert settled.ask(registries.rollback, "1").version == "1"
    assert settled.breaches() == []


def test_a_rollback_from_several_labels_a_clip_to_one_is_refused(settled: Registry, tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    (tmp_path / "many" / "config.json").write_text('{"problem_type": "multi_label_classification"}')
    settled.carry_out(PROMOTE, "2", checkpoint={"path": tmp_path / "many"})
    with pytest.raises(RegistryError, match=r"it gives one label a clip, in `label`\. .*--accept-changes"):
        settled.ask(registries.rollback)


def test_a_rollback_to_other_classes_or_preprocessing_is_refused(settled: Registry) -> None:
    changed = {"labels": ("high", "mid"), "preprocessing": "q" * 64}
    settled.carry_out(PROMOTE, "2", checkpoint=changed)
    told = r"it does not know mid; it may answer low; its preprocessing is p, not qqqqqqqqqqqq\. .*--accept-changes"
    before = settled.state
    with pytest.raises(RegistryError, match=told):
        settled.ask(registries.rollback)
    assert settled.state == before
    entry = settled.ask(registries.rollback, accept_changes=True, reason="needed")
    assert entry.aliases["champion"] == "2"
    assert entry.reasons[0].startswith("needed (accepted: it does not know mid")


@pytest.mark.parametrize("needs_approval", [False, True])
def test_a_version_of_other_classes_is_champion_only_with_that_word(
    settled: Registry, tmp_path: Path, needs_approval: bool
) -> None:
    (tmp_path / "many").mkdir()
    (tmp_path / "many" / "config.json").write_text('{"problem_type": "multi_label_classification"}')
    verdict = PROMOTE if needs_approval else HOLD
    changed = {"path": tmp_path / "many", "labels": ("high", "mid")}
    settled.carry_out(verdict, "2", needs_approval=needs_approval, checkpoint=changed)
    call = registries.approve if needs_approval else registries.promote
    before = settled.state
    told = r"it gives several labels a clip, in `labels`; it does not know low; it may answer mid\. .*--accept-changes"
    with pytest.raises(RegistryError, match=told):
        settled.ask(call, "3")
    assert settled.state == before
    entry = settled.ask(call, "3", accept_changes=True, reason="agreed")
    assert entry.aliases["champion"] == "3"
    assert entry.reasons[0].startswith("agreed (accepted: it gives several labels a clip")


def test_the_order_of_the_classes_counts(settled: Registry) -> None:
    settled.carry_out(PROMOTE, "2", checkpoint={"labels": ("high", "low")})
    with pytest.raises(RegistryError, match=r"its classes come in another order \(low, high\)"):
        settled.ask(registries.rollback)


def test_files_that_are_gone_stop_a_rollback_to_them_and_not_one_away_from_them(registry: Registry) -> None:
    registry.carry_out(PROMOTE, None)
    registry.carry_out(PROMOTE, "1")
    lost = registry.client.get_model_version("bells", "2").source
    from pathlib import Path
    from shutil import rmtree

    rmtree(Path(lost.removeprefix("file://")))
    with pytest.raises(RegistryError, match="the champion's files cannot be read"):
        registry.ask(registries.rollback)
    assert registry.ask(registries.rollback, accept_changes=True).version == "1"
    with pytest.raises(RegistryError, match="The files of version 2 of bells cannot be read from"):
        registry.ask(registries.rollback)


def test_approval_moves_the_champion_and_refusal_does_not(settled: Registry) -> None:
    settled.carry_out(PROMOTE, "2", needs_approval=True)
    settled.carry_out(PROMOTE, "2", needs_approval=True)
    assert settled.ask(registries.refuse, "4", reason="no").aliases == {"champion": "2", "previous": "1"}
    entry = settled.ask(registries.approve, "3", actor="ben")
    assert (entry.event, entry.aliases) == ("approval", {"champion": "3", "previous": "2"})
    tags = {version: settled.client.get_model_version("bells", version).tags for version in ("3", "4")}
    assert (tags["3"]["tenuto.approval"], tags["4"]["tenuto.approval"]) == ("approved by ben", "refused by ann")
    assert settled.breaches() == []
    for call, version, told in (
        (registries.approve, "3", "approved by ben already"),
        (registries.refuse, "4", "refused by ann already"),
        (registries.approve, "1", "does not wait for approval; none does"),
    ):
        with pytest.raises(RegistryError, match=told):
            settled.ask(call, version)


def test_a_refused_version_is_promoted_by_hand_only_with_that_word(settled: Registry) -> None:
    settled.carry_out(PROMOTE, "2", "c0ffee", needs_approval=True)
    settled.ask(registries.refuse, "3")
    with pytest.raises(RegistryError, match=r"Version 3 of bells was refused by ann; .* pass --accept-refused"):
        settled.ask(registries.promote, "3")
    assert settled.state["aliases"]["champion"] == "2"
    entry = settled.ask(registries.promote, "3", accept_refused=True)
    assert entry.reasons == ("a test (although it was refused by ann)",)
    assert settled.state["aliases"]["champion"] == "3"


def test_refused_weights_that_pass_again_wait_for_a_person_again(settled: Registry) -> None:
    settled.carry_out(PROMOTE, "2", "c0ffee", needs_approval=True)
    settled.ask(registries.refuse, "3")
    done = settled.carry_out(PROMOTE, "2", "c0ffee", needs_approval=True)
    assert (done.model.version, done.model.aliases) == ("4", ("challenger",))
    assert settled.client.get_model_version("bells", "4").tags["tenuto.approval"] == "awaiting"
    # without approval the policy decides
    assert settled.carry_out(PROMOTE, "2", "c0ffee").model.aliases == ("champion",)


@pytest.mark.parametrize("event", ["erasure", "rotation", "evidence"])
def test_what_moves_no_alias_is_recorded_with_the_aliases_that_are(settled: Registry, event: Any) -> None:
    told = Decision(at=datetime.now(UTC), actor="ann", event=event, model="bells", aliases={"champion": "9"})
    entry = registries.record(settled.tracking_uri, settled.ledger, told)
    assert entry.aliases == entry.aliases_before == {"champion": "2", "previous": "1"}
    assert settled.breaches() == []
