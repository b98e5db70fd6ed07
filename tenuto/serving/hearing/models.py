"""The models that a server answers with: it follows the registry's aliases without dropping a request.

A thread asks the source every few seconds. A new version is loaded and warmed while the old one goes on answering, and
then takes its place; whoever holds the old one finishes with it. Whatever goes wrong (the registry is away, a version
has no bundle), the models that are there go on serving.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

import numpy as np

from tenuto.errors import TenutoError
from tenuto.serving.answers import Version
from tenuto.serving.hearing.classifier import Classifier
from tenuto.serving.hearing.sources import Source
from tenuto.serving.metrics import Metrics

log = logging.getLogger(__name__)

CHAMPION, CHALLENGER = "champion", "challenger"

_FIRST_POLL_SECONDS = 20.0
_WARMING_SECONDS = (0.5, 1.0, 2.0)
"""Silent clips that a model hears before it serves: the first ones take longer."""


@dataclass(frozen=True, eq=False)
class Model:
    """One loaded version."""

    version: Version
    classifier: Classifier
    card: str | None


class Models:
    """`champion` answers, `challenger` listens; None for an alias that points nowhere."""

    def __init__(
        self,
        source: Source,
        *,
        poll_seconds: float = 5.0,
        has_challenger: bool = False,
        artefact: str | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.champion: Model | None = None
        self.challenger: Model | None = None
        self.problem: str | None = None
        """Why the last question to the source did not lead to a model; None when all is well."""
        self._source = source
        self._poll_seconds = poll_seconds
        self._aliases = (CHAMPION, CHALLENGER) if has_challenger else (CHAMPION,)
        self._artefact = artefact
        self._metrics = metrics or Metrics()
        self._stopping = threading.Event()
        self._polled = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follows-aliases", daemon=True)

    def start(self) -> None:
        """Begins to follow; returns after the first round, or when that takes long."""
        self._thread.start()
        self._polled.wait(_FIRST_POLL_SECONDS)

    def stop(self) -> None:
        """Ends following; the models stay. A question to the source that is under way is not waited for."""
        self._stopping.set()

    def poll(self) -> None:
        """Asks once for every alias and loads what is new; never raises."""
        problems = [problem for alias in self._aliases if (problem := self._updated(alias))]
        if problems:
            self._metrics.failed()
        found = " ".join(problems) or None
        if found != self.problem:
            log.warning("%s", found or "the registry answers again")
        self.problem = found
        self._polled.set()

    def _follow(self) -> None:
        self.poll()
        while not self._stopping.wait(self._poll_seconds):
            self.poll()

    def _updated(self, alias: str) -> str | None:
        """Why the alias's model cannot be brought up to date, if so."""
        try:
            wanted = self._source.resolve(alias)
            held: Model | None = getattr(self, alias)
            if wanted is None and alias == CHAMPION:
                return f"@{CHAMPION} was taken away." if held else f"{self._source.name} has no @{CHAMPION}."
            if wanted == (held.version.version if held else None):
                return None
            model = self._loaded(alias, wanted) if wanted is not None else None
        except TenutoError as error:
            return str(error)
        except Exception as error:  # nothing that a registry does may end the thread
            log.exception("@%s cannot be followed", alias)
            return f"@{alias} cannot be followed ({type(error).__name__}); the server's log says more."
        setattr(self, alias, model)
        self._metrics.serves(alias, self._source.name, wanted)
        log.info("@%s of %s: %s", alias, self._source.name, f"version {wanted}" if wanted else "none any more")
        return None

    def _loaded(self, alias: str, number: str) -> Model:
        classifier = Classifier.load(self._source.fetch(number), self._artefact)
        rate = classifier.sample_rate_hz
        for seconds in _WARMING_SECONDS:
            classifier.hear([np.zeros(round(seconds * rate), np.float32)])
        artefact = classifier.bundle.artefact(self._artefact).name
        shown = alias if number != "bundle" else ""
        version = Version(name=self._source.name, version=number, alias=shown, artefact=artefact)
        return Model(version, classifier, self._source.card(number))
