"""Pools without weights: mean, maximum, and mean with standard deviation."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

_LEAST_VARIANCE = 1e-8


class Pool(nn.Module):
    """(clips, frames, dims) to (clips, `width`)."""

    def __init__(self, dims: int, width: int) -> None:
        super().__init__()
        self.dims = dims
        self.width = width

    @abstractmethod
    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """(clips, width) of frames (clips, frames, dims); those count where the mask (clips, frames) is True."""


class MeanPool(Pool):
    """The mean over frames."""

    def __init__(self, dims: int) -> None:
        super().__init__(dims, dims)

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        return frames.mean(dim=1) if mask is None else (frames * shares(mask, frames)[:, :, None]).sum(dim=1)


class MaxPool(Pool):
    """The maximum over frames, of each dimension by itself."""

    def __init__(self, dims: int) -> None:
        super().__init__(dims, dims)

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is not None:
            frames = frames.masked_fill(~heard(mask)[:, :, None], -torch.inf)
        return frames.amax(dim=1)


class StatisticsPool(Pool):
    """Mean and standard deviation over frames, side by side.

    Snyder, Garcia-Romero, Sell, Povey, Khudanpur, "X-vectors: robust DNN embeddings for speaker recognition", ICASSP
    2018. The deviation is that of the frames themselves (divided by their number).
    """

    def __init__(self, dims: int) -> None:
        super().__init__(dims, 2 * dims)

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        weights = shares(torch.ones_like(frames[:, :, 0]) if mask is None else mask, frames)[:, :, None]
        mean = (frames * weights).sum(dim=1)
        variance = ((frames - mean[:, None]).square() * weights).sum(dim=1)
        # the root's slope is infinite at 0
        return torch.cat([mean, variance.clamp_min(_LEAST_VARIANCE).sqrt()], dim=1)


def heard(mask: Tensor) -> Tensor:
    """The mask (clips, frames) as booleans, all True for a clip of which nothing was heard."""
    found = mask.bool()
    return found | ~found.any(dim=1, keepdim=True)


def shares(mask: Tensor, frames: Tensor) -> Tensor:
    """(clips, frames): equal shares of the frames that were heard, which add up to 1, in the type of `frames`."""
    found = heard(mask).to(frames.dtype)
    return found / found.sum(dim=1, keepdim=True)
