"""Times the stages of a flow and says on the `tenuto` logger which one runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger("tenuto.stages")


class Stages:
    """The seconds that each stage took, in the order in which they ran."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Times the block as stage `name`, also when it fails; a stage that runs twice adds up."""
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
