"""Whether a backbone can do what params.yaml asks of it, said before torch is imported or anything is downloaded.

What a backbone is comes from the catalogue, or from the config.json of a checkpoint folder or of the hub's local
cache, read as plain JSON. Of a hub id that is in neither nothing is known, and it passes; loading it says the rest.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tenuto.deciding.policy import Policy
from tenuto.errors import BackboneError, SettingsError
from tenuto.learning import catalogue
from tenuto.learning.catalogue import licences
from tenuto.settings import Params, origin

_WITHOUT_ATTENTION = ("tenuto-speech-embedding", "tenuto-log-mel")
_WITHOUT_CLASSIFIER = ("clap", "clap_audio_model")
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_EXAMPLES = "Apache-2.0, MIT, BSD-3-Clause"


@dataclass(frozen=True)
class Known:
    """What can be told of a backbone without loading it; None where nothing can."""

    name: str
    licence: str = licences.UNKNOWN
    layers: int | None = None
    has_attention: bool | None = None
    has_classifier: bool = True
    is_tailored: bool = False
    entry: catalogue.Entry | None = None


class Problem(NamedTuple):
    """A setting that a backbone cannot fulfil: the key in params.yaml, and what is wrong with it."""

    key: str
    message: str


def check(
    params: Params, policy: Policy, root: Path, overrides: Sequence[str] = (), *, source: str = "params.yaml"
) -> Known:
    """The backbone of a run in the workspace at `root`, which can do what `params` asks of it.

    Raises SettingsError or BackboneError with a line per problem: where it was written (`overrides` are those of the
    command line, else `source`), the key, the value and what is allowed.
    """
    written = origin("backbone", source, overrides)
    try:
        known = backbone(params.backbone, root, params.backbone_revision)
    except BackboneError as error:
        raise BackboneError(f"{written}: {error}") from None
    if found := [f"{origin(key, source, overrides)}: {text}." for key, text in problems(params, known)]:
        raise SettingsError("\n".join(found))
    if policy.licences == "commercial" and not licences.allows_commercial_use(known.licence):
        raise SettingsError(
            f"promotion.yaml: licences = 'commercial' refuses backbone {known.name!r} ({written}): "
            f"{licences.in_words(known.licence)}; wanted one that does (such as {_EXAMPLES}), or licences: any."
        )
    return known


def backbone(name: str, root: Path, revision: str | None = None) -> Known:
    """What is known of the backbone `name`, a folder being relative to `root`.

    Raises BackboneError naming what was wanted when there can be no such backbone.
    """
    folder = root / name
    entry = catalogue.entry(name)
    if entry and entry.origin != "hub":
        return _of_entry(entry)
    if folder.is_dir():
        return _of_config(name, licences.of_folder(folder), _config_of(name, folder))
    if entry:
        return _of_entry(entry)
    config = cached(name, "config.json", revision) if _HUB_ID.fullmatch(name) else None
    if config is None:
        _require_plausible(name, folder)
        return Known(name)
    return _of_config(name, licences.of_card(cached(name, "README.md", revision)), _read(config))


def problems(params: Params, known: Known) -> Iterator[Problem]:
    """What `params` asks of the backbone that it cannot do."""
    entry = known.entry
    if entry and not entry.is_pretrained:
        yield Problem(
            "backbone",
            f"backbone = {known.name!r} cannot be used: it has no pre-trained weights; wanted another, and "
            f"finetune.baseline: {known.name} to have it as the opponent",
        )
    if entry and entry.origin == "own code":
        yield Problem("backbone", f"backbone = {known.name!r} cannot be used: it {entry.traps[0]}")
    yield from _tailoring_problems(params, known)
    yield from _layer_problems(params, known)
    if params.model.lora_rank and known.has_attention is False:
        yield Problem(
            "model.lora_rank",
            f"model.lora_rank = {params.model.lora_rank} cannot be used: {known.name} has no attention to update; "
            "wanted 0, or model.adapter_size instead",
        )
    if params.finetune.gradient_checkpointing and known.has_attention is False:
        yield Problem(
            "finetune.gradient_checkpointing",
            f"finetune.gradient_checkpointing = true cannot be used: {known.name} has no attention, whose layers it is "
            "for; wanted false",
        )
    yield from _window_problems(params, entry)


def _window_problems(params: Params, entry: catalogue.Entry | None) -> Iterator[Problem]:
    seconds = params.model.window_seconds
    if entry is None or seconds is None:
        return
    least, most = entry.min_seconds, entry.window_seconds
    if seconds < least or (most is not None and seconds > most):
        allowed = f"{least:g} or more" if most is None else f"{least:g} to {most:g}"
        yield Problem(
            "model.window_seconds",
            f"model.window_seconds = {seconds:g} cannot be used with {entry.id}; wanted {allowed}",
        )


def _tailoring_problems(params: Params, known: Known) -> Iterator[Problem]:
    if params.model.is_plain and not known.has_classifier:
        yield Problem(
            "backbone",
            f"backbone = {known.name!r} and model.pool = 'own' do not go together: transformers has no classifier "
            "for it; wanted another pool, such as mean or attention",
        )
    if known.is_tailored and not params.model.is_plain:
        yield Problem(
            "backbone",
            f"backbone = {known.name!r} and `model` do not go together: it was tailored already; wanted no `model` "
            "section, or the backbone that it was made of",
        )


def _layer_problems(params: Params, known: Known) -> Iterator[Problem]:
    if known.layers is None:
        return
    truncate, unfreeze = params.model.truncate, params.finetune.unfreeze
    if truncate is not None and truncate > known.layers:
        yield Problem(
            "model.truncate",
            f"model.truncate = {truncate} cannot be used: {known.name} has {known.layers} layers; "
            f"wanted 1 to {known.layers}, or null for all",
        )
        return
    left = truncate or known.layers
    if isinstance(unfreeze, int) and unfreeze > left:
        cut = f" after model.truncate: {truncate}" if truncate else ""
        yield Problem(
            "finetune.unfreeze",
            f"finetune.unfreeze = {unfreeze} cannot be used: {known.name} has {left} layers{cut}; "
            f"wanted 1 to {left}, all, head or gradual",
        )


def remark(known: Known) -> str | None:
    """What somebody who is about to train should know of the licence; None when it allows commercial use."""
    if licences.allows_commercial_use(known.licence):
        return None
    return f"backbone {known.name!r}: {licences.in_words(known.licence)}"


def cached(name: str, file: str, revision: str | None) -> Path | None:
    """A file of a hub id in the local cache; None when it is not there. Does not touch the network.

    Follows the hub's layout: a branch's name is a file in `refs/` that holds the commit of a folder in `snapshots/`.
    """
    pinned = catalogue.pinned(name, revision)
    folder = hub_cache() / f"models--{name.replace('/', '--')}"
    ref = folder / "refs" / pinned
    commit = ref.read_text(encoding="utf-8").strip() if ref.is_file() else pinned
    path = folder / "snapshots" / commit / file
    return path if path.is_file() else None


def hub_cache() -> Path:
    """Where huggingface_hub keeps what it downloaded."""
    home = os.environ.get("HF_HOME") or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or f"{home}/hub").expanduser()


def _require_plausible(name: str, folder: Path) -> None:
    """Raises BackboneError for what is no folder and no hub id, or is a catalogued id with a slip of the pen."""
    meant = catalogue.close_to(name)
    if _HUB_ID.fullmatch(name) and not catalogue.is_slip(name):
        if os.environ.get("HF_HUB_OFFLINE", "").upper() not in ("1", "ON", "YES", "TRUE"):
            return
        missing = f"no folder {folder}, and not in the hub's local cache, with HF_HUB_OFFLINE set"
    else:
        missing = f"there is no folder {folder}, and no such backbone in the catalogue"
    hint = f"did you mean {meant!r}?" if meant else "`tenuto backbones` lists those that are known."
    raise BackboneError(
        f"backbone = {name!r} cannot be used: {missing}; wanted speech-embedding, a checkpoint folder or a hub id "
        f"(owner/name); {hint}"
    )


def _config_of(name: str, folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    wanted = "wanted a folder that transformers' save_pretrained wrote"
    if not path.is_file():
        raise BackboneError(f"backbone = {name!r} cannot be used: {folder} has no config.json; {wanted}.")
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise BackboneError(f"backbone = {name!r} cannot be used: {folder} has no weights (*.safetensors); {wanted}.")
    return _read(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BackboneError(f"{path} cannot be read as JSON ({error}); save the checkpoint again.") from error
    if not isinstance(config, dict):
        raise BackboneError(f"{path} holds no configuration; save the checkpoint again.")
    return config


def _of_entry(entry: catalogue.Entry) -> Known:
    return Known(
        entry.id,
        entry.licence,
        entry.layers,
        has_attention=entry.has_attention,
        has_classifier=entry.has_classifier,
        entry=entry,
    )


def _of_config(name: str, licence: str, config: dict[str, Any]) -> Known:
    inner = config.get("backbone_config") or config
    kind = str(inner.get("model_type", ""))
    return Known(
        name,
        licence,
        config.get("truncate") or _layers(kind, inner),
        has_attention=False if kind in _WITHOUT_ATTENTION else None,
        has_classifier=kind not in _WITHOUT_CLASSIFIER or inner is not config,
        is_tailored=config.get("model_type") == "tenuto-tailored",
    )


def _layers(kind: str, config: dict[str, Any]) -> int | None:
    """How many layers a transformers configuration describes, as `tenuto.learning.backbones.families` counts them."""
    if kind in _WITHOUT_ATTENTION:
        return 20 if kind == "tenuto-speech-embedding" else len(config.get("channels", (32, 64, 128)))
    if kind in _WITHOUT_CLASSIFIER:
        return len(config.get("audio_config", config).get("depths", (2, 2, 6, 2)))
    found = config.get("encoder_layers") if kind == "whisper" else config.get("num_hidden_layers")
    return found if isinstance(found, int) else None
