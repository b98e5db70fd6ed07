from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from tenuto.errors import BackboneError
from tenuto.labels import LabelType
from tenuto.learning import calibration
from tenuto.learning.calibration import Calibration
from tenuto.settings import CalibrateSettings


def simulated(kind: LabelType, temperature: float, seed: int, clips: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `temperature` times too large, and truth drawn from the probabilities that are right."""
    rng = np.random.default_rng(seed)
    right = rng.normal(0, 2, (clips, 4))
    found = Calibration().probabilities(right, kind)
    if kind == "many":
        return right * temperature, (rng.random(found.shape) < found).astype(np.float32)
    return right * temperature, (found.cumsum(axis=1) > rng.random((clips, 1))).argmax(axis=1)


@pytest.mark.parametrize("kind", ["one", "many"])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_temperature_of_simulated_logits_is_found(kind: LabelType, temperature: float, seed: int) -> None:
    logits, targets = simulated(kind, temperature, seed)
    assert calibration.fit_temperature(logits, targets, kind) == pytest.approx(temperature, rel=0.08)


@pytest.mark.parametrize("kind", ["one", "many"])
def test_the_log_loss_is_scikit_learns_and_least_at_the_temperature(kind: LabelType) -> None:
    from sklearn.metrics import log_loss

    logits, targets = simulated(kind, 2.0, 0, clips=300)
    found = Calibration().probabilities(logits, kind)
    expected = (
        log_loss(targets, found)
        if kind == "one"
        else np.mean([log_loss(targets[:, place], found[:, place]) for place in range(4)])
    )
    assert calibration.log_loss(logits, targets, kind) == pytest.approx(expected)
    best = calibration.fit_temperature(logits, targets, kind)
    losses = {t: calibration.log_loss(logits / t, targets, kind) for t in np.geomspace(0.25, 8, 200)}
    assert calibration.log_loss(logits / best, targets, kind) <= min(losses.values()) + 1e-9


@pytest.mark.parametrize("kind", ["one", "many"])
def test_a_temperature_alone_never_changes_a_decision(kind: LabelType) -> None:
    logits, _ = simulated(kind, 1.0, 0)
    plain = Calibration().decide(Calibration().probabilities(logits, kind), kind)
    for temperature in (0.25, 0.9, 7.0):
        scaled = Calibration(temperature)
        assert np.array_equal(scaled.decide(scaled.probabilities(logits, kind), kind), plain)


def test_logits_that_separate_everything_stay_within_bounds() -> None:
    logits = np.array([[1.0, -1.0], [-1.0, 1.0]] * 20)
    assert calibration.fit_temperature(logits, np.array([0, 1] * 20), "one") == pytest.approx(0.25, abs=1e-6)
    assert calibration.fit_temperature(logits, np.array([1, 0] * 20), "one") == pytest.approx(8, abs=1e-4)


def test_thresholds_are_those_of_the_best_f1(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six clips by hand. Class a: 0.35 splits its positives off without an error, 0.5 misses one. Class b: at 0.5 both
    are found with one false alarm (F1 0.8), above 0.7 one of them (2/3), so it stays."""
    monkeypatch.setattr(calibration, "MIN_POSITIVES", 2)
    probabilities = np.array([[0.9, 0.1], [0.4, 0.1], [0.3, 0.8], [0.2, 0.7], [0.1, 0.6], [0.1, 0.1]])
    truth = np.array([[1, 0], [1, 0], [0, 1], [0, 0], [0, 1], [0, 0]], dtype=bool)
    np.testing.assert_allclose(calibration.fit_thresholds(probabilities, truth, "many"), [0.35, 0.5])
    fitted = Calibration(thresholds=(0.35, 0.5))
    assert fitted.decide(probabilities, "many").sum(axis=0).tolist() == [2, 3]


def test_of_equally_good_thresholds_the_usual_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "MIN_POSITIVES", 1)
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8]])
    assert calibration.fit_thresholds(probabilities, np.eye(2, dtype=bool), "many").tolist() == [0.5, 0.5]


