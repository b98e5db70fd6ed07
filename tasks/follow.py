"""The MLflow registry as a server's source of models: which version an alias names, and that version's bundle.

What was downloaded stays, and so does what the aliases last named: a server that starts while the registry is away goes
on with the version that it served before.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tasks import store
from tenuto.errors import RegistryError, ServerError
from tenuto.serving.hearing import bundle as bundles

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")

_KEPT_VERSIONS = 4
_CARD = "model-card.md"
_ALIASES = "aliases.json"
_SECRETS = re.compile(r"(?<=://)\S*@|(?<=\S)\?\S+")
"""Of an address: a name and a password, or a query, which may be signed."""


class RegistrySource:
    """The versions of one registered model, kept in a folder of its name in `cache`."""

    def __init__(self, tracking_uri: str, name: str, cache: Path) -> None:
        self.name = name
        self._tracking_uri = tracking_uri
        self._cache = cache / name
        self._has_answered = False
        self._folders: dict[str, Path] = {}

    def resolve(self, alias: str) -> str | None:
        """The version that the alias names; the last known one when the registry has not answered since the start.

        Raises ServerError when the registry does not answer.
        """
        try:
            aliases = self._asked(lambda client: store.aliases(client, self.name))
        except ServerError as error:
            known = {} if self._has_answered else self._last_known()
            if alias not in known:
                raise
            log.warning("%s Going on with version %s, the last that was @%s.", error, known[alias], alias)
            return known[alias]
        self._has_answered = True
        self._remember(aliases)
        return aliases.get(alias)

    def fetch(self, version: str) -> Path:
        """The folder with the bundle of a version, downloaded whole or not at all; in use until the next call.

        Raises RegistryError when the version has none, ServerError when the registry does not answer and the version
        was never downloaded.
        """
        try:
            found = self._asked(lambda client: client.get_model_version(self.name, version))
        except ServerError:
            there = max(self._cache.glob(f"{version}-*"), key=_used_at, default=None)
            if there is None:
                raise
            self._folders[version] = there
            return there
        # a name and a number come again in another registry, a source does not
        source = str(found.source).rstrip("/")
        folder = self._cache / f"{version}-{hashlib.sha256(source.encode()).hexdigest()[:12]}"
        if not folder.is_dir():
            self._asked(lambda _: self._download(version, source, found.description or "", folder))
        folder.touch()
        self._forget_old()
        self._folders[version] = folder
        return folder

    def card(self, version: str) -> str | None:
        """The model card as it was when the version was downloaded, Markdown; None before `fetch`."""
        path = self._folders.get(version, Path()) / _CARD
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def _asked(self, question: Callable[[MlflowClient], _Answer]) -> _Answer:
        """The registry's answer; ServerError, without what is secret of an address, when there is none."""
        from mlflow.exceptions import MlflowException

        try:
            return question(store.connect(self._tracking_uri))
        except (MlflowException, OSError) as error:
            why = _SECRETS.sub("...", " ".join(str(error).split()))[:200]
            raise ServerError(f"The registry of {self.name} cannot be read ({type(error).__name__}: {why}).") from error

    def _download(self, version: str, source: str, card: str, folder: Path) -> None:
        from mlflow.artifacts import download_artifacts
        from ruamel.yaml import YAML

        self._cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=self._cache) as scratch:

            def download(path: str) -> Path:
                uri = f"{source}/{path}"
                return Path(download_artifacts(artifact_uri=uri, dst_path=scratch, tracking_uri=self._tracking_uri))

            # MLflow's own reader wants pandas, which a server has no use for
            description = YAML(typ="safe").load(download("MLmodel"))
            within = description["flavors"]["python_function"].get("artifacts", {}).get(bundles.FOLDER_NAME)
            if within is None:
                raise RegistryError(
                    f"{self.name} version {version} has no exported model and cannot be served; its page in MLflow "
                    "says why, and `tenuto retrain` makes another."
                )
            part = download(str(within["path"]))
            (part / _CARD).write_text(card, encoding="utf-8")
            part.replace(folder)

    def _forget_old(self) -> None:
        for folder in sorted(self._cache.glob("[0-9]*-*"), key=_used_at, reverse=True)[_KEPT_VERSIONS:]:
            shutil.rmtree(folder, ignore_errors=True)

    def _last_known(self) -> dict[str, str]:
        path = self._cache / _ALIASES
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}

    def _remember(self, aliases: dict[str, str]) -> None:
        if aliases == self._last_known():
            return
        self._cache.mkdir(parents=True, exist_ok=True)
        fresh = self._cache / f".{_ALIASES}.{os.getpid()}"
        fresh.write_text(json.dumps(aliases), encoding="utf-8")
        fresh.replace(self._cache / _ALIASES)


def _used_at(folder: Path) -> float:
    return folder.stat().st_mtime
