"""Group distributionally robust optimisation: the group that fares worst counts most.

Sagawa et al., "Distributionally robust neural networks for group shifts", ICLR 2020, algorithm 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GroupDRO(nn.Module):
    """Turns the losses of clips into one number: the mean of each group, weighted by how badly groups have fared.

    The weights start equal and are multiplied by exp(`step` x the group's mean loss) at every call while training, so
    with `step` 0 and groups of one size this is the plain mean. A group that is not in a batch keeps its weight.
    """

    shares: Tensor

    def __init__(self, groups: int, *, step: float = 0.05) -> None:
        super().__init__()
        self.register_buffer("shares", torch.full((groups,), 1 / groups))
        self.step = step

    def forward(self, values: Tensor, groups: Tensor) -> Tensor:
        """A scalar of `values` (clips,) and the group numbers (clips,)."""
        shares, nothing = self.shares.to(values.device), values.new_zeros(len(self.shares))
        count = nothing.index_add(0, groups, torch.ones_like(values))
        total = nothing.index_add(0, groups, values)
        means, is_there = total / count.clamp(min=1), count > 0
        if self.training:
            raised = shares * torch.where(is_there, (self.step * means.detach()).exp(), 1.0)
            self.shares = shares = raised / raised.sum()
        present = shares * is_there
        return (present / present.sum() * means).sum()
