"""What a client sends: audio files as a form, one as the body, or JSON with base64 or samples; and their waves."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from fastapi import Request
from pydantic import BeforeValidator, Field, ValidationError, WithJsonSchema, model_validator
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from tenuto.errors import ClipError
from tenuto.learning.framing import Framing
from tenuto.records import Record
from tenuto.serving.endpoints import sounds
from tenuto.serving.endpoints.problems import ProblemError, explained
from tenuto.serving.endpoints.sounds import Decoded
from tenuto.serving.state import State
from tenuto.sound.audio import MAX_SAMPLE_RATE_HZ, MIN_SAMPLE_RATE_HZ, Recording
from tenuto.tracing.kept_audio import Sound

_Sample = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_MOST_JSON_BYTES = 8_000_000
"""Samples as text take forty times their size while they are read; a file takes little more than its own."""


def _of_base64(text: object) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except ValueError:
        raise ValueError("wanted base64") from None


Base64 = Annotated[bytes, BeforeValidator(_of_base64), WithJsonSchema({"type": "string", "contentEncoding": "base64"})]


class SentClip(Record):
    """One clip in a JSON body: `audio`, or `samples` with their rate."""

    audio: Base64 | None = Field(default=None, description="a wav, flac, ogg or mp3 file, base64")
    samples: tuple[_Sample, ...] | None = Field(
        default=None, description="mono, full scale is 1; 16-bit integers divided by 32768"
    )
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
    sound: Sound
    file: str | None = None
    """What the client calls it."""


async def received(request: Request, state: State) -> list[Upload]:
    """The clips of a request; ProblemError when there are none or too many."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        uploads = await _of_form(request, state.settings.limits.max_clips)
    elif kind == "application/json":
        body = await request.body()
        uploads = await asyncio.get_running_loop().run_in_executor(state.decoders, _of_json, body)
    else:
        uploads = [_of_body(await request.body())]
    if len(uploads) > state.settings.limits.max_clips:
        raise _too_many(state.settings.limits.max_clips)
    return uploads


async def decoded(uploads: list[Upload], state: State, framing: Framing) -> list[Decoded]:
    """The clips as a model hears them; ProblemError naming the first that cannot be used."""
    loop, longest = asyncio.get_running_loop(), state.settings.limits.max_seconds
    waves = [loop.run_in_executor(state.decoders, _decoded, upload, framing, longest) for upload in uploads]
    found = await asyncio.gather(*waves, return_exceptions=True)
    for upload, one in zip(uploads, found, strict=True):
        if isinstance(one, ClipError):
            status = 413 if one.reason in ("too-long", "too-large") else 422
            raise ProblemError(status, f"{upload.name} cannot be used: {one.detail} ({one.reason}).")
        if isinstance(one, BaseException):
            raise one
    return [one for one in found if isinstance(one, Decoded)]


async def _of_form(request: Request, most: int) -> list[Upload]:
    async with _form(request, most) as form:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        if not files:
            raise ProblemError(422, "The form holds no file; send one or several, in fields of any name.")
        return [
            Upload(file.filename or f"clip {n}", await file.read(), file.filename) for n, file in enumerate(files, 1)
        ]


@asynccontextmanager
async def _form(request: Request, most: int) -> AsyncIterator[FormData]:
    try:
        async with request.form(max_files=most) as form:
            yield form
    except HTTPException as error:
        if "number of files" in error.detail:  # the one thing that tells it from a form that cannot be read
            raise _too_many(most) from None
        raise


def _of_body(body: bytes) -> Upload:
    if body[:100].lstrip().startswith(b"{"):
        raise ProblemError(422, "The body looks like JSON; send it with the header Content-Type: application/json.")
    return Upload("the body", body)


def _of_json(body: bytes) -> list[Upload]:
    if len(body) > _MOST_JSON_BYTES:
        most = _MOST_JSON_BYTES / 1_000_000
        raise ProblemError(413, f"JSON may have {most:g} MB at most; send files, in a form or one as the body.")
    try:
        sent = SentClips.model_validate_json(body)
    except ValidationError as error:
        raise ProblemError(422, explained(error, SentClips)) from None
    return [
        Upload(f"clip {n}", _of_samples(clip) if clip.audio is None else clip.audio)
        for n, clip in enumerate(sent.clips, 1)
    ]


def _too_many(most: int) -> ProblemError:
    return ProblemError(413, f"A request may have {most} clips at most; send several requests.")


def _of_samples(clip: SentClip) -> Recording:
    with np.errstate(over="ignore"):  # what becomes infinite is refused below
        samples = np.asarray(clip.samples, np.float32)[:, None]
    return Recording(samples, clip.sample_rate_hz or 0, "samples", False)


def _decoded(upload: Upload, framing: Framing, max_seconds: float) -> Decoded:
    return sounds.decoded(upload.sound, framing, max_seconds=max_seconds)
