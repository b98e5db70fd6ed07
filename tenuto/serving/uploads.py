"""What a client sends: audio files as a form, one as the body, or JSON with base64 or samples; and their waves."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import Request
from pydantic import Base64Bytes, Field, FiniteFloat, ValidationError, model_validator
from starlette.datastructures import UploadFile

from tenuto.errors import ClipError
from tenuto.learning.framing import Wave
from tenuto.records import Record
from tenuto.serving.problems import ProblemError, explained
from tenuto.serving.state import State
from tenuto.sound.audio import MAX_SAMPLE_RATE_HZ, MIN_SAMPLE_RATE_HZ, Recording, decode_bytes, waveform
from tenuto.tracing.kept_audio import Sound

_MOST_SAMPLES = 64_000_000
"""Of all channels together, 256 MB: a few kilobytes of FLAC may stand for minutes of eight channels."""


class SentClip(Record):
    """One clip in a JSON body: `audio`, or `samples` with their rate."""

    audio: Base64Bytes | None = Field(default=None, description="a wav, flac, ogg or mp3 file, base64")
    samples: tuple[FiniteFloat, ...] | None = Field(default=None, description="mono, full scale is 1")
    sample_rate_hz: int | None = Field(default=None, ge=MIN_SAMPLE_RATE_HZ, le=MAX_SAMPLE_RATE_HZ)

    @model_validator(mode="after")
    def _is_one_of_both(self) -> SentClip:
        if (self.audio is None) == (self.samples is None) or (self.samples is None) != (self.sample_rate_hz is None):
            raise ValueError("wanted either `audio` or `samples` with `sample_rate_hz`")
        return self


class SentClips(Record):
    """A JSON body."""

    clips: tuple[SentClip, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Upload:
    """One clip as it was sent."""

    name: str
    """The file's, or 'clip 1'."""
    content: bytes | SentClip


@dataclass(frozen=True)
class Decoded:
    """A clip that a model can hear."""

    wave: Wave
    duration_seconds: float
    level_dbfs: float
    """Root mean square, 0 for full scale."""
    sound: Sound
    """As it was sent: the file, or the samples."""


async def received(request: Request, state: State) -> list[Upload]:
    """The clips of a request; ProblemError when there are none or too many."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        uploads = await _of_form(request, state.settings.limits.max_clips)
    elif kind == "application/json":
        body = await request.body()
        uploads = await asyncio.get_running_loop().run_in_executor(state.decoders, _of_json, body)
    else:
        uploads = [Upload("the body", await request.body())]
    if len(uploads) > state.settings.limits.max_clips:
        raise _too_many(state.settings.limits.max_clips)
    return uploads


async def decoded(uploads: list[Upload], state: State, sample_rate_hz: int) -> list[Decoded]:
    """The clips as a model hears them; ProblemError naming the first that cannot be used."""
    loop, longest = asyncio.get_running_loop(), state.settings.limits.max_seconds
    waves = [loop.run_in_executor(state.decoders, _decoded, upload, sample_rate_hz, longest) for upload in uploads]
    found = await asyncio.gather(*waves, return_exceptions=True)
    for upload, one in zip(uploads, found, strict=True):
        if isinstance(one, ClipError):
            status = 413 if one.reason in ("too-long", "too-large") else 422
            raise ProblemError(status, f"{upload.name} cannot be used: {one.detail} ({one.reason}).")
        if isinstance(one, BaseException):
            raise one
    return [one for one in found if isinstance(one, Decoded)]


async def _of_form(request: Request, most: int) -> list[Upload]:
    async with request.form(max_files=most + 1) as form:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        if not files:
            raise ProblemError(422, "The form holds no file; send one or several, in fields of any name.")
        return [Upload(file.filename or f"clip {n}", await file.read()) for n, file in enumerate(files, 1)]


def _of_json(body: bytes) -> list[Upload]:
    try:
        sent = SentClips.model_validate_json(body)
    except ValidationError as error:
        raise ProblemError(422, explained(error)) from None
    return [Upload(f"clip {n}", clip if clip.audio is None else clip.audio) for n, clip in enumerate(sent.clips, 1)]


def _too_many(most: int) -> ProblemError:
    return ProblemError(413, f"A request may have {most} clips at most; send several requests.")


def _decoded(upload: Upload, sample_rate_hz: int, max_seconds: float) -> Decoded:
    if isinstance(upload.content, bytes):
        recording = decode_bytes(upload.content, max_duration_seconds=max_seconds, max_samples=_MOST_SAMPLES)
    else:
        recording = _of_samples(upload.content, max_seconds)
    wave = waveform(recording, sample_rate_hz)
    sound = upload.content if isinstance(upload.content, bytes) else recording
    return Decoded(wave, recording.duration_seconds, level_dbfs(wave), sound)


def _of_samples(clip: SentClip, max_seconds: float) -> Recording:
    samples: Any = np.asarray(clip.samples, np.float32)[:, None]
    recording = Recording(samples, clip.sample_rate_hz or 0, "samples", False)
    if not len(samples):
        raise ClipError("no-samples", "the list is empty")
    if recording.duration_seconds > max_seconds:
        raise ClipError("too-long", f"{recording.duration_seconds:.1f} s, at most {max_seconds:g} s wanted; cut it up")
    return recording


def level_dbfs(wave: Wave) -> float:
    """The root mean square of (n,) samples in decibels, 0 for a square wave at full scale; -120 at least."""
    power = float(np.mean(np.square(wave, dtype=np.float64))) if len(wave) else 0.0
    return max(10 * np.log10(power), -120.0) if power > 0 else -120.0
