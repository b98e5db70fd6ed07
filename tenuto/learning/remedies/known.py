"""Every remedy by name, as choices in params.yaml."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from tenuto.learning.remedies.rare import Rare
from tenuto.settings import Params

NONE = "none"

Choices = dict[str, dict[str, Any]]


def remedies(rare: Rare) -> dict[str, Choices]:
    """The choices of every remedy, by name; those for groups only where a group has a rare value."""
    off: dict[str, Any] = {"fill": 0.0}
    found: dict[str, Choices] = {
        NONE: {"augment": off, "imbalance": {}},
        "augmentation fill": {"augment": {"fill": 1.0}, "imbalance": {}},
        "class weights": {"augment": off, "imbalance": {"class_weights": "inverse"}},
        "effective number": {"augment": off, "imbalance": {"class_weights": "effective-number"}},
        "focal loss": {"augment": off, "imbalance": {"loss": "focal"}},
        "LDAM": {"augment": off, "imbalance": {"loss": "ldam", "class_weights": "effective-number"}},
        "logit adjustment": {"augment": off, "imbalance": {"loss": "logit-adjustment"}},
        "balanced classes": {"augment": off, "imbalance": {"sample_by": ["label"]}},
    }
    if rare.group:
        found |= {
            f"balanced {rare.group}": {"augment": off, "imbalance": {"sample_by": [rare.group]}},
            f"balanced class x {rare.group}": {"augment": off, "imbalance": {"sample_by": ["label", rare.group]}},
            f"group DRO by {rare.group}": {"augment": off, "imbalance": {"group_dro": rare.group}},
        }
    found["per-class thresholds"] = {"augment": off, "imbalance": {}, "calibrate": {"thresholds": True}}
    return found | {"fill and logit adjustment": {"augment": {"fill": 1.0}, "imbalance": {"loss": "logit-adjustment"}}}


def fits(params: Params, choices: Choices) -> bool:
    """False of a remedy that the other settings forbid, as label smoothing does some losses."""
    try:
        params.with_remedy(choices)
    except ValidationError:
        return False
    return True
