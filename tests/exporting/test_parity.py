"""When an artefact's answers are like enough to the checkpoint's: worked out by hand on answers made up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from tenuto.exporting import parity
from tenuto.exporting.parity import Expected
from tenuto.labels import LabelType
from tenuto.learning.calibration import PLAIN
from tenuto.learning.framing import Framing

FRAMING = Framing(8000, min_seconds=0.25, max_seconds=1.0, pads_itself=False)


@dataclass
class FirstSample:
    """Answers with the probability of 'a' that is a wave's first sample; edge cases with `at_the_edge`."""

    at_the_edge: float = 0.9
    kind: LabelType = "one"
    labels: Sequence[str] = ("a", "b")
    sample_rate_hz: int = 8000
    thresholds: dict[str, float] | None = None

    def predict(self, waves: Iterable[np.ndarray], batch_size: int = 32) -> np.ndarray:
        first = np.array([float(wave[0]) if len(wave) == 2 else self.at_the_edge for wave in waves])
        return np.stack([first, 1 - first], axis=1)

    def decide(self, found: np.ndarray) -> np.ndarray:
        return PLAIN.decide(found, self.kind)


def expected(probabilities: Sequence[float], truth: Sequence[str], model: FirstSample | None = None) -> Expected:
    waves = [np.array([p, 0], np.float32) for p in probabilities]
    return Expected.of(model or FirstSample(), FRAMING, lambda: waves, truth)  # type: ignore[arg-type]


def answering(
    of: Expected, clips: Sequence[float], at_the_edge: float = 0.9, *, in_integers: bool = False
) -> tuple[parity.Parity, str]:
    """What is found of an artefact that gives the clips these probabilities of 'a'."""

    def predict(waves: Iterable[np.ndarray]) -> np.ndarray:
        found = list(waves)
        values = np.array(clips if len(found) == len(clips) else [at_the_edge] * len(found))
        return np.stack([values, 1 - values], axis=1)

    return parity.measure(of, predict, in_integers=in_integers)


def test_the_same_answers_are_published() -> None:
    clips = [0.9, 0.2, 0.8]
    found, reason = answering(expected(clips, ["a", "b", "b"]), clips)
    assert reason == ""
    assert (found.clips, found.agreement, found.macro_f1_change) == (3, 1.0, 0.0)
    assert found.macro_f1 == pytest.approx((2 / 3 + 2 / 3) / 2)  # a: 1 hit of 2 said, b: 1 hit of 2 there
    assert found.edge_cases == len(parity.edge_cases(FRAMING))
    assert found.largest_difference == pytest.approx(0, abs=1e-6)


def test_one_other_label_in_four_hundred_is_within_the_limit_and_three_are_not() -> None:
    truth = ["a", "b"] * 200
    clips = [0.9, 0.1] * 200
    found, reason = answering(expected(clips, truth), [0.1, *clips[1:]])
    assert found.agreement == 0.9975
    # 'a': 199 hits of 199 said and 200 there; 'b': 200 hits of 201 said and 200 there
    assert found.macro_f1_change == pytest.approx((2 * 199 / 399 + 2 * 200 / 401) / 2 - 1)
    assert reason == ""
    _, reason = answering(expected(clips, truth), [0.1, 0.9, 0.1, *clips[3:]])
    assert reason == "it gives 99.25% of 400 test clips the checkpoint's label, at least 99.5% wanted"


def test_labels_that_change_where_they_are_rare_show_in_macro_f1() -> None:
    truth = ["a"] * 5 + ["b"] * 995
    clips = [0.9] * 5 + [0.1] * 995
    found, reason = answering(expected(clips, truth), [0.1, 0.1, *clips[2:]])
    assert found.agreement == 0.998
    change = (2 * 3 / (3 + 5) + 2 * 995 / (995 + 997)) / 2 - 1
    assert found.macro_f1_change == pytest.approx(change)
    assert reason == f"its macro-F1 differs by {change:+.4f}, at most 0.005 wanted"


def test_another_label_at_the_edge_counts_when_the_probability_is_another_too() -> None:
    clips = [0.9, 0.1]
    torn = expected(clips, ["a", "b"], FirstSample(at_the_edge=0.51))
    assert answering(torn, clips, at_the_edge=0.49)[1] == ""
    edges = len(parity.edge_cases(FRAMING))
    assert answering(torn, clips, at_the_edge=0.4)[1] == (
        f"it answers {edges} of {edges} edge cases differently: one sample of noise; 10 ms of noise; noise a sample "
        f"below the shortest length; and {edges - 3} more"
    )


def test_the_edge_case_with_another_answer_is_named() -> None:
    of = expected([0.9, 0.1], ["a", "b"])

    def predict(waves: Iterable[np.ndarray]) -> np.ndarray:
        # the click alone has a single sample that is not zero, in the middle of many
        first = [
            wave[0] if len(wave) == 2 else 0.1 if np.count_nonzero(wave) == 1 < len(wave) else 0.9 for wave in waves
        ]
        return np.stack([np.array(first), 1 - np.array(first)], axis=1)

    edges = len(parity.edge_cases(FRAMING))
    assert parity.measure(of, predict)[1] == f"it answers 1 of {edges} edge cases differently: a click"


def test_without_test_clips_no_integers_are_published_and_floats_when_the_edges_are_answered_the_same() -> None:
    nothing = expected([], [])
    assert answering(nothing, [])[1] == ""
    assert answering(nothing, [], in_integers=True)[1] == "there are no test clips to hold it against"
    assert answering(nothing, [], at_the_edge=0.902)[1] == (
        "there are no test clips to hold it against, and without them a probability may differ by 0.001, not by 0.002"
    )
    assert answering(expected([0.9, 0.1], ["a", "b"]), [0.9, 0.1], in_integers=True)[1] == ""


def test_what_is_no_number_is_no_answer() -> None:
    clips = [0.9, 0.1]
    found, reason = answering(expected(clips, ["a", "b"]), [0.9, float("nan")])
    assert found.largest_difference == 1
    assert reason.startswith("it gives 50.00% of 2 test clips")
    assert "differently" in answering(expected(clips, ["a", "b"]), clips, at_the_edge=float("nan"))[1]


def test_labels_that_the_model_does_not_know_count_against_it_and_several_labels_as_matrices() -> None:
    found, _ = answering(expected([0.9, 0.1], ["a", "c"]), [0.9, 0.1])
    assert found.macro_f1 == 0.5  # a: 1, c: 0; b does not occur
    found, reason = answering(expected([0.9, 0.4], ["a", "a;b"], FirstSample(kind="many")), [0.9, 0.4])
    assert (found.macro_f1, reason) == (pytest.approx((2 / 3 + 1) / 2), "")


def test_edge_cases_hold_the_shortest_and_longest_silence_and_full_scale() -> None:
    edges = list(parity.edge_cases(FRAMING).values())
    assert min(len(edge) for edge in edges) == 1
    assert max(len(edge) for edge in edges) > FRAMING.longest
    assert any(not edge.any() for edge in edges)
    assert max(np.abs(edge).max() for edge in edges) == 1
    assert all(edge.dtype == np.float32 for edge in edges)
