"""HTTP connections that nobody can hold open for nothing: uvicorn's, with bounds on what comes before a request.

uvicorn waits for ever for a request to begin and for its headers to end, and takes in headers of any size. The body is
the guard's matter (`tenuto.serving.guarding.guard`), since only there it is known who sends it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_HEAD_SECONDS = 15.0
_LINGER_SECONDS = 2.0
_MOST_HEAD_BYTES = 1 << 16
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 31\r\nconnection: close\r\n\r\nHeaders have 64 kB at the most."
)


class Connection(HttpToolsProtocol):
    """Closes when headers are not whole in time or too large, and when a body goes on long after its answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer: asyncio.TimerHandle | None = None
        self._bytes_without_progress = 0
        self._is_whole = False
        self._close_in(_HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stay()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._bytes_without_progress += len(data)
        super().data_received(data)
        if self._bytes_without_progress > _MOST_HEAD_BYTES and not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_whole = False
        self._close_in(_HEAD_SECONDS)

    def on_headers_complete(self) -> None:
        self._progressed()
        self._stay()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._progressed()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._progressed()
        self._is_whole = True
        if self.cycle is None or self.cycle.response_complete:
            self._stay()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._is_whole:
            self._close_in(_LINGER_SECONDS)

    def _progressed(self) -> None:
        self._bytes_without_progress = 0

    def _close_in(self, seconds: float) -> None:
        self._stay()
        self._timer = self.loop.call_later(seconds, self._close)

    def _stay(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self, *_: Any) -> None:
        if not self.transport.is_closing():
            self.transport.close()
