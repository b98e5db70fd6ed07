"""Pre-trained encoders: found by name, loaded with a fresh head, or built from random weights.

Everything is a transformers audio-classification model: the embedded `speech-embedding`, a checkpoint folder or a hub
id go the same way. Importing this package imports torch and transformers; only stages that compute do so.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification

from tenuto.errors import BackboneError
from tenuto.labels import MULTI_LABEL, LabelType
from tenuto.learning import catalogue
from tenuto.learning.backbones import families, log_mel, speech_embedding, tailored
from tenuto.learning.backbones.families.base import first_line
from tenuto.learning.backbones.tailored import TailoredConfig, TailoredForAudioClassification
from tenuto.learning.catalogue import licences
from tenuto.settings import ModelSettings

EMBEDDED = speech_embedding.NAME
SCRATCH = (log_mel.CNN, log_mel.CRNN)
"""Networks without pre-trained weights, for baselines."""

_PLAIN = ModelSettings()
_HUB_SECONDS = 10.0
_WANTED = (
    f"wanted {EMBEDDED!r}, a folder with a transformers audio checkpoint (config.json, preprocessor_config.json, "
    "weights) or a hub id."
)

__all__ = ["EMBEDDED", "SCRATCH", "Backbone", "head", "pooled", "quiet", "register", "resolve"]


@dataclass(frozen=True)
class Backbone:
    """One pre-trained encoder: where it comes from and what it takes in."""

    name: str
    revision: str
    licence: str
    source: str
    config: Any
    feature_extractor: Any

    @property
    def is_embedded(self) -> bool:
        return self.name == EMBEDDED

    @property
    def is_pretrained(self) -> bool:
        """False of the networks that are only ever trained from scratch."""
        return self.name not in SCRATCH

    def shortened(self, seconds: float) -> Backbone:
        """The backbone with a fixed window cut down to `seconds`, where it has one that is longer."""
        if hasattr(self.config, "backbone_config"):  # a finished model of our own: what it hears was settled
            return self
        config, extractor = families.of(self.config).shortened(self.config, self.feature_extractor, seconds)
        return replace(self, config=config, feature_extractor=extractor)

    def pretrained(
        self, labels: Sequence[str], *, seed: int, kind: LabelType = "one", tailoring: ModelSettings = _PLAIN
    ) -> Any:
        """A model with the pre-trained weights and a head for `labels` that is still random.

        Raises BackboneError when there are no such weights, or no such layers as `tailoring` wants.
        """
        if not self.is_pretrained:
            raise BackboneError(
                f"backbone {self.name!r} has no pre-trained weights: it is for `finetune.baseline`, to be beaten. "
                f"Name {EMBEDDED!r}, a checkpoint folder or a hub id."
            )
        config = self._config_for(labels, kind)
        with _seeded(seed), quiet():
            if not tailoring.is_plain:
                whole = tailored.config_for(config, tailoring)
                encoder = families.of(config).load(self.source, config, self.revision)
                return TailoredForAudioClassification(whole, encoder).eval()
            if self.is_embedded:
                model = AutoModelForAudioClassification.from_config(config)
                speech_embedding.load_weights(model.encoder)
                return model.eval()
            return _load(self.source, config, self.revision).eval()

    def from_scratch(
        self, labels: Sequence[str], *, seed: int, kind: LabelType = "one", tailoring: ModelSettings = _PLAIN
    ) -> Any:
        """The same architecture with random weights, with batch norm where pre-training had it folded in.

        Adapters are left out: there is nothing in random weights to be spared.
        """
        config = self._config_for(labels, kind)
        if self.is_embedded:
            config.batch_norm = True
        with _seeded(seed), quiet():
            if not tailoring.is_plain:
                bare = tailoring.model_copy(update={"adapter_size": 0})
                return TailoredForAudioClassification(tailored.config_for(config, bare)).eval()
            return AutoModelForAudioClassification.from_config(config).eval()

    def _config_for(self, labels: Sequence[str], kind: LabelType) -> Any:
        config = type(self.config).from_dict(self.config.to_dict())
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}
        config.problem_type = MULTI_LABEL if kind == "many" else None
        return config


def resolve(name: str, revision: str | None = None, *, root: Path = Path()) -> Backbone:
    """The backbone called `name`: 'speech-embedding', a checkpoint folder (relative to `root`) or a hub id.

    Without `revision` a hub id has the commit that the catalogue pins, else the main branch. Raises BackboneError when
    it cannot be found or is no audio classifier.
    """
    register()
    if name in SCRATCH:
        return Backbone(
            name=name,
            revision="1",
            licence="Apache-2.0",
            source=name,
            config=log_mel.config(name),
            feature_extractor=log_mel.LogMelFeatureExtractor(),
        )
    if name == EMBEDDED:
        return Backbone(
            name=name,
            revision=speech_embedding.weights_revision(),
            licence=speech_embedding.LICENCE,
            source=name,
            config=speech_embedding.SpeechEmbeddingConfig(),
            feature_extractor=speech_embedding.SpeechEmbeddingFeatureExtractor(),
        )
    folder = root / name
    if folder.is_dir():
        config, feature_extractor = _read(str(folder), None)
        return Backbone(
            name=name,
            revision=_folder_revision(folder),
            licence=licences.of_folder(folder),
            source=str(folder),
            config=config,
            feature_extractor=feature_extractor,
        )
    revision = catalogue.pinned(name, revision)
    _require_hub(name, revision)
    config, feature_extractor = _read(name, revision)
    known, stated = catalogue.entry(name), licences.of_card(_card(name, revision))
    return Backbone(
        name=name,
        revision=getattr(config, "_commit_hash", None) or revision,
        licence=known.licence if known and stated == licences.UNKNOWN else stated,
        source=name,
        config=config,
        feature_extractor=feature_extractor,
    )


def register() -> None:
    """Make the transformers Auto classes know the models of our own; calling it again changes nothing."""
    for module in (speech_embedding, log_mel, tailored):
        module.register()


def head(model: Any) -> nn.Module:
    """What gives the logits: a tailored model's head, else the last linear layer.

    BackboneError when another model does not end in one.
    """
    if isinstance(model, TailoredForAudioClassification):
        return model.head
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    classes: int = model.config.num_labels
    if not linear or linear[-1].out_features != classes:
        raise BackboneError(f"{type(model).__name__} does not end in a linear layer with {classes} outputs.")
    return linear[-1]


def pooled(model: Any, features: Mapping[str, Tensor]) -> Tensor:
    """(clips, dimensions): what the head is fitted on, of `features`, without gradients."""
    if isinstance(model, TailoredForAudioClassification):
        return model.frozen(features)
    seen: list[Tensor] = []
    hook = head(model).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        with torch.no_grad():
            model(**features)
    finally:
        hook.remove()
    return seen[0]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no remarks of transformers about heads that are meant to be new."""
    logging = transformers.utils.logging
    verbosity, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bars:
            logging.enable_progress_bar()


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """torch's generator seeded inside, and outside as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _read(source: str, revision: str | None) -> tuple[Any, Any]:
    with quiet():
        try:
            found = (
                AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False),
                AutoFeatureExtractor.from_pretrained(source, revision=revision, trust_remote_code=False),
            )
        except (OSError, ValueError, KeyError) as error:
            raise BackboneError(f"backbone {source!r} cannot be loaded: {_WANTED} {first_line(error)}") from error
    if isinstance(found[0], TailoredConfig):
        raise BackboneError(
            f"backbone {source!r} was tailored already, with a pool and a head of its own; wanted the backbone that it "
            "was made of."
        )
    return found


def _require_hub(name: str, revision: str) -> None:
    """BackboneError when a hub id is not in the local cache and the hub does not answer.

    Asked once: a download would ask six times for every file, with a pause before each.
    """
    import httpx2
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError

    try:
        if isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str):
            return
        get_hf_file_metadata(hf_hub_url(name, "config.json", revision=revision), timeout=_HUB_SECONDS)
    except (HfHubHTTPError, ValueError):  # it answered; what is wrong is said by the loading
        return
    except (httpx2.TransportError, OSError) as error:
        raise BackboneError(
            f"backbone {name!r} cannot be loaded: {_WANTED} It is not in the hub's local cache, and the hub cannot be "
            f"reached: {first_line(error)}"
        ) from error


def _load(source: str, config: Any, revision: str) -> Any:
    model, info = families.of(config).pretrained(source, config, revision)
    if any(key.startswith("projector.") for key in info["missing_keys"]):
        _open_projector(model)
    return model


def _open_projector(model: Any) -> None:
    """Let the pooled hidden states through: a random projection before the head would only lose some of them."""
    size = model.projector.in_features
    model.config.classifier_proj_size = size
    model.projector = nn.Linear(size, size)
    nn.init.eye_(model.projector.weight)
    nn.init.zeros_(model.projector.bias)
    model.classifier = nn.Linear(size, model.config.num_labels)


def _folder_revision(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in {".json", ".safetensors", ".bin"}:
            whole.update(path.name.encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()


def _card(name: str, revision: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(name, "README.md", revision=revision))
    except (EntryNotFoundError, LocalEntryNotFoundError, HfHubHTTPError, OSError):
        return None
