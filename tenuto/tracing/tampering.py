"""What was done to a ledger: a pure comparison of its lines with their own chain, their mirror and the aliases.

Three witnesses are heard. The chain finds what was changed without care. The mirror finds what was removed from the end
or added there, and says what an edited line said before: a line is announced and mirrored before it is written, so one
that the mirror lacks was not written by Tenuto, and one that the mirror has and this place wrote is never missing by
accident. The aliases of the registry find what was done without any entry. Nobody can find that the file and the mirror
were both rewritten, consistently, by somebody who may write to both: keep a copy of the head's hash elsewhere for that.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

from pydantic import Field, ValidationError

from tenuto.records import Record
from tenuto.tracing.ledger import BEGINNING, Entry, content_sha256

Kind = Literal["edited", "deleted", "inserted", "reordered", "truncated", "garbage", "mirror", "alias"]

_SILENT = ("erasure", "rotation", "evidence")
"""Events that need not say where the aliases are."""


class Breach(Record):
    """One thing that is not as Tenuto left it."""

    kind: Kind
    entry: int | None = Field(default=None, description="number of the entry that it concerns")
    line: int | None = Field(default=None, description="line of the file, from 1")
    what: str = Field(description="one sentence")


class _Line(Record):
    """A line of the file that is an entry."""

    line: int
    text: str
    entry: Entry


def verify(
    lines: Sequence[str],
    unfinished: str,
    *,
    model: str,
    mirror: Mapping[int, str],
    on_versions: Mapping[int, str],
    aliases: Mapping[str, str],
    place: str,
) -> tuple[Breach, ...]:
    """What was done to the ledger of `model`, in the order of the lines; empty when nothing was.

    `lines` are all of the file (entries of other models may stand between), `unfinished` what follows its last line
    end, `mirror` the entries as text by number, `on_versions` those that versions carry too, `aliases` those of the
    registry now, `place` where this file is: entries written elsewhere may be missing at its end, those written here
    may not.
    """
    witnesses = {**on_versions, **mirror}
    found, breaches = _parsed(lines)
    if unfinished:
        text = f"the last line, {len(lines) + 1}, is cut off in the middle; no run that was cut off announced it"
        breaches.append(Breach(kind="truncated", line=len(lines) + 1, what=text))
    own = [at for at in found if at.entry.model == model]
    breaches += [breach for at in own if (breach := _edit(at, witnesses)) is not None]
    edited = {breach.line for breach in breaches}
    breaches += _order(own)
    breaches += _links(own, edited)
    breaches += _missing(own, witnesses, place)
    breaches += _mirror(mirror, on_versions)
    breaches += _aliases([at.entry for at in own], witnesses, aliases)
    return tuple(sorted(breaches, key=lambda breach: (breach.line or len(lines) + 2, breach.entry or 0)))


def is_chain(mirror: Mapping[int, str]) -> bool:
    """True when the mirror alone is a whole chain from the first entry on: a ledger can be made from it."""
    if any(_mirror(mirror, {})) or sorted(mirror) != list(range(1, len(mirror) + 1)):
        return False
    previous = BEGINNING
    for _, text in sorted(mirror.items()):
        entry = Entry.model_validate_json(text)
        if entry.previous != previous:
            return False
        previous = entry.sha256
    return True


def first_touched(lines: Sequence[str], model: str) -> int | None:
    """Number of the first line of the file that is no whole entry or breaks the model's chain; None when none does.

    Looks at the file alone, and so in no time: `verify` finds what a consistent rewriting of the file hides.
    """
    previous = BEGINNING
    for number, text in enumerate(lines, start=1):
        try:
            content = json.loads(text)
            if content["model"] != model:
                continue
            if content["previous"] != previous or content_sha256(content) != content["sha256"]:
                return number
            previous = content["sha256"]
        except (ValueError, KeyError, TypeError):
            return number
    return None


def awaited(lines: Sequence[str], *, model: str, mirror: Mapping[int, str], place: str) -> tuple[int, ...]:
    """Numbers of the entries at the end of the mirror that other places wrote; the next entry here takes them over."""
    known = [at.entry.number for at in _parsed(lines)[0] if at.entry.model == model]
    last = max(known, default=0)
    later = {number: _entry(text) for number, text in mirror.items() if number > last}
    return tuple(sorted(number for number, entry in later.items() if entry and entry.place != place))


def _parsed(lines: Sequence[str]) -> tuple[list[_Line], list[Breach]]:
    found, breaches = [], []
    for number, text in enumerate(lines, start=1):
        if entry := _entry(text):
            found.append(_Line(line=number, text=text, entry=entry))
        else:
            breaches.append(Breach(kind="garbage", line=number, what=f"line {number} is no entry: {text[:40]!r}"))
    return found, breaches


def _entry(text: str) -> Entry | None:
    try:
        return Entry.model_validate_json(text)
    except ValidationError:
        return None


def _is_whole(text: str) -> bool:
    """True when the entry's hash is that of its fields."""
    content = json.loads(text)
    return bool(content_sha256(content) == content["sha256"])


def _edit(at: _Line, mirror: Mapping[int, str]) -> Breach | None:
    """What was changed in one line."""
    number, kept = at.entry.number, mirror.get(at.entry.number)
    if not _is_whole(at.text):
        what = f"entry {number} was edited{_fields(at.text, kept)}: its hash is not that of what it says"
    elif kept is not None and _entry(kept) and _is_whole(kept) and kept != at.text:
        changed = _fields(at.text, kept) or " in its spelling"
        what = f"entry {number} is another one than the one in MLflow{changed}"
    else:
        return None
    return Breach(kind="edited", entry=number, line=at.line, what=what)


