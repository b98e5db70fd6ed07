"""A real server on loopback, and clients that behave badly."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from fastapi import FastAPI

from tenuto.serving.app import create_app
from tenuto.serving.guarding import connections
from tenuto.serving.guarding.connections import Connection
from tenuto.serving.hearing.sources import FolderSource
from tenuto.serving.settings import ServingSettings
from tenuto.serving.state import State
from tenuto.sound.audio import encode_wav
from tests.bundles import SAMPLE_RATE_HZ, tone, write_tones

SOUND = encode_wav(tone(3000), SAMPLE_RATE_HZ)
HEAD = b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of a server that waits half a second where the real one waits longer."""
    folder = tmp_path_factory.mktemp("bundle")
    write_tones(folder)
    settings = ServingSettings.model_validate({"limits": {"upload_timeout_seconds": 0.5}})
    app = create_app(State.make(FolderSource(folder), settings))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "_HEAD_SECONDS", 0.5)
        patch.setattr(connections, "_LINGER_SECONDS", 0.3)
        with listening(app) as port:
            yield port


@contextlib.contextmanager
def listening(app: FastAPI) -> Iterator[int]:
    """The port of an app that is served on loopback."""
    server = uvicorn.Server(uvicorn.Config(app, http=Connection, log_config=None, access_log=False))
    with socket.create_server(("127.0.0.1", 0)) as sock:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[sock])))
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield sock.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(10)


def talk(port: int, *parts: bytes | float, patience: float = 5.0) -> tuple[bytes, float]:
    """What the server says to these bytes and pauses until it closes, and how long that took; b'open' at its end when
    it is still open after `patience`."""
    began = time.monotonic()
    said = b""
    with socket.create_connection(("127.0.0.1", port), timeout=patience) as client:
        try:
            for part in parts:
                if isinstance(part, float):
                    time.sleep(part)
                else:
                    client.sendall(part)
            while piece := client.recv(65536):
                said += piece
        except TimeoutError:
            said += b"open"
        except OSError:  # it was closed while we were sending
            pass
    return said, time.monotonic() - began


def check_alive(port: int) -> None:
    said, _ = talk(port, HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(SOUND) + SOUND)
    assert said.startswith(b"HTTP/1.1 200") and b'"high"' in said


def test_a_connection_without_a_request_and_headers_that_never_end_are_closed(port: int) -> None:
    for parts in ((), (b"POST /v1/cl",), (HEAD,), (HEAD, *[b"X: y\r\n", 0.1] * 20)):
        said, seconds = talk(port, *parts)
        assert said == b"" and 0.3 < seconds < 3
    check_alive(port)


def test_headers_without_end_are_refused_before_they_fill_memory(port: int) -> None:
    for flood in (b"X-Many: y\r\n" * 20_000, b"X-Long: " + b"y" * 200_000):
        said, _ = talk(port, HEAD, flood)
        assert said == b"" or said.startswith(b"HTTP/1.1 431")
    trailers = HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nRIFF\r\n0\r\n" + b"X-Many: y\r\n" * 20_000
    said, _ = talk(port, trailers)
    assert b" 200 " not in said
    check_alive(port)


def test_an_upload_that_stalls_is_answered_and_closed(port: int) -> None:
    said, seconds = talk(port, HEAD + b"Content-Length: 1000\r\n\r\nRIFF")
    assert said.startswith(b"HTTP/1.1 408") and b"was not whole after 0.5 s" in said and not said.endswith(b"open")
    assert seconds < 3
    check_alive(port)


def test_who_goes_on_sending_after_the_answer_is_cut_off(port: int) -> None:
    head = b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
    said, seconds = talk(port, head, *[b"x", 0.05] * 40)
    assert said.startswith(b"HTTP/1.1 404") or said == b""
    assert not said.endswith(b"open") and seconds < 4
    check_alive(port)


def test_an_upload_that_breaks_off_harms_nobody(port: int) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(HEAD + b"Content-Length: 1000\r\n\r\nRIFF")
    check_alive(port)


def test_requests_one_after_another_on_one_connection_are_answered(port: int) -> None:
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(SOUND) + SOUND
    said, _ = talk(port, request, 0.2, request, 0.8, request, request, patience=1.5)
    assert said.count(b"HTTP/1.1 200") == 4
