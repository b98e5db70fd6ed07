"""New workspaces: the files that a person edits, written once from the templates.

Git and DVC are set up by the caller (`tasks.dataset.initialise`); this module only copies text.
"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from tenuto.errors import SettingsError, WorkspaceError

TEMPLATES = {
    "params.yaml": "params.yaml",
    "expectations.yaml": "expectations.yaml",
    "mlflow/promotion.yaml": "mlflow/promotion.yaml",
    "mlflow/model-card.md.j2": "mlflow/model-card.md.j2",
    "mlflow/serving.yaml": "mlflow/serving.yaml",
    "gitignore": ".gitignore",
}
"""Template below `tenuto/templates/workspace/` to its place in a workspace."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")
_READS_AS_TEXT = re.compile(r"[A-Za-z]+[_-][A-Za-z0-9_-]*")


def create(folder: Path, name: str) -> tuple[Path, ...]:
    """The files written into `folder`: params.yaml (for the model `name`), expectations, mlflow/ and .gitignore.

    Writes into a missing folder or one that holds nothing but a `.git`; raises WorkspaceError for any other, so that
    nothing is ever overwritten, and SettingsError for a name that the registry could not hold.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"name {name!r}: wanted at most 200 letters, digits, '.', '_' or '-', the first a letter or digit; "
            "pass another with --name."
        )
    _require_empty(folder)
    texts = {target: template_text(template) for template, target in TEMPLATES.items()}
    # quoted, since YAML reads a bare 2024 as a number and true as a truth value
    quoted = name if _READS_AS_TEXT.fullmatch(name) else f'"{name}"'
    texts["params.yaml"] = re.sub(r"(?m)^name: .*$", f"name: {quoted}", texts["params.yaml"], count=1)
    return tuple(_write(folder / target, text) for target, text in texts.items())


def template_text(template: str) -> str:
    """A template's text, by its path below `tenuto/templates/workspace/`."""
    return (files("tenuto") / "templates" / "workspace" / template).read_text(encoding="utf-8")


def _require_empty(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise WorkspaceError(f"{folder} is a file; a workspace needs a folder of its own.")
    found = sorted(p.name for p in folder.iterdir() if p.name != ".git") if folder.is_dir() else []
    if "params.yaml" in found:
        raise WorkspaceError(f"{folder} is a workspace already (it has a params.yaml); nothing was changed.")
    if found:
        raise WorkspaceError(
            f"{folder} is not empty (it holds {', '.join(found[:3])}{' ...' if len(found) > 3 else ''}); "
            "name a new or empty folder."
        )


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
