"""`WS /v1/stream`: a client sends PCM as it is recorded and gets an answer for each window.

    client   {"sample_rate_hz": 48000, "format": "s16le"}, then binary messages of mono PCM, cut anywhere,
             then {"end": true}, for the windows that are left
    server   {"type": "ready", ...}, then {"type": "window", ...} for each window, then {"type": "done", ...};
             or {"type": "error", "detail": ...}, and the connection closes

A client that sends faster than the model hears is slowed down by the connection itself. A version that is promoted
takes over at the next window; if its labels or windows are others, the stream ends with 1012 and may be opened again.
The log gets the windows at which the stream begins to say something else; a window's place is its position there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import ValidationError

from tenuto.errors import ClipError
from tenuto.records import Record
from tenuto.serving.endpoints.answering import answers_of
from tenuto.serving.endpoints.problems import explained
from tenuto.serving.endpoints.sounds import decoded
from tenuto.serving.guarding.admission import foreign_page
from tenuto.serving.hearing.batching import BusyError
from tenuto.serving.hearing.classifier import Heard
from tenuto.serving.hearing.models import Model
from tenuto.serving.state import State
from tenuto.serving.streaming.stream import Cut, Cutter, Decoder, Event, Smoother, Window, window_samples
from tenuto.serving.streaming.stream_messages import Done, End, Failed, Ready, Start, StreamAnswer, StreamEvent
from tenuto.sound.audio import Recording

router = APIRouter(tags=["stream"])

MAX_MESSAGE_BYTES = 1 << 20
"""Half a minute of sound at 16 kHz."""

_PIECE_BYTES = 1 << 15
"""Of a message that are resampled at once: short enough for other requests not to notice."""
_RETRY_SECONDS = 0.05

_UNSUPPORTED, _INVALID, _REFUSED, _TOO_BIG, _RESTART, _LATER = 1003, 1007, 1008, 1009, 1012, 1013


class StreamError(Exception):
    """A stream that ends early, with the code that its connection is closed with (RFC 6455, 7.4)."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@router.websocket("/v1/stream")
async def stream(websocket: WebSocket) -> None:
    """Answers for each window of a stream of PCM."""
    state: State = websocket.app.state.serving
    await websocket.accept()
    request_id: str = websocket.state.request_id
    state.open_streams += 1
    try:
        _check_welcome(websocket, state)
        connection = _Connection(websocket, state, request_id)
        limits = state.settings.limits
        try:
            # sound that drips, and answers that are not read, hold a place no longer than a whole stream does
            async with asyncio.timeout(limits.max_stream_seconds + limits.upload_timeout_seconds):
                await connection.run()
        except TimeoutError:
            raise connection.too_long() from None
        await websocket.close()
    except StreamError as error:
        await _refuse(websocket, Failed(request_id=request_id, detail=error.detail), error.code)
    except WebSocketDisconnect:
        pass
    finally:
        state.open_streams -= 1


