"""What a client is told when it gets no answer: problem details as JSON (RFC 9457), with what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.exceptions import HTTPException

from tenuto.records import Record

MEDIA_TYPE = "application/problem+json"


class Problem(Record):
    """The body of every answer with a status of 400 or above."""

    status: int
    title: str = Field(description="of the status, such as 'Unprocessable Content'")
    detail: str = Field(description="what came, what was wanted, what to do")
    request_id: str


class ProblemError(Exception):
    """A request that gets a problem for an answer."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


def answer(request_id: str, status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The response that says what is wrong; also for middleware, which is outside the exception handlers."""
    problem = Problem(status=status, title=HTTPStatus(status).phrase, detail=detail, request_id=request_id)
    return JSONResponse(problem.model_dump(), status, dict(headers or {}), MEDIA_TYPE)


async def on_problem(request: Request, error: Exception) -> JSONResponse:
    """The exception handler of ProblemError."""
    assert isinstance(error, ProblemError)
    return answer(request.state.request_id, error.status, error.detail, error.headers)


async def on_http_error(request: Request, error: Exception) -> JSONResponse:
    """The exception handler of what the framework refuses: an unknown path, another method, a body that is no form."""
    assert isinstance(error, HTTPException)
    return answer(request.state.request_id, error.status_code, str(error.detail), error.headers)


async def on_invalid(request: Request, error: Exception) -> JSONResponse:
    """The exception handler of parameters and bodies that do not fit their types."""
    return answer(request.state.request_id, 422, explained(error))


def explained(error: Any) -> str:
    """The first thing that is wrong by an error of pydantic's, with its place."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": description, "model": Problem, "content": {MEDIA_TYPE: {}}}
    for status, description in {
        400: "no HTTP, JSON or form that can be read",
        401: "no API key, where the server wants one",
        403: "asked by a page of another site",
        408: "not whole in time",
        413: "too many bytes, seconds or clips",
        422: "no audio, or nothing else, that can be used",
        429: "too often: try again after Retry-After seconds",
        503: "not ready, or too much is waiting: try again after Retry-After seconds",
    }.items()
}
"""What the OpenAPI says of an endpoint's refusals."""
