"""The server as an ASGI application: its endpoints, in the order of the OpenAPI, and what is around them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from tenuto import __version__
from tenuto.serving.endpoints import classify, endpoint_docs, feedback, health, pages, problems
from tenuto.serving.endpoints.problems import ProblemError
from tenuto.serving.endpoints.requests import HEADER, Identified
from tenuto.serving.guarding.admission import ApiKeys
from tenuto.serving.guarding.guard import Guard
from tenuto.serving.state import State
from tenuto.serving.streaming import stream_api

_ROUTERS = (classify.router, feedback.router, stream_api.router, health.router, pages.router, endpoint_docs.router)


def create_app(state: State) -> FastAPI:
    """The application that serves `state`, whose threads live as long as it does."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        state.start()
        yield
        state.stop()

    app = FastAPI(
        title="Tenuto",
        version=__version__,
        summary="Says what a recording is.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load their scripts from elsewhere
        redoc_url=None,
    )
    app.state.serving = state
    for router in _ROUTERS:
        app.include_router(router)
    app.add_exception_handler(ProblemError, problems.on_problem)
    app.add_exception_handler(HTTPException, problems.on_http_error)
    app.add_exception_handler(RequestValidationError, problems.on_invalid)
    # the last one added is the outermost
    app.add_middleware(classify.Shortcut)
    app.add_middleware(Guard, settings=state.settings, keys=ApiKeys(os.environ))
    if state.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=state.settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", HEADER],
            expose_headers=[HEADER],
        )
    app.add_middleware(Identified, metrics=state.metrics)
    return app