class _Connection:
    """One stream: what is known of it between two messages."""

    def __init__(self, websocket: WebSocket, state: State, request_id: str) -> None:
        self._websocket = websocket
        self._state = state
        self._request_id = request_id
        self._model = self._champion()
        classifier = self._model.classifier
        self._window, self._hop = window_samples(classifier.framing, state.settings.stream)
        self._smoother = Smoother(
            classifier.labels,
            classifier.kind,
            classifier.bundle.calibration,
            classifier.sample_rate_hz,
            state.settings.stream,
        )
        self._windows = 0
        self._noted: str | None = None

    async def run(self) -> None:
        """From the first message to the last."""
        start = await self._started()
        rate_hz = self._model.classifier.sample_rate_hz
        decoder, cutter = Decoder(start.format), Cutter(start.sample_rate_hz, rate_hz, self._window, self._hop)
        while (data := await self._received()) is not None:
            arrived = time.perf_counter()
            for at in range(0, len(data), _PIECE_BYTES):
                try:
                    samples = decoder.samples(data[at : at + _PIECE_BYTES])
                except ClipError as error:
                    raise StreamError(
                        _INVALID, f"The stream cannot be used: {error.detail} ({error.reason})."
                    ) from None
                await self._answer(cutter.push(samples), arrived)
            if cutter.end > self._state.settings.limits.max_stream_seconds * rate_hz:
                raise self.too_long()
        await self._answer(cutter.finish(), time.perf_counter())
        await self._send(
            Done(
                request_id=self._request_id,
                windows=self._windows,
                seconds=cutter.end / rate_hz,
                events=_told(self._smoother.finish()),
            )
        )

    def too_long(self) -> StreamError:
        """That the stream has lasted as long as one may."""
        most = self._state.settings.limits.max_stream_seconds
        return StreamError(_REFUSED, f"A stream may last {most:g} s at most; open another.")

    async def _started(self) -> Start:
        message = await self._message()
        try:
            start = Start.model_validate_json(message.get("text") or "")
        except ValidationError as error:
            said = explained(error)
            raise StreamError(
                _UNSUPPORTED, f'The first message has to be like {{"sample_rate_hz": 48000, "format": "s16le"}}: {said}'
            ) from None
        classifier = self._model.classifier
        await self._send(
            Ready(
                request_id=self._request_id,
                model=self._model.version,
                labels=classifier.labels,
                kind=classifier.kind,
                sample_rate_hz=classifier.sample_rate_hz,
                window_seconds=self._window / classifier.sample_rate_hz,
                hop_seconds=self._hop / classifier.sample_rate_hz,
            )
        )
        return start

    async def _received(self) -> bytes | None:
        """The next PCM, None at the end of the stream."""
        message = await self._message()
        if (data := message.get("bytes")) is not None:
            if len(data) > MAX_MESSAGE_BYTES:
                raise StreamError(
                    _TOO_BIG, f"A message may have {MAX_MESSAGE_BYTES} bytes at most; it had {len(data)}."
                )
            return bytes(data)
        try:
            End.model_validate_json(message.get("text") or "")
        except ValidationError:
            raise StreamError(_UNSUPPORTED, 'Wanted binary messages of PCM, or {"end": true}.') from None
        return None

    async def _message(self) -> dict[str, Any]:
        seconds = self._state.settings.limits.upload_timeout_seconds
        try:
            message = await asyncio.wait_for(self._websocket.receive(), seconds)
        except TimeoutError:
            raise StreamError(_REFUSED, f"Nothing came for {seconds:g} s; open the stream again.") from None
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1000))
        return dict(message)

    async def _answer(self, cuts: Iterator[Cut], arrived: float) -> None:
        while some := tuple(islice(cuts, self._state.settings.batch.max_clips)):
            self._follow()
            heard = await self._heard(some)
            for row, cut in enumerate(some):
                window = self._smoother.add(cut, heard, row)
                answer = self._said(window, (time.perf_counter() - arrived) * 1000)
                self._note(cut, heard.rows(row, row + 1), answer)
                await self._send(answer)

    async def _heard(self, cuts: tuple[Cut, ...]) -> Heard:
        """What the model makes of windows; while too much else waits, a stream waits too."""
        until = time.perf_counter() + self._state.settings.limits.upload_timeout_seconds
        while True:
            try:
                return await self._state.batcher.hear(self._model.classifier, [cut.wave for cut in cuts])
            except BusyError:
                if time.perf_counter() > until:
                    raise StreamError(_LATER, "Too many clips are waiting; open the stream again later.") from None
                await asyncio.sleep(_RETRY_SECONDS)

    def _note(self, cut: Cut, heard: Heard, answer: StreamAnswer) -> None:
        """Take note of a window whenever the stream says something else than before."""
        if answer.smoothed_label == self._noted:
            return
        self._noted = answer.smoothed_label
        framing = self._model.classifier.framing
        clips = [decoded(Recording(cut.wave[:, None], framing.sample_rate_hz, "samples", False), framing)]
        answers = answers_of(self._request_id, self._model, clips, heard, answer.latency_ms)
        self._state.notes.put(answers, clips, heard, window=cut.position)

    def _said(self, window: Window, latency_ms: float) -> StreamAnswer:
        self._windows += 1
        labels, version = self._model.classifier.labels, self._model.version
        return StreamAnswer(
            request_id=self._request_id,
            model=version,
            window=window.position,
            begin_seconds=window.begin_seconds,
            end_seconds=window.end_seconds,
            middle_seconds=window.middle_seconds,
            label=window.label,
            probabilities=dict(zip(labels, window.probabilities.tolist(), strict=True)),
            is_unknown=window.is_unknown,
            novelty=window.novelty,
            smoothed_label=window.smoothed_label,
            smoothed=dict(zip(labels, window.smoothed.tolist(), strict=True)),
            events=_told(window.events),
            latency_ms=latency_ms,
        )

    def _champion(self) -> Model:
        if self._state.models.champion is None:
            raise StreamError(_LATER, "No model is loaded yet; /readyz says why.")
        return self._state.models.champion

    def _follow(self) -> None:
        """Go on with the champion of now; StreamError when its answers would not continue those given."""
        before, now = self._model.classifier, self._champion()
        if now is self._model:
            return
        fresh = now.classifier
        if (before.labels, before.kind, before.framing) != (fresh.labels, fresh.kind, fresh.framing):
            raise StreamError(_RESTART, f"Version {now.version.version} has other labels; open the stream again.")
        self._model = now
        self._smoother.calibration = fresh.bundle.calibration

    async def _send(self, record: Record) -> None:
        seconds = self._state.settings.limits.upload_timeout_seconds
        try:
            await asyncio.wait_for(self._websocket.send_text(record.model_dump_json()), seconds)
        except TimeoutError:  # who does not read answers cannot be told either
            raise WebSocketDisconnect(_REFUSED) from None


def _check_welcome(websocket: WebSocket, state: State) -> None:
    """StreamError for a page of another site, which browsers do not keep from opening one, and for one too many."""
    if page := foreign_page(websocket.headers, state.settings.cors_origins):
        raise StreamError(
            _REFUSED, f"Pages of {page} may not open streams; cors_origins in mlflow/serving.yaml says which."
        )
    if state.open_streams > state.settings.limits.max_streams:
        raise StreamError(_LATER, f"{state.settings.limits.max_streams} streams are open already; try again later.")


async def _refuse(websocket: WebSocket, failed: Failed, code: int) -> None:
    try:
        await websocket.send_text(failed.model_dump_json())
        await websocket.close(code)
    except (WebSocketDisconnect, RuntimeError):  # it is closed already
        pass


def _told(events: tuple[Event, ...]) -> tuple[StreamEvent, ...]:
    return tuple(
        StreamEvent(kind=event.kind, label=event.label, at_seconds=event.at_seconds, probability=event.probability)
        for event in events
    )
