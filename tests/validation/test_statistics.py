import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency

from tenuto.validation import statistics


def test_imbalance_is_the_largest_class_over_the_smallest():
    assert statistics.imbalance_ratio(pd.Series({"a": 84, "b": 10, "c": 40})) == pytest.approx(8.4)


def test_a_class_without_clips_is_infinitely_rare_and_no_classes_are_even():
    assert statistics.imbalance_ratio(pd.Series({"a": 5, "b": 0})) == math.inf
    assert statistics.imbalance_ratio(pd.Series(dtype=int)) == 1


@pytest.mark.parametrize("seed", range(3))
def test_cramers_v_follows_bergsma_on_the_chi_squared_of_scipy(seed):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 4, 300)
    group = np.where(rng.random(300) < 0.5, label % 3, rng.integers(0, 3, 300))
    table = pd.crosstab(label, group)
    phi2 = chi2_contingency(table, correction=False).statistic / 300
    rows, columns = table.shape
    rows_corrected, columns_corrected = rows - (rows - 1) ** 2 / 299, columns - (columns - 1) ** 2 / 299
    corrected = max(0, phi2 - (rows - 1) * (columns - 1) / 299)
    expected = math.sqrt(corrected / min(rows_corrected - 1, columns_corrected - 1))
    assert statistics.cramers_v(pd.Series(label), pd.Series(group)) == pytest.approx(expected)


def test_cramers_v_is_one_for_the_same_and_about_zero_for_independent_categories():
    rng = np.random.default_rng(0)
    label = pd.Series(rng.choice(list("abc"), 2000))
    assert statistics.cramers_v(label, label.map({"a": "x", "b": "y", "c": "z"})) == pytest.approx(1, abs=1e-9)
    assert statistics.cramers_v(label, pd.Series(rng.choice(list("xyz"), 2000))) < 0.05


def test_cramers_v_leaves_missing_values_out_and_is_zero_for_a_single_value():
    label, group = pd.Series(["a", "a", "b", "b"] * 10), pd.Series(["x", "x", "y", None] * 10)
    assert statistics.cramers_v(label, group) == pytest.approx(1, abs=1e-9)
    assert statistics.cramers_v(label, pd.Series(["x"] * 40)) == 0
    assert statistics.cramers_v(label, pd.Series([None] * 40, dtype=object)) == 0


def test_stability_by_hand():
    # shares (9.5, 9.5)/19 and (14.5, 4.5)/19: sum of (q - p) ln(q / p)
    p, q = 9.5 / 19, np.array([14.5, 4.5]) / 19
    expected = (q[0] - p) * math.log(q[0] / p) + (q[1] - p) * math.log(q[1] / p)
    index = statistics.population_stability(np.array([9.0, 9.0]), np.array([14.0, 4.0]))
    assert index == pytest.approx(expected)
    assert statistics.population_stability(np.array([9.0, 9.0]), np.array([9.0, 9.0])) == 0


def test_stability_is_finite_where_a_bin_is_empty():
    assert statistics.population_stability(np.array([50.0, 0.0]), np.array([5.0, 0.0])) == 0
    assert statistics.population_stability(np.array([50.0, 0.0]), np.array([0.0, 0.0])) == 0
    assert 0.2 < statistics.population_stability(np.array([50.0, 0.0]), np.array([40.0, 10.0])) < 1


def test_categories_of_both_are_counted_in_one_order():
    values, before, now = statistics.category_counts(pd.Series(["b", "a", "b", None]), pd.Series(["c", "b"]))
    assert list(values) == ["(none)", "a", "b", "c"]
    assert before.tolist() == [1, 1, 2, 0]
    assert now.tolist() == [0, 0, 1, 1]


def test_deciles_of_the_first_hold_a_tenth_each():
    before = pd.Series(np.arange(100.0))
    first, second = statistics.decile_counts(before, before + 1000)
    assert first.tolist() == [10] * 10
    assert second.tolist() == [0] * 9 + [100]


@pytest.mark.parametrize("changed", [0.5, 1.5], ids=["shorter", "longer"])
def test_values_that_were_all_alike_are_told_from_smaller_and_from_larger_ones(changed):
    first, second = statistics.decile_counts(pd.Series([1.0] * 50), pd.Series([changed] * 50))
    assert statistics.population_stability(first, second) > 1
    same = statistics.decile_counts(pd.Series([1.0] * 50), pd.Series([1.0] * 9))
    assert statistics.population_stability(*same) == 0
