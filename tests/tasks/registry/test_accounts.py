"""What is left of a test set, and that no touched ledger refills it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tasks import registry as registries
from tasks.registry import mirror
from tenuto.deciding.policy import WearSettings
from tenuto.errors import LedgerError
from tenuto.records import Account, Verdict
from tenuto.splitting.holdout import Holdout, Rotation, Units
from tenuto.tracing import ledger
from tests.tasks.registry.conftest import PROMOTE, REJECT, RULE, Registry

YEAR = WearSettings(alpha=0.05, decisions=52)
FIRST = 0.04 / 41.8
LATER = datetime(2040, 3, 2, tzinfo=UTC)


def missed(level: float = FIRST, holdout: str = "1") -> Verdict:
    """A decision that was not shown: it takes level / 0.8."""
    account = Account(holdout=holdout, alpha=0.05, decisions=52, used=0, level=level, left=1.0)
    open_claim = RULE.model_copy(update={"p_value": 0.3, "outcome": "inconclusive"})
    return REJECT.model_copy(update={"account": account, "p_value": 0.3, "rules": (open_claim,)})


def asked(registry: Registry, holdout: Holdout | None = None, name: str = "bells") -> Account:
    return registries.account(registry.tracking_uri, name, registry.ledger, YEAR, holdout or Holdout())


def rotated(*at: datetime) -> Holdout:
    return Holdout(rotations=tuple(Rotation(at=when, batch=0, test=Units(), released=Units()) for when in at))


def rewritten(registry: Registry, number: int, **use: Any) -> str:
    """Entry `number` with another use and a hash that fits."""
    content = json.loads(ledger.line(registry.entries[number - 1]))
    content["use"] |= use
    content["sha256"] = ledger.content_sha256(content)
    return json.dumps(content, separators=(",", ":"))


@pytest.fixture
def used(settled: Registry) -> Registry:
    """Two versions, and then one decision that cost its test set something."""
    settled.carry_out(missed(), "2")
    return settled


def test_nothing_was_asked_of_a_model_that_has_nothing(tracking_uri: str, registry: Registry) -> None:
    assert asked(registry).used == 0
    assert asked(registry, name="another").level == pytest.approx(FIRST)
    assert registry.client.get_experiment_by_name("another") is None


def test_a_decision_is_counted_and_a_promotion_by_hand_is_not(used: Registry) -> None:
    used.ask(registries.promote, "1", accept_stale=True)
    found = asked(used)
    assert (found.used, found.left) == (1, pytest.approx(1 - FIRST / 0.8 / 0.05))


@pytest.mark.parametrize("is_rehashed", [False, True])
def test_an_edited_p_value_refills_nothing(used: Registry, is_rehashed: bool) -> None:
    whole = used.ledger.read_text()
    line = rewritten(used, 3, p_value=0.9)
    touched = line if is_rehashed else whole.splitlines()[2].replace('"p_value":0.3', '"p_value":0.9')
    used.ledger.write_text(whole.replace(whole.splitlines()[2], touched))
    with pytest.raises(LedgerError, match=r"was touched: entry 3 .*ledger verify.*ledger restore"):
        asked(used)
    registries.restore(used.tracking_uri, "bells", used.ledger)
    assert asked(used).used == 1


def test_neither_do_lines_that_are_gone_or_no_entry(used: Registry) -> None:
    whole = used.ledger.read_bytes()
    for touched in (b"", b"".join(whole.splitlines(keepends=True)[:2]), whole + b"garbage\n"):
        used.ledger.write_bytes(touched)
        with pytest.raises(LedgerError, match="was touched"):
            asked(used)
    used.ledger.unlink()
    with pytest.raises(LedgerError, match="was touched"):
        asked(used)


def test_neither_does_an_edited_copy_in_mlflow(used: Registry) -> None:
    experiment = used.client.get_experiment_by_name("bells").experiment_id
    used.client.set_experiment_tag(experiment, mirror.tag(3), rewritten(used, 3, p_value=0.9))
    with pytest.raises(LedgerError, match="was touched"):
        asked(used)


def test_an_alias_that_was_moved_by_hand_stops_nothing(used: Registry) -> None:
    used.client.set_registered_model_alias("bells", "champion", "1")
    assert used.breaches()
    assert asked(used).used == 1


def test_a_new_store_stops_nothing(used: Registry, registry: Registry) -> None:
    registry.ledger.write_bytes(used.ledger.read_bytes())
    assert asked(registry).used == 1


def test_another_name_asks_the_same_account_even_when_the_file_is_gone(used: Registry) -> None:
    assert asked(used, name="another").used == 1
    # entries are only known again by the place of the file that they were written to
    used.ledger.unlink()
    used.ledger.write_text("")
    with pytest.raises(LedgerError):
        asked(used)
    used.ledger.unlink()
    assert asked(used, name="another").used == 1


def test_a_touched_line_of_another_model_stops_too(used: Registry) -> None:
    whole = used.ledger.read_text()
    used.ledger.write_text(whole.replace('"p_value":0.3', '"p_value":0.9'))
    with pytest.raises(LedgerError, match="entry 3 was edited"):
        asked(used, name="another")


def test_a_rotation_opens_an_account_when_an_entry_tells_of_it(used: Registry) -> None:
    with pytest.raises(LedgerError, match="a rotation of 2040-03-02 00:00:00, and the ledger has no entry of it"):
        asked(used, rotated(LATER))
    told = ledger.Decision(at=LATER, actor="ann", event="rotation", model="bells")
    registries.record(used.tracking_uri, used.ledger, told)
    found = asked(used, rotated(LATER))
    assert (found.holdout, found.used, found.level) == ("2", 0, pytest.approx(FIRST))
    with pytest.raises(LedgerError, match="no entry of it"):
        asked(used, rotated(LATER, LATER.replace(year=2041)))


def test_a_rotation_pasted_before_a_real_one_refills_nothing(used: Registry) -> None:
    real = datetime(2026, 3, 2, tzinfo=UTC)
    registries.record(
        used.tracking_uri, used.ledger, ledger.Decision(at=real, actor="ann", event="rotation", model="bells")
    )
    used.carry_out(missed(holdout="2"), "2")
    assert asked(used, rotated(real)).used >= 1
    # by number this would be the third test set, of which nobody has asked anything
    assert asked(used, rotated(real.replace(year=2025), real)).used >= 1


def test_a_promotion_that_was_shown_costs_nothing(settled: Registry) -> None:
    account = Account(holdout="1", alpha=0.05, decisions=52, used=0, level=FIRST, left=1.0)
    shown = RULE.model_copy(update={"p_value": 0.0001})
    settled.carry_out(PROMOTE.model_copy(update={"account": account, "p_value": 0.0001, "rules": (shown,)}), "2")
    assert (asked(settled).used, asked(settled).left) == (1, 1.0)
