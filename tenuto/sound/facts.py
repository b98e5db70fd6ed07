"""What is measured on a recording, kept by the hash of the file's bytes, so that no file is decoded twice."""

from __future__ import annotations

import hashlib
import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import soundfile

from tenuto.errors import ClipError
from tenuto.settings import DataSettings
from tenuto.sound import audio, fingerprint, quality
from tenuto.store import ClipStore

Facts = dict[str, Any]
"""Identity, format, quality facts and fingerprint of one recording, by column name."""

# raised whenever what is measured or how changes, so that old facts are not taken for new ones
_VERSION = 4
_KEEP_EVERY_FILES = 1_000


class FactStore:
    """Facts per file; `flush` keeps what was newly measured, unless the store is only read."""

    def __init__(self, cache: Path, settings: DataSettings, *, is_read_only: bool = False) -> None:
        self._store = ClipStore(cache, "facts", f"v{_VERSION}-{soundfile.__libsndfile_version__}")
        self._known: dict[Any, dict[Any, Any]] = self._store.load().to_dict("index")
        self._fresh: dict[str, Facts] = {}
        self._settings = settings
        self._is_read_only = is_read_only

    def read(self, path: Path) -> tuple[str, Facts]:
        """The sha256 of a file and its facts; raises ClipError when it cannot be used under the settings."""
        if len(self._fresh) >= _KEEP_EVERY_FILES:
            self.flush()
        with audio.open_recording(path) as file:
            file_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            if file_sha256 not in self._known:
                self._known[file_sha256] = self._fresh[file_sha256] = measure(file, self._settings)
        facts = self._known[file_sha256]
        check_usable(facts, self._settings)
        return file_sha256, facts

    def forget(self, file_sha256: str) -> None:
        """Does not keep what was measured on a recording that may not come in."""
        self._fresh.pop(file_sha256, None)

    def flush(self) -> None:
        if self._fresh and not self._is_read_only:
            self._store.add(pd.DataFrame.from_dict(self._fresh, orient="index"))
        self._fresh = {}


def measure(file: io.BufferedReader, settings: DataSettings) -> Facts:
    """The facts of an open file; raises ClipError when it is no recording or lasts too long to be decoded."""
    recording = audio.decode_file(file, max_duration_seconds=settings.max_duration_seconds)
    return {
        "clip_id": audio.clip_id(recording),
        "duration_seconds": recording.duration_seconds,
        "sample_rate_hz": recording.sample_rate_hz,
        "channels": recording.channels,
        "codec": recording.codec,
        "is_truncated": recording.is_truncated,
        **asdict(quality.measure(recording)),
        "fingerprint": fingerprint.fingerprint(audio.mono(recording.samples), recording.sample_rate_hz),
    }


def check_usable(facts: Facts, settings: DataSettings) -> None:
    """Raises ClipError when a recording is too short, too long or silent."""
    lasts = facts["duration_seconds"]
    if lasts > settings.max_duration_seconds:
        raise ClipError("too-long", f"{lasts:.1f} s, at most {settings.max_duration_seconds:g} s wanted")
    if lasts < settings.min_duration_seconds:
        raise ClipError("too-short", f"{lasts:.4f} s, at least {settings.min_duration_seconds:g} s wanted")
    if facts["swing_dbfs"] < settings.silence_dbfs:
        raise ClipError("silent", f"its peak is {facts['swing_dbfs']:.0f} dBFS, wanted {settings.silence_dbfs:g}")
