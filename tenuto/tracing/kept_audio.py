"""Recordings that people agreed to have kept: FLAC files beside the log of served predictions, a folder per day.

A file is named by a hash of its request and its time, since a client may choose the request's id, and may choose one
twice. Removal goes by the files, so a recording whose prediction never reached the log is removed in time as well.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from tenuto.errors import ClipError
from tenuto.sound import audio
from tenuto.sound.audio import Recording

_FINE = frozenset({"PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAC_24", "ALAC_32"})
_FLAC_CHANNELS = 8
_FLAC_RATE_HZ = 655_350


Sound = bytes | Recording
"""A clip as it was sent: an audio file, or samples."""


def size_bytes(sound: Sound | None) -> int:
    """What a sound holds in memory."""
    if sound is None:
        return 0
    return len(sound) if isinstance(sound, bytes) else sound.samples.nbytes


def name(request_id: str, position: int, at: datetime) -> str:
    """Where the recording of a clip is kept, relative to the folder: '2026-03-03/<hash>.flac'."""
    whole = hashlib.sha256(f"{at.isoformat()} {position} {request_id}".encode()).hexdigest()
    return f"{at:%Y-%m-%d}/{whole[:32]}.flac"


def keep(folder: Path, name: str, sound: Sound) -> str:
    """The id of the clip that is now in `folder` under `name`, whole or not at all.

    Sound of up to 24 bits is kept exactly, so its id is that of
    the file that was sent. Raises ClipError when it cannot be read or is no sound that FLAC can hold, OSError when
    it cannot be written.
    """
    recording = audio.decode_bytes(sound) if isinstance(sound, bytes) else sound
    _check_fits(recording)
    bits = 24 if recording.codec.partition("/")[2] in _FINE else 16
    full_scale = 2.0 ** (bits - 1)
    # libsndfile would scale floats by one step less than full scale, and what comes back would not be what was sent
    steps = np.rint(recording.samples * np.float32(full_scale))
    np.clip(steps, -full_scale, full_scale - 1, out=steps)
    coded = _flac(steps.astype(np.int32), bits, recording.sample_rate_hz)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".part")
    fresh.write_bytes(coded)
    fresh.replace(path)
    return audio.clip_id(replace(recording, samples=steps / np.float32(full_scale)))


def remove(folder: Path, names: Iterable[str]) -> int:
    """How many of these recordings were there and are gone now."""
    there = [path for path in (folder / name for name in names) if path.is_file()]
    for path in there:
        path.unlink(missing_ok=True)
    return len(there)


def remove_before(folder: Path, time: datetime) -> int:
    """How many recordings were written before `time` and are gone now."""
    last = f"{time:%Y-%m-%d}"
    removed = 0
    for day in sorted(folder.glob("????-??-??")):
        # another worker of the same server may be removing it too
        with contextlib.suppress(FileNotFoundError):
            removed += _thinned(day, time) if day.name <= last else 0
    return removed


def _thinned(day: Path, time: datetime) -> int:
    removed = 0
    for file in list(day.iterdir()):
        if day.name < f"{time:%Y-%m-%d}" or file.stat().st_mtime < time.timestamp():
            file.unlink(missing_ok=True)
            removed += file.suffix == ".flac"
    with contextlib.suppress(OSError):  # it is not empty
        day.rmdir()
    return removed


def _check_fits(recording: Recording) -> None:
    if recording.channels > _FLAC_CHANNELS or recording.sample_rate_hz > _FLAC_RATE_HZ:
        raise ClipError(
            "not-keepable",
            f"{recording.channels} channels at {recording.sample_rate_hz} Hz, FLAC holds {_FLAC_CHANNELS} channels at "
            f"{_FLAC_RATE_HZ} Hz",
        )


def _flac(steps: npt.NDArray[np.int32], bits: int, sample_rate_hz: int) -> bytes:
    steps <<= 32 - bits
    file = io.BytesIO()
    try:
        soundfile.write(file, steps, sample_rate_hz, format="FLAC", subtype=f"PCM_{bits}")
    except soundfile.LibsndfileError as error:  # such as rates above 65,535 Hz that are not in tens
        raise ClipError("not-keepable", f"FLAC cannot hold it at {sample_rate_hz} Hz: {error.error_string}") from error
    return file.getvalue()
