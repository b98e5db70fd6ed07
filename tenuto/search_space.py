"""The `tune` section of params.yaml: what `tenuto tune` tries, each key and value checked against the settings.

Separate from `tenuto.settings`, which says what a run may choose: here is what a search may vary of it.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from tenuto.errors import SettingsError
from tenuto.typed_yaml import Section, kinds, mismatch, validated

if TYPE_CHECKING:
    from tenuto.settings import Params

TUNED_SECTIONS = ("augment", "model", "finetune", "imbalance")
"""Sections that a search may vary; the others say what is learned and how it is judged."""

_ON_EMBEDDINGS = {
    "model": {"head", "hidden_size", "pool", "truncate"},
    "finetune": {"probe_c", "label_smoothing"},
}
"""The keys of these sections that a head fitted on frozen embeddings depends on."""

_NOT_ON_EMBEDDINGS = {"spec_augment", "mixup_alpha", "remedy"}
"""The keys of the other sections that it does not."""


class Range(Section):
    """Numbers from `low` to `high`, both among them; with `log` every order of magnitude is drawn equally often."""

    model_config = ConfigDict(allow_inf_nan=False)

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _is_some(self) -> Self:
        if self.low >= self.high:
            raise mismatch("leave nothing to choose; the first must be below the second", "low", "high")
        if self.log and self.low <= 0:
            raise mismatch("do not go together; wanted a low above 0", "low", "log")
        return self


Choices = tuple[Any, ...]
Space = Mapping[str, Choices | Range]


def _form(value: Any) -> str | None:
    """Which of the two a value is written as; None for neither."""
    if isinstance(value, Range) or (
        isinstance(value, dict) and {"low", "high"} <= set(value) <= {"low", "high", "log"}
    ):
        return "range"
    return "choices" if isinstance(value, list | tuple) and value else None


_Dimension = Annotated[
    Annotated[Choices, Tag("choices")] | Annotated[Range, Tag("range")],
    Discriminator(
        _form,
        custom_error_type="dimension",
        custom_error_message="wanted a list of choices, or {low: ..., high: ..., log: true}",
    ),
]


def _flat(value: Any) -> Any:
    """Keys below their section, `finetune: {probe_c: ...}`, as the dotted ones."""
    if not isinstance(value, dict):
        return {} if value is None else value
    found: dict[Any, Any] = {}
    for key, below in value.items():
        is_section = key in TUNED_SECTIONS and isinstance(below, dict)
        found |= {f"{key}.{name}": item for name, item in below.items()} if is_section else {key: below}
    return found


class TuneSettings(Section):
    """What `tenuto tune` tries, and how often."""

    on: Literal["embeddings", "finetune"] = Field(
        default="embeddings",
        description="embeddings: heads on frozen embeddings, seconds a trial; finetune: whole trainings",
    )
    trials: int = Field(default=20, ge=1, description="settings that are tried, the present ones among them")
    workers: int = Field(default=1, ge=1, description="trials at a time; with one the search can be repeated exactly")
    space: Annotated[dict[str, _Dimension], BeforeValidator(_flat)] = Field(
        default_factory=dict, description="dotted keys to choices or ranges; {} is a space that fits `on`"
    )


DEFAULT_SPACE: dict[str, dict[str, Choices | Range]] = {
    "embeddings": {
        "model.head": ("linear", "mlp", "prototype"),
        "model.hidden_size": (32, 64, 128, 256),
        "finetune.probe_c": Range(low=0.001, high=10.0, log=True),
        "imbalance.loss": ("cross-entropy", "focal", "ldam", "logit-adjustment", "asymmetric"),
        "imbalance.class_weights": ("none", "inverse", "effective-number"),
        "augment.fill": (0.0, 0.5, 1.0),
    },
    "finetune": {
        "finetune.learning_rate": Range(low=1e-5, high=1e-2, log=True),
        "finetune.optimizer": ("adamw", "sgd", "adafactor", "lion"),
        "finetune.unfreeze": ("all", "head", "gradual"),
        "model.head": ("linear", "mlp", "prototype"),
        "imbalance.loss": ("cross-entropy", "focal", "ldam", "logit-adjustment", "asymmetric"),
        "augment.fill": (0.0, 0.5, 1.0),
        "augment.noise": (0.0, 0.5, 1.0),
        "augment.spec_augment": (True, False),
    },
}
"""What is searched when params.yaml names no space, by `on`; what the other settings refuse is left out."""


def check(params: Params, source: str) -> None:
    """Raises SettingsError, a line for each key or value of the space that the settings do not allow."""
    problems = [
        f"{source}: {problem}" for key, found in params.tune.space.items() for problem in _wrong(params, key, found)
    ]
    if problems:
        raise SettingsError("\n".join(problems))


def space_of(params: Params) -> Space:
    """What is searched: the space in params.yaml, else the default one without the choices that `params` refuse."""
    if params.tune.space:
        return params.tune.space
    found: dict[str, Choices | Range] = {}
    for key, dimension in DEFAULT_SPACE[params.tune.on].items():
        if _is_remedied(params, key):
            continue
        left = dimension if isinstance(dimension, Range) else tuple(c for c in dimension if _goes(params, {key: c}))
        if isinstance(left, Range) or len(left) > 1:
            found[key] = left
    return found


def with_settings(params: Params, settings: Mapping[str, Any]) -> Params:
    """`params` with the values of dotted keys in their place; SettingsError when they do not go together."""
    values = params.model_dump(mode="json", exclude={"tune"})
    for key, value in settings.items():
        section, _, name = key.partition(".")
        values[section][name] = value
    found = validated(type(params), values, "these settings")
    return found.model_copy(update={"tune": params.tune})


def effective(params: Params, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without those that nothing in a model of these settings takes notice of."""
    from tenuto.settings import LEARNED_POOLS

    model = with_settings(params, settings).model
    idle: set[str] = set() if model.head == "mlp" or model.pool in LEARNED_POOLS else {"model.hidden_size"}
    idle |= set() if model.head == "linear" else {"finetune.probe_c"}
    return {key: value for key, value in settings.items() if key not in idle}


