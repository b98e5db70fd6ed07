"""YAML files as typed records, and what is wrong with one in the words of somebody who writes YAML.

Separate from `tenuto.settings`, which says what a run may choose: the promotion policy, the expectations and
holdout.yaml are read the same way.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from tenuto.errors import SettingsError

_Model = TypeVar("_Model", bound=BaseModel)

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
        wanted = kinds(annotation)
        items = value if isinstance(value, list | tuple) else [value]
        if wanted & {int, float} and bool not in wanted and any(isinstance(item, bool) for item in items):
            raise PydanticCustomError("boolean", "wanted a number, not true or false")
        return value


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def kinds(annotation: Any) -> set[Any]:
    """The types that an annotation is made of: {float, None} of `float | None`."""
    parts = get_args(annotation)[:1] if get_origin(annotation) is Annotated else get_args(annotation)
    return {kind for part in parts for kind in kinds(part)} if parts else {annotation}


def mismatch(problem: str, *keys: str) -> PydanticCustomError:
    """The error that two of a section's keys do not go together."""
    return PydanticCustomError(_TOGETHER, problem, {"keys": keys})


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
        found = "a list" if isinstance(values, list) else shown(values)
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
            f"{origin(keys, source, origins or {})}: {_explain(model, values, keys, found)}"
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


def origin(keys: Iterable[str], source: str, origins: Mapping[str, str]) -> str:
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
            f"{name} = {shown(_value_at(section, kind, field.split('.')))}"
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
    item = f"{shown(problem['input'])} in it: " if isinstance(value, list) and isinstance(location[-1], int) else ""
    return f"{key} = {shown(value)} cannot be used: {item}{wanted}."


def _wanted(model: type[BaseModel], problem: Any) -> str:
    kind = problem["type"]
    if kind in _WANTED:
        return _WANTED[kind]
    if kind in ("tuple_type", "list_type"):
        section, last = _section_at(model, problem["loc"][:-1]), str(problem["loc"][-1])
        field = section.model_fields.get(last) if section else None
        taken = kinds(field.annotation) if field else set()
        if taken & {int, float}:
            return "wanted a list such as [20, 10]"
        return "wanted a list such as [one, two]" if str in taken else "wanted a list, each item beginning with `- `"
    if kind == "string_type":
        quotes = isinstance(problem["input"], int | float | date)
        return "wanted text; write it in quotes" if quotes else "wanted text"
    if kind == "string_too_long":
        return f"wanted at most {problem['ctx']['max_length']} characters, found {len(problem['input'])}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def shown(value: Any) -> str:
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


def digest(settings: BaseModel | dict[str, Any]) -> str:
    """A sha256 over settings or a YAML file's values, the same for the same choices in any order of keys."""
    values = settings.model_dump(mode="json") if isinstance(settings, BaseModel) else settings
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()
