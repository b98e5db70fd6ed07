"""Every choice of a run, typed: `params.yaml` and `--set key=value`.

Unknown keys, wrong types and impossible values are errors that name the key, the value and what is allowed, raised
before anything runs. The promotion policy lives in `tenuto.deciding.policy`, the expectations in `tenuto.validation`.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, cast, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from tenuto.errors import SettingsError

_Model = TypeVar("_Model", bound=BaseModel)
Fraction = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]

_TOGETHER = "together"
"""Type of the error about two keys that do not go together; its context holds their names."""

_WANTED = {
    "model_type": "wanted `key: value` lines",
    "dict_type": "wanted `key: value` lines",
    "int_type": "wanted a whole number",
    "int_parsing": "wanted a whole number",
    "int_from_float": "wanted a whole number",
    "float_type": "wanted a number",
    "float_parsing": "wanted a number",
    "finite_number": "wanted a finite number",
    "bool_type": "wanted true or false",
    "bool_parsing": "wanted true or false",
    "string_too_short": "it is empty",
    "too_short": "wanted one name or a list of them",
    "string_pattern_mismatch": "wanted letters, digits, '.', '_' or '-', the first a letter or digit",
}
"""What is wanted, in the words of somebody who writes YAML, by pydantic's type of error."""


def _names(value: Any) -> Any:
    """One name or a list of them as text, since YAML reads `site: 3` as a number."""
    if value is None:
        return ()
    items = value if isinstance(value, list | tuple) else [value]
    return tuple(str(item) if isinstance(item, int | float) else item for item in items)


class Section(BaseModel):
    """Base of all settings: frozen, an unknown key is an error, and so is true or false where a number is wanted.

    A section or a list with nothing below it, which YAML reads as null, is an empty one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _as_written(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[str(info.field_name)].annotation
        if value is None and get_origin(annotation) is list:
            return []
        if value is None and (get_origin(annotation) is dict or _is_section(annotation)):
            return {}
        kinds = _kinds(annotation)
        items = value if isinstance(value, list | tuple) else [value]
        if kinds & {int, float} and bool not in kinds and any(isinstance(item, bool) for item in items):
            raise PydanticCustomError("boolean", "wanted a number, not true or false")
        return value


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _kinds(annotation: Any) -> set[Any]:
    """The types that an annotation is made of: {float, None} of `float | None`."""
    parts = get_args(annotation)[:1] if get_origin(annotation) is Annotated else get_args(annotation)
    return {kind for part in parts for kind in _kinds(part)} if parts else {annotation}


def _mismatch(problem: str, *keys: str) -> PydanticCustomError:
    """The error that two of a section's keys do not go together."""
    return PydanticCustomError(_TOGETHER, problem, {"keys": keys})


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

    @model_validator(mode="after")
    def _some_duration_fits(self) -> Self:
        if self.min_duration_seconds >= self.max_duration_seconds:
            raise _mismatch(
                "leave no recording; the first must be below the second", "min_duration_seconds", "max_duration_seconds"
            )
        return self


class SplitSettings(Section):
    """How clips are divided; whole groups stay together."""

    group: str | None = Field(
        default="auto",
        description="a group column, 'auto' (speaker, recording or site when there is one), or null",
    )
    validation: Fraction = Field(default=0.15, description="share of the clips that are not held out by name")
    test: Fraction = Field(default=0.2, description="share of the clips; not used when the test set is named")
    hold_out: dict[str, Annotated[tuple[str, ...], BeforeValidator(_names), Field(min_length=1)]] = Field(
        default_factory=dict, description="the test set by name: {speaker: [ann, ben]}"
    )
    seed: Seed = 0

    @model_validator(mode="after")
    def _some_clips_train(self) -> Self:
        if not self.hold_out and self.validation + self.test >= 1:
            raise _mismatch("leave nothing to train on; their sum must be below 1", "validation", "test")
        return self


