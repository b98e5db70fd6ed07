"""Finds labelled recordings in a source, whatever its layout, and says which of them cannot be used and why.

Three layouts: a folder per class, a table (CSV or Parquet) with `path`, `label` and group columns, and file names
that follow a pattern. Nothing is decoded here and the source is only read.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from unicodedata import category, normalize

from tenuto import labels
from tenuto.dataset import tables
from tenuto.dataset.patterns import NamePattern, clean_text
from tenuto.errors import SourceError
from tenuto.labels import LabelType
from tenuto.records import Quarantined

# fmt: off
UNDECODABLE_SUFFIXES = frozenset(("aac", "amr", "ape", "m4a", "mka", "mp4", "webm", "wma", "wv"))
"""Audio that libsndfile cannot read: quarantined with a reason, not passed over in silence."""

AUDIO_SUFFIXES = UNDECODABLE_SUFFIXES | {
    "aif", "aifc", "aiff", "au", "caf", "flac", "mp3", "oga", "ogg", "opus", "rf64", "snd", "w64", "wav", "wave",
}
"""File name endings, in lower case and without the dot, of the files that are looked at."""
# fmt: on

_SEVERAL_SHARE = 0.1


@dataclass(frozen=True)
class SourceEntry:
    """One labelled recording: where it lies, its label and groups, and its path as the source names it."""

    path: Path
    label: str
    groups: dict[str, str]
    shown: str


Refuses = Callable[[dict[str, str]], str | None]
"""For the groups of a recording: the number of the erasure for which it is refused; None when it may come in."""


@dataclass
class Scan:
    """What a source holds: entries sorted by name, what cannot be used, and what is refused, by erasure.

    With `kind` "many" labels are in the form of `tenuto.labels`, and may be empty.
    """

    entries: list[SourceEntry] = field(default_factory=list)
    rejected: list[Quarantined] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    refuses: Refuses = lambda groups: None
    kind: LabelType = "one"

    def reject(self, shown: str, reason: str, detail: str, label: str | None = None) -> None:
        self.rejected.append(Quarantined(path=shown, reason=reason, detail=detail, label=label))

    def turns_away(self, groups: dict[str, str]) -> bool:
        """True, and counted, when consent was withdrawn for recordings of these groups: nothing else is kept of it."""
        number = self.refuses(groups)
        if number is not None:
            self.refused[number] += 1
        return number is not None


def scan(
    source: Path,
    pattern: str | None = None,
    *,
    exclude: Path | None = None,
    refuses: Refuses = lambda groups: None,
    kind: LabelType = "one",
) -> Scan:
    """The labelled recordings in `source`: a folder, or a table.

    With a `pattern` such as '{label}_{speaker}_{index}.wav', labels and groups come from the file names: fields other
    than label, index, path and _ are groups; `*` stands for any text; a pattern with a slash is matched against the
    path inside the source. The folder `exclude` is not entered. Recordings of groups that `refuses` are counted and not
    named. Raises SourceError when the source cannot be read or holds nothing, saying what was looked for, or when it
    has a class 'unknown'.
    """
    source = source.expanduser()
    if not source.exists():
        raise SourceError(f"{source} does not exist; wanted a folder of recordings, or a CSV or Parquet table of them.")
    found = Scan(refuses=refuses, kind=kind)
    if source.is_file():
        _read_table_into(found, source, pattern)
    else:
        _walk_into(found, source, NamePattern(pattern) if pattern else None, exclude)
    found.entries.sort(key=lambda entry: entry.shown)
    for entry in found.entries:
        if labels.UNKNOWN in labels.parts_of(entry.label, kind):
            raise SourceError(
                f"{entry.shown} has the label {labels.UNKNOWN!r}, which is what a model answers to clips of no class; "
                "call the class something else, such as 'other'. Nothing was added."
            )
    several = sum(labels.SEPARATOR in entry.label for entry in found.entries) if kind == "one" else 0
    if several > _SEVERAL_SHARE * len(found.entries):
        hint = f"{several} labels hold {labels.SEPARATOR!r}; if that is several labels, set `data.labels: many`"
        found.reject(shown_name(source.name), "several-labels", hint)
    return found


def shown_name(path: str | Path) -> str:
    r"""A path as text that any encoding can hold: bytes that are no UTF-8 become \xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _walk_into(found: Scan, source: Path, pattern: NamePattern | None, exclude: Path | None) -> None:
    root = source.resolve()
    try:
        os.scandir(root).close()
    except OSError as error:
        raise SourceError(f"{source} cannot be read: {error.strerror}.") from error
    for path in _audio_files(found, root, root, exclude.resolve() if exclude else None):
        relative = str(path.relative_to(root))
        shown = shown_name(relative)
        if shown != relative:
            found.reject(shown, "name-not-utf8", "its name is no UTF-8 text; rename it")
        elif pattern is not None:
            _take_by_pattern(found, path, relative, pattern)
        elif "/" not in relative:
            found.reject(shown, "no-label", "lies in no class folder; wanted a folder per class, or --pattern")
        else:
            _take(found, SourceEntry(path, clean_text(relative.partition("/")[0]), {}, shown))
    reasons = {row.reason for row in found.rejected}
    if not found.entries and not found.refused and (reasons <= {"pattern-mismatch"} or reasons <= {"no-label"}):
        raise SourceError(_nothing_found(source, pattern, found.rejected))


def _take_by_pattern(found: Scan, path: Path, relative: str, pattern: NamePattern) -> None:
    fields = pattern.match(relative)
    if fields is None:
        found.reject(relative, "pattern-mismatch", f"the name does not fit {pattern.text!r}")
    else:
        _take(found, SourceEntry(path, *fields, relative))


