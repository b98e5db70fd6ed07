"""Intervals against a naive bootstrap, scipy's, hand arithmetic, and simulated test sets whose truth is known."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score, precision_score, recall_score

from tenuto.errors import TrainingError
from tenuto.records import Interval
from tenuto.scoring import statistics
from tenuto.scoring.statistics import METRICS, Answers, Counts, holm, interval, p_greater, p_value, point

LABELS = ("a", "b", "c", "d")


def simulated(rng: np.random.Generator, speakers: int, clips: int, spread: float = 0.13) -> Answers:
    """Two models right on 0.86 and 0.84 of the clips of a whole population of speakers, whose errors come in clumps.

    Each speaker is easier or harder for both models and for each; half of the clips are hard for both at once.
    """
    shared, own = rng.uniform(-spread, spread, speakers), rng.uniform(-spread, spread, (2, speakers))
    units = np.repeat(np.arange(speakers), clips)
    truth, hardness = rng.integers(0, len(LABELS), len(units)), rng.random(len(units))
    predicted = {}
    for model, level, quirk in zip(("candidate", "champion"), (0.86, 0.84), own, strict=True):
        luck = np.where(rng.random(len(units)) < 0.5, hardness, rng.random(len(units)))
        right = luck < level + (shared + quirk)[units] / 2
        predicted[model] = np.where(right, truth, (truth + rng.integers(1, len(LABELS), len(units))) % len(LABELS))
    return Answers(LABELS, truth, predicted, units, "speaker")


def by_clip(answers: Answers) -> Answers:
    """The same answers as if every clip were independent of all others."""
    return Answers(answers.labels, answers.truth, answers.predicted, np.arange(len(answers.truth)))


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.mark.parametrize(
    ("metric", "reference"), [("macro_f1", f1_score), ("precision", precision_score), ("recall", recall_score)]
)
def test_points_agree_with_scikit_learn(metric: str, reference) -> None:  # type: ignore[no-untyped-def]
    answers = simulated(rng(), 6, 20)
    said = answers.predicted["candidate"]
    assert point(answers, metric, "candidate") == pytest.approx(reference(answers.truth, said, average="macro"))
    of_class = reference(answers.truth, said, average=None)
    for i, label in enumerate(LABELS):
        assert point(answers, metric, "candidate", label) == pytest.approx(of_class[i])


def test_accuracy_and_means_over_classes_by_hand() -> None:
    counts = Counts(np.array([4.0, 2.0, 0.0]), np.array([3.0, 2.0, 1.0]), np.array([3.0, 1.0, 0.0]))
    assert METRICS["accuracy"](counts) == pytest.approx(4 / 6)
    assert METRICS["recall"](counts) == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert METRICS["precision"](counts) == pytest.approx((3 / 3 + 1 / 2) / 2)
    assert METRICS["f1"](counts) == pytest.approx((6 / 7 + 2 / 4) / 2)


def naive_draws(answers: Answers, resamples: int, within: bool) -> np.ndarray:
    """Differences of macro-F1, clip by clip in a loop, with scikit-learn."""
    generator, draws = np.random.default_rng(1), []
    members = [np.flatnonzero(answers.units == unit) for unit in np.unique(answers.units)]
    for _ in range(resamples):
        if within:
            chosen = [generator.choice(clips, len(clips)) for clips in members]
        else:
            chosen = [members[i] for i in generator.integers(0, len(members), len(members))]
        rows = np.concatenate(chosen)
        scores = [
            f1_score(answers.truth[rows], answers.predicted[m][rows], average="macro")
            for m in ("candidate", "champion")
        ]
        draws.append(scores[0] - scores[1])
    return np.array(draws)


@pytest.mark.parametrize(("speakers", "within"), [(12, False), (3, True)])
def test_paired_draws_agree_with_a_naive_loop(speakers: int, within: bool) -> None:
    answers = simulated(rng(), speakers, 240 // speakers)
    draws = naive_draws(answers, 400, within)
    units = 240 if within else speakers
    t = stats.t.ppf(0.9, units - 1) * np.sqrt(units / (units - 1))
    low, high = np.quantile(draws, stats.norm.cdf([-t, t]))
    found = interval(answers, "macro_f1", "candidate", versus="champion", confidence=0.8, resamples=6000, rng=rng())
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.15 * (high - low))
    assert found.groups == units and found.n == 240


def test_independent_clips_agree_with_scipy() -> None:
    answers = by_clip(simulated(rng(), 20, 40))
    right = {model: (said == answers.truth).astype(float) for model, said in answers.predicted.items()}
    reference = stats.bootstrap(
        (right["candidate"] - right["champion"],), np.mean, n_resamples=4000, method="percentile", rng=rng()
    ).confidence_interval
    found = interval(answers, "accuracy", "candidate", versus="champion", resamples=4000, rng=rng())
    assert (found.low, found.high) == pytest.approx(tuple(reference), abs=0.004)


def test_five_speakers_agree_with_all_draws_that_there_are() -> None:
    clips, right = 200, np.array([103, 121, 146, 167, 198])  # of 200 clips each
    said = np.concatenate([np.repeat([0, 1], [n, clips - n]) for n in right])
    answers = Answers(
        ("a", "b"), np.zeros(5 * clips, dtype=int), {"m": said}, np.repeat(np.arange(5), clips), "speaker"
    )
    draws = [right[list(chosen)].mean() / clips for chosen in itertools.product(range(5), repeat=5)]
    # Student's t with 4 degrees of freedom holds half of its mass within 0.7407
    levels = stats.norm.cdf(np.array([-1, 1]) * 0.7407 * np.sqrt(5 / 4))
    low, high = np.quantile(draws, levels)
    mean, error = right.mean() / clips, (right / clips).std(ddof=1) / np.sqrt(5)
    odds = np.log(mean / (1 - mean)) + np.array([-1, 1]) * 0.7407 * error / (mean * (1 - mean))
    student = 1 / (1 + np.exp(-odds))
    found = interval(answers, "accuracy", "m", confidence=0.5, resamples=40_000, rng=rng())
    assert (found.low, found.high) == pytest.approx((min(low, student[0]), max(high, student[1])), abs=0.0011)


def test_pairing_makes_equal_errors_cancel() -> None:
    answers = simulated(rng(), 20, 20)
    twin = dict(answers.predicted, champion=answers.predicted["candidate"].copy())
    one_each = [0, 20, 40]  # one clip of three speakers
    twin["champion"][one_each] = (answers.truth[one_each] + 1) % len(LABELS)
    close = Answers(LABELS, answers.truth, twin, answers.units, "speaker")
    difference = interval(close, "accuracy", "candidate", versus="champion", rng=rng())
    alone = interval(close, "accuracy", "candidate", rng=rng())
    assert difference.high - difference.low < 0.5 * (alone.high - alone.low)


def test_the_same_seed_gives_the_same_interval_and_order_changes_nothing() -> None:
    answers = simulated(rng(), 10, 20)
    shuffle = rng().permutation(len(answers.truth))
    moved = Answers(
        LABELS,
        answers.truth[shuffle],
        {model: said[shuffle] for model, said in answers.predicted.items()},
        answers.units[shuffle],
        "speaker",
    )
    assert interval(moved, "macro_f1", "candidate", rng=rng()) == interval(answers, "macro_f1", "candidate", rng=rng())


def test_swapping_the_models_turns_the_sign() -> None:
    answers = simulated(rng(), 10, 20)
    there = interval(answers, "macro_f1", "candidate", versus="champion", resamples=4000, rng=rng())
    back = interval(answers, "macro_f1", "champion", versus="candidate", resamples=4000, rng=rng())
    assert back.value == pytest.approx(-there.value)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low), abs=0.01)


@pytest.mark.parametrize(
    ("speakers", "words", "groups"),
    [(12, "12 speakers", 12), (2, "2 speakers' clips", 240), (1, "1 speaker's clips", 240)],
)
def test_what_was_resampled_is_said(speakers: int, words: str, groups: int) -> None:
    found = interval(simulated(rng(), speakers, 240 // speakers), "accuracy", "candidate", resamples=100, rng=rng())
    assert found.resampled == words
    assert found.groups == groups


def test_without_groups_it_is_by_clip_even_for_three_clips() -> None:
    answers = Answers(LABELS, np.array([0, 1, 2]), {"candidate": np.array([0, 1, 3])}, np.arange(3))
    found = interval(answers, "accuracy", "candidate", rng=rng())
    assert found.resampled == "clip"
    assert (found.low, found.high) == (0.0, 1.0)


def test_a_class_is_resampled_by_the_speakers_who_said_it() -> None:
    answers = simulated(rng(), 12, 20)
    truth = np.where(answers.units < 3, answers.truth, answers.truth % 3)  # 'd' comes from three speakers only
    rare = Answers(LABELS, truth, answers.predicted, answers.units, "speaker")
    assert interval(rare, "recall", "candidate", label="d", rng=rng()).resampled == "3 speakers' clips"
    assert interval(rare, "recall", "candidate", label="a", rng=rng()).resampled == "12 speakers"


@pytest.mark.parametrize(("label", "n"), [(None, 40), ("a", 10)])
def test_all_right_is_no_proof_of_perfection(label: str | None, n: int) -> None:
    truth = np.repeat(np.arange(4), 10)
    answers = Answers(LABELS, truth, {"candidate": truth}, np.arange(40))
    found = interval(answers, "recall", "candidate", label=label, rng=rng())
    exact = stats.binomtest(n, n).proportion_ci(0.95, method="exact")
    assert (found.value, found.low, found.high) == pytest.approx((1.0, exact.low, 1.0))


def test_all_wrong_is_no_proof_of_uselessness() -> None:
    truth = np.repeat(np.arange(4), 10)
    answers = Answers(LABELS, truth, {"candidate": (truth + 1) % 4}, np.arange(40))
    found = interval(answers, "accuracy", "candidate", rng=rng())
    exact = stats.binomtest(0, 40).proportion_ci(0.95, method="exact")
    assert (found.value, found.low, found.high) == pytest.approx((0.0, 0.0, exact.high))


def test_two_models_that_agree_on_every_clip_may_still_differ_by_chance() -> None:
    answers = simulated(rng(), 10, 10)
    twins = Answers(LABELS, answers.truth, dict.fromkeys(("x", "y"), answers.predicted["candidate"]), answers.units)
    found = interval(twins, "accuracy", "x", versus="y", rng=rng())
    assert found.value == 0
    design_effect = 1 + 0.03 * 9  # of ten clips a speaker
    assert found.high == -found.low == pytest.approx(1 - 0.025 ** (design_effect / 100))


def test_no_clip_of_the_class_is_an_error() -> None:
    answers = Answers(LABELS, np.array([0]), {"candidate": np.array([0])}, np.array([0]))
    with pytest.raises(TrainingError, match="'b'"):
        interval(answers, "recall", "candidate", label="b", rng=rng())


def coverage(sets: int, speakers: int, clips: int, resamples: int, *, clustered: bool) -> float:
    """Share of simulated test sets whose interval holds the population's accuracy of 0.86."""
    generator, hits = np.random.default_rng(11), 0
    for _ in range(sets):
        answers = simulated(generator, speakers, clips)
        found = interval(
            answers if clustered else by_clip(answers), "accuracy", "candidate", resamples=resamples, rng=generator
        )
        hits += found.low <= 0.86 <= found.high
    return hits / sets