class AugmentSettings(Section):
    """Which changes a training clip may undergo. Each has its probability; 0 switches it off."""

    model_config = ConfigDict(allow_inf_nan=False)

    fill: float = Field(
        default=1.0,
        ge=0,
        le=1,
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

    @model_validator(mode="after")
    def _some_ratio_fits(self) -> Self:
        if self.min_snr_db > self.max_snr_db:
            raise _mismatch(
                "leave no signal-to-noise ratio; the first must not be above the second", "min_snr_db", "max_snr_db"
            )
        return self


class FinetuneSettings(Section):
    """Linear probe on frozen embeddings, then fine-tuning from that head."""

    model_config = ConfigDict(allow_inf_nan=False)

    probe_c: float = Field(default=0.1, gt=0, description="inverse of the probe's L2 penalty")
    epochs: int = Field(default=4, ge=0, description="0 keeps the linear probe as the candidate")
    baseline: Literal["same", "log-mel-cnn", "log-mel-crnn"] = Field(
        default="same", description="what is trained from scratch: the backbone's own architecture, or a small network"
    )
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float | None = Field(
        default=None, gt=0, description="null: 5e-4 for speech-embedding, 3e-5 for other backbones"
    )
    scratch_learning_rate: float | None = Field(
        default=None,
        gt=0,
        description="of the baseline; null: 2e-3 for speech-embedding and the log-mel networks, 1e-4 for others",
    )
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(default=0.01, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    unfreeze: Literal["all", "head"] = "all"
    max_clip_seconds: float = Field(default=10.0, gt=0, description="longer clips are cut around their centre")


class ImbalanceSettings(Section):
    """What is done for rare classes and groups while training, besides `augment.fill`."""

    model_config = ConfigDict(allow_inf_nan=False)

    loss: Literal["cross-entropy", "focal", "ldam", "logit-adjustment"] = "cross-entropy"
    class_weights: Literal["none", "inverse", "effective-number"] = "none"
    focal_gamma: float = Field(default=2.0, ge=0, description="how fast clips that are right lose their say")
    logit_tau: float = Field(default=1.0, ge=0, description="1 aims at the balanced error")
    max_margin: float = Field(default=0.5, ge=0, description="of the rarest class, for ldam")
    sample_by: Annotated[tuple[str, ...], BeforeValidator(_names)] = Field(
        default=(), description="every value of these is drawn equally often: label, or names of groups, or both"
    )
    group_dro: str | None = Field(default=None, description="a group, or label; its value that fares worst counts most")

    @model_validator(mode="after")
    def _weighs_once(self) -> Self:
        if "label" in self.sample_by and self.class_weights != "none":
            raise _mismatch("both even out the classes; use one of them", "sample_by", "class_weights")
        return self


class EvaluateSettings(Section):
    """What the models are put through."""

    model_config = ConfigDict(allow_inf_nan=False)

    noise_snr_db: tuple[float, ...] = (20.0, 10.0, 0.0)
    noise_clips: int = Field(default=300, ge=1, description="at most so many test clips are heard with noise added")
    batch_size: int = Field(default=32, ge=1)
    resamples: int = Field(default=2000, ge=100)
    confidence: Fraction = 0.95


Stated = Annotated[str, Field(max_length=2000)]
"""Text for the model card: MLflow holds 6,000 characters of a parameter, and 5,000 of a version's description."""


class CardSettings(Section):
    """What the model card says of use and data; what is left out is "not stated" there."""

    intended_use: Stated | None = Field(default=None, description="what the model is for, and for whom")
    limits: Stated | None = Field(default=None, description="what it must not be used for, and where it fails")
    data_licence: Stated | None = Field(default=None, description="the terms under which the recordings may be used")
    contact: Stated | None = Field(default=None, description="whom to ask or to tell")


class Params(Section):
    """One run's choices, as in params.yaml."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=200, description="the registered model's name"
    )
    backbone: str = Field(
        default="speech-embedding",
        min_length=1,
        description="'speech-embedding' (embedded), a transformers hub id, or a checkpoint folder",
    )
    backbone_revision: str = Field(default="main", description="hub revision; pin a commit for repeatable runs")
    seed: Seed = 0
    threads: int = Field(default=1, ge=1, description="torch threads; more than one is slower on a busy machine")
    data: DataSettings = DataSettings()
    split: SplitSettings = SplitSettings()
    augment: AugmentSettings = AugmentSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    imbalance: ImbalanceSettings = ImbalanceSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    card: CardSettings = CardSettings()
    tracking_uri: str | None = Field(default=None, description="an MLflow server; null is the workspace's own")

    @model_validator(mode="after")
    def _loss_can_be_smoothed(self) -> Self:
        if self.finetune.label_smoothing and self.imbalance.loss in ("focal", "ldam"):
            raise _mismatch(
                "do not go together; smoothing is for cross-entropy and logit-adjustment",
                "finetune.label_smoothing",
                "imbalance.loss",
            )
        return self


def load_params(path: Path, overrides: Sequence[str] = ()) -> Params:
    """The settings in `path`, with `key.sub=value` overrides (values are YAML) applied on top.

    Raises SettingsError naming the key, the value and what is allowed.
    """
    values = read_yaml(path)
    origins: dict[str, str] = {}
    for override in overrides:
        key = _apply(values, override)
        origins.pop(key, None)
        origins[key] = f"--set {override}"
    return validated(Params, values, path.name, origins)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; SettingsError when it cannot be read or is no mapping."""
    try:
        values = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        makes, copied = "`tenuto init DIR` makes one", "copy it from a new workspace (`tenuto init DIR`)"
        advice = makes if path.name == "params.yaml" else copied
        raise SettingsError(f"{path}: cannot be read ({error.strerror}); {advice}.") from error
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path.name} is not UTF-8 text; save it as UTF-8.") from error
    except YAMLError as error:
        raise SettingsError(f"{path.name}{_yaml_problem(error)}.") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        found = "a list" if isinstance(values, list) else _shown(values)
        raise SettingsError(f"{path.name} holds {found}, wanted `key: value` lines.")
    return values


def _yaml_problem(error: YAMLError) -> str:
    """What to write after the file's name: the line and the problem, without the parser's own advice."""
    if not isinstance(error, MarkedYAMLError) or error.problem is None or error.problem_mark is None:
        problem = re.sub(r' in "<.*?string>".*', "", " ".join(str(error).split()))
        return f" is not valid YAML: {problem}"
    line = error.problem_mark.line + 1
    twice = re.match(r'found duplicate key "(.*?)" with value', error.problem, re.DOTALL)
    if isinstance(error, DuplicateKeyError) and twice:
        return f" line {line}: key {twice[1]!r} is there twice"
    return f" is not valid YAML: line {line}: {' '.join(error.problem.split())}"


def validated(
    model: type[_Model], values: dict[str, Any], source: str, origins: Mapping[str, str] | None = None
) -> _Model:
    """`values` as a `model`; SettingsError with one line per key that cannot be used otherwise.

    `origins` tells where a key comes from when it is not `source`.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems: dict[tuple[str, ...], list[Any]] = {}
        for problem in error.errors():
            problems.setdefault(_keys(values, problem), []).append(problem)
    raise SettingsError(
        "\n".join(
            f"{_origin(keys, source, origins or {})}: {_explain(model, values, keys, found)}"
            for keys, found in problems.items()
        )
    )


def _keys(values: dict[str, Any], problem: Any) -> tuple[str, ...]:
    """The keys that a problem is about, as one writes them: no place in a list and no tag of pydantic's."""
    location = [str(part) for part in problem["loc"]]
    if problem["type"] == "missing":
        return (".".join(location),)
    path: list[str] = []
    value: Any = values
    for part in problem["loc"]:
        if not isinstance(value, dict) or part not in value:
            break
        value = value[part]
        path.append(str(part))
    if problem["type"] == _TOGETHER:
        return tuple(".".join([*path, key]) for key in problem["ctx"]["keys"])
    return (".".join(path),)


def _origin(keys: Iterable[str], source: str, origins: Mapping[str, str]) -> str:
    """The last override that set one of the keys, something below it or the section that it is in; else `source`."""
    for own, origin in reversed(list(origins.items())):
        if any(f"{key}.".startswith(f"{own}.") or f"{own}.".startswith(f"{key}.") for key in keys):
            return origin
    return source


def _explain(model: type[BaseModel], values: dict[str, Any], keys: tuple[str, ...], problems: list[Any]) -> str:
    problem, key = problems[0], keys[0]
    location = problem["loc"]
    if problem["type"] in ("extra_forbidden", "invalid_key"):
        allowed = _keys_beside(model, location)
        close = difflib.get_close_matches(str(location[-1]), allowed, n=1, cutoff=0.7)
        hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(allowed)}."
        return f"unknown key {key!r}; {hint}"
    if problem["type"] == "missing":
        return f"{key!r} is missing."
    if problem["type"] == _TOGETHER:
        section, kind = problem["input"], _section_at(model, location)
        named = [
            f"{name} = {_shown(_value_at(section, kind, field.split('.')))}"
            for name, field in zip(keys, problem["ctx"]["keys"], strict=True)
        ]
        return f"{' and '.join(named)} {problem['msg']}."
    if location[-1] == "[key]":
        return f"the key {key!r} cannot be used: wanted text; write it in quotes."
    value = values
    for part in location:
        if not isinstance(value, dict) or part not in value:
            break
        value = value[part]
    wanted = " or ".join(dict.fromkeys(_wanted(model, problem) for problem in problems))
    item = f"{_shown(problem['input'])} in it: " if isinstance(value, list) and isinstance(location[-1], int) else ""
    return f"{key} = {_shown(value)} cannot be used: {item}{wanted}."


