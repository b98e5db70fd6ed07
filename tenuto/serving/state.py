"""What the endpoints of one server share; they take it from `request.app.state.serving`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tenuto.serving.endpoints.answering import Notes
from tenuto.serving.endpoints.problems import ProblemError
from tenuto.serving.hearing.batching import Batcher
from tenuto.serving.hearing.models import Model, Models
from tenuto.serving.hearing.shadow import Shadow
from tenuto.serving.hearing.sources import Source
from tenuto.serving.metrics import Metrics
from tenuto.serving.recorder import Recorder
from tenuto.serving.settings import ServingSettings


@dataclass
class State:
    """A server's models, settings and threads; `start` before the first request, `stop` after the last."""

    models: Models
    settings: ServingSettings
    batcher: Batcher
    shadow: Shadow
    metrics: Metrics
    notes: Notes
    recorder: Recorder | None
    """Keeps what was served; None when nothing is to be kept."""
    decoders: ThreadPoolExecutor
    """Few, since a clip takes far more memory while it is decoded than before and after."""
    open_streams: int = 0

    @classmethod
    def make(
        cls,
        source: Source,
        settings: ServingSettings | None = None,
        *,
        threads: int = 1,
        artefact: str | None = None,
        log: Path | None = None,
    ) -> State:
        """The state of a server that answers with the models of a source; `threads` batches are heard at once.

        What is served is written to `log` (`tenuto.tracing.served`), unless the settings turn that off.
        """
        settings = settings or ServingSettings()
        metrics = Metrics()
        recorder = Recorder(log, settings.log) if log and settings.log.is_on else None
        notes = Notes(metrics, recorder)
        models = Models(
            source,
            poll_seconds=settings.poll_seconds,
            has_challenger=settings.challenger_share > 0,
            artefact=artefact,
            metrics=metrics,
        )
        waiting = settings.limits.max_waiting
        batcher = Batcher(settings.batch, max_waiting=waiting, threads=threads, metrics=metrics)
        shadow = Shadow(settings.challenger_share, batcher, notes, metrics, max_waiting=waiting)
        metrics.gauge("tenuto_waiting_clips", "Clips that wait to be heard.", lambda: batcher.waiting)
        if recorder is not None:
            metrics.gauge("tenuto_log_dropped", "Predictions that did not get into the log.", lambda: recorder.dropped)
        decoders = ThreadPoolExecutor(max(threads, 2), "decodes")
        state = cls(models, settings, batcher, shadow, metrics, notes, recorder, decoders)
        metrics.gauge("tenuto_open_streams", "Streams that are open.", lambda: state.open_streams)
        return state

    def serving_model(self) -> Model:
        """The champion; ProblemError when there is none yet."""
        if self.models.champion is None:
            raise ProblemError(503, "No model is loaded yet; /readyz says why.", {"Retry-After": "5"})
        return self.models.champion

    def start(self) -> None:
        if self.recorder is not None:
            self.recorder.start()
        self.batcher.start()
        self.shadow.start()
        self.models.start()

    def stop(self) -> None:
        """What waits is heard and written before this returns."""
        self.models.stop()
        self.decoders.shutdown()
        self.batcher.stop()
        self.shadow.stop()
        if self.recorder is not None:
            self.recorder.stop()
