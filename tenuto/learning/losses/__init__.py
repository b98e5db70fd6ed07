"""What training minimises: one loss per file, each with its paper and with how it relates to plain cross-entropy.

A loss takes logits (clips, classes) and class numbers (clips,), or for several labels a clip targets (clips, classes),
and gives one value per clip, in nats, so that whoever trains decides how clips weigh against one another: the mean for
all of them, `GroupDRO` for the worst group first.
"""

from __future__ import annotations

from tenuto.learning.losses.asymmetric import Asymmetric
from tenuto.learning.losses.base import Loss, Weighting, class_weights
from tenuto.learning.losses.binary import BinaryCrossEntropy, positive_weights
from tenuto.learning.losses.binary_focal import BinaryFocal
from tenuto.learning.losses.cross_entropy import CrossEntropy
from tenuto.learning.losses.focal import Focal
from tenuto.learning.losses.group_dro import GroupDRO
from tenuto.learning.losses.ldam import LDAM
from tenuto.learning.losses.logit_adjustment import LogitAdjustment

__all__ = [
    "LDAM",
    "Asymmetric",
    "BinaryCrossEntropy",
    "BinaryFocal",
    "CrossEntropy",
    "Focal",
    "GroupDRO",
    "LogitAdjustment",
    "Loss",
    "Weighting",
    "class_weights",
    "positive_weights",
]
