"""Reads recordings and turns them into the one kind of waveform that everything else sees.

The only place that knows about file formats, channels, sample rates and loudness: ingest, training, evaluation and
serving all come through here, so that they cannot differ. Decoding is libsndfile's, resampling is soxr's.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from tenuto.errors import ClipError

Wave = npt.NDArray[np.float32]

MIN_SAMPLE_RATE_HZ = 2_000
MAX_SAMPLE_RATE_HZ = 768_000
FLOOR_DB = -200.0
"""What digital silence measures; minus infinity does not fit in statistics."""

_LOUDEST = 1e12
_DEAD_BELOW_LOUDEST_DB = 60.0
_CANCELLED_BELOW_LOUDEST_DB = 20.0
_BLOCK_FRAMES = 4096
# digital silence in FLAC comes to some 300; a header that announces far more is false, and believing it fills memory
_MOST_FRAMES_PER_BYTE = 4096
_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"caff")
_OGG_TAIL_BYTES = 1 << 17


@dataclass(frozen=True)
class Recording:
    """Decoded samples as the file holds them: float32 (n, channels), full scale is 1."""

    samples: Wave
    sample_rate_hz: int
    codec: str
    is_truncated: bool

    @property
    def duration_seconds(self) -> float:
        return len(self.samples) / self.sample_rate_hz

    @property
    def channels(self) -> int:
        return int(self.samples.shape[1])


def decode(path: Path, *, max_duration_seconds: float | None = None, max_samples: int | None = None) -> Recording:
    """The recording in a file: wav, flac, ogg, opus, mp3 and what else libsndfile reads.

    A recording that was cut off while being written gives the samples that are there, with `is_truncated`.
    Raises ClipError, with the reason, when the file cannot be read, is no audio, holds no or impossible samples, lasts
    longer than `max_duration_seconds`, or comes to more than `max_samples` of all channels together (4 bytes each); a
    file that is too large is refused before its samples are read.
    """
    with open_recording(path) as file:
        return decode_file(file, max_duration_seconds=max_duration_seconds, max_samples=max_samples)


def decode_bytes(
    data: bytes, *, max_duration_seconds: float | None = None, max_samples: int | None = None
) -> Recording:
    """The recording in the bytes of an audio file; raises ClipError as `decode` does."""
    return decode_file(_Bytes(data), max_duration_seconds=max_duration_seconds, max_samples=max_samples)


class _Bytes(io.BytesIO):
    """Bytes in which a damaged file cannot make libsndfile seek to before the first; that would print a traceback."""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


def decode_file(
    file: BinaryIO, *, max_duration_seconds: float | None = None, max_samples: int | None = None
) -> Recording:
    """The recording in an open, seekable file; raises ClipError as `decode` does."""
    size_bytes = file.seek(0, os.SEEK_END)
    if size_bytes == 0:
        raise ClipError("empty-file", "the file has 0 bytes")
    with _open_sound(file) as sound:
        _check_header(sound, max_duration_seconds, max_samples)
        samples, is_cut = _read_frames(sound, size_bytes)
        codec, sample_rate_hz = f"{sound.format}/{sound.subtype}", sound.samplerate
    check_samples(samples)
    is_truncated = is_cut or _lacks_announced_bytes(file, size_bytes) or _lacks_last_page(file, size_bytes)
    return Recording(samples, sample_rate_hz, codec, is_truncated)


def check_samples(samples: Wave) -> None:
    """Raises ClipError when a sample is NaN, infinite or beyond all sound: filters would make NaN of the latter."""
    if not np.isfinite(samples).all():
        count = int(np.count_nonzero(~np.isfinite(samples)))
        raise ClipError("not-finite", f"{count} of {samples.size} samples are NaN or infinite")
    peak = max(samples.max(initial=0.0), -samples.min(initial=0.0))
    if peak > _LOUDEST:
        raise ClipError("impossible-level", f"a sample is {peak:.1e}, where full scale is 1; the file is damaged")


def open_recording(path: Path) -> io.BufferedReader:
    """The open file at `path`; raises ClipError when it is missing, unreadable or no regular file."""
    try:
        # without O_NONBLOCK, opening a named pipe waits for a writer for ever
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise ClipError("missing-file", "there is no such file") from error
    except OSError as error:
        raise ClipError("unreadable", f"{error.strerror or error}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ClipError("not-a-file", "it is a folder, pipe or device, not a file")
    return os.fdopen(descriptor, "rb")


def clip_id(recording: Recording) -> str:
    """The identity of a recording: 32 hex digits of the sha256 over rate, channels and float32 samples.

    Tags and lossless re-encoding do not change it.
    """
    digest = hashlib.sha256(f"{recording.sample_rate_hz} {recording.channels} ".encode())
    digest.update(np.ascontiguousarray(recording.samples, dtype="<f4").data)
    return digest.hexdigest()[:32]


def live_channels(samples: Wave) -> npt.NDArray[np.bool_]:
    """Per channel of (n, channels) samples, whether it carries sound: within 60 dB of the loudest channel."""
    energy = _energy(samples)
    return energy > energy.max(initial=0.0) * 10 ** (-_DEAD_BELOW_LOUDEST_DB / 10)


def mono(samples: Wave) -> Wave:
    """One channel (n,) out of (n, channels): the mean of the channels that carry sound.

    Channels in opposite phase would cancel; when the mean loses 20 dB, the loudest channel is taken instead.
    """
    if samples.shape[1] == 1:
        return np.ascontiguousarray(samples[:, 0])
    live = live_channels(samples)
    if not live.any():
        return np.ascontiguousarray(samples[:, 0])
    heard = samples if live.all() else samples[:, live]
    if heard.shape[1] == 1:
        return np.ascontiguousarray(heard[:, 0])
    mixed = heard.mean(axis=1, dtype=np.float32)
    energy = _energy(heard)
    if np.var(mixed, dtype=np.float64) < energy.max() * 10 ** (-_CANCELLED_BELOW_LOUDEST_DB / 10):
        return np.ascontiguousarray(heard[:, int(energy.argmax())])
    return mixed


def _energy(samples: Wave) -> npt.NDArray[np.float64]:
    # channel by channel: in double precision at once they would take three times the memory of the recording
    return np.array([np.var(channel, dtype=np.float64) for channel in samples.T])


def resample(wave: Wave, from_hz: int, to_hz: int) -> Wave:
    """The (n,) wave at another sample rate, by soxr's HQ filter; the same array when the rates are equal."""
    if from_hz == to_hz or len(wave) == 0:
        return wave
    return np.asarray(soxr.resample(wave, from_hz, to_hz, quality="HQ"), dtype=np.float32)


