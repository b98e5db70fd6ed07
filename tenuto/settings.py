"""Every choice of a run, typed: `params.yaml` and `--set key=value`.

Unknown keys, wrong types and impossible values are errors that name the key, the value and what is allowed, raised
before anything runs. The promotion policy lives in `tenuto.deciding.policy`, the expectations in `tenuto.validation`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tenuto import typed_yaml
from tenuto.errors import SettingsError
from tenuto.search_space import TuneSettings, check
from tenuto.typed_yaml import Section, mismatch, read_yaml, validated

Fraction = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]


def _names(value: Any) -> Any:
    """One name or a list of them as text, since YAML reads `site: 3` as a number."""
    if value is None:
        return ()
    items = value if isinstance(value, list | tuple) else [value]
    return tuple(str(item) if isinstance(item, int | float) else item for item in items)


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
    labels: Literal["one", "many"] = Field(
        default="one", description="many: a clip may have several labels, written 'dog;rain', or none"
    )

    @model_validator(mode="after")
    def _some_duration_fits(self) -> Self:
        if self.min_duration_seconds >= self.max_duration_seconds:
            raise mismatch(
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
            raise mismatch("leave nothing to train on; their sum must be below 1", "validation", "test")
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
            raise mismatch(
                "leave no signal-to-noise ratio; the first must not be above the second", "min_snr_db", "max_snr_db"
            )
        return self


class ModelSettings(Section):
    """What is built around the backbone: how much of it is used, and what makes its frames a clip's scores."""

    model_config = ConfigDict(allow_inf_nan=False)

    head: Literal["linear", "mlp", "prototype"] = Field(
        default="linear", description="what makes scores of a clip's vector"
    )
    pool: Literal["own", "mean", "max", "statistics", "attention", "gru", "lstm"] = Field(
        default="own", description="what makes one vector of a clip's frames; own: as the backbone does it"
    )
    hidden_size: int = Field(default=128, ge=1, description="of the mlp, attention, gru and lstm")
    truncate: int | None = Field(default=None, ge=1, description="use the first so many layers of the backbone")
    adapter_size: int = Field(
        default=0, ge=0, description="width of the bottleneck put behind each layer; the layers themselves stay frozen"
    )
    lora_rank: int = Field(
        default=0, ge=0, description="rank of the updates learned for frozen attention matrices (transformers only)"
    )
    window_seconds: float | None = Field(
        default=None, gt=0, description="long clips are heard through windows of this length, pooled per clip"
    )
    window_overlap: float = Field(default=0.5, ge=0, lt=1, description="share of a window that the next hears again")

    @model_validator(mode="after")
    def _adapts_one_way(self) -> Self:
        if self.adapter_size and self.lora_rank:
            raise mismatch("are two ways to spare the backbone; set one of them to 0", "adapter_size", "lora_rank")
        return self

    @property
    def is_plain(self) -> bool:
        """True when the backbone's own classifier is used as it is: its layers, its pooling and a linear head."""
        return self.model_copy(update={"hidden_size": ModelSettings().hidden_size}) == ModelSettings()


