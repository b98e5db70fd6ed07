"""The identities that are refused from now on, as salted hashes: `erasures/refusals.json`.

The list must outlive what it refuses, and git holds it, so it names nobody. A clip's identity has 128 bits and cannot
be guessed. A speaker's name can: its hash is a slow one (scrypt), which makes trying many names dear but not
impossible for somebody who holds the list.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import Field, PrivateAttr, ValidationError

from tenuto.errors import DatasetError
from tenuto.records import Record
from tenuto.tracing.erasure.files import write

FILE_NAME = "refusals.json"
_SCRYPT = {"n": 2**13, "r": 8, "p": 1, "dklen": 32}


class Refusals(Record):
    """Hashes of the refused clip ids and group values, each with the number of the certificate that says why."""

    salt: str
    clips: dict[str, str] = Field(default_factory=dict)
    groups: dict[str, dict[str, str]] = Field(default_factory=dict, description="per group: hash to certificate")
    _hashed: dict[tuple[str, str], str] = PrivateAttr(default_factory=dict)

    def of_clip(self, clip_id: str) -> str | None:
        """The certificate for which a recording is refused; None when it may come in."""
        return self.clips.get(self.clip_hash(clip_id)) if self.clips else None

    def of_groups(self, groups: Mapping[str, str]) -> str | None:
        """The certificate for which recordings of these groups are refused; None when they may come in."""
        for name, value in groups.items():
            if name in self.groups and (number := self.groups[name].get(self.group_hash(name, value))):
                return number
        return None

    def clip_hash(self, clip_id: str) -> str:
        """HMAC-SHA-256 of a clip's identity, in hex."""
        return hmac.new(bytes.fromhex(self.salt), f"clip {clip_id}".encode(), hashlib.sha256).hexdigest()

    def group_hash(self, name: str, value: str) -> str:
        """scrypt of `name=value` in hex; letter case and the kind of Unicode make no difference to the value."""
        key = (name, unicodedata.normalize("NFKC", value).casefold().strip())
        if key not in self._hashed:
            text = "=".join(key).encode("utf-8", "surrogatepass")
            self._hashed[key] = hashlib.scrypt(text, salt=bytes.fromhex(self.salt), **_SCRYPT).hex()
        return self._hashed[key]

    def extended(self, clips: Iterable[str], groups: Iterable[tuple[str, str]], number: str) -> Refusals:
        """The list with these clip ids and (group, value) pairs on it."""
        more_clips = dict(self.clips)
        more_groups = {name: dict(hashes) for name, hashes in self.groups.items()}
        for clip_id in clips:
            more_clips.setdefault(self.clip_hash(clip_id), number)
        for name, value in groups:
            more_groups.setdefault(name, {}).setdefault(self.group_hash(name, value), number)
        ordered = {name: dict(sorted(hashes.items())) for name, hashes in sorted(more_groups.items())}
        return Refusals(salt=self.salt, clips=dict(sorted(more_clips.items())), groups=ordered)


def read(folder: Path) -> Refusals:
    """The list in the folder of erasures; an empty one with a fresh salt when there is none.

    Raises DatasetError when it cannot be read: recordings must not come in past it.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return Refusals(salt=secrets.token_hex(16))
    try:
        return Refusals.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DatasetError(
            f"{path} cannot be read ({type(error).__name__}), so nobody knows whose recordings are refused; restore it "
            "with `git checkout -- erasures`."
        ) from error


def save(refusals: Refusals, folder: Path) -> None:
    """Writes the list, whole or not at all."""
    write(folder / FILE_NAME, (json.dumps(refusals.model_dump(), indent=2) + "\n").encode())
