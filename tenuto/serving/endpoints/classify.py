"""`POST /v1/classify`: clips in, labels and probabilities out."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from tenuto.serving.answers import Answers
from tenuto.serving.endpoints.answering import answers_of
from tenuto.serving.endpoints.problems import RESPONSES, ProblemError, on_http_error, on_problem
from tenuto.serving.endpoints.uploads import SentClip, decoded, received
from tenuto.serving.hearing.batching import BusyError
from tenuto.serving.state import State

router = APIRouter(prefix="/v1", tags=["classify"])

_BODY: dict[str, Any] = {
    "x-curl": [
        "curl --data-binary @clip.wav ADDRESS/v1/classify",
        "curl -F file=@one.wav -F file=@two.flac ADDRESS/v1/classify",
        """curl --json '{"clips": [{"samples": [0.0, 0.1, -0.1], "sample_rate_hz": 16000}]}' ADDRESS/v1/classify""",
    ],
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": "one or several audio files",
                        }
                    },
                }
            },
            "audio/*": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["clips"],
                    "additionalProperties": False,
                    # in place: what is referred to would have to be among the document's components
                    "properties": {"clips": {"type": "array", "minItems": 1, "items": SentClip.model_json_schema()}},
                },
                "examples": {
                    "samples": {"value": {"clips": [{"samples": [0.0, 0.1, 0.0, -0.1], "sample_rate_hz": 16000}]}},
                    "base64": {"value": {"clips": [{"audio": "UklGRiQAAABXQVZFZm10IBAAAAABAAEA..."}]}},
                },
            },
        },
    },
}


@router.post("/classify", response_model=Answers, responses=RESPONSES, openapi_extra=_BODY)
async def classify(request: Request) -> Response:
    """Says what one or several clips are.

    The clips are the files of a form, in fields of any name, the body itself, or JSON with base64 or samples. Answers
    come in their order; one clip that cannot be used refuses the request. Each answer names the model version that gave
    it and the request's id. A client may choose the id with the header X-Request-Id, a new one for each request: what
    is answered under an id that was used before is not kept in the log.
    """
    started = time.perf_counter()
    state: State = request.app.state.serving
    model = state.serving_model()
    uploads = await received(request, state)
    clips = await decoded(uploads, state, model.classifier.framing)
    try:
        heard = await state.batcher.hear(model.classifier, [clip.wave for clip in clips])
    except BusyError:
        raise ProblemError(503, "Too many clips are waiting; try again in a second.", {"Retry-After": "1"}) from None
    latency_ms, files = (time.perf_counter() - started) * 1000, [upload.file for upload in uploads]
    answers = answers_of(request.state.request_id, model, clips, heard, latency_ms, files)
    state.notes.put(answers, clips, heard)
    state.shadow.put(request.state.request_id, state.models.challenger, clips)
    return Response(Answers(answers=answers).model_dump_json(), media_type="application/json")


class Shortcut:
    """ASGI middleware, the innermost: hands what `classify` is asked to it, past FastAPI's search for an endpoint.

    That search, and what is prepared for parameters that it does not have, cost as much as the endpoint itself.
    """

    path = "/v1/classify"

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers or passes on."""
        if scope["type"] != "http" or scope["path"] != self.path or scope["method"] != "POST":
            return await self._app(scope, receive, send)
        scope["route"] = self
        request = Request(scope, receive, send)
        try:
            response = await classify(request)
        except ProblemError as error:
            response = await on_problem(request, error)
        except HTTPException as error:
            response = await on_http_error(request, error)
        return await response(scope, receive, send)
