"""Every way to touch a ledger, on one of seven entries; `benchmarks/tampering.py` does it at random, with MLflow."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from tenuto.tracing import ledger, tampering
from tenuto.tracing.ledger import Decision, Entry

HERE, ELSEWHERE = "here", "elsewhere"
NOW = {"champion": "3", "previous": "2"}


def decision(minute: int, event: Any, before: dict[str, str], after: dict[str, str], model: str = "bells") -> Decision:
    at = datetime(2026, 3, 3, 14, minute, tzinfo=UTC)
    return Decision(
        at=at, actor="ann", event=event, model=model, reasons=("why",), aliases_before=before, aliases=after
    )


def chain(place: str = HERE) -> list[Entry]:
    """Seven entries: two promotions, a rejection, a rotation that names no alias, a promotion, two more rejections."""
    one, two, three = {"champion": "1"}, {"champion": "2", "previous": "1"}, NOW
    told = [
        decision(1, "decision", {}, one),
        decision(2, "promotion", one, two),
        decision(3, "decision", two, two),
        decision(4, "rotation", {}, {}),
        decision(5, "approval", two, three),
        decision(6, "decision", three, three),
        decision(7, "decision", three, three),
    ]
    entries: list[Entry] = []
    for each in told:
        entries.append(ledger.chained(each, entries[-1] if entries else None, place))
    return entries


ENTRIES = chain()
LINES = [ledger.line(entry) for entry in ENTRIES]
MIRROR = dict(enumerate(LINES, start=1))
OTHER = ledger.line(ledger.chained(decision(0, "decision", {}, {}, model="gongs"), None))


def found(
    lines: list[str] | None = None, unfinished: str = "", **named: Any
) -> list[tuple[str, int | None, int | None]]:
    """Kind, entry and line of what was found."""
    context: dict[str, Any] = {"mirror": MIRROR, "on_versions": {}, "aliases": NOW, "place": HERE, "model": "bells"}
    breaches = tampering.verify(LINES if lines is None else lines, unfinished, **context | named)
    assert all(breach.what for breach in breaches)
    return [(breach.kind, breach.entry, breach.line) for breach in breaches]


def rehashed(text: str, **changes: Any) -> str:
    """An edit by somebody who knows how the hash is made."""
    content = {**json.loads(text), **changes}
    content["sha256"] = ledger.content_sha256(content)
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False)


def with_line(number: int, text: str) -> list[str]:
    return [*LINES[: number - 1], text, *LINES[number:]]


def test_an_untouched_ledger_is_clean() -> None:
    assert found() == []
    assert found([OTHER, *LINES[:3], OTHER, *LINES[3:]]) == []
    assert found([], mirror={}, aliases={}) == []
    assert found([], mirror={}) == [], "a registry that is older than its ledger"


@pytest.mark.parametrize("number", range(1, 8))
@pytest.mark.parametrize(
    ("edit", "kind"),
    [
        (lambda text: text.replace('"why"', '"another"'), "edited"),
        (lambda text: text.replace("14:0", "15:0"), "edited"),
        (lambda text: rehashed(text, reasons=["another"]), "edited"),
        (lambda text: text.replace(",", ", ", 1), "edited"),
        (lambda text: text.replace('{"at', '{"actor":"ben","at'), "edited"),
        (lambda text: text[:-5], "garbage"),
        (lambda text: "", "garbage"),
    ],
)
def test_an_edited_line_is_found_and_named(number: int, edit: Callable[[str], str], kind: str) -> None:
    touched = with_line(number, edit(LINES[number - 1]))
    assert (kind, None if kind == "garbage" else number, number) in found(touched)


def test_what_an_edit_changed_is_told() -> None:
    touched = with_line(2, rehashed(LINES[1], actor="mallory"))
    (breach,) = tampering.verify(touched, "", model="bells", mirror=MIRROR, on_versions={}, aliases=NOW, place=HERE)
    assert breach.what == 'entry 2 is another one than the one in MLflow (actor "ann" became "mallory")'


def test_a_chain_that_is_broken_is_found_without_a_mirror() -> None:
    touched = with_line(2, rehashed(LINES[1], actor="mallory"))
    assert ("edited", 3, 3) in found(touched, mirror={})


@pytest.mark.parametrize("number", range(1, 7))
def test_a_deleted_line_is_found(number: int) -> None:
    assert found(LINES[: number - 1] + LINES[number:]) == [("deleted", number, None)]


@pytest.mark.parametrize("kept", range(7))
def test_a_truncated_ledger_is_found(kept: int) -> None:
    assert found(LINES[:kept]) == [("truncated", number, None) for number in range(kept + 1, 8)]


def test_a_line_that_is_cut_in_the_middle_is_found() -> None:
    assert found(LINES[:6], LINES[6][:50]) == [("truncated", None, 7), ("truncated", 7, None)]


def test_reordered_lines_are_found() -> None:
    assert found([LINES[1], LINES[0], *LINES[2:]]) == [("reordered", 1, 2)]
    assert [kind for kind, *_ in found(LINES[::-1])] == ["reordered"] * 6


def test_an_inserted_line_is_found() -> None:
    assert found([*LINES, LINES[3]]) == [("inserted", 4, 8)]
    forged = ledger.line(ledger.chained(decision(8, "decision", NOW, NOW), ENTRIES[-1], HERE))
    assert found([*LINES, forged]) == [("inserted", 8, 8)], "with a right hash, but MLflow lacks it"


def test_entries_of_other_hosts_may_be_missing_at_the_end() -> None:
    elsewhere = chain(ELSEWHERE)
    lines = [ledger.line(entry) for entry in elsewhere]
    mirror = dict(enumerate(lines, start=1))
    assert found(lines[:5], mirror=mirror) == []
    assert tampering.awaited(lines[:5], model="bells", mirror=mirror, place=HERE) == (6, 7)
    assert found(lines[:3] + lines[4:], mirror=mirror) == [("deleted", 4, None)]


@pytest.mark.parametrize(
    ("mirror", "wanted"),
    [
        ({**MIRROR, 3: MIRROR[3].replace("why", "who")}, [("mirror", 3, None)]),
        ({**MIRROR, 3: "{"}, [("mirror", 3, None)]),
        ({number: text for number, text in MIRROR.items() if number != 3}, [("mirror", 3, 3)]),
        ({number: text for number, text in MIRROR.items() if number != 7}, [("inserted", 7, 7)]),
        ({}, [("mirror", None, None)]),
    ],
)
def test_a_touched_mirror_is_found(mirror: dict[int, str], wanted: list[Any]) -> None:
    assert found(mirror=mirror) == wanted


def test_a_ledger_can_be_made_again_from_a_whole_chain_only() -> None:
    assert tampering.is_chain(MIRROR)
    assert tampering.is_chain({number: text for number, text in MIRROR.items() if number < 7}), "a shorter one"
    assert not tampering.is_chain({number: text for number, text in MIRROR.items() if number != 3})
    assert not tampering.is_chain({**MIRROR, 3: MIRROR[3].replace("why", "who")})
    assert not tampering.is_chain({**MIRROR, 3: rehashed(MIRROR[3], actor="mallory")})
    assert not tampering.is_chain({**MIRROR, 3: "{"})


def test_a_version_still_carries_what_was_deleted_everywhere_else() -> None:
    kept = {"mirror": {}, "on_versions": {2: LINES[1]}, "aliases": ENTRIES[1].aliases}
    assert found([], **kept) == [("truncated", 2, None), ("mirror", 2, None)]
    assert found(on_versions={2: LINES[2]}) == [("mirror", 2, None)]
    assert found(on_versions={2: LINES[1]}) == []


@pytest.mark.parametrize(
    ("aliases", "told"),
    [
        ({**NOW, "champion": "5"}, "@champion was moved from 3 to 5 behind the ledger's back, after entry 7"),
        ({"previous": "2"}, "@champion was taken from 3 behind the ledger's back, after entry 7"),
        ({**NOW, "challenger": "4"}, "@challenger was set to 4 behind the ledger's back, after entry 7"),
    ],
)
def test_an_alias_that_was_moved_by_hand_is_found(aliases: dict[str, str], told: str) -> None:
    (breach,) = tampering.verify(LINES, "", model="bells", mirror=MIRROR, on_versions={}, aliases=aliases, place=HERE)
    assert (breach.kind, breach.what) == ("alias", told)


def test_an_alias_that_was_moved_before_the_last_entry_stays_found() -> None:
    moved = ledger.chained(decision(8, "decision", {"champion": "5"}, {"champion": "5"}), ENTRIES[-1], HERE)
    lines = [*LINES, ledger.line(moved)]
    mirror = dict(enumerate(lines, start=1))
    breaches = tampering.verify(
        lines, "", model="bells", mirror=mirror, on_versions={}, aliases={"champion": "5"}, place=HERE
    )
    assert [breach.what for breach in breaches] == [
        "between entries 7 and 8 @champion was moved from 3 to 5 behind the ledger's back",
        "between entries 7 and 8 @previous was taken from 2 behind the ledger's back",
    ]


def test_the_first_line_that_was_touched_is_seen_in_the_file_alone() -> None:
    assert tampering.first_touched([], "bells") is None
    assert tampering.first_touched([OTHER, *LINES], "bells") is None
    forged = LINES[2].replace('"why"', '"because"')
    assert tampering.first_touched([*LINES[:2], forged, *LINES[3:]], "bells") == 3
    assert tampering.first_touched([*LINES[:2], *LINES[3:]], "bells") == 3
    assert tampering.first_touched([*LINES[:4], "garbage", *LINES[4:]], "bells") == 5
    assert tampering.first_touched([*LINES[:2], rehashed(LINES[2], actor="eve"), *LINES[3:]], "bells") == 4
