"""Checkpoint folders: written whole or not at all, and known by the hash of their bytes.

Training works in a folder beside the final one and renames it at the end; what lies under the final name is finished.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenuto.errors import BackboneError
from tenuto.labels import MULTI_LABEL, LabelType
from tenuto.records import Checkpoint

if TYPE_CHECKING:
    from tenuto.learning.calibration import Calibration
    from tenuto.learning.preprocessing import Preprocessing

RECORD_NAME = "tenuto_checkpoint.json"


def write(
    model: Any,
    preprocessing: Preprocessing,
    folder: Path,
    calibration: Calibration | None = None,
    **facts: Any,
) -> Checkpoint:
    """Save weights, config, preprocessing, calibration and `facts` (of Checkpoint) as `folder`, replacing nothing.

    A folder that another process finished in the meantime is taken instead.
    """
    from tenuto.learning.backbones import quiet

    temporary = folder.with_name(folder.name + ".writing")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    with quiet():
        model.save_pretrained(temporary)
    preprocessing.save(temporary)
    if calibration is not None:
        calibration.save(temporary)
    facts["preprocessing"] = preprocessing.sha256
    (temporary / RECORD_NAME).write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    try:
        temporary.rename(folder)
    except OSError:
        shutil.rmtree(temporary)
    return read(folder)


def read(folder: Path) -> Checkpoint:
    """The record of a finished checkpoint; BackboneError when `folder` is none."""
    try:
        facts = json.loads((folder / RECORD_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BackboneError(f"{folder} is no finished checkpoint of Tenuto: {error}") from error
    return Checkpoint(path=folder, sha256=sha256(folder), **facts)


def labels_per_clip(folder: Path) -> LabelType:
    """How many labels a clip gets from the model in the checkpoint `folder`, by its config alone."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return "many" if config.get("problem_type") == MULTI_LABEL else "one"


def sha256(folder: Path) -> str:
    """Over the names and bytes of the files in `folder`, in name order."""
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole.update(path.relative_to(folder).as_posix().encode() + b"\0")
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()