def _take(found: Scan, entry: SourceEntry) -> None:
    """Adds the entry to what was found, unless its label or the kind of file rules it out."""
    suffix = entry.path.suffix[1:].lower()
    if found.kind == "many":
        entry = replace(entry, label=labels.joined(labels.parts(entry.label)))
    if found.turns_away(entry.groups):
        return
    if not entry.label and found.kind == "one":
        found.reject(entry.shown, "no-label", "the label is empty")
    elif any(category(letter) == "Cc" for letter in entry.label):
        found.reject(entry.shown, "bad-label", f"the label {entry.label!r} holds control characters")
    elif suffix in UNDECODABLE_SUFFIXES:
        detail = f"{suffix} cannot be decoded; convert it to flac, for example with ffmpeg"
        found.reject(entry.shown, "unsupported-format", detail, entry.label)
    else:
        found.entries.append(entry)


def _audio_files(found: Scan, folder: Path, root: Path, exclude: Path | None) -> Iterator[Path]:
    try:
        items = sorted(os.scandir(folder), key=lambda item: item.name)
    except OSError as error:
        found.reject(shown_name(folder.relative_to(root)), "unreadable", f"{error.strerror}")
        return
    for item in items:
        # hidden files are caches and thumbnails; ._x.wav is what macOS leaves beside x.wav on other disks
        if item.name.startswith(".") or item.name == "__MACOSX":
            continue
        path = Path(item.path)
        if item.is_dir(follow_symlinks=False) and not _is_audio_name(item.name):
            if path != exclude:
                yield from _audio_files(found, path, root, exclude)
        elif item.is_file(follow_symlinks=False):
            if _is_audio_name(item.name):
                yield path
        elif (problem := _problem(path, root)) is not None:
            if _is_audio_name(item.name) or path.is_dir():
                found.reject(shown_name(path.relative_to(root)), *problem)
        elif _is_audio_name(item.name):
            yield path


def _is_audio_name(name: str) -> bool:
    return name.rpartition(".")[2].lower() in AUDIO_SUFFIXES and "." in name


def _problem(path: Path, root: Path) -> tuple[str, str] | None:
    """Why a path is not a file of the source: reason and detail; None when it is one."""
    try:
        target = path.resolve(strict=True)
        mode = target.stat().st_mode
    except FileNotFoundError:
        return "missing-file", "the link points at nothing"
    except (OSError, RuntimeError) as error:
        return "unreadable", f"{error}"
    if not target.is_relative_to(root):
        return "outside-source", f"the link leads out of the source, to {shown_name(target)}"
    if stat.S_ISDIR(mode) and path.is_symlink():
        return "linked-folder", "a link to a folder of the source is not followed; what it holds is read there"
    if not stat.S_ISREG(mode):
        return "not-a-file", "it is a folder, pipe or device, not a file"
    return None


def _read_table_into(found: Scan, source: Path, pattern: str | None) -> None:
    if pattern is not None:
        raise SourceError(f"--pattern is for folders; {source.name} gives path and label itself.")
    table = tables.read(source)
    for number, problem in table.broken:
        found.reject(f"{source.name}:{number}", "bad-row", problem)
    for column, problem in table.ignored.items():
        found.reject(source.name, "unknown-column", f"column {column!r} is ignored: {problem}")
    for number, row in table.rows:
        _take_row(found, source.parent, f"{source.name}:{number}", row, table.groups)
    if not found.entries and not found.rejected and not found.refused:
        raise SourceError(f"{source} lists no recordings below its header.")


def _take_row(found: Scan, folder: Path, line: str, row: dict[str, str], groups: list[str]) -> None:
    written, label = row["path"].strip(), clean_text(row["label"])
    values = {name: value for name in groups if (value := clean_text(row[name]))}
    if found.turns_away(values):
        return
    if not written or "\0" in written:
        found.reject(line, "bad-row", f"the path is {written!r}", label or None)
        return
    path = _written_path(folder, written)
    if (problem := _row_problem(path, folder)) is not None:
        found.reject(shown_name(written), *problem, label or None)
        return
    _take(found, SourceEntry(path, label, values, shown_name(written)))


def _written_path(folder: Path, written: str) -> Path:
    """The file that a table means: written on Windows, or on macOS, where accents may be decomposed."""
    spellings = (written, written.replace("\\", "/"), *(normalize(form, written) for form in ("NFC", "NFD")))
    return next((path for text in spellings if os.path.lexists(path := folder / text)), folder / written)


def _row_problem(path: Path, folder: Path) -> tuple[str, str] | None:
    """As `_problem`, but a table may name files elsewhere in so many words; what may not lead out is a link."""
    if not os.path.lexists(path):
        return "missing-file", "the table names it but there is no such file"
    is_inside = Path(os.path.normpath(path)).is_relative_to(os.path.normpath(folder))
    return _problem(path, folder.resolve() if is_inside else path.resolve().parent)


def _nothing_found(source: Path, pattern: NamePattern | None, passed_over: list[Quarantined]) -> str:
    wanted = f"files whose names fit {pattern.text!r}" if pattern else "a folder per class with recordings in it"
    endings = " ".join(sorted(AUDIO_SUFFIXES - UNDECODABLE_SUFFIXES))
    text = f"No recordings in {source}: looked for {wanted}, ending in {endings}, in any letter case."
    if passed_over and pattern:
        text += f" {len(passed_over)} audio files do not fit, the first is {passed_over[0].path!r}."
    elif passed_over:
        text += f" {len(passed_over)} audio files lie in no class folder; if their names tell it, give --pattern."
    tables_there = sorted(path for path in source.iterdir() if path.suffix[1:].lower() in tables.SUFFIXES)
    return f"{text} To read the table in it, name it: {tables_there[0]}" if tables_there else text
