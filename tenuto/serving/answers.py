"""What a server answers, as JSON: the one shape of `POST /v1/classify`, of the stream's windows and of the page."""

from __future__ import annotations

from pydantic import Field

from tenuto.records import Record


class Version(Record):
    """Which model answered."""

    name: str
    version: str = Field(description="in the registry; 'bundle' when a folder is served")
    alias: str = Field(description="'champion', 'challenger', or '' when a folder is served")
    artefact: str


class Answer(Record):
    """What one clip is."""

    request_id: str
    position: int = Field(description="of the clip in the request, from 0; feedback on it names it")
    file: str | None = Field(description="what the file is called in a form; null of a body and of JSON")
    model: Version
    label: str = Field(description="the label; several, or none, as 'dog;rain' and ''; or 'unknown'")
    likeliest: str = Field(description="the likeliest class, also where the label is 'unknown' or there is none")
    probability: float = Field(
        ge=0,
        le=1,
        description="of the label, or of `likeliest` when it is 'unknown': which class it would be if it were any, "
        "and not how sure it is that it is one",
    )
    probabilities: dict[str, float] = Field(description="of every class, in [0, 1]")
    is_unknown: bool = Field(description="the clip is too unlike the training clips for any label to be trusted")
    novelty: float = Field(description="how unlike; above 1 is unknown")
    duration_seconds: float
    latency_ms: float = Field(description="from the whole request to the answer")


class Answers(Record):
    """What a request is answered with: every clip, in the order in which they were sent."""

    answers: tuple[Answer, ...]
