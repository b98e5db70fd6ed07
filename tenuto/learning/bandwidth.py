"""Recordings with a narrower band than their backbone listens to: resampling gives them its rate, not the sound.

Those with a wider band lose nothing that the backbone could hear, so nothing is said of them.
"""

from __future__ import annotations

import pandas as pd


def note(sample_rates_hz: pd.Series, highest_hz: float) -> str | None:
    """What is to be said of recordings with these rates to a backbone that hears up to `highest_hz`, or None.

    A recording reaches half its sample rate (Nyquist's frequency).
    """
    narrow = sample_rates_hz[sample_rates_hz < 2 * highest_hz]
    if narrow.empty:
        return None
    share = 100 * len(narrow) / len(sample_rates_hz)
    return (
        f"{len(narrow):,} of {len(sample_rates_hz):,} recordings ({share:.0f} %) end below the {highest_hz:,.0f} Hz "
        f"that this backbone listens up to (the lowest rate is {int(narrow.min()):,} Hz): resampled, they are silent "
        "above half their own rate; a backbone trained on such recordings may do better"
    )
