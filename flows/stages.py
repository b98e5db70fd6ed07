"""The stages of a flow: how long each took, which one runs, and the events that tell others of them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from tenuto.workspace import Workspace

if TYPE_CHECKING:
    from tasks.openlineage import Events

log = logging.getLogger("tenuto.stages")

_Record = TypeVar("_Record")

ctrl_c = threading.Event()
"""Set when a person pressed Ctrl-C: libraries have been seen to swallow the KeyboardInterrupt."""


class Stage:
    """One stage that is under way."""

    def __init__(self, name: str, events: Events | None) -> None:
        self._name = name
        self._events = events

    def made(self, record: _Record) -> _Record:
        """The record, after the stage's events have taken note of it; None is nothing to take note of."""
        if self._events and record is not None:
            self._events.made(self._name, record)
        return record


class Stages:
    """The seconds that each stage took, in the order in which they ran; inside `flow`, each sends its events."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._cpu_started = time.process_time()
        self._seconds: dict[str, float] = {}
        self._events: Events | None = None

    @contextmanager
    def flow(self, name: str, workspace: Workspace, model: str) -> Iterator[None]:
        """Tells, in OpenLineage events, of the block as the flow `name` for the registered model `model`.

        An error ends the flow as FAIL, Ctrl-C as ABORT; both go on to the caller.
        """
        # importing the libraries takes seconds, which commands that run no stage need not pay
        from prefect import runtime

        from tasks.openlineage import Events, harmless

        with harmless():
            by_hand = runtime.deployment.id is None
            due = None if by_hand else runtime.flow_run.scheduled_start_time
            self._events = Events(workspace, model, name, runtime.flow_run.id, due)
        try:
            with self._told():
                yield
        finally:
            if self._events:
                self._events.close()
                self._events = None

    @contextmanager
    def __call__(self, name: str) -> Iterator[Stage]:
        """Times the block as stage `name`, also when it fails; a stage that runs twice adds up.

        Raises KeyboardInterrupt when Ctrl-C was pressed before.
        """
        if ctrl_c.is_set():
            raise KeyboardInterrupt
        log.info("%s", name)
        started = time.perf_counter()
        try:
            with self._told(name):
                yield Stage(name, self._events)
        finally:
            seconds = time.perf_counter() - started
            self._seconds[name] = self._seconds.get(name, 0.0) + seconds
        log.info("%-16s %6.1f s", name, seconds, extra={"stage_seconds": seconds})

    @property
    def seconds(self) -> dict[str, float]:
        """Per stage, and `total` since this was made, rounded to milliseconds."""
        total = time.perf_counter() - self._started
        return {name: round(value, 3) for name, value in {**self._seconds, "total": total}.items()}

    @property
    def cpu_seconds(self) -> float:
        """Processor time of this process, all its threads together, since this was made."""
        return time.process_time() - self._cpu_started

    @contextmanager
    def _told(self, *stage: str) -> Iterator[None]:
        """Sends the first and the last event of the block, as the flow's own without a stage's name."""
        if self._events is None:
            yield
            return
        run_id = self._events.started(*stage)
        raised: BaseException | None = None
        try:
            yield
        except BaseException as error:
            raised = error
            raise
        finally:
            self._events.ended(run_id, raised, *stage)
