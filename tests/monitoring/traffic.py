"""Made-up references and served predictions of a model that knows two classes, for tests of monitoring."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

NOW = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
LABELS = ("high", "low")
_CENTRES = np.array([[3.0, 0.0, 0.0, 0.0], [-3.0, 0.0, 0.0, 0.0]])


def reference(rng: np.random.Generator, *, training: int = 300, validation: int = 150) -> pd.DataFrame:
    """A table as `tenuto.exporting.reference` writes it; its model is right on nine of ten clips."""
    table = _heard(rng, training + validation)
    table["split"] = ["train"] * training + ["validation"] * validation
    table["predicted"] = table["answer"]
    return table.drop(columns="answer").assign(clip_id=[f"r{i}" for i in range(len(table))])


def served(
    rng: np.random.Generator, clips: int = 200, *, now: datetime = NOW, days: float = 6.5, version: str = "1"
) -> pd.DataFrame:
    """A frame as `tenuto.tracing.served.frame` gives it: clips like those of the reference, without feedback."""
    table = _heard(rng, clips).rename(columns={"label": "truth", "answer": "label"})
    table["at"] = [now - timedelta(days=days) * (1 - i / clips) for i in range(clips)]
    facts = {"position": 0, "model": "bells", "version": version, "alias": "champion", "artefact": "fp32"}
    table = table.assign(**facts, is_shadow=False, is_window=False, latency_ms=3.0, audio=None, clip_id=None)
    table["request_id"] = [f"q{i}" for i in range(clips)]
    table["is_unknown"] = table["novelty"] > 1
    table.loc[table["is_unknown"], "label"] = "unknown"
    return table.assign(true_label=None, labelled_at=pd.NaT, label_source=None)


def with_feedback(frame: pd.DataFrame, right: int, wrong: int) -> pd.DataFrame:
    """The frame with so many first clips labelled as they were answered, and so many after them as something else."""
    told = frame["label"].head(right).tolist() + ["neither"] * wrong
    labels = pd.Series([*told, *[None] * (len(frame) - len(told))], index=frame.index, dtype=object)
    return frame.assign(true_label=labels, labelled_at=frame["at"].where(labels.notna()))


def _heard(rng: np.random.Generator, clips: int) -> pd.DataFrame:
    places = rng.integers(2, size=clips)
    truth = np.where(rng.random(clips) < 0.9, places, 1 - places)
    sure = rng.beta(9, 1.5, size=clips)
    probability = 0.5 + sure / 2
    p_high = np.where(places == 0, probability, 1 - probability)
    return pd.DataFrame(
        {
            "label": np.array(LABELS)[truth],
            "answer": np.array(LABELS)[places],
            "probability": probability,
            "p_high": p_high,
            "p_low": 1 - p_high,
            "novelty": rng.gamma(8, 0.05, size=clips),
            "duration_seconds": rng.lognormal(0, 0.3, size=clips),
            "level_dbfs": rng.normal(-22, 4, size=clips),
            "embedding": list((_CENTRES[places] + rng.normal(size=(clips, 4))).astype(np.float32)),
        }
    )
