"""Where a server gets its model from: a registry's alias, or a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Source(Protocol):
    """Somewhere that knows which version an alias points at, and has its bundle.

    Both calls may block and may raise TenutoError; `tasks.follow` has the one of the MLflow registry.
    """

    @property
    def name(self) -> str:
        """Of the model."""

    def resolve(self, alias: str) -> str | None:
        """The version that the alias points at now, None when it points nowhere."""

    def fetch(self, version: str) -> Path:
        """The folder with the bundle of a version; the same folder for the same version."""

    def card(self, version: str) -> str | None:
        """The model card of a version, Markdown."""


@dataclass(frozen=True)
class FolderSource:
    """One bundle in a folder, which never changes."""

    folder: Path
    name: str = "bundle"

    def resolve(self, alias: str) -> str | None:
        return "bundle" if alias == "champion" else None

    def fetch(self, version: str) -> Path:
        return self.folder

    def card(self, version: str) -> str | None:
        return None
