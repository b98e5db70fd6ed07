"""What goes over the connection of a stream, as JSON: `Start` and `End` from the client, the rest from the server."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tenuto.labels import LabelType
from tenuto.records import Record
from tenuto.serving.answers import Version
from tenuto.serving.streaming.stream import Format
from tenuto.sound.audio import MAX_SAMPLE_RATE_HZ, MIN_SAMPLE_RATE_HZ


class Start(Record):
    """A client's first message."""

    sample_rate_hz: int = Field(ge=MIN_SAMPLE_RATE_HZ, le=MAX_SAMPLE_RATE_HZ)
    format: Format = "s16le"


class End(Record):
    """A client's last message."""

    end: Literal[True]


class Ready(Record):
    """The server's first message."""

    type: Literal["ready"] = "ready"
    request_id: str
    model: Version
    labels: tuple[str, ...]
    kind: LabelType
    sample_rate_hz: int
    window_seconds: float
    hop_seconds: float


class StreamEvent(Record):
    """A label begins or ends."""

    kind: Literal["begin", "end"]
    label: str
    at_seconds: float
    probability: float = Field(description="the smoothed one; at an end the highest that it had")


class StreamAnswer(Record):
    """What one window is, alone and smoothed over the last few."""

    type: Literal["window"] = "window"
    request_id: str
    model: Version
    window: int
    begin_seconds: float
    end_seconds: float
    middle_seconds: float = Field(description="of all that the smoothed probabilities are a mean of")
    label: str
    probabilities: dict[str, float]
    is_unknown: bool
    novelty: float
    smoothed_label: str
    smoothed: dict[str, float]
    events: tuple[StreamEvent, ...]
    latency_ms: float = Field(description="from the message that completed the window to its answer")


class Done(Record):
    """The server's last message: how much it heard, and the ends of events that were under way."""

    type: Literal["done"] = "done"
    request_id: str
    windows: int
    seconds: float
    events: tuple[StreamEvent, ...]


class Failed(Record):
    """Why a stream ends early."""

    type: Literal["error"] = "error"
    request_id: str
    detail: str