def test_intervals_cover_the_truth() -> None:
    assert 0.90 <= coverage(200, 20, 20, 400, clustered=True) <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("speakers", [20, 50])
def test_intervals_cover_the_truth_in_a_long_run(speakers: int) -> None:
    assert 0.93 <= coverage(1000, speakers, 20, 1000, clustered=True) <= 0.97


def test_intervals_that_ignore_speakers_do_not_cover() -> None:
    assert coverage(100, 20, 100, 200, clustered=False) < 0.85


@pytest.mark.parametrize("speakers", [50, 10_000])
def test_ten_thousand_clips_do_not_take_minutes(speakers: int) -> None:
    answers = simulated(rng(), speakers, 10_000 // speakers)
    interval(answers, "macro_f1", "candidate", versus="champion", resamples=100, rng=rng())  # imports scipy
    start = time.process_time()
    interval(answers, "macro_f1", "candidate", versus="champion", resamples=2000, rng=rng())
    assert time.process_time() - start < 20


def test_p_values_of_the_gate_and_of_many_test_sets_agree() -> None:
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 2, 400)
    said = {m: np.where(rng.random(400) < share, truth, 1 - truth) for m, share in (("a", 0.9), ("b", 0.84))}
    answers = Answers(("x", "y"), truth, said, np.arange(400) // 20, "speaker")
    lead = (said["a"] == truth).astype(float) - (said["b"] == truth)
    sums = lead.reshape(20, 20).sum(axis=1)
    one = p_value(answers, "accuracy", "a", versus="b")
    assert one == pytest.approx(float(p_greater(sums, np.full(20, 20.0))))
    assert one == pytest.approx(stats.ttest_1samp(sums, 0, alternative="greater").pvalue)


def test_p_values_of_many_test_sets_at_once() -> None:
    sums, sizes = rng().normal(0.5, 2, size=(3, 4, 20)), rng().integers(5, 30, 20).astype(float)
    found = p_greater(sums, sizes, 0.01)
    assert found.shape == (3, 4)
    assert found[1, 2] == pytest.approx(float(p_greater(sums[1, 2], sizes, 0.01)))
    assert float(p_greater(np.zeros(5), np.ones(5))) == 1 and float(p_greater(np.ones(5), np.ones(5))) == 0


def test_both_directions_add_up() -> None:
    answers = simulated(rng(), 20, 20)
    above = p_value(answers, "macro_f1", "candidate", versus="champion", threshold=0.01)
    below = p_value(answers, "macro_f1", "champion", versus="candidate", threshold=-0.01)
    assert above + below == pytest.approx(1)


def test_an_interval_beyond_the_threshold_has_a_small_p_value() -> None:
    for seed in range(30):
        answers = simulated(np.random.default_rng(seed), 12, 20)
        for versus in (None, "champion"):
            found = interval(answers, "macro_f1", "candidate", versus=versus, resamples=200, rng=rng())
            threshold = found.low - 1e-6
            assert p_value(answers, "macro_f1", "candidate", versus=versus, threshold=threshold) <= 0.025


def test_equal_models_are_shown_different_no_more_often_than_the_level() -> None:
    """5,000 test sets of 50 speakers whose differences come in clumps; the true difference is 0."""
    generator = np.random.default_rng(9)
    sums = generator.normal(size=(5000, 50)) * 0.5 + generator.binomial(20, 0.03, (5000, 50)) * 1.0
    sums -= generator.binomial(20, 0.03, (5000, 50))
    found = p_greater(sums, np.full(50, 20.0))
    for level in (0.025, 0.005):
        assert (found <= level).mean() == pytest.approx(level, abs=3.5 * np.sqrt(level / 5000))


def test_few_discordant_clips_promise_no_more_than_a_sign_test() -> None:
    truth = np.zeros(100, dtype=int)
    worse = np.where(np.arange(100) < 3, 1, 0)
    answers = Answers(("x", "y"), truth, {"a": truth, "b": worse}, np.arange(100))
    assert p_value(answers, "accuracy", "a", versus="b") == pytest.approx(1 / 8)
    assert p_value(answers, "accuracy", "a", versus="a") == 1
    assert p_value(answers, "accuracy", "a", threshold=0.97) == pytest.approx(0.97**100)


@pytest.mark.parametrize("threshold", [0.0, 0.01, 0.05])
def test_a_claimed_lead_of_any_size_keeps_the_floor_of_the_sign_test(threshold: float) -> None:
    """One win for each of five speakers of ten clips: without spread, a t-test would be certain."""
    worse = np.where(np.arange(50) % 10 == 0, 1, 0)
    said = {"a": np.zeros(50, dtype=int), "b": worse}
    answers = Answers(("x", "y"), np.zeros(50, dtype=int), said, np.arange(50) // 10, "speaker")
    assert p_value(answers, "accuracy", "a", versus="b", threshold=threshold) == pytest.approx(1 / 32)
    terms = [statistics.Term("a"), statistics.Term("b", weight=-1.0)]
    relative = statistics.sampled(answers, "accuracy", terms, is_relative=True)
    assert statistics.p_of(relative, threshold) == pytest.approx(1 / 32)


@pytest.mark.parametrize(("threshold", "versus"), [(0.0, "b"), (0.1, "b"), (-0.5, "b"), (0.0, None), (0.5, None)])
def test_no_evidence_is_certain(threshold: float, versus: str | None) -> None:
    truth = np.zeros(10_000, dtype=int)
    said = {"a": truth, "b": (np.arange(10_000) % 2 == 0).astype(int)}
    found = p_value(
        Answers(("x", "y"), truth, said, np.arange(10_000)), "accuracy", "a", versus=versus, threshold=threshold
    )
    assert 0 < found < 1e-100


def paired(n: int, wins: int, losses: int = 0, units: int | None = None) -> Answers:
    """Models 'a' and 'b' about n clips of class x, on which they differ `wins` + `losses` times."""
    places = np.arange(n)
    a = ((places >= wins) & (places < wins + losses)).astype(int)
    codes = places if units is None else places % units
    name = "clip" if units is None else "speaker"
    return Answers(("x", "y"), np.zeros(n, dtype=int), {"a": a, "b": (places < wins).astype(int)}, codes, name)


def test_one_win_is_no_better_known_than_none() -> None:
    """No loss in 100 clips leaves a share of losses of up to 3.6 % open, whether or not there was a win."""
    doubt = 1 - 0.025 ** (1 / 100)
    for wins in (0, 1):
        found = interval(paired(100, wins), "accuracy", "a", versus="b", rng=rng())
        assert found.low == pytest.approx(wins / 100 - doubt)
        assert p_value(paired(100, wins), "accuracy", "a", versus="b", threshold=-0.02 + wins / 100) == pytest.approx(
            0.98**100, rel=1e-6
        )
    mirrored = interval(paired(100, 0, 1), "accuracy", "a", versus="b", rng=rng())
    assert mirrored.high == pytest.approx(doubt - 0.01)


def test_what_no_clip_shows_is_a_share_of_the_other_score() -> None:
    """Twins that are right on a fifth of 200 clips: 1.8 points of doubt are 9 % of 0.2."""
    truth = np.zeros(200, dtype=int)
    said = np.where(np.arange(200) < 40, 0, 1)
    answers = Answers(("x", "y"), truth, {"a": said, "b": said}, np.arange(200))
    terms = [statistics.Term("a"), statistics.Term("b", weight=-1.0)]
    twins = statistics.sampled(answers, "accuracy", terms, is_relative=True)
    found = statistics.interval_of(twins, confidence=0.95, resamples=200, rng=rng())
    assert found.high == -found.low == pytest.approx((1 - 0.025 ** (1 / 200)) / 0.2)
    assert statistics.p_of(twins, -0.02) > 0.025


@pytest.mark.parametrize("metric", ["macro_f1", "balanced_accuracy"])
def test_a_class_of_one_clip_leaves_its_whole_share_of_a_mean_open(metric: str) -> None:
    """Ten classes, one of them with a single clip: at 2.5 % that one may be missed 97.5 times of 100."""
    labels = tuple("abcdefghij")
    truth = np.concatenate([np.repeat(np.arange(9), 111), [9]])
    answers = Answers(labels, truth, {"a": truth, "b": truth}, np.arange(1000))
    for versus in (None, "b"):
        found = interval(answers, metric, "a", versus=versus, rng=rng())
        assert 0.0975 <= found.value - found.low < 0.11


@pytest.mark.parametrize(
    ("speakers", "clips", "low"),
    [(5, 40, 0.850), (12, 33, 0.933), (3, 40, 0.970)],  # 3 speakers: their clips, as no more can be said
)
def test_all_right_counts_speakers_rather_than_clips(speakers: int, clips: int, low: float) -> None:
    found = interval(paired(speakers * clips, 0, units=speakers), "accuracy", "a", rng=rng())
    assert found.low == pytest.approx(low, abs=0.001)
    independent = 1 - 0.025 ** (1 / (speakers * clips))
    assert 1 - found.low >= independent - 1e-9
    threshold = found.low - 1e-6
    assert p_value(paired(speakers * clips, 0, units=speakers), "accuracy", "a", threshold=threshold) <= 0.025


def test_a_hard_speaker_is_hard_in_every_class() -> None:
    """With classes of equal size a mean of classes is no better known than the accuracy."""
    truth, units = np.tile(np.arange(4), 100), np.arange(400) // 4 % 10
    answers = Answers(LABELS, truth, {"a": truth}, units, "speaker")
    lows = [interval(answers, metric, "a", rng=rng()).low for metric in ("accuracy", "macro_f1")]
    assert lows[0] == pytest.approx(lows[1])


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([]) == []


def test_where_thousands_of_clips_all_differ_students_interval_is_that_of_the_draws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet((6, 2), size=3000)
    truth = np.zeros(3000, dtype=np.int64)
    answers = Answers(("a", "b"), truth, {"candidate": p.argmax(axis=1)}, np.arange(3000), "clip", {"candidate": p})

    def brier() -> Interval:
        return interval(answers, "brier", "candidate", resamples=4000, rng=np.random.default_rng(1))

    without = brier()
    monkeypatch.setattr(statistics, "_MOST_DISTINCT", 10_000)
    drawn = brier()
    half = drawn.high - drawn.low
    assert (without.low, without.high) != (drawn.low, drawn.high)
    assert without.low == pytest.approx(drawn.low, abs=0.03 * half)
    assert without.high == pytest.approx(drawn.high, abs=0.03 * half)