class FinetuneSettings(Section):
    """The head is fitted on frozen embeddings, then the model is fine-tuned from there."""

    model_config = ConfigDict(allow_inf_nan=False)

    probe_c: float = Field(default=0.1, gt=0, description="inverse of the probe's L2 penalty")
    epochs: int = Field(default=4, ge=0, description="0 keeps the fitted head as the candidate")
    baseline: Literal["same", "log-mel-cnn", "log-mel-crnn"] = Field(
        default="same", description="what is trained from scratch: the backbone's own architecture, or a small network"
    )
    batch_size: int = Field(
        default=32, ge=1, description="clips a step; with model.window_seconds, windows, at most 16 of one clip"
    )
    learning_rate: float | None = Field(
        default=None,
        gt=0,
        description="null: 5e-4 for speech-embedding, adapters and LoRA, else 3e-5; for sgd 20 times, for lion a fifth",
    )
    scratch_learning_rate: float | None = Field(
        default=None,
        gt=0,
        description="of the baseline; null: 2e-3 for speech-embedding and the log-mel networks, 1e-4 for others",
    )
    head_learning_rate: float | None = Field(default=None, gt=0, description="null: learning_rate")
    layer_decay: float = Field(
        default=1.0, gt=0, le=1, description="each layer's learning rate is so many times that of the one above it"
    )
    optimizer: Literal["adamw", "sgd", "adafactor", "lion"] = "adamw"
    schedule: Literal["cosine", "one-cycle", "constant"] = Field(
        default="cosine", description="of the learning rate, after the warm-up"
    )
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(default=0.01, ge=0)
    averaging: Literal["none", "ema", "swa"] = Field(
        default="none", description="keep a running mean of the weights: exponential, or of the last quarter's epochs"
    )
    patience: int | None = Field(
        default=None, ge=1, description="stop after so many epochs without a better macro-F1 on the validation clips"
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    unfreeze: Literal["all", "head", "gradual"] | Annotated[int, Field(ge=1)] = Field(
        default="all",
        description="what is trained: all, head, gradual (from the top, a layer at a time), or n top layers",
    )
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = Field(default=False, description="torch.compile; wants a C++ compiler")
    gradient_checkpointing: bool = Field(default=False, description="less memory for about a third more time")
    deterministic: bool = Field(default=True, description="the same weights bit for bit on one machine's CPU")
    max_clip_seconds: float | None = Field(
        default=None,
        gt=0,
        description="longer clips are cut around their centre; null: 10, or with model.window_seconds no other limit "
        "than data.max_duration_seconds",
    )


class ImbalanceSettings(Section):
    """What is done for rare classes and groups while training, besides `augment.fill`."""

    model_config = ConfigDict(allow_inf_nan=False)

    remedy: Literal["auto"] | None = Field(
        default=None,
        description="auto: what remedies come to on the validation clips, instead of augment.fill and what is below",
    )
    loss: Literal["cross-entropy", "focal", "ldam", "logit-adjustment", "asymmetric"] = Field(
        default="cross-entropy",
        description="with several labels a clip: cross-entropy (binary, of each label), focal or asymmetric",
    )
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
            raise mismatch("both even out the classes; use one of them", "sample_by", "class_weights")
        # the adjustment is by how often each class is drawn for training, and aims at the balanced error by itself
        if self.loss == "logit-adjustment":
            if self.class_weights != "none":
                raise mismatch("both even out the classes; use one of them", "loss", "class_weights")
            if "label" in self.sample_by:
                raise mismatch("both even out the classes; use one of them", "loss", "sample_by")
        return self


class CalibrateSettings(Section):
    """What is fitted on the validation clips after training, to the scores of a model that stays as it is."""

    temperature: bool = Field(
        default=True, description="one number that makes probabilities neither too sure nor too shy"
    )
    thresholds: bool = Field(
        default=False,
        description="one per class, for the best F1; without them the likeliest label, or those above 0.5",
    )


class EvaluateSettings(Section):
    """What the models are put through."""

    model_config = ConfigDict(allow_inf_nan=False)

    noise_snr_db: tuple[float, ...] = (20.0, 10.0, 0.0)
    noise_clips: int = Field(default=300, ge=1, description="at most so many test clips are heard with noise added")
    batch_size: int = Field(default=32, ge=1)
    resamples: int = Field(default=2000, ge=100)
    confidence: Fraction = 0.95


class MonitorSettings(Section):
    """What `tenuto monitor` looks at, and when it raises an alarm."""

    model_config = ConfigDict(allow_inf_nan=False)

    days: int = Field(default=7, ge=1, description="how far back a look goes")
    least_clips: int = Field(default=50, ge=20, description="served in that time; with fewer drift is not judged")
    false_alarms: Fraction = Field(
        default=0.01, description="the chance of any alarm in a period of `days` in which nothing changed"
    )
    new_labels: int = Field(default=50, ge=1, description="labels that came back, enough for a retrain")
    quality_drop: Fraction = Field(
        default=0.05, description="accuracy by the labels that came back, below that on the validation clips"
    )


Stated = Annotated[str, Field(max_length=2000)]
"""Text for the model card: MLflow holds 6,000 characters of a parameter, and 5,000 of a version's description."""


class CardSettings(Section):
    """What the model card says of use and data; what is left out is "not stated" there."""

    intended_use: Stated | None = Field(default=None, description="what the model is for, and for whom")
    limits: Stated | None = Field(default=None, description="what it must not be used for, and where it fails")
    data_licence: Stated | None = Field(default=None, description="the terms under which the recordings may be used")
    contact: Stated | None = Field(default=None, description="whom to ask or to tell")


LEARNED_POOLS = ("attention", "gru", "lstm")
"""Poolings with weights of their own, which only fine-tuning finds; they start as the mean."""

WHOLE_CLIP_SECONDS = 10.0
"""Of a clip that is heard at once, rather than through windows, so much by default."""

_LOSSES = {
    "one": ("cross-entropy", "focal", "ldam", "logit-adjustment"),
    "many": ("cross-entropy", "focal", "asymmetric"),
}


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
    backbone_revision: str | None = Field(
        default=None, min_length=1, description="hub revision; null: the commit in Tenuto's catalogue, else main"
    )
    seed: Seed = 0
    threads: int = Field(default=1, ge=1, description="torch threads; more than one is slower on a busy machine")
    data: DataSettings = DataSettings()
    split: SplitSettings = SplitSettings()
    augment: AugmentSettings = AugmentSettings()
    model: ModelSettings = ModelSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    imbalance: ImbalanceSettings = ImbalanceSettings()
    calibrate: CalibrateSettings = CalibrateSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    card: CardSettings = CardSettings()
    tune: TuneSettings = TuneSettings()
    monitor: MonitorSettings = MonitorSettings()
    tracking_uri: str | None = Field(default=None, description="an MLflow server; null is the workspace's own")

    @model_validator(mode="after")
    def _loss_can_be_smoothed(self) -> Self:
        if self.finetune.label_smoothing and self.imbalance.loss in ("focal", "ldam", "asymmetric"):
            raise mismatch(
                "do not go together; smoothing is for cross-entropy and logit-adjustment",
                "finetune.label_smoothing",
                "imbalance.loss",
            )
        return self

    @model_validator(mode="after")
    def _fits_the_labels(self) -> Self:
        allowed = _LOSSES[self.data.labels]
        if self.imbalance.loss not in allowed:
            raise mismatch(
                f"do not go together; wanted {', '.join(allowed)}",
                "imbalance.loss",
                "data.labels",
            )
        if self.data.labels == "many" and self.imbalance.remedy:
            raise mismatch("do not go together; wanted null", "imbalance.remedy", "data.labels")
        if self.data.labels == "many" and self.model.head == "prototype":
            raise mismatch("do not go together; wanted linear or mlp", "model.head", "data.labels")
        return self

    @model_validator(mode="after")
    def _something_learns(self) -> Self:
        if self.finetune.epochs == 0 and self.model.pool in LEARNED_POOLS:
            raise mismatch(
                "leave the pooling the mean that it began as; wanted epochs, or a pool without weights "
                "(own, mean, max, statistics)",
                "model.pool",
                "finetune.epochs",
            )
        for name in ("adapter_size", "lora_rank"):
            if getattr(self.model, name) and self.finetune.unfreeze != "all":
                raise mismatch(
                    "do not go together: the backbone's own layers stay frozen; leave unfreeze out",
                    f"model.{name}",
                    "finetune.unfreeze",
                )
        return self

    @property
    def longest_heard_seconds(self) -> float:
        """What is cut off longer clips: `finetune.max_clip_seconds`, or what that is by default."""
        if self.finetune.max_clip_seconds is not None:
            return self.finetune.max_clip_seconds
        return WHOLE_CLIP_SECONDS if self.model.window_seconds is None else self.data.max_duration_seconds

    def with_remedy(self, choices: Mapping[str, Mapping[str, Any]]) -> Self:
        """These settings with a remedy's choices in the place of `augment.fill` and of the section `imbalance`.

        Without choices they stand as they are. Raises ValidationError when the remedy does not go together with the
        other settings.
        """
        if not choices:
            return self
        values = self.model_dump()
        return self.model_validate(
            values
            | {
                "augment": values["augment"] | dict(choices["augment"]),
                "imbalance": dict(choices["imbalance"]),
                "calibrate": values["calibrate"] | dict(choices.get("calibrate", {})),
            }
        )


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
    params = validated(Params, values, path.name, origins)
    check(params, next((origins[key] for key in reversed(origins) if key.startswith("tune.")), path.name))
    return params


def origin(key: str, source: str, overrides: Sequence[str]) -> str:
    """Where the value of `key` was written: the last override that set it, else the file `source`."""
    return typed_yaml.origin((key,), source, {text.partition("=")[0].strip(): f"--set {text}" for text in overrides})


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
