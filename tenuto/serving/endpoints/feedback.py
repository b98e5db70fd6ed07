"""`POST /v1/feedback`: a client says what a clip was in truth. Monitoring and the label queue live on it."""

from __future__ import annotations

import logging
import sqlite3
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BeforeValidator, Field, StringConstraints

from tenuto.labels import UNKNOWN, parts
from tenuto.records import Record
from tenuto.serving.endpoints.problems import RESPONSES, ProblemError
from tenuto.serving.recorder import Recorder
from tenuto.tracing import served
from tenuto.tracing.served import Feedback, Served

log = logging.getLogger(__name__)

router = APIRouter(prefix="/v1", tags=["feedback"])

_Word = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)]
_MOST_GROUPS = 20
_EXAMPLE = {"x-curl": ["""curl --json '{"request_id": "ID", "position": 0, "label": "dog"}' ADDRESS/v1/feedback"""]}


def _in_text(label: object) -> object:
    """A class that is called by a number may be said as one."""
    return str(label) if isinstance(label, int) and not isinstance(label, bool) else label


class Given(Record):
    """What one clip of a request was in truth."""

    request_id: str = Field(min_length=1, max_length=64, description="as it came back with the answer")
    position: int = Field(default=0, ge=0, lt=2**31, description="of the clip in the request, from 0")
    label: Annotated[_Word, BeforeValidator(_in_text, json_schema_input_type=_Word | int)] = Field(
        max_length=2000,
        description="one of the model's; several as 'dog;rain', none as ''; 'unknown' for something else",
    )
    groups: dict[_Word, _Word] = Field(
        default_factory=dict,
        max_length=_MOST_GROUPS,
        description="who or what is heard, such as {'speaker': 'ann'}: `tenuto erase` then finds it",
    )


class Taken(Record):
    """What was kept of it."""

    request_id: str
    position: int
    label: str
    answered: str = Field(description="what the model had said")
    version: str


@router.post(
    "/feedback",
    responses={404: RESPONSES[422] | {"description": "no such request or clip"}, **RESPONSES},
    openapi_extra=_EXAMPLE,
)
def feedback(given: Given, request: Request) -> Taken:
    """Keeps what a clip was in truth; said again, the last word counts.

    The clip is named by its request's id and its position, as its answer names them.
    """
    recorder: Recorder | None = request.app.state.serving.recorder
    if recorder is None:
        raise ProblemError(404, "This server keeps no log of its answers, so feedback leads nowhere.")
    answer = _found(recorder, given)
    label = _checked(given.label, answer)
    kept = Feedback(
        request_id=given.request_id, position=given.position, label=label, at=datetime.now(UTC), groups=given.groups
    )
    try:
        served.feedback(recorder.path, [kept])
    except sqlite3.Error:
        log.exception("feedback on request %s could not be kept", given.request_id)
        raise ProblemError(503, "The log is busy or full; try again in a minute.", {"Retry-After": "60"}) from None
    return Taken(
        request_id=given.request_id,
        position=given.position,
        label=label,
        answered=answer.label,
        version=answer.version,
    )


def _found(recorder: Recorder, given: Given) -> Served:
    """The answer, which may be so fresh that it still waits to be written."""
    found = served.look_up(recorder.path, given.request_id, given.position)
    if found is None:
        recorder.flush(2.0)
        found = served.look_up(recorder.path, given.request_id, given.position)
    if found is None:
        detail = f"No answer is on record for clip {given.position} of request {given.request_id!r}."
        raise ProblemError(404, f"{detail} The id is the one that came back with the answer.")
    return found


def _checked(label: str, answer: Served) -> str:
    known = answer.probabilities
    if label in known or label == UNKNOWN or all(part in known for part in parts(label)):
        return label
    raise ProblemError(422, f"label: {label!r} is not among the model's: {', '.join(known)}; or '{UNKNOWN}'.")
