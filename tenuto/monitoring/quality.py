"""How often the answers were right, by the labels that people gave afterwards."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from tenuto.labels import UNKNOWN
from tenuto.monitoring.drift import Measured
from tenuto.records import Interval
from tenuto.tracing.served import LABEL_QUEUE

CONFIDENCE = 0.95


def labelled(served: pd.DataFrame) -> pd.DataFrame:
    """The clips whose true label came back, without those of the label queue, which were chosen because they are hard.

    A model would look worse on them than it is, and the one that they were chosen by worse than another.
    """
    is_chosen = served["label_source"].fillna("").str.startswith(LABEL_QUEUE)
    return served[served["true_label"].notna() & ~is_chosen]


def accuracy(served: pd.DataFrame) -> Interval | None:
    """The share of right answers among labelled clips, with Wilson's interval; None without any.

    An answer is right when it names the true labels, all of them and no other; `unknown` is right when that is what
    came back. Source: E. B. Wilson, Probable inference, JASA 22 (1927).
    """
    known = labelled(served)
    if known.empty:
        return None
    right = int((known["label"] == known["true_label"]).sum())
    ends = stats.binomtest(right, len(known)).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(value=right / len(known), low=ends.low, high=ends.high, n=len(known), groups=len(known))


def drop(reference: pd.DataFrame, served: pd.DataFrame, large: float) -> Measured | None:
    """How far accuracy fell below that on the validation clips; None without labelled clips.

    The p-value is that of Fisher's exact test, one-sided: of a fall as deep when nothing fell.
    """
    known = labelled(served)
    validation = reference[reference["split"] == "validation"]
    if known.empty or validation.empty:
        return None
    answers = np.where(validation["novelty"] > 1, UNKNOWN, validation["predicted"])
    then, now = (answers == validation["label"]).to_numpy(), (known["label"] == known["true_label"]).to_numpy()
    table = [[int(now.sum()), int((~now).sum())], [int(then.sum()), int((~then).sum())]]
    p_value = float(stats.fisher_exact(table, alternative="less").pvalue)
    size = float(then.mean() - now.mean())
    return Measured("quality", size, large, p_value, f"{then.mean():.1%} right", f"{now.mean():.1%} of {len(known)}")
