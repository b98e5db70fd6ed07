"""What an erasure leaves behind, a certificate that names nobody, and the journal that it keeps while it works."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from tenuto.errors import WorkspaceError
from tenuto.records import Record
from tenuto.splitting.holdout import Holdout
from tenuto.tracing.erasure.files import write
from tenuto.tracing.erasure.identities import Identities

Role = Literal["trained", "chosen", "scored", "aside"]
"""What a run did with her recordings: trained on them, chose the epoch by them, only scored them, or set them aside."""

ROLES: dict[str, Role] = {"train": "trained", "validation": "chosen", "test": "scored", "golden": "scored"}
"""By split."""


class Trace(Record):
    """A run that held her recordings, and the version that came of it."""

    run: str = Field(description="MLflow's run id")
    version: str | None = None
    aliases: tuple[str, ...] = ()
    clips: dict[Role, int] = Field(description="how many of her clips, by what the run did with them")
    prefect_run: str | None = None

    @property
    def heard(self) -> bool:
        """True when the weights depend on her: trained or chosen by her recordings."""
        return bool(self.clips.get("trained") or self.clips.get("chosen"))


class Purged(Record):
    """What was taken out of one place, and what could not be."""

    place: str
    counts: dict[str, int] = Field(default_factory=dict, description="'clip files': 6 ...")
    unreached: str = Field(default="", description="why something may still be there; empty when nothing is")


class Certificate(Record):
    """`erasures/NNNN.json`: what was done and when, for whoever has to show it."""

    number: str
    at: datetime
    actor: str
    reason: str
    salt: str = Field(description="of the hashes, as in refusals.json")
    clips: tuple[str, ...] = Field(description="HMAC-SHA-256 of each clip id")
    groups: dict[str, tuple[str, ...]] = Field(description="scrypt of each 'group=value' that is refused from now on")
    dataset_md5_before: str | None
    dataset_md5_after: str | None
    clips_left: int
    runs: tuple[Trace, ...]
    purged: tuple[Purged, ...]
    unreached: dict[str, str] = Field(description="place to reason: what this erasure could not get at")
    verified: dict[str, int] = Field(description="files searched afterwards, and files in which she was still named")

    def to_bytes(self) -> bytes:
        return (json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode()

    @property
    def sha256(self) -> str:
        """Of the file, as the ledger has it."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


class Journal(Record):
    """An erasure that was begun: all it takes to finish it. It names her, so it goes when the erasure is done."""

    number: str
    at: datetime
    actor: str
    reason: str
    asked: tuple[tuple[str, str], ...] = Field(description="the (group, value) pairs that are refused from now on")
    who: Identities
    traces: tuple[Trace, ...]
    clean_pages: tuple[str, ...] = Field(description="names of the pages of runs that never held her")
    holdout: Holdout | None = Field(default=None, description="what holdout.yaml becomes; None: there is none")
    dataset_md5_before: str | None
    dataset_md5_after: str | None = None
    clips_left: int = 0
    done: dict[str, tuple[Purged, ...]] = Field(default_factory=dict, description="by step")

    def save(self, path: Path) -> None:
        write(path, self.model_dump_json().encode())

    def after(self, step: str, purged: tuple[Purged, ...], **changes: object) -> Journal:
        """The journal with one more step done."""
        return self.model_copy(update={"done": {**self.done, step: purged}, **changes})


def unfinished(path: Path) -> Journal | None:
    """The erasure that was begun and not finished; None when there is none.

    Raises WorkspaceError when its journal is damaged.
    """
    if not path.exists():
        return None
    try:
        return Journal.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise WorkspaceError(
            f"{path}, the journal of an erasure that was begun, cannot be read ({type(error).__name__}). Remove it and "
            "run `tenuto erase` again as it was called before."
        ) from error


def require_finished(path: Path) -> None:
    """Raises WorkspaceError while an erasure is unfinished: nothing may train on what is half gone."""
    if path.exists():
        raise WorkspaceError(
            "An erasure was begun here and not finished; finish it with `tenuto erase --yes` before anything else."
        )


def next_number(folder: Path) -> str:
    """The number of the next certificate: '0001' for the first."""
    numbers = [int(path.stem) for path in folder.glob("[0-9]*.json") if path.stem.isdigit()]
    return f"{max(numbers, default=0) + 1:04d}"