def waveform(recording: Recording, sample_rate_hz: int) -> Wave:
    """What models hear: (n,) float32, mono, at `sample_rate_hz`, without DC offset, in [-1, 1].

    Loudness is information and stays as recorded; only a wave that passes full scale is scaled down to it.
    """
    wave = resample(mono(recording.samples), recording.sample_rate_hz, sample_rate_hz)
    if len(wave) == 0:
        return wave
    wave = wave - np.float32(wave.mean(dtype=np.float64))
    peak = float(np.abs(wave).max())
    return wave / np.float32(peak) if peak > 1 else wave


def load_waveform(path: Path, sample_rate_hz: int) -> Wave:
    """The recording at `path` as models hear it: see `waveform`; raises ClipError as `decode` does."""
    return waveform(decode(path), sample_rate_hz)


def level_dbfs(samples: Wave) -> float:
    """Root mean square of samples of any shape in dB relative to full scale; FLOOR_DB for silence, or no sample."""
    power = float(np.mean(np.square(samples, dtype=np.float64))) if samples.size else 0.0
    return max(10 * float(np.log10(max(power, 1e-20))), FLOOR_DB)


def encode_wav(wave: Wave, sample_rate_hz: int) -> bytes:
    """A 16-bit WAV file of the (n,) wave in [-1, 1]; louder samples are clipped."""
    file = io.BytesIO()
    soundfile.write(file, np.clip(wave, -1, 1), sample_rate_hz, format="WAV", subtype="PCM_16")
    return file.getvalue()


