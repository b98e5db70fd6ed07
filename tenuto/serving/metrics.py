"""What a server counts, for Prometheus. One registry per server, so that two in a process do not share counts."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_CLIPS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter("tenuto_requests", "Requests.", ("path", "status"), registry=self.registry)
        self._request_seconds = Histogram(
            "tenuto_request_seconds",
            "From a request to its answer.",
            ("path",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._clips = Counter(
            "tenuto_clips",
            "Clips answered, one with several labels under each of them.",
            ("version", "label", "is_shadow"),
            registry=self.registry,
        )
        self._batch_clips = Histogram(
            "tenuto_batch_clips", "Clips heard together.", buckets=_CLIPS, registry=self.registry
        )
        self._batch_seconds = Histogram(
            "tenuto_batch_seconds", "What hearing a batch took.", buckets=_SECONDS, registry=self.registry
        )
        self._model = Gauge(
            "tenuto_model", "1 for the model of each alias.", ("alias", "name", "version"), registry=self.registry
        )
        self._shown: dict[str, tuple[str, str, str]] = {}
        self._swaps = Counter("tenuto_model_swaps", "Models that began to serve.", ("alias",), registry=self.registry)
        self._failures = Counter("tenuto_source_failures", "Times the registry could not be asked or had no model "
                                 "that can be served.", registry=self.registry)  # fmt: skip
        self._shadows_left_out = Counter(
            "tenuto_shadows_left_out", "Clips that the challenger had no time for.", registry=self.registry
        )

    def requested(self, path: str, status: int, seconds: float) -> None:
        """`path` is the route's, '' for one that is not there: what a client sends names no counter."""
        self._requests.labels(path or "other", str(status)).inc()
        self._request_seconds.labels(path or "other").observe(seconds)

    def answered(self, version: str, label: str, *, is_shadow: bool = False) -> None:
        self._clips.labels(version, label, str(is_shadow).lower()).inc()

    def heard(self, clips: int, seconds: float) -> None:
        self._batch_clips.observe(clips)
        self._batch_seconds.observe(seconds)

    def serves(self, alias: str, name: str, version: str | None) -> None:
        """The alias is served by another version from now on, or by none."""
        self._swaps.labels(alias).inc()
        if (before := self._shown.pop(alias, None)) is not None:
            self._model.remove(*before)
        if version is not None:
            self._shown[alias] = (alias, name, version)
            self._model.labels(*self._shown[alias]).set(1)

    def failed(self) -> None:
        self._failures.inc()

    def left_out(self, clips: int) -> None:
        self._shadows_left_out.inc(clips)

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """A value that is read whenever the metrics are asked for."""
        Gauge(name, help_text, registry=self.registry).set_function(read)

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self.registry)
