"""File name patterns such as '{label}_{speaker}_{index}.wav', which say what the parts of a name mean."""

from __future__ import annotations

import re
import unicodedata

from tenuto.errors import SourceError

GROUP_NAME = re.compile(r"[a-z][a-z0-9_]*")
"""What a group may be called: it becomes part of a column name."""

_FIELD = re.compile(r"\{([^{}]*)\}")
_UNGROUPED_FIELDS = ("label", "index", "path", "_")


def clean_text(text: str) -> str:
    """A label or group value with composed accents and single inner spaces, trimmed."""
    return " ".join(unicodedata.normalize("NFC", text).split())


class NamePattern:
    """A file name pattern, as a regular expression."""

    def __init__(self, pattern: str) -> None:
        names = _FIELD.findall(pattern)
        if "label" not in names:
            raise SourceError(
                f"--pattern {pattern!r} has no {{label}}; for example '{{label}}_{{speaker}}_{{index}}.wav'."
            )
        for name in names:
            if not GROUP_NAME.fullmatch(name) and name != "_":
                raise SourceError(
                    f"--pattern {pattern!r}: {{{name}}} is no field; wanted lower-case letters, digits, _."
                )
            if names.count(name) > 1 and name != "_":
                raise SourceError(f"--pattern {pattern!r} has {{{name}}} twice; use {{_}} for what does not matter.")
        self.text = pattern
        self._with_folders = "/" in pattern
        self._regex = re.compile("".join(_piece(part) for part in re.split(r"(\{[^{}]*\}|\*)", pattern)), re.IGNORECASE)

    def match(self, relative: str) -> tuple[str, dict[str, str]] | None:
        """Label and groups of a path inside the source; None when it does not fit."""
        match = self._regex.fullmatch(relative if self._with_folders else relative.rpartition("/")[2])
        if match is None:
            return None
        groups = {name: clean_text(value) for name, value in match.groupdict().items() if name not in _UNGROUPED_FIELDS}
        return clean_text(match["label"]), groups


def _piece(part: str) -> str:
    if part == "*":
        return "[^/]*"
    name = part[1:-1] if part.startswith("{") else None
    if name is None:
        return re.escape(part)
    if name == "_":
        return "[^/]+?"
    if name == "index":
        return r"(?P<index>\d+)"
    return r"(?P<path>.+)" if name == "path" else f"(?P<{name}>[^/]+?)"
