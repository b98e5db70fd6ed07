"""The page to label on: a person listens and says what it is, on this machine.

Each decision is in queue.csv before the next recording is shown. The page answers on loopback under its own names only,
so that no page elsewhere can read it or decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse
from pydantic import Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

from tenuto.errors import DatasetError
from tenuto.labelling import queue
from tenuto.labels import UNKNOWN, LabelType
from tenuto.records import Record

HOSTS = ("127.0.0.1", "localhost")
_GONE = "The recording is no longer kept."
_TEMPLATES = files("tenuto") / "templates"
_ASSETS = {
    "report.css": "report.css",
    "review.css": "review/review.css",
    "review.js": "review/review.js",
    "picture.js": "serve/picture.js",
    "sound.js": "serve/sound.js",
}
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "media-src 'self' blob:; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Reviewing:
    """What is reviewed: the queue's folder, the labels to choose from, and who chooses.

    `known_groups` holds the values that the dataset has for each of its groups, which may be given as well.
    """

    folder: Path
    classes: Sequence[str]
    kind: LabelType
    reviewer: str
    known_groups: dict[str, list[str]] = field(default_factory=dict)


class Choice(Record):
    """What a person decided of one recording; `decision` '' takes an earlier one back."""

    request_id: str
    position: int = 0
    decision: Literal["", "labelled", "skipped", "unsure"]
    label: str = ""
    groups: dict[str, Annotated[str, Field(max_length=200)]] = Field(default_factory=dict)


router = APIRouter()


def create_app(reviewing: Reviewing) -> FastAPI:
    """The page and what it asks; no other page may ask it."""
    app = FastAPI(title="Tenuto label queue", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.reviewing = reviewing
    app.include_router(router)

    @app.middleware("http")
    async def guarded(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers.update(_HEADERS)
        return response

    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS))
    return app


@router.get("/")
def index() -> Response:
    return Response((_TEMPLATES / "review" / "index.html").read_bytes(), media_type="text/html; charset=utf-8")


@router.get("/assets/{name}")
def asset(name: str) -> Response:
    if name not in _ASSETS:
        raise HTTPException(404)
    return Response((_TEMPLATES / _ASSETS[name]).read_bytes(), media_type=_TYPES[Path(name).suffix])


@router.get("/queue")
def items(request: Request) -> dict[str, Any]:
    """The recordings in the queue, and what may be said of them."""
    reviewing: Reviewing = request.app.state.reviewing
    found = [item.model_dump(mode="json", exclude={"audio"}) for item in _read(reviewing)]
    return {
        "items": found,
        "classes": [*reviewing.classes],
        "unknown": UNKNOWN,
        "kind": reviewing.kind,
        "groups": reviewing.known_groups,
        "reviewer": reviewing.reviewer,
    }


@router.get("/recording")
def recording(request: Request, request_id: str, position: int = 0) -> FileResponse:
    reviewing: Reviewing = request.app.state.reviewing
    return FileResponse((reviewing.folder / _found(reviewing, (request_id, position)).audio).resolve())


@router.post("/decision")
def decide(request: Request, choice: Choice) -> dict[str, Any]:
    """Keep a decision, on disk when this answers; 422 for a label that does not exist, 404 for what is gone."""
    reviewing: Reviewing = request.app.state.reviewing
    if unheard_of := set(choice.groups) - set(reviewing.known_groups):
        raise HTTPException(422, f"The dataset has no group {sorted(unheard_of)[0]!r}.")
    item = _found(reviewing, (choice.request_id, choice.position))
    if item.decision == "accepted":
        raise HTTPException(409, "This label is in the dataset already; `tenuto data remove --clip` takes it out.")
    label = ""
    if choice.decision == "labelled":
        proposed = item.model_copy(update={"label": choice.label})
        try:
            label = queue.checked(proposed, reviewing.classes, reviewing.kind).label
        except DatasetError as error:
            raise HTTPException(422, str(error)) from error
    groups = {name: value.strip() for name, value in choice.groups.items()}
    groups = item.groups | groups
    try:
        kept = queue.decide(reviewing.folder, item.key, choice.decision, label, reviewing.reviewer, groups)
    except KeyError:  # it went in this moment
        raise HTTPException(404, _GONE) from None
    return kept.model_dump(mode="json", exclude={"audio"})


def _found(reviewing: Reviewing, key: tuple[str, int]) -> queue.Item:
    for item in _read(reviewing):
        if item.key == key:
            return item
    raise HTTPException(404, _GONE)


def _read(reviewing: Reviewing) -> tuple[queue.Item, ...]:
    try:
        return queue.read(reviewing.folder)
    except DatasetError as error:
        raise HTTPException(409, str(error)) from error
