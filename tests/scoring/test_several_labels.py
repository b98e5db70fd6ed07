"""Scores of clips with several labels: hand arithmetic, scikit-learn, invariances, and the table of a whole run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from sklearn import metrics as sk

from tenuto.errors import TrainingError
from tenuto.records import Evaluation
from tenuto.scoring import evaluation, metrics
from tenuto.scoring.samples import sampled
from tenuto.scoring.statistics import interval, interval_of, p_of, point
from tenuto.scoring.tallies import LOSSES, METRICS, RANKED, Answers
from tenuto.scoring.unseen import Term
from tests import scenes
from tests.tones import RATE_HZ, TONES_HZ, ToneModel

EVERY_METRIC = [metric for metric in (*METRICS, *LOSSES, *RANKED) if metric != "balanced_accuracy"]
SKILL = {"x": 2.5, "y": 1.5}

# three clips: dog and rain heard as dog; nothing heard as rain; rain heard as rain
TRUTH = np.array([[True, True], [False, False], [False, True]])
SAID = np.array([[True, False], [False, True], [False, True]])
P = np.array([[0.9, 0.4], [0.2, 0.6], [0.1, 0.8]])
THREE = Answers(("dog", "rain"), TRUTH, {"x": SAID}, np.arange(3), "clip", {"x": P})


def imagined(seed: int, sites: int = 8, clips: int = 15) -> Answers:
    return scenes.answers(np.random.default_rng(seed), sites, clips, SKILL)


@pytest.mark.parametrize(
    ("metric", "label", "value"),
    [
        ("accuracy", None, 1 / 3),  # only of the third clip is every label right
        ("macro_f1", None, (1 + 1 / 2) / 2),  # dog 1; rain found once, missed once, named falsely once
        ("micro_f1", None, 2 * 2 / (3 + 3)),  # two of three labels found, three named
        ("precision", None, (1 + 1 / 2) / 2),
        ("recall", None, (1 + 1 / 2) / 2),
        ("f1", "rain", 1 / 2),
        ("mean_average_precision", None, (1 + (1 + 2 / 3) / 2) / 2),  # rain: 0.8 there, 0.6 not, 0.4 there
        ("mean_average_precision", "dog", 1.0),
        ("brier", None, (0.01 + 0.36 + 0.04 + 0.36 + 0.01 + 0.04) / 6),
        ("log_loss", None, -np.log([0.9, 0.4, 0.8, 0.4, 0.9, 0.8]).mean()),
        # every probability has a bin of its own: the mean distance from what was there
        ("expected_calibration_error", None, (0.1 + 0.6 + 0.2 + 0.6 + 0.1 + 0.2) / 6),
    ],
)
def test_by_hand(metric: str, label: str | None, value: float) -> None:
    assert point(THREE, metric, "x", label) == pytest.approx(value)


def test_points_agree_with_scikit_learn() -> None:
    answers = imagined(1)
    truth, said, p = answers.truth, answers.predicted["x"], answers.probabilities["x"]
    expected = {
        "macro_f1": sk.f1_score(truth, said, average="macro"),
        "micro_f1": sk.f1_score(truth, said, average="micro"),
        "precision": sk.precision_score(truth, said, average="macro"),
        "recall": sk.recall_score(truth, said, average="macro"),
        "accuracy": sk.accuracy_score(truth, said),
        "mean_average_precision": sk.average_precision_score(truth, p, average="macro"),
        "log_loss": np.mean([sk.log_loss(truth[:, c], p[:, c]) for c in range(4)]),
        "brier": np.mean([sk.brier_score_loss(truth[:, c], p[:, c]) for c in range(4)]),
    }
    assert {metric: point(answers, metric, "x") for metric in expected} == pytest.approx(expected)
    overall = metrics.overall(truth, said, p)
    shared = set(overall) & set(expected)
    assert shared == {"macro_f1", "micro_f1", "accuracy", "mean_average_precision"}
    assert {metric: overall[metric] for metric in shared} == pytest.approx({m: expected[m] for m in shared})
    error = point(answers, "expected_calibration_error", "x")
    assert overall["expected_calibration_error"] == pytest.approx(error)


def test_average_precision_of_clips_with_one_label_is_of_each_class_against_the_rest() -> None:
    rng = np.random.default_rng(0)
    truth, p = rng.integers(0, 3, 60), rng.dirichlet(np.ones(3), 60)
    answers = Answers(("a", "b", "c"), truth, {"x": p.argmax(axis=1)}, np.arange(60), "clip", {"x": p})
    expected = sk.average_precision_score(np.eye(3)[truth], p, average="macro")
    assert point(answers, "mean_average_precision", "x") == pytest.approx(expected)


@pytest.mark.parametrize("metric", EVERY_METRIC)
def test_the_order_of_clips_does_not_matter_and_swapping_the_models_turns_the_sign(metric: str) -> None:
    answers = imagined(4)
    moved = answers.where(np.random.default_rng(0).permutation(len(answers.truth)))  # type: ignore[arg-type]
    terms = [Term("x"), Term("y", weight=-1.0)]
    here, there = sampled(answers, metric, terms), sampled(moved, metric, terms)
    back = sampled(answers, metric, [Term("y"), Term("x", weight=-1.0)])
    assert here.value == pytest.approx(there.value) == pytest.approx(-back.value)
    assert p_of(here, 0.01) == pytest.approx(p_of(there, 0.01))
    assert p_of(here, 0.01) == pytest.approx(p_of(back, -0.01, is_below=True))


@pytest.mark.parametrize("metric", EVERY_METRIC)
def test_an_interval_holds_its_value_and_stays_within_what_there_is(metric: str) -> None:
    for sites, clips in ((6, 2), (2, 20), (12, 15)):
        sample = sampled(imagined(5, sites, clips), metric, [Term("x")])
        found = interval_of(sample, confidence=0.95, resamples=200, rng=np.random.default_rng(0))
        assert sample.bounds[0] <= found.low <= found.value <= found.high <= sample.bounds[1]
        assert found.low < found.high


def test_a_class_is_counted_by_the_clips_that_have_it() -> None:
    answers = imagined(6)
    found = interval(answers, "recall", "x", label="dog", rng=np.random.default_rng(0))
    assert found.n == int(np.asarray(answers.truth)[:, 2].sum())
    none = Answers(("dog", "rain"), TRUTH[1:], {"x": SAID[1:]}, np.arange(2))
    with pytest.raises(TrainingError, match="'dog'"):
        interval(none, "recall", "x", label="dog", rng=np.random.default_rng(0))


def test_a_model_that_only_ever_lost_no_label_may_still_be_worse_by_chance() -> None:
    truth = np.ones((30, 2), dtype=bool)
    one_missed = truth.copy()
    one_missed[0, 0] = False
    answers = Answers(("dog", "rain"), truth, {"x": truth, "y": one_missed}, np.arange(30))
    found = interval(answers, "recall", "x", versus="y", rng=np.random.default_rng(0))
    assert found.low < -0.02 < 0 < found.value  # nothing was lost, which thirty clips cannot promise


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluation:
    """Tones alone, in pairs and none at all, by a model that hears all of them, one that is deaf, one of one label."""
    models = {
        "candidate": ToneModel(kind="many"),
        "baseline": ToneModel(kind="many", deaf_to="high"),
        "champion": ToneModel(),
    }
    monkeypatch.setattr("tenuto.learning.predictor.Predictor.load", lambda path: models[path.name])
    rows = []
    for i, label in enumerate(["", "low", "high;low", "high", "low;middle", "low"] * 2):
        time = np.arange(RATE_HZ // 4) / RATE_HZ
        wave = sum((0.1 * np.sin(2 * np.pi * TONES_HZ[name] * time) for name in label.split(";") if name), 0 * time)
        soundfile.write(tmp_path / f"{i}.wav", wave + 1e-4 * np.cos(time * 50), RATE_HZ)
        rows.append({"clip_id": f"{i:032x}", "path": f"{i}.wav", "label": label, "family": f"{i:032x}"})
    return evaluation.evaluate(
        {name: Path(name) for name in models},
        pd.DataFrame(rows),
        tmp_path,
        scenes.SETTINGS.model_copy(update={"noise_snr_db": (20.0,)}),
        None,
        tmp_path / "p.parquet",
        trained=["low", "low", "high;low", ""],
    )


def test_the_table_holds_labels_as_text(heard: Evaluation) -> None:
    table = pd.read_parquet(heard.probabilities_path)
    assert heard.labels == ("high", "low", "middle") and heard.labels_per_clip == "many"
    candidate = table[table["model"] == "candidate"]
    assert candidate["predicted"].tolist() == candidate["label"].tolist()
    assert heard.metrics["candidate"] == pytest.approx(
        {
            "macro_f1": 1.0,
            "micro_f1": 1.0,
            "mean_average_precision": 1.0,
            "accuracy": 1.0,
            "expected_calibration_error": heard.metrics["candidate"]["expected_calibration_error"],
        }
    )
    deaf = table[table["model"] == "baseline"]
    assert deaf["predicted"].tolist()[:4] == ["", "low", "low", ""]
    assert heard.confusion["baseline"] == [[0, 0, 4, 8], [8, 0, 0, 4], [2, 0, 0, 10]]
    assert heard.per_class["baseline"]["low"] == {
        "precision": 1, "recall": 1, "f1": 1, "support": 8, "average_precision": 1
    }  # fmt: skip
    assert heard.noise["baseline"]["clean"] == pytest.approx(2 / 3)
    assert heard.thresholds["candidate"] == {"low": 0.5, "middle": 0.5, "high": 0.5}


def test_the_majority_names_the_most_frequent_set_and_knows_how_frequent_each_label_is(heard: Evaluation) -> None:
    table = pd.read_parquet(heard.probabilities_path)
    rows = table[table["model"] == "majority"]
    assert set(rows["predicted"]) == {"low"}
    assert rows[["p_high", "p_low", "p_middle"]].iloc[0].tolist() == [0.25, 0.75, 0.0]


def test_a_champion_of_one_label_is_not_compared(heard: Evaluation) -> None:
    assert heard.unscored == {"champion": "it gives one label a clip, the candidate several"}
    assert "champion" not in heard.metrics


def test_the_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    answers = imagined(3)
    found = scenes.evaluated(answers, tmp_path)
    again = Evaluation.model_validate_json(found.model_dump_json())
    read = evaluation.read_answers(pd.read_parquet(again.probabilities_path), again.labels, "site", "many")
    np.testing.assert_array_equal(read.truth, answers.truth)
    np.testing.assert_array_equal(read.predicted["x"], answers.predicted["x"])
    np.testing.assert_array_equal(read.probabilities["y"], answers.probabilities["y"])


def test_test_clips_without_any_label_have_no_means_of_classes(tmp_path: Path) -> None:
    answers = scenes.answers(np.random.default_rng(0), 6, 4, {"candidate": 2.0}, frequency=0.0)
    found = scenes.evaluated(answers, tmp_path)
    assert set(found.metrics["candidate"]) == {"accuracy", "micro_f1", "expected_calibration_error"}
    assert found.intervals == {} and set(found.per_group["candidate"]["site"]["s0"]) == {"accuracy", "support"}
