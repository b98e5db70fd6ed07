"""`tenuto serve`: a server of the champion, or of one exported model, until it is told to stop.

No Prefect: it runs where nothing but `tenuto`, MLflow's client and ONNX Runtime is installed.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from flows import servers
from tasks.follow import RegistrySource
from tenuto.errors import ServerError
from tenuto.serving.app import create_app
from tenuto.serving.guarding.connections import Connection
from tenuto.serving.hearing import bundle as bundles
from tenuto.serving.hearing.sources import FolderSource, Source
from tenuto.serving.settings import ServingSettings
from tenuto.serving.state import State
from tenuto.serving.streaming.stream_api import MAX_MESSAGE_BYTES
from tenuto.settings import Params
from tenuto.workspace import Workspace

_STOP_SECONDS = 30
_BACKLOG = 2048


def registry(workspace: Workspace, params: Params) -> Source:
    """The workspace's registered model; a registry that does not answer is given up on within seconds."""
    # MLflow's own seven attempts take minutes, in which nothing else would be followed
    for name, value in (("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1"), ("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")):
        os.environ.setdefault(name, value)
    uri = servers.tracking_uri(workspace, params, must_answer=False)
    return RegistrySource(uri, params.name, workspace.served_models)


def folder(bundle: Path) -> Source:
    """An exported model in a folder; BackboneError when it is none."""
    bundles.read(bundle)
    return FolderSource(bundle.resolve())


def serve(
    source: Source,
    settings: ServingSettings,
    *,
    log: Path | None,
    host: str,
    port: int,
    threads: int | None,
    on_ready: Callable[[State, str], None],
) -> None:
    """Answers until SIGTERM or Ctrl-C; what is under way is answered first, for half a minute at most.

    `threads` batches are heard at once, as many as there are cores by default. `on_ready` hears of the state and the
    address once connections are taken. Raises ServerError when the address cannot be had.
    """
    listening = _listening(host, port)
    state = State.make(source, settings, threads=threads or len(os.sched_getaffinity(0)), log=log)
    server = _Server(create_app(state), lambda: on_ready(state, _address(listening)))
    # the handlers that uvicorn gives the signals back to: to stop when asked to is no failure
    before = {sign: signal.signal(sign, lambda *_: None) for sign in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.run(sockets=[listening])
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


class _Server(uvicorn.Server):
    """uvicorn, which says when it is ready."""

    def __init__(self, app: FastAPI, on_ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http=Connection,
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=_STOP_SECONDS,
                ws_max_size=MAX_MESSAGE_BYTES,
                ws_per_message_deflate=False,
            )
        )
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()


def _listening(host: str, port: int) -> socket.socket:
    """A socket on the address, so that one that is taken is said in a line, and port 0 becomes a free one."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        why = str(error.strerror or error).partition(" (")[0]
        raise ServerError(
            f"{host}:{port} cannot be listened on ({why}); choose another with --host and --port."
        ) from error


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def logged_to_stderr() -> Iterator[None]:
    """What the server says of itself goes to stderr with its time: models that come and go, what cannot be read."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    levels = {"tenuto": logging.INFO, "tasks.follow": logging.INFO, "uvicorn": logging.WARNING}
    loggers = {name: logging.getLogger(name) for name in levels}
    before = {name: (logger.level, logger.propagate) for name, logger in loggers.items()}
    for name, logger in loggers.items():
        logger.addHandler(handler)
        logger.setLevel(levels[name])
        logger.propagate = False
    try:
        yield
    finally:
        for name, logger in loggers.items():
            logger.removeHandler(handler)
            logger.setLevel(before[name][0])
            logger.propagate = before[name][1]
