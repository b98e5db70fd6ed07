"""What the registry answers, and what `ledger verify` finds with a real MLflow behind it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import tampering
from tasks import registry as registries
from tasks.registry import mirror, pending, store
from tenuto.errors import LedgerError
from tests.tasks.registry.conftest import HOLD, PROMOTE, REJECT, Registry


@pytest.mark.parametrize("times", [len(tampering.WAYS), pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.timeout(900)
def test_random_tampering_is_found_and_nothing_else(tracking_uri: str, tmp_path: Path, times: int) -> None:
    tally = tampering.tampered(tampering.made(tracking_uri, tmp_path / "ledger.jsonl", entries=9), times)
    assert (tally.missed, tally.false_alarms) == ([], [])
    assert tally.found.total() == times


def test_the_models_are_listed_newest_first_without_unfinished_ones(settled: Registry) -> None:
    settled.carry_out(PROMOTE, "2", needs_approval=True)
    settled.client.set_model_version_tag("bells", "1", "tenuto.erased", "certificate 7")
    settled.client.create_model_version("bells", source="file:///nowhere", tags={store.PENDING: pending.mark()})
    rows = registries.models(settled.tracking_uri, "bells")
    assert [(row["version"], row["aliases"], row["approval"], row["erased"]) for row in rows] == [
        ("3", ["challenger"], "awaiting", None),
        ("2", ["champion"], None, None),
        ("1", ["previous"], None, "certificate 7"),
    ]
    assert rows[0]["verdict"] == "promote"
    assert registries.models(settled.tracking_uri, "unknown") == []


def test_what_a_busy_run_has_pending_is_left_alone(settled: Registry) -> None:
    settled.client.create_model_version("bells", source="file:///nowhere", tags={store.PENDING: pending.mark()})
    pending.settle(settled.client, "bells", settled.ledger)
    assert settled.state["versions"] == {1, 2, 3}


def test_a_ledger_that_was_deleted_comes_back_with_the_next_entry(settled: Registry) -> None:
    before = settled.entries
    settled.ledger.unlink()
    verification = registries.verify(settled.tracking_uri, "bells", settled.ledger)
    # written at another place: the fixture is a copy, as another host's workspace would be
    assert (verification.breaches, verification.elsewhere) == ((), (1, 2))
    assert registries.history(settled.tracking_uri, "bells", settled.ledger) == before
    settled.carry_out(REJECT, "2")
    assert settled.entries[:2] == before
    assert settled.breaches() == []


def test_a_touched_file_is_restored_and_kept_aside(registry: Registry) -> None:
    registry.carry_out(PROMOTE, None)
    registry.carry_out(REJECT, "1")
    whole = registry.ledger.read_bytes()
    registry.ledger.write_bytes(whole.replace(b"retrain", b"mallory", 1))
    assert registry.breaches() == [
        'entry 1 was edited (actor "retrain" became "mallory"): its hash is not that of what it says'
    ]
    aside = registries.restore(registry.tracking_uri, "bells", registry.ledger)
    assert registry.ledger.read_bytes() == whole
    assert aside is not None
    assert b"mallory" in aside.read_bytes()
    assert registry.breaches() == []


def test_a_touched_mirror_is_restored_from_a_whole_file(registry: Registry) -> None:
    registry.carry_out(PROMOTE, None)
    registry.carry_out(REJECT, "1")
    whole = registry.ledger.read_bytes()
    experiment = registry.client.get_experiment_by_name("bells").experiment_id
    registry.client.set_experiment_tag(experiment, "tenuto.ledger.000001", "{}")
    registry.client.set_model_version_tag("bells", "1", "tenuto.ledger.000001", "{}")
    assert len(registry.breaches()) == 1
    assert registries.restore(registry.tracking_uri, "bells", registry.ledger) is None
    assert registry.ledger.read_bytes() == whole
    assert registry.breaches() == []


def test_where_neither_is_whole_nothing_is_restored(registry: Registry) -> None:
    with pytest.raises(LedgerError, match="MLflow holds 0 entries"):
        registries.restore(registry.tracking_uri, "bells", registry.ledger)
    registry.carry_out(PROMOTE, None)
    experiment = registry.client.get_experiment_by_name("bells").experiment_id
    registry.client.set_experiment_tag(experiment, "tenuto.ledger.000001", "{}")
    touched = registry.ledger.read_bytes().replace(b"retrain", b"mallory", 1)
    registry.ledger.write_bytes(touched)
    with pytest.raises(LedgerError, match="no whole chain"):
        registries.restore(registry.tracking_uri, "bells", registry.ledger)
    assert registry.ledger.read_bytes() == touched


def test_a_new_store_gets_the_entries_of_the_file(registry: Registry, settled: Registry) -> None:
    # the registry's aliases are gone with the old store, and that is told
    registry.ledger.write_bytes(settled.ledger.read_bytes())
    assert registry.breaches()[0].startswith("none of the 2 entries is in MLflow")
    registry.carry_out(REJECT, None)
    assert len(mirror.read(registry.client, "bells")) == 3
    assert [what for what in registry.breaches() if "behind the ledger's back" not in what] == []


def test_a_registry_older_than_its_ledger_is_not_accused(settled: Registry, tmp_path: Path) -> None:
    experiment = settled.client.get_experiment_by_name("bells")
    for key in experiment.tags:
        settled.client.delete_experiment_tag(experiment.experiment_id, key)
    for version in ("1", "2"):
        for key in settled.client.get_model_version("bells", version).tags:
            if key.startswith("tenuto.ledger."):
                settled.client.delete_model_version_tag("bells", version, key)
    settled.ledger.unlink()
    assert settled.breaches() == []
    settled.carry_out(HOLD, "2")
    found = registries.verify(settled.tracking_uri, "bells", settled.ledger)
    assert (found.breaches, found.began_with, found.entries) == ((), {"champion": "2", "previous": "1"}, 1)


def test_a_model_without_anything_is_clean(tracking_uri: str, tmp_path: Path) -> None:
    found = registries.verify(tracking_uri, "unknown", tmp_path / "ledger.jsonl")
    assert (found.entries, found.head, found.breaches) == (0, None, ())
    assert registries.history(tracking_uri, "unknown", tmp_path / "ledger.jsonl") == ()
