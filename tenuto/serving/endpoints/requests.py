"""What every request gets, whatever becomes of it: an id, which comes back as X-Request-Id, and a place in the metrics.

The outermost middleware, so that refusals of the others have both too.
"""

from __future__ import annotations

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tenuto.serving.endpoints.problems import answer
from tenuto.serving.metrics import Metrics

log = logging.getLogger(__name__)

HEADER = "X-Request-Id"
_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


class Identified:
    """ASGI middleware: `scope["state"]["request_id"]` is the client's id, else a new one."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes requests and streams on; one with an id that cannot be used is refused."""
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        given = Headers(scope=scope).get(HEADER)
        usable = given is not None and _ID.fullmatch(given) is not None
        request_id = given if given and usable else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        if scope["type"] == "websocket":
            return await self._app(scope, receive, send)
        return await self._observed(scope, receive, send, request_id, is_refused=bool(given) and not usable)

    async def _observed(self, scope: Scope, receive: Receive, send: Send, request_id: str, *, is_refused: bool) -> None:
        started = time.perf_counter()
        status, has_begun = 500, False

        async def send_with_id(message: Message) -> None:
            nonlocal status, has_begun
            if message["type"] == "http.response.start":
                status, has_begun = message["status"], True
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        try:
            if is_refused:
                detail = f"{HEADER} wants up to 64 letters, digits, '.', '_', ':' or '-'; leave it out to be given one."
                await answer(request_id, 400, detail)(scope, receive, send_with_id)
            else:
                await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = 499  # as nginx calls it: there is nobody to answer
        except Exception:
            log.exception("request %s", request_id)
            if not has_begun:
                detail = "The server made a mistake; its log says more under this request id."
                await answer(request_id, 500, detail)(scope, receive, send_with_id)
        finally:
            path = getattr(scope.get("route"), "path", "")
            self._metrics.requested(path, status, time.perf_counter() - started)