def _fields(text: str, kept: str | None) -> str:
    """Which fields differ from the mirror, in words; '' when it cannot tell."""
    if kept is None or _entry(kept) is None:
        return ""
    now, before = json.loads(text), json.loads(kept)
    changed = [name for name in before | now if now.get(name) != before.get(name) and name != "sha256"]
    told = [f"{name} {_short(before.get(name))} became {_short(now.get(name))}" for name in changed[:3]]
    return f" ({'; '.join(told)})" if told else ""


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _order(own: Sequence[_Line]) -> Iterator[Breach]:
    """Entries that are there twice, in the wrong order, or missing between others."""
    counts = Counter(at.entry.number for at in own)
    seen: set[int] = set()
    highest = 0
    for at in own:
        number = at.entry.number
        if number in seen:
            what = f"entry {number} is there {counts[number]} times; line {at.line} was inserted"
            yield Breach(kind="inserted", entry=number, line=at.line, what=what)
        elif number < highest:
            what = f"entry {number} stands behind entry {highest}: lines were reordered"
            yield Breach(kind="reordered", entry=number, line=at.line, what=what)
        seen.add(number)
        highest = max(highest, number)
    for number in range(1, highest):
        if number not in seen:
            yield Breach(kind="deleted", entry=number, what=f"entry {number} was deleted from the file")


def _links(own: Sequence[_Line], edited: set[int | None]) -> Iterator[Breach]:
    """Entries that do not name the hash of the one before them, where no edit of either explains it."""
    first = {at.entry.number: at for at in reversed(own)}
    for number, at in sorted(first.items()):
        before = first.get(number - 1)
        wanted = BEGINNING if number == 1 else before.entry.sha256 if before else None
        explained = at.line in edited or (before is not None and before.line in edited)
        if wanted is not None and at.entry.previous != wanted and not explained:
            what = f"entry {number} was not written after the entry {number - 1} that is there now"
            yield Breach(kind="edited", entry=number, line=at.line, what=what)


def _missing(own: Sequence[_Line], mirror: Mapping[int, str], place: str) -> Iterator[Breach]:
    """Entries of the mirror that the end of the file lacks, and entries of the file that the mirror lacks."""
    last = max((at.entry.number for at in own), default=0)
    for number in sorted(mirror):
        entry = _entry(mirror[number])
        if number > last and (entry is None or entry.place == place):
            what = f"entry {number} was cut off the end of the file; MLflow still has it"
            yield Breach(kind="truncated", entry=number, what=what)
    absent = [at for at in own if at.entry.number not in mirror]
    if absent and not mirror:
        yield Breach(
            kind="mirror",
            what=f"none of the {len(absent)} entries is in MLflow: its tags were deleted, or the entries were "
            "written to another store",
        )
        return
    for at in absent:
        number = at.entry.number
        what = f"entry {number} is in the file and not in MLflow, where it would have been written first"
        yield Breach(kind="inserted" if number > max(mirror) else "mirror", entry=number, line=at.line, what=what)


def _mirror(mirror: Mapping[int, str], on_versions: Mapping[int, str]) -> Iterator[Breach]:
    """What was done to the mirror itself."""
    for number, text in sorted(on_versions.items()):
        if number not in mirror:
            what = f"MLflow's copy of entry {number} was deleted; the version that it is about still carries it"
            yield Breach(kind="mirror", entry=number, what=what)
        elif mirror[number] != text:
            what = f"MLflow's two copies of entry {number}, of the experiment and of the version, differ"
            yield Breach(kind="mirror", entry=number, what=what)
    for number, text in sorted(mirror.items()):
        entry = _entry(text)
        if entry is None:
            yield Breach(kind="mirror", entry=number, what=f"MLflow's copy of entry {number} is no entry")
        elif not _is_whole(text) or entry.number != number:
            yield Breach(kind="mirror", entry=number, what=f"MLflow's copy of entry {number} was edited")


def _aliases(own: Sequence[Entry], mirror: Mapping[int, str], aliases: Mapping[str, str]) -> Iterator[Breach]:
    """Aliases that were moved between two entries, or since the last one."""
    by_number = {number: entry for number, text in mirror.items() if (entry := _entry(text))}
    by_number = {entry.number: entry for entry in own} | by_number
    speaking = [entry for _, entry in sorted(by_number.items()) if _speaks(entry)]
    for before, after in pairwise(speaking):
        for moved in _moves(before.aliases, after.aliases_before):
            what = f"between entries {before.number} and {after.number} {moved} behind the ledger's back"
            yield Breach(kind="alias", entry=after.number, what=what)
    if speaking:
        for moved in _moves(speaking[-1].aliases, aliases):
            what = f"{moved} behind the ledger's back, after entry {speaking[-1].number}"
            yield Breach(kind="alias", what=what)


def _speaks(entry: Entry) -> bool:
    return entry.event not in _SILENT or bool(entry.aliases or entry.aliases_before)


def _moves(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for alias in sorted({*before, *now}):
        was, is_ = before.get(alias), now.get(alias)
        if was == is_:
            continue
        if was is None:
            yield f"@{alias} was set to {is_}"
        elif is_ is None:
            yield f"@{alias} was taken from {was}"
        else:
            yield f"@{alias} was moved from {was} to {is_}"
