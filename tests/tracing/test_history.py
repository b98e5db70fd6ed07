"""Reigns from entries written by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from tenuto.errors import RegistryError
from tenuto.tracing import history, ledger
from tenuto.tracing.ledger import Entry

BERLIN = timezone(timedelta(hours=1))


def at(day: int, hour: int = 12) -> datetime:
    return datetime(2026, 3, day, hour, tzinfo=UTC)


def entries(*told: tuple[datetime, str | None, str | None, dict[str, Any]]) -> list[Entry]:
    """Entries by time, champion before and champion after."""
    chain: list[Entry] = []
    for when, before, after, more in told:
        decision = ledger.Decision(
            at=when,
            model="bells",
            aliases_before={"champion": before} if before else {},
            aliases={"champion": after} if after else {},
            **{"actor": "ann", "event": "promotion", **more},
        )
        chain.append(ledger.chained(decision, chain[-1] if chain else None))
    return chain


LEDGER = entries(
    (at(2), None, None, {"event": "decision", "verdict": "reject"}),
    (at(3), None, "1", {"reasons": ("first",)}),
    (at(5), "1", "1", {"event": "decision", "verdict": "reject"}),
    (at(5, 14), "1", "2", {"actor": "ben"}),
    (at(6), None, None, {"event": "erasure"}),
    (at(7), "4", "3", {"event": "rollback"}),
)


def test_reigns_follow_one_another() -> None:
    found = [(reign.version, reign.since, reign.until, reign.how, reign.actor) for reign in history.reigns(LEDGER)]
    assert found == [
        ("1", at(3), at(5, 14), "promotion", "ann"),
        ("2", at(5, 14), at(7), "promotion", "ben"),
        ("4", at(7), at(7), "unrecorded", "unknown"),
        ("3", at(7), None, "rollback", "ann"),
    ]
    assert history.reigns(LEDGER)[0].reasons == ("first",)
    assert history.reigns([]) == ()


@pytest.mark.parametrize(
    ("when", "version"),
    [
        (at(2, 13), None),
        (at(3), "1"),
        (at(5, 13), "1"),
        (at(5, 14), "2"),
        (at(6, 23), "2"),
        (at(7), "3"),
        (at(20), "3"),
    ],
)
def test_the_champion_at_a_moment(when: datetime, version: str | None) -> None:
    reign = history.champion_at(LEDGER, when)
    assert (reign.version if reign else None) == version


def test_before_the_ledger_nothing_is_known() -> None:
    with pytest.raises(RegistryError, match=r"The ledger begins at 2026-03-02 .* 2026-03-01 .* was not recorded"):
        history.champion_at(LEDGER, at(1))
    with pytest.raises(RegistryError, match="has no entry yet"):
        history.champion_at([], at(1))


def test_a_registry_older_than_its_ledger_has_a_champion_since_before() -> None:
    (first, second) = history.reigns(entries((at(3), "7", "8", {})))
    assert (first.version, first.since, first.until, first.how) == ("7", None, at(3), "unrecorded")
    assert (second.version, second.since) == ("8", at(3))


def test_times_without_a_champion_are_left_out() -> None:
    taken_away = entries((at(3), None, "1", {}), (at(4), None, None, {"event": "decision"}), (at(5), None, "2", {}))
    found = [(reign.version, reign.since, reign.until) for reign in history.reigns(taken_away)]
    assert found == [("1", at(3), at(4)), ("2", at(5), None)]
    assert history.champion_at(taken_away, at(4, 13)) is None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-03-03", datetime(2026, 3, 3, 23, 59, 59, 999999, tzinfo=BERLIN)),
        ("2026-03-03T14:00", datetime(2026, 3, 3, 14, tzinfo=BERLIN)),
        ("2026-03-03 14:00:05", datetime(2026, 3, 3, 14, 0, 5, tzinfo=BERLIN)),
        ("2026-03-03T14:00Z", datetime(2026, 3, 3, 14, tzinfo=UTC)),
        ("2026-03-20", at(20)),  # today is not over
    ],
)
def test_a_date_is_the_end_of_its_day_here(text: str, wanted: datetime) -> None:
    assert history.moment(text, BERLIN, at(20)) == wanted


@pytest.mark.parametrize("text", ["yesterday", "2026-02-30", "3.3.2026", "", "2026-3-3"])
def test_what_is_no_date_is_named(text: str) -> None:
    with pytest.raises(RegistryError, match=f"'{text}' is no date; wanted one such as 2026-03-03"):
        history.moment(text, BERLIN, at(20))


@pytest.mark.parametrize("text", ["2026-03-21", "2026-03-20T14:00", "2999-01-01"])
def test_the_future_is_unknown(text: str) -> None:
    with pytest.raises(RegistryError, match=f"{text} is in the future"):
        history.moment(text, BERLIN, at(20))
