"""The template of the card: read, checked before anything trains, filled in inside a sandbox, and cut to a length."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from tenuto.errors import SettingsError
from tenuto.reporting import formats
from tenuto.reporting.card import example
from tenuto.reporting.card.contents import CardInputs, contents
from tenuto.reporting.card.markdown import inline, prose
from tenuto.scaffold import template_text

log = logging.getLogger(__name__)

DESCRIPTION_CHARACTERS = 5000
"""What MLflow's database has room for in the description of a version (`model_versions.description`)."""

LONGEST_CHARACTERS = 100_000
"""A card is no data set."""

LONGEST_SENTENCE = 1000

_THREE_LINES = re.compile(r"\n\s*\n\s*\n")

PACKAGED = "mlflow/model-card.md.j2"


def render(card: CardInputs, template: Path) -> str:
    """The card in Markdown, laid out by `template`, or by the packaged one where there is no such file.

    A template that fails on what this run has to show, having passed `check_template`, is a warning: the packaged one
    is used, so that no training is lost to a typing mistake. The card is below 100,000 characters, cut between
    sections if it must be.
    """
    values = contents(card, pd.read_parquet(card.clips_path))
    try:
        text = _filled(_read(template), values)
    except SettingsError as error:
        log.warning("%s The packaged template is used instead.", error)
        text = _filled(_compiled(template_text(PACKAGED), PACKAGED), values)
    note = "The card was longer than a card should be; sections are missing from here on."
    return _fitted(text, LONGEST_CHARACTERS, note)


def description(card: str, run_id: str, *, room_for: str = "") -> str:
    """The card as a version's description: cut between two sections to what every MLflow database takes.

    What is cut ends with where the whole card lies. What will follow it is left room for.
    """
    return _fitted(
        card,
        DESCRIPTION_CHARACTERS - len(room_for),
        f"The rest is in the run's artifact card/model-card.md (run {run_id}).",
    )


def check_template(template: Path) -> None:
    """Raises SettingsError, with file and line, when the template cannot be read or filled in.

    It is filled in for an imagined model with everything to show and for one with as little as there can be.
    """
    layout = _read(template)
    for card, clips in (example.full(), example.bare()):
        _filled(layout, contents(card, clips))


def _read(template: Path) -> jinja2.Template:
    try:
        return _compiled(template.read_text(encoding="utf-8"), str(template))
    except FileNotFoundError:
        return _compiled(template_text(PACKAGED), PACKAGED)
    except OSError as error:
        raise SettingsError(f"{template}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{template} is not UTF-8 text; save it as UTF-8.") from error


def _compiled(source: str, file: str) -> jinja2.Template:
    environment = _environment()
    try:
        code = environment.compile(source, name=file, filename=file)
    except jinja2.TemplateSyntaxError as error:
        raise SettingsError(_problem(file, error.lineno, error)) from error
    return jinja2.Template.from_code(environment, code, dict(environment.globals))


def _filled(layout: jinja2.Template, values: Mapping[str, Any]) -> str:
    try:
        return _THREE_LINES.sub("\n\n", layout.render(values)).strip() + "\n"
    except Exception as error:  # an expression in a template can go wrong in any way
        raise SettingsError(_problem(str(layout.name), _line(error, layout), error)) from error


def _problem(file: str, line: int | None, error: Exception) -> str:
    where = f"{file}, line {line}" if line else file
    said = " ".join(str(error).split()) or type(error).__name__
    return f"{where}: the model card cannot be made: {said.rstrip('.')}. Without the file the packaged one is used."


def _line(error: Exception, layout: jinja2.Template) -> int | None:
    """The template's own line at which the error came up; jinja puts it among the frames."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == layout.filename]
    return lines[-1] if lines else None


def _environment() -> jinja2.Environment:
    environment = ImmutableSandboxedEnvironment(
        autoescape=True,
        finalize=_safe,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(formats.FILTERS, prose=prose, stated=_stated, day=_day, whole=_whole)
    return environment


def _safe(value: Any) -> Any:
    """Every text that the template puts out is escaped, whether its author thought of it or not."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return inline(value)
    return value


def _stated(text: str | None) -> Markup:
    return prose(text) if text else Markup("*not stated*")


def _whole(text: str) -> Markup:
    """A sentence that must not be cut, on one line."""
    return inline(text, longest=LONGEST_SENTENCE)


def _day(when: datetime) -> str:
    return f"{when.day} {when:%B %Y}"


def _fitted(text: str, limit: int, note: str) -> str:
    """The text, or as many of its sections as `limit` leaves room for, and the note."""
    if len(text) <= limit:
        return text
    ending = f"\n*{note}*\n"
    kept = text[: limit - len(ending)]
    whole = kept.rfind("\n## ")
    # a section that would take half of the text with it ends with a whole line instead
    return kept[: whole if whole > limit / 2 else max(kept.rfind("\n"), 0)].rstrip() + "\n" + ending
