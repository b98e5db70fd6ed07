"""How well clips that no class fits are told from those that one does, by what is seen of them in an embedding.

    python -m benchmarks.novelty BUNDLE CLIPS DATA

BUNDLE is an exported model (`.tenuto/checkpoints/serving-...` of a workspace), CLIPS the clips table of its run
(`.tenuto/runs/.../clips.parquet`), DATA the folder of its recordings. Prints, for noises, tones and chords, reversed
and sped-up words, several voices at once, and words of a class that was left out of the fit, the area under the ROC
curve against the test clips, and the share refused at the threshold that 1 in 100 validation clips passes. Fails unless
the score in use refuses at most 3 in 100 test clips and is, on average over the kinds, at least as good as every other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logsumexp, softmax
from sklearn.covariance import ledoit_wolf
from sklearn.metrics import roc_auc_score

from benchmarks.command import machine
from tenuto.learning.calibration import Calibration
from tenuto.serving.hearing import bundle as bundles
from tenuto.serving.hearing import novelty
from tenuto.serving.hearing.classifier import Classifier, Heard, session
from tenuto.sound import audio

Score = Callable[[np.ndarray], np.ndarray]
RATE = 0.01
MOST_REFUSED = 0.03
CLIPS = 150


def main() -> None:
    folder, clips, data = map(Path, sys.argv[1:4])
    bundle = bundles.read(folder)
    bare = bundle.model_copy(update={"calibration": Logits(temperature=bundle.calibration.temperature)})
    classifier = Classifier(bare, session(folder / bundle.artefact().file))
    table = pd.read_parquet(clips)
    table = table[table["split"].isin(["train", "validation", "test"])]
    waves = [audio.load_waveform(data / path, classifier.sample_rate_hz) for path in table["path"]]
    heard = classifier.hear(waves)
    known = Known(heard.embeddings, table["label"].to_numpy(str), table["split"].to_numpy(str))
    test = [wave for wave, split in zip(waves, table["split"], strict=True) if split == "test"]
    strange = {name: classifier.hear(made) for name, made in outliers(test, classifier.sample_rate_hz).items()}
    rows = {name: judged(fit, known, strange) for name, fit in METHODS.items()}
    rows["1 - probability"] = of_logits(lambda logits: 1 - softmax(logits, axis=1).max(axis=1), heard, known, strange)
    rows["energy"] = of_logits(lambda logits: -logsumexp(logits, axis=1), heard, known, strange)
    found = pd.DataFrame(rows).T
    print("area under the ROC curve / share refused; 'test' is the share of test clips that is refused")
    print(found.map(str).to_string())
    print(f"{len(test)} test clips; {machine()}")
    if missed := shortfalls(found):
        raise SystemExit("; ".join(missed))


@dataclass(frozen=True)
class Logits(Calibration):
    """Gives the logits at the temperature in place of probabilities."""

    def probabilities(self, logits: np.ndarray, kind: str) -> np.ndarray:
        return logits / self.temperature


class Known:
    """Embeddings of the clips that a model knows, with label and split."""

    def __init__(self, embeddings: np.ndarray, labels: np.ndarray, splits: np.ndarray) -> None:
        self.embeddings, self.labels, self.splits = embeddings.astype(np.float64), labels, splits

    def of(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        return self.embeddings[self.splits == split], self.labels[self.splits == split]

    def without(self, label: str) -> Known:
        kept = self.labels != label
        return Known(self.embeddings[kept], self.labels[kept], self.splits[kept])


class Cell:
    """Area under the ROC curve, and share refused; of the test clips the share alone."""

    def __init__(self, area: float, refused: float) -> None:
        self.area, self.refused = area, refused

    def __str__(self) -> str:
        return f"{self.refused:.3f}" if np.isnan(self.area) else f"{self.area:.2f} / {self.refused:.2f}"


def judged(fit: Callable[[np.ndarray, np.ndarray, np.ndarray], Score], known: Known, strange: dict[str, Heard]) -> Any:
    score = fit(*known.of("train"), known.of("validation")[0])
    edge = threshold(score(known.of("validation")[0]))
    test = score(known.of("test")[0])
    cells = {"test": Cell(np.nan, float((test > edge).mean()))}
    cells |= {name: cell(test, score(heard.embeddings.astype(np.float64)), edge) for name, heard in strange.items()}
    left_out = []
    for label in np.unique(known.labels):
        rest = known.without(str(label))
        score = fit(*rest.of("train"), rest.of("validation")[0])
        edge = threshold(score(rest.of("validation")[0]))
        left_out.append(cell(score(rest.of("test")[0]), score(known.embeddings[known.labels == label]), edge))
    areas, refused = [one.area for one in left_out], [one.refused for one in left_out]
    return cells | {"a class left out": Cell(float(np.mean(areas)), float(np.mean(refused)))}


def of_logits(score: Score, heard: Heard, known: Known, strange: dict[str, Heard]) -> dict[str, Cell]:
    of_known = score(heard.probabilities)
    edge, test = threshold(of_known[known.splits == "validation"]), of_known[known.splits == "test"]
    cells = {name: cell(test, score(found.probabilities), edge) for name, found in strange.items()}
    return {"test": Cell(np.nan, float((test > edge).mean())), **cells}


def cell(usual: np.ndarray, strange: np.ndarray, edge: float) -> Cell:
    truth = np.repeat([0, 1], [len(usual), len(strange)])
    return Cell(float(roc_auc_score(truth, np.concatenate([usual, strange]))), float((strange > edge).mean()))


def threshold(validation: np.ndarray) -> float:
    """The conformal one, or the highest score where there are too few clips for that."""
    place = min(int(np.ceil((len(validation) + 1) * (1 - RATE))), len(validation))
    return float(np.sort(validation)[place - 1])


def shortfalls(found: pd.DataFrame) -> list[str]:
    own = "both, as in use"
    missed = []
    if (refused := found.loc[own, "test"].refused) > MOST_REFUSED:
        missed.append(f"{refused:.1%} of the test clips are refused")
    means = found.drop(columns="test").map(lambda one: one.refused if isinstance(one, Cell) else np.nan).mean(axis=1)
    if (best := means.idxmax()) != own:
        missed.append(f"{best} refuses more of what fits no class ({means[best]:.2f}) than {own} ({means[own]:.2f})")
    return missed


def in_use(train: np.ndarray, labels: np.ndarray, validation: np.ndarray) -> Score:
    fitted = novelty.fit(train, labels.tolist(), validation, RATE)
    assert fitted is not None
    return fitted.score


def one_part(place: int) -> Callable[[np.ndarray, np.ndarray, np.ndarray], Score]:
    def fit(train: np.ndarray, labels: np.ndarray, validation: np.ndarray) -> Score:
        fitted = novelty.fit(train, labels.tolist(), validation, RATE)
        assert fitted is not None
        return lambda embeddings: fitted.parts(embeddings)[place]

    return fit


def plain_cosine(train: np.ndarray, labels: np.ndarray, validation: np.ndarray) -> Score:
    centre = train.mean(axis=0)
    means = np.stack([train[labels == label].mean(axis=0) for label in np.unique(labels)]) - centre
    means /= np.linalg.norm(means, axis=1, keepdims=True)

    def score(embeddings: np.ndarray) -> np.ndarray:
        rows = embeddings - centre
        return 1 - (rows @ means.T / np.linalg.norm(rows, axis=1, keepdims=True)).max(axis=1)

    return score


def neighbours(count: int) -> Callable[[np.ndarray, np.ndarray, np.ndarray], Score]:
    def fit(train: np.ndarray, labels: np.ndarray, validation: np.ndarray) -> Score:
        means = {label: train[labels == label].mean(axis=0) for label in np.unique(labels)}
        within = train - np.stack([means[label] for label in labels])
        whitening = np.linalg.cholesky(np.linalg.inv(ledoit_wolf(within, assume_centered=True)[0]))
        known = train @ whitening

        def score(embeddings: np.ndarray) -> np.ndarray:
            distances = np.linalg.norm((embeddings @ whitening)[:, None] - known, axis=2)
            return np.partition(distances, count - 1, axis=1)[:, count - 1]

        return score

    return fit


METHODS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], Score]] = {
    "both, as in use": in_use,
    "Mahalanobis": one_part(0),
    "whitened cosine": one_part(1),
    "cosine": plain_cosine,
    "nearest, whitened": neighbours(1),
    "5th nearest, whitened": neighbours(5),
}


def outliers(test: list[np.ndarray], rate_hz: int) -> dict[str, list[np.ndarray]]:
    """Clips that no class fits, as long as the test clips."""
    rng = np.random.default_rng(0)

    def samples() -> int:
        return len(test[rng.integers(len(test))])

    return {
        "white noise": [noise(rng, samples(), 0.0) for _ in range(CLIPS)],
        "pink noise": [noise(rng, samples(), 0.5) for _ in range(CLIPS)],
        "chords": [chord(rng, samples(), rate_hz) for _ in range(CLIPS)],
        "nearly silence": [1e-4 * noise(rng, samples(), 0.0) for _ in range(CLIPS)],
        "reversed": [wave[::-1].copy() for wave in test],
        "3 times faster": [wave[::3].copy() for wave in test],
        "6 voices": [babble(rng, test, rate_hz) for _ in range(CLIPS)],
    }


def noise(rng: np.random.Generator, samples: int, slope: float) -> np.ndarray:
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    wave = np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), 1) ** slope, samples)
    return (rng.uniform(0.02, 0.8) * wave / np.abs(wave).max()).astype(np.float32)


def chord(rng: np.random.Generator, samples: int, rate_hz: int) -> np.ndarray:
    times = np.arange(samples) / rate_hz
    pitch_hz = 220 * 2 ** (rng.integers(24) / 12)
    parts = [
        np.sin(2 * np.pi * pitch_hz * interval * k * times) / k
        for interval in (1, 1.26, 1.498)[: rng.integers(1, 4)]
        for k in range(1, 6)
    ]
    wave = np.sum(parts, axis=0)
    return (0.3 * wave / np.abs(wave).max() * np.hanning(samples) ** 0.25).astype(np.float32)


def babble(rng: np.random.Generator, test: list[np.ndarray], rate_hz: int) -> np.ndarray:
    mixed = np.zeros(rate_hz, np.float32)
    for _ in range(6):
        start = int(rng.integers(rate_hz // 2))
        wave = test[rng.integers(len(test))][: rate_hz - start]
        mixed[start : start + len(wave)] += wave / np.sqrt(6)
    return mixed


if __name__ == "__main__":
    main()
