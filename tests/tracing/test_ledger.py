"""The file: chained, torn, shortened; and what an entry is."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tenuto.errors import LedgerError
from tenuto.tracing import ledger
from tenuto.tracing.ledger import Decision


def decision(minute: int = 0, **more: Any) -> Decision:
    return Decision(
        at=datetime(2026, 3, 3, 14, minute, tzinfo=UTC),
        **{"actor": "ann", "event": "promotion", "model": "bells", **more},
    )


def test_entries_are_chained_by_the_hash_of_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    first, second = ledger.append(path, decision()), ledger.append(path, decision(1, version="3"))
    assert ledger.read(path) == (first, second)
    assert (first.number, first.previous) == (1, "0" * 64)
    assert (second.number, second.previous) == (2, first.sha256)
    # by hand: all fields but the hash, in name order
    fields = {name: value for name, value in json.loads(path.read_text().split("\n")[1]).items() if name != "sha256"}
    assert second.sha256 == hashlib.sha256(json.dumps(fields, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def test_each_model_has_a_chain_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    numbers = [ledger.append(path, decision(model=model)).number for model in ("bells", "gongs", "bells")]
    assert numbers == [1, 1, 2]


def test_without_a_file_there_are_no_entries(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    assert (ledger.read(path), ledger.lines(path), ledger.unfinished(path)) == ((), [], "")


@pytest.mark.parametrize("reason", ["a\nb", "line\u2028separator", "next\x85line", "emoji 🎵", 'quote " and \\'])
def test_any_reason_stays_one_line(tmp_path: Path, reason: str) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger.append(path, decision(reasons=(reason,)))
    ledger.append(path, decision(1))
    assert [entry.reasons for entry in ledger.read(path)] == [(reason,), ()]


@pytest.mark.parametrize("garbage", ["", "{", "{}", "\x00\x00"])
def test_a_line_that_is_no_entry_is_named_and_does_not_stop_the_next_entry(tmp_path: Path, garbage: str) -> None:
    path = tmp_path / "ledger.jsonl"
    first = ledger.append(path, decision())
    with path.open("a") as file:
        file.write(f"{garbage}\n")
    with pytest.raises(LedgerError, match=r"ledger\.jsonl, line 2 is no entry; .*ledger verify.*ledger restore"):
        ledger.read(path)
    assert ledger.append(path, decision(1)).previous == first.sha256


@pytest.mark.parametrize("kept", [1, 40, -1])
def test_a_half_written_last_line_gives_way_to_the_next_entry(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "ledger.jsonl"
    first = ledger.append(path, decision())
    whole = path.read_bytes()
    ledger.append(path, decision(1))
    path.write_bytes(whole + path.read_bytes()[len(whole) :][:kept])
    assert ledger.read(path) == (first,)
    assert ledger.unfinished(path) != ""
    again = ledger.append(path, decision(2))
    assert ledger.read(path) == (first, again)


def test_bytes_that_are_no_text_are_a_line_that_is_no_entry(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b"\xff\xfe\x00\n")
    with pytest.raises(LedgerError, match="line 1 is no entry"):
        ledger.read(path)


@pytest.mark.parametrize(
    "reasons",
    [("x" * 20_000,), ("y" * 3000, "z" * 3000), ("short",) * 2000, tuple("w" * 61 for _ in range(500)), ("ü" * 9000,)],
)
def test_an_entry_fits_a_tag_whatever_the_reasons(reasons: tuple[str, ...]) -> None:
    entry = ledger.chained(decision(reasons=reasons, evidence={"checkpoint": "a" * 64}), None, "place")
    assert len(ledger.line(entry)) <= 5000
    assert entry.reasons
    assert ledger.shortened(decision(reasons=("as it is",))).reasons == ("as it is",)


def test_a_later_release_may_add_a_field(tmp_path: Path) -> None:
    content = {**decision().model_dump(mode="json"), "number": 1, "previous": "0" * 64, "place": ""}
    content.pop("use")
    assert ledger.content_sha256({**content, "sha256": "whatever"}) == ledger.content_sha256(content)
    assert ledger.Entry(**content, sha256="").use is None


def test_one_event_is_known_again() -> None:
    one = decision(version="3")
    assert ledger.is_same(one, ledger.chained(one, None))
    assert not ledger.is_same(one, decision(1, version="3"))
    assert not ledger.is_same(one, decision(version="4"))


def test_replacing_keeps_other_models_and_the_touched_file(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger.append(path, decision(model="gongs"))
    entry = ledger.append(path, decision())
    path.write_text(path.read_text() + "garbage\n")
    aside = ledger.replace(path, "bells", [ledger.line(entry)])
    assert [entry.model for entry in ledger.read(path)] == ["gongs", "bells"]
    assert aside is not None
    assert aside.read_text().endswith("garbage\n")
    assert not path.with_suffix(".fresh").exists()
