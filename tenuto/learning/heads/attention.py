"""Attentive pooling: the network learns which frames count.

Okabe, Koshinaka, Shinoda, "Attentive statistics pooling for deep speaker embedding", Interspeech 2018 (its weighted
mean): a frame's score is v . tanh(W h + b), and the scores' softmax over frames are the weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tenuto.learning.heads.pools import Pool, heard


class AttentionPool(Pool):
    """The mean over frames, weighted by what a layer of `hidden_size` tanh units makes of each; v starts at 0."""

    def __init__(self, dims: int, hidden_size: int) -> None:
        super().__init__(dims, dims)
        self.hidden = nn.Linear(dims, hidden_size)
        self.score = nn.Linear(hidden_size, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        scores = self.score(torch.tanh(self.hidden(frames)))  # (clips, frames, 1)
        if mask is not None:
            scores = scores.masked_fill(~heard(mask)[:, :, None], -torch.inf)
        return (frames * scores.softmax(dim=1)).sum(dim=1)
