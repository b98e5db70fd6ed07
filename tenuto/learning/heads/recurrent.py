"""Recurrent pooling: a bidirectional GRU or LSTM hears the frames in their order.

GRU: Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014. LSTM: Hochreiter and Schmidhuber,
1997. Bidirectional: Schuster and Paliwal, 1997. What it finds is added to the frames (a residual connection) before
they are averaged, through a projection that starts at 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tenuto.learning.heads.pools import MeanPool, Pool, heard


class RecurrentPool(Pool):
    """The mean over frames of h + P r, where r are the states of both directions, `hidden_size` each."""

    def __init__(self, dims: int, hidden_size: int, *, is_lstm: bool) -> None:
        super().__init__(dims, dims)
        network = nn.LSTM if is_lstm else nn.GRU
        self.recurrent = network(dims, hidden_size, batch_first=True, bidirectional=True)
        self.projection = nn.Linear(2 * hidden_size, dims)
        self.mean = MeanPool(dims)
        nn.init.zeros_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            return self.mean(frames + self.projection(self.recurrent(frames)[0]))
        frames, mask = _to_the_front(frames, heard(mask))
        counts = mask.sum(dim=1).cpu()
        packed = pack_padded_sequence(frames, counts, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.recurrent(packed)[0], batch_first=True, total_length=frames.shape[1])
        return self.mean(frames + self.projection(states), mask)


def _to_the_front(frames: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """What was heard in its order first, then the rest: windows leave gaps, and a sequence must have none."""
    order = (~mask).int().argsort(dim=1, stable=True)
    return torch.take_along_dim(frames, order[:, :, None], dim=1), torch.take_along_dim(mask, order, dim=1)
