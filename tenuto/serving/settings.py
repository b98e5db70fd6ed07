"""How models are served: `mlflow/serving.yaml`, every key optional. Secrets are not in it."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from tenuto.typed_yaml import Section, read_yaml, validated


class LimitSettings(Section):
    """What one client may ask for; what is above is refused with a clear answer and costs next to nothing."""

    max_upload_mb: float = Field(default=25.0, gt=0)
    max_uploads_mb: float = Field(default=256.0, gt=0, description="of all requests under way; above, 503")
    max_requests: int = Field(default=256, ge=1, description="under way; above, 503 with Retry-After")
    max_seconds: float = Field(default=600.0, gt=0, description="of one clip")
    max_clips: int = Field(default=32, ge=1, description="of one request")
    max_waiting: int = Field(default=256, ge=1, description="clips that may wait; above, 503 with Retry-After")
    requests_per_minute: int | None = Field(default=None, ge=1, description="of one API key or address; null: any")
    upload_timeout_seconds: float = Field(default=15.0, gt=0, description="until a request has to be whole")
    max_streams: int = Field(default=32, ge=1, description="open streams")
    max_stream_seconds: float = Field(default=3600.0, gt=0, description="of sound in one stream")


class BatchSettings(Section):
    """Dynamic batching: clips that arrive together are heard together."""

    max_clips: int = Field(default=4, ge=1)
    max_wait_ms: float = Field(default=2.0, ge=0, description="for more clips, while another batch is heard")


class LogSettings(Section):
    """What is kept of what was served. No audio, unless `keep_audio_days` is set: that takes people's consent."""

    is_on: bool = True
    keep_days: int = Field(default=365, ge=1, description="predictions and feedback")
    keep_audio_days: int = Field(default=0, ge=0, description="the recordings themselves; 0 keeps none")


class StreamSettings(Section):
    """How a stream is cut up and its windows are smoothed."""

    window_seconds: float | None = Field(
        default=None, gt=0, description="null: the shortest that the model hears whole"
    )
    hop_seconds: float = Field(default=0.25, gt=0)
    smoothing: int = Field(default=3, ge=1, description="windows that a smoothed probability is the mean of")
    threshold: float = Field(default=0.6, gt=0, lt=1, description="smoothed probability from which an event begins")


class ServingSettings(Section):
    """mlflow/serving.yaml."""

    limits: LimitSettings = LimitSettings()
    batch: BatchSettings = BatchSettings()
    log: LogSettings = LogSettings()
    stream: StreamSettings = StreamSettings()
    cors_origins: tuple[str, ...] = Field(default=(), description="web pages elsewhere that may ask; none by default")
    poll_seconds: float = Field(default=5.0, gt=0, description="how often the registry is asked for the alias")
    challenger_share: float = Field(default=0.0, ge=0, le=1, description="of requests that @challenger hears too")


def load(path: Path) -> ServingSettings:
    """The settings in a file, and the defaults where there is none; SettingsError naming key and value."""
    return (
        validated(ServingSettings, read_yaml(path), f"{path.parent.name}/{path.name}", {})
        if path.is_file()
        else ServingSettings()
    )
