"""What a killed training left behind in its work folder."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import SAFE_WEIGHTS_NAME

logger = logging.getLogger(__name__)

_NEEDED = (SAFE_WEIGHTS_NAME, OPTIMIZER_NAME, SCHEDULER_NAME, "rng_state.pth")

Log = list[dict[str, Any]]
"""What the Trainer logged, which its checkpoints hold."""


def last_checkpoint(work: Path) -> str | None:
    """The last checkpoint in `work`; those that a kill left half written or half deleted are removed."""
    while work.is_dir() and (last := get_last_checkpoint(str(work))):
        if _state(last) and all((Path(last) / name).is_file() for name in _NEEDED):
            logger.info("going on from %s", Path(last).name)
            return last
        shutil.rmtree(last)
    return None


def log(checkpoint: str) -> Log:
    """The log in a checkpoint that is whole."""
    entries: Log = _state(checkpoint)["log_history"]
    return entries


def epochs(log: Log) -> Log:
    """The validation scores of the finished epochs in a log."""
    return [entry for entry in log if "eval_selection" in entry]


def is_out_of_patience(log: Log, patience: int | None) -> bool:
    """True when the last `patience` epochs brought no better macro-F1 than those before."""
    scores = [entry["eval_macro_f1"] for entry in epochs(log)]
    return patience is not None and bool(scores) and len(scores) - 1 - scores.index(max(scores)) >= patience


def _state(checkpoint: str) -> Any:
    """The Trainer's state, which it writes last; None when it was not written."""
    try:
        return json.loads((Path(checkpoint) / TRAINER_STATE_NAME).read_bytes())
    except (OSError, ValueError):
        return None
