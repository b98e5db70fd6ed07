"""Who was champion when: the ledger folded into reigns.

Pure, and apart from the ledger itself because it interprets what the entries say. A registry may be older than its
ledger; what was before the first entry is unknown, and said to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta, tzinfo

from pydantic import Field

from tenuto.errors import RegistryError
from tenuto.records import Record
from tenuto.tracing.ledger import Entry

CHAMPION = "champion"


class Reign(Record):
    """One version's time as champion."""

    version: str | None = Field(description="None: no champion")
    since: datetime | None = Field(description="None: since before the ledger began")
    until: datetime | None = Field(description="None: still is")
    how: str = Field(description="the event of the entry that made it champion, or 'unrecorded'")
    actor: str
    reasons: tuple[str, ...] = ()
    entry: int | None = Field(default=None, description="number of the entry that made it champion")


def reigns(entries: Sequence[Entry]) -> tuple[Reign, ...]:
    """All champions of one model, oldest first; times without any champion are left out, except the present one.

    A change that the ledger saw only at its next entry is dated there and called 'unrecorded'.
    """
    found: list[Reign] = []
    for entry in entries:
        if not (entry.aliases or entry.aliases_before) and entry.event in ("erasure", "rotation", "evidence"):
            continue
        _turn(found, entry, entry.aliases_before.get(CHAMPION), is_recorded=False)
        _turn(found, entry, entry.aliases.get(CHAMPION), is_recorded=True)
    return tuple(reign for reign in found if reign.version is not None)


def champion_at(entries: Sequence[Entry], when: datetime) -> Reign | None:
    """Who was champion at `when`; None when nobody was.

    Raises RegistryError when that was before the ledger began.
    """
    if not entries or when < entries[0].at:
        began = f"begins at {_shown(entries[0].at)}" if entries else "has no entry yet"
        raise RegistryError(
            f"The ledger {began}; who was champion at {_shown(when)} was not recorded. MLflow's own page may tell when "
            "a version was made."
        )
    for reign in reigns(entries):
        if (reign.since is None or reign.since <= when) and (reign.until is None or when < reign.until):
            return reign
    return None


def moment(text: str, zone: tzinfo | None, now: datetime) -> datetime:
    """The moment that `text` names: '2026-03-03' is the end of that day, '2026-03-03T14:00' that minute.

    Without a zone of its own it is read in `zone` (None: this machine's). Raises RegistryError when it cannot be read
    or lies in the future; a day that is not over yet ends now.
    """
    try:
        is_day = names_a_day(text)
        read = datetime.combine(date.fromisoformat(text), time.max) if is_day else datetime.fromisoformat(text)
    except ValueError:
        raise RegistryError(f"{text!r} is no date; wanted one such as 2026-03-03 or 2026-03-03T14:00.") from None
    if read.tzinfo is None:
        read = read.replace(tzinfo=zone) if zone else read.astimezone()
    if is_day and read - timedelta(days=1) < now < read:
        return now
    if read > now:
        raise RegistryError(f"{text} is in the future; the ledger knows the past, up to {_shown(now)}.")
    return read


def names_a_day(text: str) -> bool:
    """True for a date without a time."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _turn(found: list[Reign], entry: Entry, version: str | None, *, is_recorded: bool) -> None:
    """Ends the last reign and begins that of `version`, unless it is the same."""
    if found and found[-1].version == version:
        return
    if not found and version is None:
        return
    is_old = not found and not is_recorded
    if found:
        found[-1] = found[-1].model_copy(update={"until": entry.at})
    found.append(
        Reign(
            version=version,
            since=None if is_old else entry.at,
            until=None,
            how=entry.event if is_recorded else "unrecorded",
            actor=entry.actor if is_recorded else "unknown",
            reasons=entry.reasons if is_recorded else (),
            entry=entry.number if is_recorded else None,
        )
    )


def _shown(when: datetime) -> str:
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S")
