"""Every choice of a run, typed: `params.yaml` and `--set key=value`.

Unknown keys, wrong types and impossible values are errors that name the key, the value and what is allowed, raised
before anything runs. The promotion policy lives in `tenuto.policy`, the expectations in `tenuto.validation`.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tenuto.errors import SettingsError

_Model = TypeVar("_Model", bound=BaseModel)
Fraction = Annotated[float, Field(gt=0, lt=1)]


def _names(value: Any) -> Any:
    """One name or a list of them as text, since YAML reads `site: 3` as a number."""
    items = value if isinstance(value, list | tuple) else [value]
    return tuple(str(item) if isinstance(item, int | float) else item for item in items)


class Section(BaseModel):
    """Base of all settings: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSettings(Section):
    """What a usable recording is."""

    min_duration_seconds: float = Field(default=0.05, gt=0)
    max_duration_seconds: float = Field(default=600.0, gt=0)
    silence_dbfs: float = Field(default=-70.0, le=0, description="a clip whose loudest sample is below is silent")
    on_quarantine: Literal["go on", "stop"] = Field(
        default="go on",
        description="stop: a run over a dataset with quarantined recordings ends with a verdict",
    )
    upload: bool = Field(default=True, description="`data add` also pushes to the default DVC remote")


class SplitSettings(Section):
    """How clips are divided; whole groups stay together."""

    group: str | None = Field(
        default="auto",
        description="a group column, 'auto' (speaker, recording or site when there is one), or null",
    )
    validation: Fraction = Field(default=0.15, description="share of the clips that are not held out by name")
    test: Fraction = Field(default=0.2, description="share of the clips; not used when the test set is named")
    hold_out: dict[str, Annotated[tuple[str, ...], BeforeValidator(_names)]] = Field(
        default_factory=dict, description="the test set by name: {speaker: [ann, ben]}"
    )
    seed: int = 0


class AugmentSettings(Section):
    """Which changes a training clip may undergo. Each has its probability; 0 switches it off."""

    fill: Fraction | Literal[0, 1] = Field(
        default=1,
        description="rare classes are filled with augmented clips up to this share of the largest class",
    )
    max_copies: int = Field(default=20, ge=1, description="at most so many augmented clips of one clip")
    noise: float = Field(default=0.5, ge=0, le=1)
    min_snr_db: float = 5.0
    max_snr_db: float = 30.0
    gain: float = Field(default=0.5, ge=0, le=1)
    max_gain_db: float = Field(default=6.0, ge=0)
    shift: float = Field(default=0.5, ge=0, le=1)
    max_shift_seconds: float = Field(default=0.05, ge=0)
    room: float = Field(default=0.3, ge=0, le=1)
    band_limit: float = Field(default=0.2, ge=0, le=1)
    pitch: float = Field(default=0.3, ge=0, le=1)
    max_pitch_semitones: float = Field(default=2.0, ge=0)
    stretch: float = Field(default=0.3, ge=0, le=1)
    max_stretch: float = Field(default=0.15, ge=0, lt=1)
    spec_augment: bool = True
    mixup_alpha: float = Field(default=0.0, ge=0)


class FinetuneSettings(Section):
    """Linear probe on frozen embeddings, then fine-tuning from that head."""

    probe_c: float = Field(default=0.1, gt=0, description="inverse of the probe's L2 penalty")
    epochs: float = Field(default=4.0, ge=0, description="0 keeps the linear probe as the candidate")
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float | None = Field(
        default=None, gt=0, description="null: 5e-4 for speech-embedding, 3e-5 for other backbones"
    )
    scratch_learning_rate: float | None = Field(
        default=None, gt=0, description="of the baseline; null: 2e-3 for speech-embedding, 1e-4 for other backbones"
    )
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(default=0.01, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    unfreeze: Literal["all", "head"] = "all"
    max_clip_seconds: float = Field(default=10.0, gt=0, description="longer clips are cut around their centre")


class EvaluateSettings(Section):
    """What the models are put through."""

    noise_snr_db: tuple[float, ...] = (20.0, 10.0, 0.0)
    noise_clips: int = Field(default=300, ge=1, description="at most so many test clips are heard with noise added")
    batch_size: int = Field(default=32, ge=1)
    resamples: int = Field(default=2000, ge=100)
    confidence: Fraction = 0.95


class Params(Section):
    """One run's choices, as in params.yaml."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="the registered model's name")
    backbone: str = Field(
        default="speech-embedding",
        description="'speech-embedding' (embedded), a transformers hub id, or a checkpoint folder",
    )
    backbone_revision: str = Field(default="main", description="hub revision; pin a commit for repeatable runs")
    seed: int = 0
    threads: int = Field(default=1, ge=1, description="torch threads; more than one is slower on a busy machine")
    data: DataSettings = DataSettings()
    split: SplitSettings = SplitSettings()
    augment: AugmentSettings = AugmentSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    tracking_uri: str | None = Field(default=None, description="an MLflow server; null is the workspace's own")


def load_params(path: Path, overrides: Sequence[str] = ()) -> Params:
    """The settings in `path`, with `key.sub=value` overrides (values are YAML) applied on top.

    Raises SettingsError naming the key, the value and what is allowed.
    """
    values = read_yaml(path)
    for override in overrides:
        _apply(values, override)
    return validated(Params, values, path.name)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; SettingsError when it cannot be read or is no mapping."""
    try:
        values = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}); `tenuto init DIR` makes one.") from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path.name} is not valid YAML: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SettingsError(f"{path.name} holds {type(values).__name__}, wanted `key: value` lines.")
    return values


def validated(model: type[_Model], values: dict[str, Any], source: str) -> _Model:
    """`values` as a `model`; SettingsError with one line per problem otherwise."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(model, source, problem) for problem in error.errors())) from None


def _explain(model: type[BaseModel], source: str, problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        allowed = _keys_beside(model, problem["loc"])
        close = difflib.get_close_matches(str(problem["loc"][-1]), allowed, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(allowed)}."
        return f"{source}: unknown key {key!r}; {hint}"
    if problem["type"] == "missing":
        return f"{source}: {key!r} is missing."
    return f"{source}: {key} = {problem['input']!r} cannot be used: {problem['msg'].lower()}."


def _keys_beside(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return []
        model = field.annotation
    return sorted(model.model_fields)


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise SettingsError(f"--set {override!r}: wanted key=value, for example --set finetune.epochs=5.")
    try:
        value = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise SettingsError(f"--set {override!r}: {text!r} is not a YAML value.") from error
    *parents, last = key.strip().split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise SettingsError(f"--set {override!r}: {parent!r} holds a value, not a section.")
    values[last] = value


def digest(settings: BaseModel | dict[str, Any]) -> str:
    """A sha256 over settings or a YAML file's values, the same for the same choices in any order of keys."""
    values = settings.model_dump(mode="json") if isinstance(settings, BaseModel) else settings
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()
