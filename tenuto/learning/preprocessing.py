"""The one way from a recording to what a model takes in, saved with every checkpoint.

Training, evaluation, export and serving all hold the same `Preprocessing`. A clip's input depends on that clip alone:
it is padded with silence to the next of a few lengths, and only clips of equal length share a batch. So no probability
can depend on which clips happened to be scored together.

An attention mask hides that silence from the models that were trained with one (wav2vec 2.0 and its kin with layer
norms). Those with a group norm over time were trained without: their first layer hears the silence in any case, so a
mask further up would show them what they have never seen.

Long recordings can be heard through overlapping windows. A window lies inside one clip, so what is split are clips,
never windows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tenuto.errors import BackboneError
from tenuto.learning.framing import DEFAULT_MIN_SECONDS, Framing, Wave
from tenuto.sound import audio

Features = dict[str, Any]
"""What a model is called with: tensors (clips, ...) by name, the recording itself as the first of them."""

FILE_NAME = "tenuto_preprocessing.json"
MASK = "attention_mask"
_VERSIONS = (1, 2)
MAX_TRAINING_WINDOWS = 16
"""Windows of one clip that a training step hears at most, evenly spaced; scoring and embedding hear all of them."""


@dataclass(frozen=True)
class Preprocessing:
    """Feature extraction of one model, and before it how much of a clip is heard at once.

    With windows every tensor of `features` is (clips, windows, ...).
    """

    feature_extractor: Any
    framing: Framing

    @classmethod
    def of(
        cls,
        feature_extractor: Any,
        config: Any,
        max_clip_seconds: float,
        *,
        window_seconds: float | None = None,
        window_overlap: float = 0.5,
    ) -> Preprocessing:
        """What goes with a transformers feature extractor and model config.

        Raises BackboneError for windows that the backbone cannot hear: too short, or longer than its own.
        """
        most = _own_window_seconds(feature_extractor)
        min_seconds = float(getattr(config, "min_seconds", DEFAULT_MIN_SECONDS))
        least = min(min_seconds, most or min_seconds)
        if window_seconds is not None and not least <= window_seconds <= (most or window_seconds):
            allowed = f"from {least:g} s" + (f" to {most:g} s" if most else "")
            raise BackboneError(f"model.window_seconds: {window_seconds:g}: this backbone hears windows {allowed}.")
        longest = most if most and window_seconds is None else max_clip_seconds
        framing = Framing(
            int(feature_extractor.sampling_rate),
            min_seconds=least,
            max_seconds=max(min_seconds, min(max_clip_seconds, longest)),
            pads_itself=most is not None,
            masks=_wants_mask(feature_extractor, config),
            window_seconds=window_seconds,
            window_overlap=window_overlap if window_seconds is not None else 0.0,
        )
        return cls(feature_extractor, framing)

    @classmethod
    def load(cls, folder: Path) -> Preprocessing:
        """The preprocessing saved in a checkpoint folder; BackboneError when it is not whole."""
        from transformers import AutoFeatureExtractor

        try:
            choices = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
            feature_extractor = AutoFeatureExtractor.from_pretrained(folder)
        except (OSError, ValueError) as error:
            raise BackboneError(f"{folder} holds no whole Tenuto checkpoint: {error}") from error
        if choices.pop("version") not in _VERSIONS:
            raise BackboneError(f"{folder} was prepared by another version of Tenuto; train it again.")
        return cls(feature_extractor, Framing(int(feature_extractor.sampling_rate), **choices))

    def save(self, folder: Path) -> None:
        """Write it beside the weights in a checkpoint folder."""
        self.feature_extractor.save_pretrained(folder)
        (folder / FILE_NAME).write_text(json.dumps(self._choices(), indent=2, sort_keys=True) + "\n", encoding="utf-8")

    @property
    def sample_rate_hz(self) -> int:
        return self.framing.sample_rate_hz

    @property
    def main_input(self) -> str:
        """The name of the tensor that holds the recording."""
        return str(self.feature_extractor.model_input_names[0])

    @cached_property
    def sha256(self) -> str:
        """The same for preprocessings that give every clip the same input."""
        whole = self.feature_extractor.to_json_string() + json.dumps(self._choices(), sort_keys=True)
        return hashlib.sha256(whole.encode()).hexdigest()

    def read(self, path: Path) -> Wave:
        """The recording at `path` as a (n,) wave for `features`; raises ClipError when it cannot be used."""
        return audio.load_waveform(path, self.sample_rate_hz)

    def features(self, waves: Sequence[Wave], *, most_windows: int | None = None) -> Features:
        """The model's input for waves that share a batch (see `batches`); of more windows so many are taken."""
        if not self.framing.has_windows:
            return self._features(waves)
        pieces = self.framing.pieces(waves, most_windows=most_windows)
        return {name: tensor.unflatten(0, (len(waves), -1)) for name, tensor in self._features(pieces).items()}

    def _features(self, waves: Sequence[Wave]) -> Features:
        framing = self.framing
        lengths = [framing.length(len(wave)) for wave in waves]
        if framing.masks:
            return self._masked(waves, max(lengths))
        if not framing.pads_itself:
            lengths = [max(lengths)] * len(waves)
        return self._extracted([framing.fit(wave, length) for wave, length in zip(waves, lengths, strict=True)])

    def _masked(self, waves: Sequence[Wave], length: int) -> Features:
        """Input of `length` samples and what of it is clip: what is masked has to come last."""
        framing = self.framing
        heard = [framing.fit(wave, min(max(len(wave), framing.shortest), length)) for wave in waves]
        return self._extracted(heard, MASK, padding="max_length", max_length=length, return_attention_mask=True)

    def _extracted(self, waves: Sequence[Wave], *more: str, **options: Any) -> Features:
        batch = self.feature_extractor(list(waves), sampling_rate=self.sample_rate_hz, return_tensors="pt", **options)
        return {name: batch[name] for name in (self.main_input, *more)}

    def batches(self, waves: Iterable[Wave], batch_size: int) -> Iterator[tuple[list[int], Features]]:
        """Positions in `waves` and their input, batch by batch; keeps few waves in memory at a time.

        A batch has at most `batch_size` windows, but one clip at least.
        """
        for positions, batch in self.framing.batches(waves, batch_size):
            yield positions, self.features(batch)

    def _choices(self) -> dict[str, Any]:
        """As the oldest version of Tenuto that can read them wrote them."""
        framing = self.framing
        later: dict[str, Any] = {"masks": True} if framing.masks else {}
        if framing.window_seconds is not None:
            later |= {"window_seconds": framing.window_seconds, "window_overlap": framing.window_overlap}
        return {
            "version": 2 if later else 1,
            "min_seconds": framing.min_seconds,
            "max_seconds": framing.max_seconds,
            "pads_itself": framing.pads_itself,
            **later,
        }


def moved(features: Features, device: Any) -> Features:
    """The features on a device."""
    return {name: tensor.to(device) for name, tensor in features.items()}


def _own_window_seconds(feature_extractor: Any) -> float | None:
    """The fixed window of extractors that pad and cut by themselves, else None."""
    if hasattr(feature_extractor, "chunk_length"):  # Whisper: seconds
        return float(feature_extractor.chunk_length)
    if hasattr(feature_extractor, "max_length_s"):  # CLAP: seconds, and of longer clips it would draw a part
        return float(feature_extractor.max_length_s)
    if hasattr(feature_extractor, "num_mel_bins") and hasattr(feature_extractor, "max_length"):  # AST: 10 ms frames
        return float(feature_extractor.max_length) / 100
    return None


def _wants_mask(feature_extractor: Any, config: Any) -> bool:
    is_layer_norm = getattr(config, "feat_extract_norm", None) == "layer"
    return is_layer_norm and bool(getattr(feature_extractor, "return_attention_mask", False))