def test_a_class_of_few_clips_keeps_the_usual_threshold() -> None:
    probabilities = np.array([[0.4, 0.1]] * 4 + [[0.1, 0.2]] * 20)
    truth = np.array([[1, 0]] * 4 + [[0, 1]] * 20, dtype=bool)
    assert calibration.fit_thresholds(probabilities, truth, "many").tolist() == [0.5, pytest.approx(0.15)]


def test_classes_of_few_clips_are_counted_in_the_note() -> None:
    targets = np.array([[1, 0]] * 4 + [[0, 1]] * 26, dtype=np.float32)
    fitted = calibration.fit(targets * 4 - 2.0, targets, CalibrateSettings(thresholds=True), "many")
    assert fitted.note == "no thresholds for 1 of 2 classes: fewer than 5 validation clips"


def test_with_one_label_a_clip_the_threshold_weighs_classes_against_one_another() -> None:
    probabilities = np.array([[0.6, 0.4], [0.9, 0.1]])
    assert Calibration().decide(probabilities, "one").tolist() == [[True, False], [True, False]]
    assert Calibration(thresholds=(0.7, 0.3)).decide(probabilities, "one").tolist() == [[False, True], [True, False]]


def test_few_validation_clips_leave_the_temperature_alone_and_say_so() -> None:
    logits, targets = simulated("one", 3.0, 0, clips=calibration.MIN_CLIPS)
    both = CalibrateSettings(temperature=True, thresholds=True)
    assert calibration.fit(logits, targets, both, "one").temperature > 1
    few = calibration.fit(logits[1:], targets[1:], both, "one")
    assert (few.temperature, few.note) == (1.0, "no temperature: 29 validation clips, at least 30 wanted")
    assert few.thresholds is not None and len(few.thresholds) == 4
    off = CalibrateSettings(temperature=False, thresholds=False)
    assert calibration.fit(logits, targets, off, "one") == Calibration()


def test_a_calibration_is_read_as_it_was_saved_and_none_is_none(tmp_path: Path) -> None:
    assert calibration.load(tmp_path) == Calibration()
    fitted = Calibration(1.5, (0.25, 0.5), "because")
    fitted.save(tmp_path)
    assert calibration.load(tmp_path) == fitted
    (tmp_path / calibration.FILE_NAME).write_text('{"heat": 2}')
    with pytest.raises(BackboneError, match=r"tenuto_calibration\.json is no calibration"):
        calibration.load(tmp_path)


@pytest.mark.parametrize("seed", range(20))
def test_the_best_threshold_is_that_of_trying_each_on_every_clip(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clips = int(rng.integers(6, 80))
    probabilities = rng.random(clips).round(int(rng.integers(1, 4)))  # rounded, so that there are ties and zeros
    truth = rng.random(clips) < (0.1 + 0.8 * probabilities)
    truth[:5] = True
    usual = float(rng.choice([0.5, 0.25]))
    values = np.unique(probabilities)
    candidates = [usual, *np.clip((values[1:] + values[:-1]) / 2, 1e-3, 1.0)]
    f1 = [2 * (said & truth).sum() / (said.sum() + truth.sum()) for said in (probabilities >= c for c in candidates)]
    best = [c for c, score in zip(candidates, f1, strict=True) if score >= max(f1) - 1e-12]
    expected = min(best, key=lambda c: abs(np.log(c / usual)))
    assert calibration._best_threshold(probabilities, truth, usual) == expected


def test_thresholds_of_many_clips_take_memory_for_as_many() -> None:
    tracemalloc.start()
    rng = np.random.default_rng(0)
    probabilities = rng.random(20_000)
    calibration._best_threshold(probabilities, rng.random(20_000) < probabilities, 0.5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6, "each candidate with each clip would be 400 MB"
