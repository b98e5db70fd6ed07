"""What the rows of a comparison try."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tenuto.learning.backbones import SCRATCH
from tenuto.records import Record
from tenuto.settings import Params

Way = Literal["frozen", "fine-tuned", "from scratch"]

_OWN = "own"
"""The head of a network from scratch, which has its own."""


class Choice(Record):
    """What one row tries."""

    backbone: str
    head: str
    way: Way

    @property
    def title(self) -> str:
        return f"{self.backbone}, {self.head}, {self.way}"


def choices(params: Params, backbones: Sequence[str], heads: Sequence[str], *, is_finetuned: bool) -> list[Choice]:
    """Every backbone with every head; a network that has no pre-trained weights is one row, always trained."""
    way: Way = "fine-tuned" if is_finetuned else "frozen"
    found = []
    for backbone in dict.fromkeys(backbones or (params.backbone, *SCRATCH)):
        if backbone in SCRATCH:
            found.append(Choice(backbone=backbone, head=_OWN, way="from scratch"))
        else:
            found += [Choice(backbone=backbone, head=head, way=way) for head in dict.fromkeys(heads)]
    return found


def default_heads(params: Params) -> tuple[str, ...]:
    """The heads that are tried unless others are named."""
    return ("linear", "mlp", "prototype") if params.data.labels == "one" else ("linear", "mlp")