def is_whole(params: Params, key: str) -> bool:
    """True when the setting takes whole numbers only."""
    return float not in _kinds_at(params, key)


def overrides(settings: Mapping[str, Any]) -> list[str]:
    """The settings as `--set` takes them."""
    return [f"{key}={json.dumps(value)}" for key, value in settings.items()]


def _is_remedied(params: Params, key: str) -> bool:
    """Whether `imbalance.remedy` decides on the key, whatever a search finds."""
    return params.imbalance.remedy is not None and (key.startswith("imbalance.") or key == "augment.fill")


def _wrong(params: Params, key: str, found: Choices | Range) -> Iterator[str]:
    """What is wrong with one key of the space."""
    if problem := _unknown(params, key):
        yield problem
        return
    if _is_remedied(params, key):
        yield f"tune.space.{key} and imbalance.remedy = 'auto' do not go together: the remedy decides; leave one out."
        return
    section, _, name = key.partition(".")
    named = f"tune.space.{key}"
    if params.tune.on == "embeddings" and (problem := _unseen(key, found)):
        yield f"{named} {problem}"
        return
    if isinstance(found, Range) and not {int, float} & _kinds_at(params, key):
        yield f"{named} cannot be a range: {key} is no number; wanted a list of choices."
        return
    whole = isinstance(found, Range) and is_whole(params, key)
    for value in (found.low, found.high) if isinstance(found, Range) else found:
        given = int(value) if whole and value == int(value) else value
        try:
            validated(type(params), {"name": "any", section: {name: given}}, named)
        except SettingsError as error:
            if "cannot be used" in str(error):  # what only does not go together with others is found out by its trial
                yield str(error)


def _unknown(params: Params, key: str) -> str | None:
    section, _, name = key.partition(".")
    fields = type(params).model_fields
    if section not in TUNED_SECTIONS:
        known = ", ".join(TUNED_SECTIONS)
        return f"tune.space has the key {key!r}; wanted a setting of {known}, such as finetune.learning_rate."
    below: Any = fields[section].annotation
    if name in below.model_fields:
        return None
    close = difflib.get_close_matches(name, below.model_fields, n=1, cutoff=0.7)
    hint = (
        f"did you mean '{section}.{close[0]}'?" if close else f"known there: {', '.join(sorted(below.model_fields))}."
    )
    return f"tune.space has the unknown key {key!r}; {hint}"


def _unseen(key: str, found: Choices | Range) -> str | None:
    """Why a key cannot be tuned on embeddings; None when it can."""
    from tenuto.settings import LEARNED_POOLS

    section, _, name = key.partition(".")
    matters = name in _ON_EMBEDDINGS[section] if section in _ON_EMBEDDINGS else name not in _NOT_ON_EMBEDDINGS
    if not matters:
        return "cannot be tuned on embeddings, which do not depend on it; wanted tune.on: finetune."
    if isinstance(found, Range):
        costly = section == "augment"
        return (
            "cannot be a range on embeddings: each value costs new ones; wanted a list of choices." if costly else None
        )
    learned = [value for value in found if value in LEARNED_POOLS]
    return f"= {learned[0]!r} learns in fine-tuning only; wanted tune.on: finetune." if learned else None


def _kinds_at(params: Params, key: str) -> set[Any]:
    section, _, name = key.partition(".")
    below: Any = type(params).model_fields[section].annotation
    return kinds(below.model_fields[name].annotation)


def _goes(params: Params, settings: Mapping[str, Any]) -> bool:
    try:
        with_settings(params, settings)
    except SettingsError:
        return False
    return True
