"""What a client is told when it gets no answer: problem details as JSON (RFC 9457), with what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, get_args

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
    path, detail, headers = request.url.path[:100], str(error.detail), error.headers or {}
    if error.status_code == 404 and detail == HTTPStatus(404).phrase:
        detail = f"There is nothing at {path}; /docs lists what there is."
    elif error.status_code == 405:
        detail = f"{path} does not take {request.method}, but {headers.get('Allow', 'another method')}."
    return answer(request.state.request_id, error.status_code, detail, headers)


async def on_invalid(request: Request, error: Exception) -> JSONResponse:
    """The exception handler of parameters and bodies that do not fit their types."""
    body = getattr(request.scope.get("route"), "body_field", None)
    return answer(request.state.request_id, 422, explained(error, body.field_info.annotation if body else None))


def explained(error: Any, model: Any = None) -> str:
    """The first thing that is wrong by an error of pydantic's, with its place; `model` is what was wanted."""
    first = error.errors()[0]
    place = [part for part in first["loc"] if part != "body"]
    if first["type"] == "extra_forbidden" and model is not None:
        message = f"not known here; {_hint(str(place[-1]), _fields_at(model, place[:-1]))}"
    elif first["type"] == "json_invalid":
        place, message = [], f"Invalid JSON: {first['ctx']['error']}"
    elif first["type"] in ("model_attributes_type", "model_type") and not place:
        message = "The body is no JSON object, or came without the header Content-Type: application/json."
    else:
        message = _IN_WORDS.get(first["type"], str(first["msg"])).format(**first.get("ctx", {}))
    return f"{'.'.join(map(str, place))}: {message.removeprefix('Value error, ')}" if place else message


_IN_WORDS = {
    "missing": "is missing",
    "too_short": "wanted at least {min_length}",
    "string_type": "wanted text",
    "int_type": "wanted a whole number",
    "float_type": "wanted a number",
    "tuple_type": "wanted a list",
    "model_type": "wanted an object",
    "dict_type": "wanted an object",
}
"""What pydantic's kinds of errors are in a client's terms; others are plain enough."""


def _fields_at(model: Any, place: Sequence[int | str]) -> list[str]:
    """The names of the fields of the record at a place in a body."""
    for name in (part for part in place if isinstance(part, str)):
        kind = model.model_fields[name].annotation
        model = next((one for one in (kind, *get_args(kind)) if hasattr(one, "model_fields")), model)
    return list(model.model_fields)


def _hint(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


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
