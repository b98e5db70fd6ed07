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
            return self.mean(frames + self.projection(self.states(frames)))
        frames, mask = _to_the_front(frames, heard(mask))
        return self.mean(frames + self.projection(self.states(frames, mask.sum(dim=1))), mask)

    def states(self, frames: Tensor, counts: Tensor | None = None) -> Tensor:
        """(clips, frames, 2 x hidden) of frames (clips, frames, dims), 0 after the first `counts` (clips,) frames."""
        if counts is None:
            found: Tensor = self.recurrent(frames)[0]
            return found
        packed = pack_padded_sequence(frames, counts.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.recurrent(packed)[0], batch_first=True, total_length=frames.shape[1])[0]


def _to_the_front(frames: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """What was heard in its order first, then the rest: windows leave gaps, and a sequence must have none."""
    places = torch.arange(mask.shape[1], device=mask.device)
    order = torch.where(mask, places, places + mask.shape[1]).argsort(dim=1)
    return frames.gather(1, order[:, :, None].expand_as(frames)), mask.gather(1, order)
