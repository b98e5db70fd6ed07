"""Looks for recordings and names in every file of a folder, in whatever they are wrapped.

Written apart from `tenuto.tracing.erasure`, which it checks: it knows nothing of where Tenuto keeps things. Beside the
bytes as they lie on disk (SQLite's free pages among them) it reads the cells of Parquet tables, the members of zip and
gzip files, base64 in pages and JSON, and the objects of git, packed or loose.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import re
import subprocess
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

_PIECE = 1024
_EVERY = 4096
_BASE64 = re.compile(rb"base64,([A-Za-z0-9+/=\s]{200,})")


def needles(recordings: Mapping[str, Path], words: Mapping[str, list[str]]) -> dict[str, list[bytes]]:
    """What to look for, by kind: whole recordings, 1-kB pieces of their bytes and samples, ids and names."""
    found: dict[str, list[bytes]] = {"whole files": [], "pieces of files": [], "pieces of samples": []}
    for path in recordings.values():
        data = path.read_bytes()
        found["whole files"].append(data)
        found["pieces of files"] += _pieces(data)
        for kind in ("int16", "float32"):
            samples, _ = soundfile.read(path, dtype=kind)
            found["pieces of samples"] += _pieces(samples.tobytes())
    for kind, texts in words.items():
        found[kind] = [text.encode() for text in texts]
    return found


Found = tuple[Counter[str], dict[str, Counter[str]]]
"""Files searched by place, and files with hits by place and kind."""


def search(folder: Path, wanted: Mapping[str, list[bytes]], skip: str = "") -> Found:
    """What was found, by place: the first two folders of a path. Paths that begin with `skip` are passed over."""
    files: Counter[str] = Counter()
    hits: dict[str, Counter[str]] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or (skip and name.startswith(skip)):
            continue
        place = "/".join(Path(name).parts[: 3 if name.startswith((".tenuto/cache", ".dvc")) else 2])
        files[place] += 1
        layers = [name.encode(), *_layers(path)]
        for kind, patterns in wanted.items():
            if any(pattern in layer for layer in layers for pattern in patterns if len(pattern) <= len(layer)):
                hits.setdefault(place, Counter())[kind] += 1
    for place, layers in _git(folder):
        files[place] += 1
        for kind, patterns in wanted.items():
            if any(pattern in layers for pattern in patterns):
                hits.setdefault(place, Counter())[kind] += 1
    return files, hits


def _pieces(data: bytes) -> list[bytes]:
    """Pieces of 1 kB that say something: silence is everybody's."""
    pieces = (data[start : start + _PIECE] for start in range(_EVERY, len(data) - _PIECE, _EVERY))
    return [piece for piece in pieces if len(set(piece)) > 16]


def _layers(path: Path) -> Iterator[bytes]:
    data = path.read_bytes()
    yield data
    if data[:4] == b"PAR1":
        yield _cells(data)
    if data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
    if data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield from (archive.read(name) for name in archive.namelist())
    for match in _BASE64.findall(data):
        try:
            inner = base64.b64decode(match)
        except binascii.Error:
            continue
        yield inner
        yield from _samples(inner)


def _cells(data: bytes) -> bytes:
    """All texts and bytes of a table, side by side."""
    cells = []
    for column in pq.read_table(io.BytesIO(data), partitioning=None).columns:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            cells += [str(value).encode() for value in column.to_pylist()]
        elif pa.types.is_binary(column.type):
            cells += [value or b"" for value in column.to_pylist()]
    return b"\0".join(cells)


def _samples(data: bytes) -> Iterator[bytes]:
    """The samples of embedded audio, whatever its format."""
    try:
        for kind in ("int16", "float32"):
            samples, _ = soundfile.read(io.BytesIO(data), dtype=kind)
            yield samples.tobytes()
    except soundfile.LibsndfileError:
        return


def _git(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every object of the folder's git repository: the loose ones, and all of them through git itself."""
    if not (folder / ".git").is_dir():
        return
    for path in (folder / ".git" / "objects").glob("[0-9a-f][0-9a-f]/*"):
        yield ".git loose objects", zlib.decompress(path.read_bytes())
    command = ["git", "-C", str(folder), "cat-file", "--batch-all-objects", "--batch"]
    yield ".git all objects", subprocess.run(command, capture_output=True, check=True).stdout
