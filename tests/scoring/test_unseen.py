"""What no clip shows, against a search over all that is possible, and against speakers that are not all alike."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tenuto.scoring.unseen import ALIKE_WITHIN_UNITS, Alike


def test_doubt_over_classes_is_the_worst_that_the_clips_allow() -> None:
    """Against a search over a grid of all pairs of shares under which no miss in 3 and 30 clips has 2.5 %."""
    shares = np.linspace(0, 0.999, 4001)
    first, second = np.meshgrid(shares, shares)
    unseen = 3 * np.log(1 - first) + 30 * np.log(1 - second) >= np.log(0.025)
    assert Alike((30.0, 3.0), 1, 0).doubt(0.025) == pytest.approx(((first + second) / 2)[unseen].max(), abs=1e-3)


@pytest.mark.parametrize(("kind", "speakers", "clips"), [("score", 5, 40), ("score", 12, 33), ("difference", 12, 33)])
def test_a_share_beyond_the_doubt_would_have_been_seen(kind: str, speakers: int, clips: int) -> None:
    """Speakers whose shares follow a beta distribution with the correlation that is taken for granted."""
    correlation = ALIKE_WITHIN_UNITS[kind]
    size = speakers * clips / (1 + correlation * (clips - 1))

    def unseen(share: float) -> float:
        strength = 1 / correlation - 1
        return float(stats.betabinom(clips, share * strength, (1 - share) * strength).pmf(0) ** speakers)

    assert unseen(Alike((size,), 1, 0).doubt(0.025)) <= 0.025
    assert unseen(Alike((float(speakers * clips),), 1, 0).doubt(0.025)) > 0.05  # as if clips were independent
