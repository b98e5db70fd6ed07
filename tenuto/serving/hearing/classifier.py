"""A bundle that listens: waves to probabilities, embeddings and novelty, by ONNX Runtime alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tenuto.errors import BackboneError
from tenuto.labels import LabelType
from tenuto.learning.framing import Framing, Wave
from tenuto.serving.hearing import bundle as bundles
from tenuto.serving.hearing import novelty
from tenuto.serving.hearing.bundle import Bundle
from tenuto.serving.hearing.novelty import Novelty

Array = npt.NDArray[np.float64]

_WINDOWS_AT_ONCE = 32
_OUTPUTS = ["logits", "embeddings"]


@dataclass(frozen=True)
class Heard:
    """What a model makes of clips, a row each.

    `probabilities` (clips, classes) in [0, 1]; `decided` (clips, classes), the labels given; `embeddings` (clips, dims)
    float32; `novelty` (clips,), the higher the less like the training clips, 0 where the bundle cannot tell;
    `is_unknown` (clips,), novelty above 1.
    """

    probabilities: Array
    decided: npt.NDArray[np.bool_]
    embeddings: npt.NDArray[np.float32]
    novelty: Array
    is_unknown: npt.NDArray[np.bool_]

    def rows(self, start: int, stop: int) -> Heard:
        """The same of some of the clips."""
        return Heard(*(getattr(self, column.name)[start:stop] for column in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[Heard]) -> Heard:
        """The clips of all parts, one after the other."""
        if len(parts) == 1:
            return parts[0]
        return cls(*(np.concatenate([getattr(part, column.name) for part in parts]) for column in fields(cls)))


class Classifier:
    """One artefact of a bundle in an ONNX Runtime session. Safe to call from several threads."""

    def __init__(self, bundle: Bundle, session: Any, fitted: Novelty | None = None) -> None:
        self.bundle = bundle
        self._novelty = fitted
        self._session = session
        self._wants_lengths = any(given.name == "lengths" for given in session.get_inputs())
        metadata = session.get_modelmeta().custom_metadata_map
        self._hears_alone = bundles.HEARD_ALONE in metadata
        self._averages_windows = bundles.WINDOWS_AVERAGED in metadata

    @classmethod
    def load(cls, folder: Path, artefact: str | None = None, *, threads: int = 1) -> Classifier:
        """The classifier in a bundle's folder, by its best artefact; BackboneError when it cannot be loaded."""
        bundle = bundles.read(folder)
        return cls(bundle, session(folder / bundle.artefact(artefact).file, threads), novelty.load(folder))

    @property
    def labels(self) -> tuple[str, ...]:
        return self.bundle.labels

    @property
    def kind(self) -> LabelType:
        return self.bundle.kind

    @property
    def framing(self) -> Framing:
        return self.bundle.framing

    @property
    def sample_rate_hz(self) -> int:
        return self.bundle.framing.sample_rate_hz

    def hear(self, waves: Iterable[Wave], batch_size: int = 32) -> Heard:
        """What the model makes of (n,) float32 waves, mono, in [-1, 1], at `sample_rate_hz`; any lengths."""
        order: list[int] = []
        logits, embeddings = [np.empty((0, len(self.labels)))], [np.empty((0, self.bundle.dims), np.float32)]
        for positions, batch in self._batches(waves, 1 if self._hears_alone else batch_size):
            found = self._run(self.inputs(batch))
            order += positions
            logits.append(found[0])
            embeddings.append(found[1])
        places = np.argsort(order)
        scores, vectors = np.concatenate(logits)[places], np.concatenate(embeddings)[places]
        probabilities = self.bundle.calibration.probabilities(scores, self.kind)
        decided = self.bundle.calibration.decide(probabilities, self.kind)
        unlike = self._novelty.score(vectors) if self._novelty else np.zeros(len(vectors))
        return Heard(probabilities, decided, vectors, unlike, unlike > 1)

    def _run(self, inputs: dict[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """Logits and embeddings; many windows a few at a time, so that a long clip does not fill the memory."""
        windows = inputs["waves"].shape[1] if self._averages_windows else 1
        starts = range(0, windows, _WINDOWS_AT_ONCE)
        if len(starts) == 1:
            return list(self._session.run(_OUTPUTS, inputs))
        parts = []
        for start in starts:
            stop = min(start + _WINDOWS_AT_ONCE, windows)
            some = {name: values[:, start:stop] for name, values in inputs.items()}
            parts.append([(stop - start) / windows * values for values in self._session.run(_OUTPUTS, some)])
        return [np.sum(values, axis=0) for values in zip(*parts, strict=True)]

    def predict(self, waves: Iterable[Wave], batch_size: int = 32) -> Array:
        """The probabilities (clips, classes) alone, as `Predictor.predict` gives them."""
        return self.hear(waves, batch_size).probabilities

    def _batches(self, waves: Iterable[Wave], batch_size: int) -> Iterable[tuple[list[int], list[Wave]]]:
        """As `Framing.batches`, and clips of a model that pads by itself share a batch when they are equally long."""
        for positions, batch in self.framing.batches(waves, batch_size):
            lengths = {self._heard_samples(wave) for wave in batch}
            for length in sorted(lengths):
                places = [place for place, wave in enumerate(batch) if self._heard_samples(wave) == length]
                yield [positions[place] for place in places], [batch[place] for place in places]

    def _heard_samples(self, wave: Wave) -> int:
        return self.framing.length(len(wave)) if self.framing.pads_itself else 0

    def inputs(self, batch: Sequence[Wave]) -> dict[str, npt.NDArray[Any]]:
        """What the graph is given for waves that share a batch."""
        framing = self.framing
        pieces = framing.pieces(batch) if framing.has_windows else list(batch)
        length = max(framing.length(len(piece)) for piece in pieces)
        if framing.masks:
            pieces = [framing.fit(piece, min(max(len(piece), framing.shortest), length)) for piece in pieces]
            heard = np.array([len(piece) for piece in pieces], np.int64)
            waves = np.stack([np.pad(piece, (0, length - len(piece))) for piece in pieces])
        else:
            waves = np.stack([framing.fit(piece, length) for piece in pieces])
            heard = np.full(len(pieces), length, np.int64)
        shape = (len(batch), -1) if framing.has_windows else (len(batch),)
        inputs: dict[str, npt.NDArray[Any]] = {"waves": waves.astype(np.float32, copy=False).reshape(*shape, length)}
        if self._wants_lengths:
            inputs["lengths"] = heard.reshape(shape)
        return inputs


def session(path: Path, threads: int = 1) -> Any:
    """An ONNX Runtime session of a graph; BackboneError when it cannot be loaded."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base but this
        raise BackboneError(f"{path} cannot be loaded: {error}") from error
