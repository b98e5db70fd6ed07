"""Times the stages of a flow and says on the `tenuto` logger which one runs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger("tenuto.stages")

ctrl_c = threading.Event()
"""Set when a person pressed Ctrl-C: libraries have been seen to swallow the KeyboardInterrupt."""


class Stages:
    """The seconds that each stage took, in the order in which they ran."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Times the block as stage `name`, also when it fails; a stage that runs twice adds up.

        Raises KeyboardInterrupt when Ctrl-C was pressed before.
        """
        if ctrl_c.is_set():
            raise KeyboardInterrupt
        log.info("%s", name)
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            self._seconds[name] = self._seconds.get(name, 0.0) + seconds
        log.info("%-16s %6.1f s", name, seconds, extra={"stage_seconds": seconds})

    @property
    def seconds(self) -> dict[str, float]:
        """Per stage, and `total` since this was made, rounded to milliseconds."""
        total = time.perf_counter() - self._started
        return {name: round(value, 3) for name, value in {**self._seconds, "total": total}.items()}
