"""Two-sample tests: sizes against independent formulas, p-values by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist

from tenuto.monitoring import two_sample
from tenuto.monitoring.two_sample import Draws

RNG = np.random.default_rng


def draws(seed: int, most: int = 199) -> Draws:
    return Draws(RNG(seed), most)


def test_the_index_of_categories_is_the_sum_over_shares_by_hand() -> None:
    # shares with half a clip of 10 added: (6.5, 4.5)/11 and (2.5, 8.5)/11
    p, q = np.array([6.5, 4.5]) / 11, np.array([2.5, 8.5]) / 11
    found = two_sample.of_categories(["a"] * 6 + ["b"] * 4, ["a"] * 2 + ["b"] * 8, draws(0))
    assert found.size == pytest.approx(((q - p) * np.log(q / p)).sum())


def test_the_p_value_of_two_categories_is_that_of_the_exact_test() -> None:
    # of two categories the index grows with the difference of shares, so both tests order the tables alike
    found = two_sample.of_categories(["a"] * 26 + ["b"] * 14, ["a"] * 14 + ["b"] * 26, draws(1, 20_000))
    assert found.p_value == pytest.approx(stats.fisher_exact([[26, 14], [14, 26]]).pvalue, rel=0.15)


def test_the_discrepancy_is_the_mean_over_pairs() -> None:
    rows = RNG(0).normal(size=(7, 3))
    distances = cdist(rows, rows, "sqeuclidean")
    kernel = np.exp(-distances / np.median(distances[np.triu_indices(7, 1)]))
    within_first = np.mean([kernel[i, j] for i in range(3) for j in range(3) if i != j])
    within_second = np.mean([kernel[i, j] for i in range(3, 7) for j in range(3, 7) if i != j])
    across = np.mean([kernel[i, j] for i in range(3) for j in range(3, 7)])
    found = two_sample.discrepancies(two_sample.gaussian_kernel(rows), np.arange(7)[None] < 3)
    assert found == pytest.approx([within_first + within_second - 2 * across])


def test_whitened_rows_have_no_class_means_and_little_correlation() -> None:
    rng = RNG(3)
    classes = np.array(["a", "b"], dtype=object)[rng.integers(2, size=4000)]
    mixed = rng.normal(size=(4000, 3)) @ np.array([[5.0, 1, 0], [0, 1, 2], [0, 0, 0.1]])
    found = two_sample.whitened(mixed + 10.0 * (classes == "a")[:, None], classes)
    assert found[classes == "a"].mean(axis=0) == pytest.approx(np.zeros(3), abs=1e-9)
    assert np.corrcoef(found.T) == pytest.approx(np.eye(3), abs=0.01)


def test_a_change_of_class_shares_alone_is_no_change_of_sound() -> None:
    rng = RNG(4)
    centres = {"a": 0.0, "b": 8.0}
    mixes = [rng.choice(["a", "b"], size=150, p=p).tolist() for p in ((0.8, 0.2), (0.2, 0.8))]
    first, second = (np.array([[centres[c], 0.0] for c in mix]) + rng.normal(size=(150, 2)) for mix in mixes)
    assert two_sample.of_embeddings(first, second, *mixes, draws(0)).p_value > 0.05
    assert two_sample.of_embeddings(first, second, ["a"] * 150, ["a"] * 150, draws(0)).p_value < 0.01
    assert two_sample.of_categories(*mixes, draws(0)).p_value < 0.01


def test_a_small_shift_within_the_classes_is_found_where_the_classes_hide_it() -> None:
    rng = RNG(5)
    classes = rng.choice(["a", "b"], size=400).tolist()
    rows = np.array([[20.0 * (c == "a"), 0.0, 0.0] for c in classes]) + rng.normal(size=(400, 3))
    rows[200:, 1] += 0.6
    assert two_sample.of_embeddings(rows[:200], rows[200:], classes[:200], classes[200:], draws(0)).p_value < 0.01


@pytest.mark.parametrize("test", ["numbers", "categories", "embeddings"])
def test_p_values_of_equal_distributions_are_at_most_alpha_as_often_as_alpha(test: str) -> None:
    rng = RNG(6)
    rounds, alpha = 150, 0.1
    found = [_p_value_of_nothing(test, rng) <= alpha for _ in range(rounds)]
    # two-sided: too seldom would mean that drift is missed
    low, high = stats.binom.ppf([0.0005, 0.9995], rounds, alpha)
    assert low <= sum(found) <= high


def _p_value_of_nothing(test: str, rng: np.random.Generator) -> float:
    made = Draws(rng, 99)
    if test == "numbers":
        return two_sample.of_numbers(rng.normal(size=60), rng.normal(size=40), made).p_value
    if test == "categories":
        return two_sample.of_categories(
            rng.choice(list("abcd"), 60).tolist(), rng.choice(list("abcd"), 40), made
        ).p_value
    classes = rng.choice(["a", "b"], size=60).tolist()
    rows = rng.standard_t(4, size=(60, 5)) + 5.0 * (np.array(classes) == "a")[:, None]
    return two_sample.of_embeddings(rows[:35], rows[35:], classes[:35], classes[35:], made).p_value


def test_ending_early_leaves_the_p_value_what_many_divisions_say(monkeypatch: pytest.MonkeyPatch) -> None:
    before, now = RNG(7).normal(size=200), RNG(8).normal(0.3, size=150)
    ends = [two_sample.of_numbers(before, now, draws(seed, 9_999)).p_value for seed in range(40)]
    monkeypatch.setattr(two_sample, "_ENOUGH", 10**9)
    assert np.mean(ends) == pytest.approx(two_sample.of_numbers(before, now, draws(0, 20_000)).p_value, rel=0.15)
    assert {round(20 / p, 6).is_integer() for p in ends} == {True}, "all ended at the twentieth"


def test_without_divisions_there_is_a_size_and_no_claim() -> None:
    found = two_sample.of_numbers([1.0, 2.0, 3.0], [7.0, 8.0], draws(0, 0))
    assert (found.size > 0.2, found.p_value) == (True, 1.0)


@pytest.mark.parametrize("now", [[], [float("nan")]])
def test_nothing_to_compare_is_no_difference(now: list[float]) -> None:
    assert two_sample.of_numbers([1.0, 2.0], now, draws(0)) == two_sample.Difference(0.0, 1.0)


def test_equal_embeddings_are_no_difference() -> None:
    found = two_sample.of_embeddings(np.ones((30, 4)), np.ones((20, 4)), ["a"] * 30, ["a"] * 20, draws(0))
    assert (found.size, found.p_value) == (pytest.approx(0.0), 1.0)
