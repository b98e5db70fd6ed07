"""Sends events in the background, in order, and never in the way of the run.

A lineage store may be slow or gone, and the client library tries a dead address several times over: so a thread of its
own hands the events over, and the run waits for it only at its end, and only for a moment.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from pathlib import Path
from typing import Any

from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import RunEvent
from openlineage.client.transport.file import FileConfig, FileTransport

from tenuto.typed_yaml import read_yaml

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 1.0
"""How long the end of a run waits for events that have not been delivered."""

CONFIGURATION = "openlineage.yml"


class Sender:
    """Takes events, and delivers each once, in the order in which they came."""

    def __init__(self, client: OpenLineageClient) -> None:
        self._client = client
        self._events: queue.SimpleQueue[RunEvent | None] = queue.SimpleQueue()
        self._undelivered = 0
        self._given_up = threading.Event()
        # a daemon, since a process that ends must not wait for an address that does not answer
        self._thread = threading.Thread(target=self._deliver, name="openlineage", daemon=True)
        self._thread.start()

    def send(self, event: RunEvent) -> None:
        """Returns at once."""
        self._events.put(event)

    def close(self) -> None:
        """Waits a moment for what is on its way, and says so when something did not get through."""
        self._events.put(None)
        self._thread.join(PATIENCE_SECONDS)
        lost = self._undelivered + max(self._events.qsize() - 1, 0)
        if self._thread.is_alive():
            self._given_up.set()
        if self._given_up.is_set() or lost:
            log.warning(
                "%s OpenLineage event(s) were not delivered; the run itself is not affected. Look at the address in "
                "OPENLINEAGE_URL or %s.",
                max(lost, 1),
                CONFIGURATION,
            )

    def _deliver(self) -> None:
        while (event := self._events.get()) is not None:
            try:
                self._client.emit(event)
            except Exception as error:
                if self._given_up.is_set():  # and said so: another word would come after the run's own last one
                    return
                if not self._undelivered:
                    log.warning("an OpenLineage event was not delivered: %s", error)
                self._undelivered += 1
        self._client.close(PATIENCE_SECONDS)


def client(root: Path, file: Path) -> OpenLineageClient:
    """The client that OpenLineage's own configuration describes; without any, one that appends to `file`.

    The library looks at OPENLINEAGE_URL, OPENLINEAGE__..., OPENLINEAGE_CONFIG, OPENLINEAGE_DISABLED and an
    openlineage.yml in the current folder or the user's home; here that of the workspace `root` counts too, since a
    scheduled run has another current folder.
    """
    config = read_yaml(root / CONFIGURATION) if (root / CONFIGURATION).is_file() else {}
    file.parent.mkdir(parents=True, exist_ok=True)
    _end_last_line(file)
    transport = FileTransport(FileConfig(str(file), append=True))
    own = OpenLineageClient(transport=transport, config=config)
    if _names_transport(own.config.transport):
        return OpenLineageClient(config=config)
    return own


def _names_transport(transport: dict[str, Any] | None) -> bool:
    # the library keeps the address in the environment apart from the transport
    return bool((transport or {}).get("type") or os.environ.get("OPENLINEAGE_URL"))


def _end_last_line(file: Path) -> None:
    """Ends a line that a killed run left unfinished, so that it costs no other."""
    if not file.is_file() or not file.stat().st_size:
        return
    with file.open("rb+") as lines:
        lines.seek(-1, os.SEEK_END)
        if lines.read(1) != b"\n":
            lines.write(b"\n")