def _open_sound(file: BinaryIO) -> soundfile.SoundFile:
    file.seek(0)
    start = file.read(4)
    file.seek(0)
    try:
        return soundfile.SoundFile(file)
    except soundfile.LibsndfileError as error:
        if start.startswith(_MAGIC):
            raise ClipError("damaged-header", f"begins like audio, but: {error.error_string}") from error
        raise ClipError("not-audio", f"no audio format begins with {_shown(start)}: {error.error_string}") from error


def _shown(start: bytes) -> str:
    is_text = start.isascii() and start.decode("ascii").isprintable()
    return f"'{start.decode('ascii')}'" if is_text else f"the bytes {start.hex(' ')}"


def _check_header(sound: soundfile.SoundFile, max_duration_seconds: float | None, max_samples: int | None) -> None:
    if not MIN_SAMPLE_RATE_HZ <= sound.samplerate <= MAX_SAMPLE_RATE_HZ:
        raise ClipError(
            "impossible-rate",
            f"{sound.samplerate} Hz, wanted {MIN_SAMPLE_RATE_HZ} to {MAX_SAMPLE_RATE_HZ} Hz",
        )
    lasts = sound.frames / sound.samplerate
    if max_duration_seconds is not None and lasts > max_duration_seconds:
        raise ClipError("too-long", f"{lasts:.1f} s, at most {max_duration_seconds:g} s wanted; cut it up")
    samples = sound.frames * sound.channels
    if max_samples is not None and samples > max_samples:
        raise ClipError(
            "too-large",
            f"{sound.channels} channels of {lasts:.1f} s at {sound.samplerate:,} Hz are {samples:,} samples, at most "
            f"{max_samples:,} wanted; send one channel, at a lower sample rate or in parts",
        )


def _read_frames(sound: soundfile.SoundFile, size_bytes: int) -> tuple[Wave, bool]:
    """All frames, never more than the header announces, and whether there are fewer."""
    announced = sound.frames
    samples = None
    if announced <= _MOST_FRAMES_PER_BYTE * size_bytes:
        # in one go: between two reads soundfile seeks, which MP3 does not survive
        with contextlib.suppress(soundfile.LibsndfileError):
            samples = sound.read(dtype="float32", always_2d=True)
    if samples is None:
        samples = _read_undamaged(sound)
    if len(samples) == 0:
        raise ClipError("no-samples", f"a whole {sound.format} header that no samples follow")
    return samples, len(samples) < announced


def _read_undamaged(sound: soundfile.SoundFile) -> Wave:
    """The frames before the place where decoding fails; a FLAC file that was cut raises at its end."""
    blocks: list[Wave] = []
    try:
        sound.seek(0)
        while len(block := sound.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
            blocks.append(block)
    except soundfile.LibsndfileError as error:
        if not blocks:
            raise ClipError("decode-failed", error.error_string or f"libsndfile error {error.code}") from error
    return np.concatenate(blocks) if blocks else np.empty((0, sound.channels), dtype=np.float32)


def _lacks_announced_bytes(file: BinaryIO, size_bytes: int) -> bool:
    """Whether a WAV file ends before its data chunk does; libsndfile shortens the chunk without a word."""
    file.seek(0)
    riff = file.read(12)
    if riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
        return False
    position = 12
    while len(header := file.read(8)) == 8:
        chunk_bytes = int.from_bytes(header[4:], "little")
        if header[:4] == b"data":
            # writers to a pipe cannot know the size and announce the largest one
            return chunk_bytes < 0xFFFF_F000 and position + 8 + chunk_bytes > size_bytes
        position = file.seek(position + 8 + chunk_bytes + chunk_bytes % 2)
    return False


def _lacks_last_page(file: BinaryIO, size_bytes: int) -> bool:
    """Whether an Ogg file ends without the page that is marked as the last of its stream (RFC 3533)."""
    file.seek(0)
    if file.read(4) != b"OggS":
        return False
    file.seek(max(0, size_bytes - _OGG_TAIL_BYTES))
    tail = file.read()
    page = tail.rfind(b"OggS")
    return page < 0 or not tail[page + 5] & 4
