"""What training minimises: one loss per file, each with its paper and with how it relates to plain cross-entropy.

A loss takes logits (clips, classes) and class numbers (clips,) and gives one value per clip, in nats, so that whoever
trains decides how clips weigh against one another: the mean for all of them, `GroupDRO` for the worst group first.
"""

from __future__ import annotations

from tenuto.losses.base import Loss, Weighting, class_weights
from tenuto.losses.cross_entropy import CrossEntropy
from tenuto.losses.focal import Focal
from tenuto.losses.group_dro import GroupDRO
from tenuto.losses.ldam import LDAM
from tenuto.losses.logit_adjustment import LogitAdjustment

__all__ = ["LDAM", "CrossEntropy", "Focal", "GroupDRO", "LogitAdjustment", "Loss", "Weighting", "class_weights"]
