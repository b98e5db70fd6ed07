"""How often intervals hold the truth, over simulated test sets whose speakers' errors come in clumps; and how fast.

    python -m benchmarks.coverage [--sets 1000] [--resamples 1000]

Each set draws speakers from a population whose scores are known (computed from two million clips), and 20 clips of
each. Beside the clustered interval stands the one that resamples clips as if they were independent. No audio, no model.
Where more than 2,500 clusters all differ, the interval is Student's and no draw is made: such times are marked.
"""

from __future__ import annotations

import argparse
import statistics as medians
import time
from collections.abc import Callable

import numpy as np

from benchmarks.command import machine
from tenuto.scoring import statistics
from tenuto.scoring.statistics import Answers

LABELS = ("a", "b", "c", "d")
MODELS = ("candidate", "champion")
QUESTIONS: dict[str, tuple[str, str | None]] = {
    "accuracy": ("accuracy", None),
    "macro-F1": ("macro_f1", None),
    "log loss": ("log_loss", None),
    "Brier score": ("brier", None),
    "calibration error": ("expected_calibration_error", None),
    "accuracy, difference": ("accuracy", "champion"),
    "macro-F1, difference": ("macro_f1", "champion"),
    "Brier score, difference": ("brier", "champion"),
}
BIASED = ("calibration error",)
"""On few clips it comes out too large whatever the interval, so the gate lets a rule on it hold and never refuse."""

SPEAKERS = (8, 12, 20, 50)
CLIPS_EACH = 20
SECONDS_ALLOWED = 2.0


def simulated(rng: np.random.Generator, speakers: int, clips: int) -> Answers:
    """Answers of two models about `clips` clips of each of `speakers` speakers, drawn from one population.

    A clip's evidence is its class, plus how hard the speaker is for both models and for each, plus the clip's own noise
    (half of it shared by the models); classes are of unequal frequency and difficulty. Probabilities are softmaxes.
    """
    n = speakers * clips
    units = np.repeat(np.arange(speakers), clips)
    truth = rng.choice(len(LABELS), size=n, p=(0.4, 0.3, 0.2, 0.1))
    clarity = np.array([2.4, 2.2, 2.0, 1.6])[truth] + 0.8 * rng.normal(size=speakers)[units]
    noise = rng.normal(size=(n, len(LABELS)))
    probabilities = {}
    for model, skill in zip(MODELS, (0.1, 0.0), strict=True):
        evidence = 0.7 * (noise + rng.normal(size=noise.shape))
        evidence[np.arange(n), truth] += clarity + skill + 0.4 * rng.normal(size=speakers)[units]
        odds = np.exp(1.5 * evidence)
        probabilities[model] = odds / odds.sum(axis=1, keepdims=True)
    predicted = {model: p.argmax(axis=1) for model, p in probabilities.items()}
    return Answers(LABELS, truth, predicted, units, "speaker", probabilities)


def by_clip(answers: Answers) -> Answers:
    """The same answers as if every clip were independent of all others."""
    units = np.arange(len(answers.truth))
    return Answers(answers.labels, answers.truth, answers.predicted, units, "clip", answers.probabilities)


def truths(clips: int = 2_000_000) -> dict[str, float]:
    """What each question has for an answer in the population."""
    everybody = simulated(np.random.default_rng(1), clips // CLIPS_EACH, CLIPS_EACH)
    return {
        name: statistics.point(everybody, metric, "candidate")
        - (statistics.point(everybody, metric, versus) if versus else 0.0)
        for name, (metric, versus) in QUESTIONS.items()
    }


def coverage(
    speakers: int, sets: int, resamples: int, seen_as: Callable[[Answers], Answers], truth: dict[str, float]
) -> dict[str, float]:
    """Per question, the share of simulated test sets whose 95 % interval holds the truth."""
    rng, hits = np.random.default_rng(speakers), dict.fromkeys(truth, 0)
    for _ in range(sets):
        answers = seen_as(simulated(rng, speakers, CLIPS_EACH))
        for name in truth:
            metric, versus = QUESTIONS[name]
            found = statistics.interval(answers, metric, "candidate", versus=versus, resamples=resamples, rng=rng)
            hits[name] += found.low <= truth[name] <= found.high
    return {name: count / sets for name, count in hits.items()}


def is_drawn(speakers: int, metric: str, clips: int = 10_000) -> bool:
    """Whether the comparison that `seconds` times makes any draw."""
    terms = [statistics.Term("candidate"), statistics.Term("champion", weight=-1.0)]
    return statistics.is_drawn(statistics.sampled(timed(speakers, clips), metric, terms))


def timed(speakers: int, clips: int) -> Answers:
    """The answers whose comparison is timed; every speaker has as many clips as the others."""
    return simulated(np.random.default_rng(0), speakers, clips // speakers)


def seconds(speakers: int, metric: str, clips: int = 10_000, resamples: int = 10_000, runs: int = 5) -> float:
    """Median time of a paired comparison of two models."""
    answers = timed(speakers, clips)
    taken = []
    for _ in range(runs):
        started = time.perf_counter()
        rng = np.random.default_rng(1)
        statistics.interval(answers, metric, "candidate", versus="champion", resamples=resamples, rng=rng)
        taken.append(time.perf_counter() - started)
    return medians.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    wanted = parser.parse_args()
    print(machine())
    truth = truths()
    print(f"share of {wanted.sets} test sets whose 95 % interval holds the truth ({CLIPS_EACH} clips a speaker)")
    print(f"{'':26}" + "".join(f"{speakers:>6} speakers" for speakers in SPEAKERS))
    for title, seen_as in (("resampled by speaker", lambda answers: answers), ("resampled by clip", by_clip)):
        shares = [coverage(speakers, wanted.sets, wanted.resamples, seen_as, truth) for speakers in SPEAKERS]
        print(title)
        for name in QUESTIONS:
            print(f"  {name:24}" + "".join(f"{share[name]:>15.1%}" for share in shares))
    print(
        "10,000 resamples of two models on 10,000 clips, median of 5, one thread, in seconds (*: no draws, Student's)"
    )
    for metric in ("macro_f1", "accuracy", "brier"):
        times = {speakers: seconds(speakers, metric) for speakers in (50, 500, 2_500, 10_000)}
        print(
            f"  {metric:24}"
            + ", ".join(f"{n} speakers {t:.2f}{'' if is_drawn(n, metric) else '*'}" for n, t in times.items())
        )
    print(machine())


if __name__ == "__main__":
    main()
