"""What a server says of itself: alive, ready, its metrics, its model."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from tenuto.labels import LabelType
from tenuto.records import Record
from tenuto.serving.answers import Version
from tenuto.serving.endpoints.problems import RESPONSES
from tenuto.serving.metrics import CONTENT_TYPE
from tenuto.serving.state import State

router = APIRouter(tags=["server"])


class Ready(Record):
    """Whether requests are answered."""

    is_ready: bool
    champion: Version | None
    challenger: Version | None
    problem: str | None = Field(description="what keeps the models from being brought up to date, if anything")


class ModelFacts(Record):
    """What a client should know of the model that answers."""

    model: Version
    labels: tuple[str, ...]
    kind: LabelType = Field(description="one label a clip, or many")
    sample_rate_hz: int = Field(description="what clips are resampled to; no need to send more")
    max_seconds: float = Field(description="how much of a clip it hears; of a longer one the middle")
    artefacts: tuple[str, ...] = Field(description="the published ones, of which model.artefact serves")
    size_mb: float
    figures: dict[str, float] = Field(description="as measured when the model was exported")
    card: str | None = Field(description="the model card, Markdown")
    takes_feedback: bool = Field(description="POST /v1/feedback keeps what a clip was in truth")


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process is alive."""
    return {"status": "alive"}


@router.get("/readyz", response_model=Ready, responses={503: {"model": Ready, "description": "no model yet"}})
async def readyz(request: Request) -> Response:
    """Whether requests are answered, and by which versions; 503 when they are not."""
    models = request.app.state.serving.models
    champion, challenger = models.champion, models.challenger
    ready = Ready(
        is_ready=champion is not None,
        champion=champion.version if champion else None,
        challenger=challenger.version if challenger else None,
        problem=models.problem,
    )
    return Response(ready.model_dump_json(), 200 if ready.is_ready else 503, media_type="application/json")


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Counters and latencies, for Prometheus."""
    return Response(request.app.state.serving.metrics.text(), media_type=CONTENT_TYPE)


@router.get("/v1/model", responses={503: RESPONSES[503]})
async def model(request: Request) -> ModelFacts:
    """The labels, rates and card of the model that answers now."""
    state: State = request.app.state.serving
    found = state.serving_model()
    bundle: Any = found.classifier.bundle
    artefact = bundle.artefact(found.version.artefact)
    return ModelFacts(
        model=found.version,
        labels=bundle.labels,
        kind=bundle.kind,
        sample_rate_hz=bundle.framing.sample_rate_hz,
        max_seconds=bundle.framing.max_seconds,
        artefacts=tuple(one.name for one in bundle.published),
        size_mb=artefact.size_mb,
        figures=artefact.figures,
        card=found.card,
        takes_feedback=state.recorder is not None,
    )