def _wanted(model: type[BaseModel], problem: Any) -> str:
    kind = problem["type"]
    if kind in _WANTED:
        return _WANTED[kind]
    if kind in ("tuple_type", "list_type"):
        section, last = _section_at(model, problem["loc"][:-1]), str(problem["loc"][-1])
        field = section.model_fields.get(last) if section else None
        kinds = _kinds(field.annotation) if field else set()
        if kinds & {int, float}:
            return "wanted a list such as [20, 10]"
        return "wanted a list such as [one, two]" if str in kinds else "wanted a list, each item beginning with `- `"
    if kind == "string_type":
        quotes = isinstance(problem["input"], int | float | date)
        return "wanted text; write it in quotes" if quotes else "wanted text"
    if kind == "string_too_long":
        return f"wanted at most {problem['ctx']['max_length']} characters, found {len(problem['input'])}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _shown(value: Any) -> str:
    """A value as YAML has it, shortened when it is long."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value) if isinstance(value, date) else repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _value_at(values: Any, section: type[BaseModel] | None, path: Sequence[str]) -> Any:
    """The value at `path` below `values`, or the default of `section` there."""
    for part in path:
        field = section.model_fields[part] if section else None
        values = values[part] if isinstance(values, dict) and part in values else getattr(field, "default", None)
        section = cast("type[BaseModel]", field.annotation) if field and _is_section(field.annotation) else None
    return values


def _section_at(model: type[BaseModel], location: Sequence[int | str]) -> type[BaseModel] | None:
    for part in location:
        field = model.model_fields.get(str(part))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return None
        model = field.annotation
    return model


def _keys_beside(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    section = _section_at(model, location[:-1])
    return sorted(section.model_fields) if section else []


def _apply(values: dict[str, Any], override: str) -> str:
    """Sets what the override says in `values`; its key."""
    key, equals, text = override.partition("=")
    key = key.strip()
    *parents, last = key.split(".")
    if not equals or not all((*parents, last)):
        raise SettingsError(f"--set {override}: wanted key=value, for example --set finetune.epochs=5.")
    try:
        value = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise SettingsError(f"--set {override}: {text!r} is not a YAML value.") from error
    for parent in parents:
        if values.get(parent) is None:
            values[parent] = {}
        values = values[parent]
        if not isinstance(values, dict):
            raise SettingsError(f"--set {override}: {parent!r} holds a value, not a section.")
    values[last] = value
    return key


def digest(settings: BaseModel | dict[str, Any]) -> str:
    """A sha256 over settings or a YAML file's values, the same for the same choices in any order of keys."""
    values = settings.model_dump(mode="json") if isinstance(settings, BaseModel) else settings
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()
