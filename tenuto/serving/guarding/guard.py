"""What stands before the endpoints: keys, rates, and bounds on what a request may cost before it is answered.

ASGI middleware. Nothing here reads ahead: bytes are counted as the endpoint takes them in, so a body without an
announced length is bounded like any other, and a client that stalls in the middle is let go. All refusals are problem
details (`tenuto.serving.endpoints.problems`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tenuto.serving.endpoints import problems
from tenuto.serving.guarding.admission import PROTOCOL, ApiKeys, Buckets, address, foreign_page
from tenuto.serving.settings import LimitSettings, ServingSettings

_OPEN = frozenset({"/", "/healthz", "/readyz", "/docs", "/openapi.json"})
"""For everybody: the page, which asks for a key itself, probes, and the documentation."""
_OPEN_PREFIX = "/assets/"
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_MEGABYTE = 1_000_000
_LINGER_SECONDS = 2.0


class _RefusedError(Exception):
    """A request that is refused while its body comes in."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


class Guard:
    """The middleware. One per server: it knows what all requests hold together."""

    def __init__(self, app: ASGIApp, settings: ServingSettings, keys: ApiKeys) -> None:
        limits = settings.limits
        self._app = app
        self._limits = limits
        self._keys = keys
        self._origins = settings.cors_origins
        self._uploads = _Uploads(limits)
        self._buckets = Buckets(limits.requests_per_minute) if limits.requests_per_minute else None
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request or a stream on, or refuses it."""
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._stream(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = _Body(self._uploads, scope, receive)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        is_open = path in _OPEN or path.startswith(_OPEN_PREFIX)
        self._requests += not is_open
        has_begun = False

        async def send_unless_refused(message: Message) -> None:
            nonlocal has_begun
            # what the endpoint makes of a body that breaks off is of no interest
            if body.refusal is None or has_begun:
                has_begun = True
                await send(message)

        try:
            if not is_open:
                self._admit(scope)
            self._check_length(scope)
            await self._app(scope, body.receive, send_unless_refused)
        except _RefusedError as refusal:
            body.refusal = body.refusal or refusal
        finally:
            self._requests -= not is_open
            self._uploads.held_bytes -= body.held_bytes
        if body.refusal is not None and not has_begun:
            await self._refuse(scope, body, send, body.refusal)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        offered = [name.strip() for name in Headers(scope=scope).get("sec-websocket-protocol", "").split(",")]

        async def send_with_protocol(message: Message) -> None:
            if message["type"] == "websocket.accept" and PROTOCOL in offered:
                message = {**message, "subprotocol": PROTOCOL}
            await send(message)

        try:
            self._admit_holder(scope)
        except _RefusedError as refusal:
            await receive()  # the opening handshake
            if "websocket.http.response" in scope.get("extensions", {}):
                answer = problems.answer(_id(scope), refusal.status, refusal.detail, refusal.headers)
                await answer(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008, "reason": refusal.detail[:120]})
            return
        await self._app(scope, receive, send_with_protocol)

    def _admit(self, scope: Scope) -> None:
        self._check_origin(scope)
        self._admit_holder(scope)
        if self._requests > self._limits.max_requests:
            detail = f"{self._limits.max_requests} requests are under way already; try again in a second."
            raise _RefusedError(503, detail, {"Retry-After": "1"})

    def _admit_holder(self, scope: Scope) -> None:
        holder = self._keys.holder(scope) if self._keys else address(scope)
        if holder is None:
            detail = "This server wants an API key: send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'."
            raise _RefusedError(401, detail, {"WWW-Authenticate": "Bearer"})
        if self._buckets is not None and (seconds := self._buckets.take(holder)):
            most = self._limits.requests_per_minute
            detail = f"More than {most} requests a minute; try again in {seconds} s."
            raise _RefusedError(429, detail, {"Retry-After": str(seconds)})

    def _check_origin(self, scope: Scope) -> None:
        """A page of another site may not have its visitors' browsers send something here."""
        if scope["method"] in _READING:
            return
        if page := foreign_page(Headers(scope=scope), self._origins):
            detail = f"Pages of {page} may not ask this server; cors_origins in mlflow/serving.yaml says which may."
            raise _RefusedError(403, detail)

    def _check_length(self, scope: Scope) -> None:
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdecimal() and int(length) > self._uploads.most_bytes:
            raise self._uploads.too_large()

    async def _refuse(self, scope: Scope, body: _Body, send: Send, refusal: _RefusedError) -> None:
        answer = problems.answer(_id(scope), refusal.status, refusal.detail, refusal.headers)
        if not body.is_whole and refusal.status != 408:
            # whoever is still sending would else see its connection break, and not the answer
            await body.discard(self._uploads.most_bytes)
        if not body.is_whole:
            MutableHeaders(raw=answer.raw_headers)["Connection"] = "close"
        await answer(scope, body.receive, send)


class _Uploads:
    """What the bodies of all requests hold, and may hold."""

    def __init__(self, limits: LimitSettings) -> None:
        self.most_bytes = int(limits.max_upload_mb * _MEGABYTE)
        self.most_held_bytes = int(max(limits.max_uploads_mb, limits.max_upload_mb) * _MEGABYTE)
        self.timeout_seconds = limits.upload_timeout_seconds
        self.held_bytes = 0

    def too_large(self) -> _RefusedError:
        most = self.most_bytes / _MEGABYTE
        return _RefusedError(413, f"A request may have {most:g} MB at most; send fewer or shorter clips, or flac.")


class _Body:
    """The body of a request as its endpoint takes it in, until it is whole, too large or too late."""

    def __init__(self, uploads: _Uploads, scope: Scope, receive: Receive) -> None:
        headers = Headers(scope=scope)
        self.held_bytes = 0
        self.refusal: _RefusedError | None = None
        self.is_whole = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
        self._waits_to_send = "expect" in headers
        self._uploads = uploads
        self._receive = receive
        self._ends_at = time.monotonic() + uploads.timeout_seconds

    async def receive(self) -> Message:
        """The next piece; raises _RefusedError from when the body is refused."""
        if self.is_whole:
            return await self._receive()
        if self.refusal is not None:
            raise self.refusal
        try:
            async with asyncio.timeout(self._ends_at - time.monotonic()):
                message = await self._receive()
            self._count(message)
        except TimeoutError:
            seconds = self._uploads.timeout_seconds
            detail = f"The request was not whole after {seconds:g} s; send it faster or in parts."
            self.refusal = _RefusedError(408, detail)
        except _RefusedError as refusal:
            self.refusal = refusal
        if self.refusal is not None:
            raise self.refusal
        return message

    async def discard(self, most_bytes: int) -> None:
        """Reads what still comes, for a moment."""
        discarded, until = 0, time.monotonic() + _LINGER_SECONDS
        while not (self.is_whole or self._waits_to_send or discarded > most_bytes):
            try:
                async with asyncio.timeout(until - time.monotonic()):
                    message = await self._receive()
            except TimeoutError:
                return
            discarded += len(message.get("body", b""))
            self.is_whole = not message.get("more_body", False)

    def _count(self, message: Message) -> None:
        uploads, size = self._uploads, len(message.get("body", b""))
        self.is_whole = not message.get("more_body", False)
        self.held_bytes += size
        uploads.held_bytes += size
        if self.held_bytes > uploads.most_bytes:
            raise uploads.too_large()
        if uploads.held_bytes > uploads.most_held_bytes:
            detail = "Other requests hold all memory that there is for uploads; try again in a few seconds."
            raise _RefusedError(503, detail, {"Retry-After": "5"})


def _id(scope: Scope) -> str:
    return str(scope["state"]["request_id"])
