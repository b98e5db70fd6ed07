"""What is stated of a backbone."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tenuto.learning.catalogue import licences
from tenuto.records import Record

Domain = Literal["speech", "environmental", "music", "bio"]
Family = Literal["CNN", "CRNN", "transformer"]

_BYTES_PER_WEIGHT = 4
_BYTES_PER_MB = 1_000_000


class Entry(Record):
    """One backbone."""

    id: str = Field(description="what `backbone` in params.yaml names")
    family: Family
    domains: tuple[Domain, ...] = Field(description="what it was trained on; empty: trained from scratch only")
    sample_rate_hz: int
    window_seconds: float | None = Field(description="the longest sound it hears at once; None: any length")
    is_padded: bool = Field(default=False, description="shorter clips are filled up to the window, at full cost")
    is_shortened: bool = Field(default=False, description="Tenuto cuts the window down to the longest training clip")
    min_seconds: float = Field(default=0.5, description="shorter clips are padded to this")
    hop_seconds: float = Field(description="from one of its frames to the next")
    highest_hz: float = Field(description="it does not hear what lies above")
    parameters: int = Field(description="of the encoder, without a head")
    layers: int
    dimensions: int = Field(description="of a clip's vector")
    licence: str = Field(description="SPDX identifier of the weights' licence, or 'unknown'")
    revision: str | None = Field(description="pinned commit on the hub; None: comes with Tenuto, or cannot be loaded")
    origin: Literal["embedded", "scratch", "hub", "own code"] = Field(
        description="own code: it needs Python code from the hub, which Tenuto does not run"
    )
    has_classifier: bool = Field(
        default=True, description="False: transformers has no audio classifier for it, only a `model:` of ours"
    )
    paper: str
    strong: str
    weak: str
    traps: tuple[str, ...] = ()

    @property
    def allows_commercial_use(self) -> bool | None:
        return licences.allows_commercial_use(self.licence)

    @property
    def is_pretrained(self) -> bool:
        return self.origin != "scratch"

    @property
    def has_attention(self) -> bool:
        return self.family == "transformer"

    @property
    def size_mb(self) -> float:
        """Of the weights on disk, as 32-bit numbers."""
        return self.parameters * _BYTES_PER_WEIGHT / _BYTES_PER_MB
