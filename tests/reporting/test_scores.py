from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tenuto.records import Evaluation, Interval, RegisteredModel
from tenuto.reporting import scores
from tests.bundles import two_artefacts

INTERVAL = Interval(value=0.9, low=0.8, high=0.95, n=100, groups=4, resampled="4 speakers")


def evaluation(**more: Any) -> Evaluation:
    known: dict[str, Any] = {
        "probabilities_path": Path("none"),
        "labels": ("a", "b"),
        "metrics": {"majority": {}, "other": {}, "champion": {}, "candidate": {"macro_f1": 0.9}},
        "per_class": {
            "candidate": {
                "a": {"recall": 0.9, "support": 10},
                "b": {"recall": 0.4, "support": 5},
                "c": {"recall": 0.0, "support": 0},
            },
            "champion": {"a": {"recall": 0.8, "support": 10}, "b": {"recall": 0.6, "support": 5}},
            "majority": {"a": {"recall": 1.0, "support": 10}},
        },
        "per_group": {
            "candidate": {"speaker": {"ann": {"accuracy": 0.7, "support": 5}, "ben": {"accuracy": 0.6, "support": 4}}},
            "champion": {"speaker": {"ann": {"accuracy": 0.5, "support": 5}}},
        },
        "gaps": {"candidate": {"speaker": {"accuracy": 0.1}}, "champion": {"speaker": {"macro_f1": 0.3}}},
        "confusion": {"candidate": [[9, 1], [3, 2]], "majority": [[10, 0], [5, 0]]},
    }
    return Evaluation(**{**known, **more})


def test_models_come_in_the_order_of_the_page_with_the_champions_version() -> None:
    champion = RegisteredModel(name="digits", version="6", aliases=())
    rows = scores.models(evaluation(intervals={"candidate": INTERVAL}, differences={"champion": INTERVAL}), champion)
    assert [row.key for row in rows] == ["candidate", "champion", "majority", "other"]
    assert [row.version for row in rows] == ["", "6", "", ""]
    assert rows[0].interval == rows[1].lead == INTERVAL
    assert rows[0].lead is rows[1].interval is None


def test_classes_come_weakest_first_and_those_without_clips_last() -> None:
    bars = scores.classes(evaluation())
    assert [(bar.name, bar.score) for bar in bars] == [("b", 0.4), ("a", 0.9), ("c", None)]
    assert bars[0].rivals == {"champion": 0.6}
    assert bars[2].rivals == {}


def test_groups_are_set_beside_the_champion_where_it_heard_them() -> None:
    (group,) = scores.groups(evaluation())
    assert [(bar.name, bar.score, bar.rivals) for bar in group.bars] == [
        ("ben", 0.6, {}),
        ("ann", 0.7, {"champion": 0.5}),
    ]
    assert group.gaps == {"candidate": 0.1}


def test_rows_of_few_clips_are_marked() -> None:
    assert [(bar.name, bar.is_few) for bar in scores.classes(evaluation())] == [("b", True), ("a", False), ("c", True)]


def test_slices_are_bars_under_their_headings() -> None:
    bands = {"under 10 dB": {"accuracy": 0.9, "support": 50}, "10-20 dB": {"accuracy": 0.4, "support": 5}}
    rates = {"8 kHz": {"accuracy": 0.5, "support": 55}}
    noise, rate, other = scores.slices(
        evaluation(
            per_slice={
                "candidate": {"rate": rates, "wind": rates, "noise": bands},
                "champion": {"noise": {"10-20 dB": {"accuracy": 0.6, "support": 5}}},
            }
        )
    )
    assert [(bar.name, bar.score, bar.rivals) for bar in noise.bars] == [
        ("10-20 dB", 0.4, {"champion": 0.6}),
        ("under 10 dB", 0.9, {}),
    ]
    assert (noise.name, rate.name, other.name) == ("Signal-to-noise ratio", "Sample rate", "wind")
    assert scores.slices(evaluation()) == []


def test_latency_has_a_row_per_model_that_was_timed() -> None:
    rows = scores.latency(evaluation(latency={"champion": {"p50_ms": 2.0}, "candidate": {"p50_ms": 1.0}, "other": {}}))
    assert [(row.name, row.figures["p50_ms"]) for row in rows] == [("Candidate", 1.0), ("Champion", 2.0)]


def test_latency_of_an_exported_candidate_sets_its_graph_beside_its_checkpoint() -> None:
    timed = {"candidate": {"p50_ms": 2.0}, "checkpoint": {"p50_ms": 5.0}, "champion": {"p50_ms": 6.0}}
    rows = scores.latency(evaluation(latency=timed), two_artefacts())
    assert [(row.key, row.name, row.figures["p50_ms"]) for row in rows] == [
        ("candidate", "Candidate, fp32", 2.0),
        ("candidate", "Candidate in PyTorch", 5.0),
        ("champion", "Champion", 6.0),
    ]


def test_confusion_gives_shares_of_rows_and_the_most_frequent_mistakes() -> None:
    (matrix,) = scores.confusions(evaluation())
    assert matrix.rows == [("a", [(9, 0.9), (1, 0.1)]), ("b", [(3, 0.6), (2, 0.4)])]
    assert matrix.mistakes == [("b", "a", 3), ("a", "b", 1)]
    assert matrix.wrong == 4
    assert not matrix.is_wide


def test_a_class_without_test_clips_does_not_break_the_matrix() -> None:
    (matrix,) = scores.confusions(evaluation(confusion={"candidate": [[0, 0], [0, 2]]}))
    assert matrix.rows[0] == ("a", [(0, 0.0), (0, 0.0)])


def test_a_large_matrix_is_shown_without_numbers() -> None:
    labels = tuple(f"class {n}" for n in range(scores.WIDEST_MATRIX + 1))
    counts = [[1] * len(labels)] * len(labels)
    (matrix,) = scores.confusions(evaluation(labels=labels, confusion={"candidate": counts}))
    assert matrix.is_wide
    assert len(matrix.mistakes) == scores.MOST_CONFUSIONS
    assert matrix.wrong == 15 * 14


def test_noise_has_a_row_per_model_and_a_gap_where_a_level_is_missing() -> None:
    noise = scores.noise(evaluation(noise={"candidate": {"clean": 0.9, "0 dB": 0.5}, "champion": {"clean": 0.8}}))
    assert noise is not None
    assert noise.levels == ["clean", "0 dB"]
    assert [(key, recalls) for key, _, recalls in noise.rows] == [("candidate", [0.9, 0.5]), ("champion", [0.8, None])]
    assert scores.noise(evaluation()) is None


def test_what_a_reader_must_know_is_said() -> None:
    remarks = scores.remarks(
        evaluation(unscored={"champion": "its files are gone"}, left_out=("x",), intervals={"candidate": INTERVAL})
    )
    assert remarks == [
        "Champion was not scored: its files are gone.",
        "1 test clip on which the champion had trained is left out, for every model.",
        "Intervals by resampling 4 speakers.",
    ]
    assert scores.remarks(evaluation()) == []


@pytest.mark.parametrize(("labels", "stub"), [(("a", "four"), 4), (("x" * 99,), scores.LONGEST_STUB), ((), 1)])
def test_the_stub_is_as_wide_as_the_longest_label_within_reason(labels: tuple[str, ...], stub: int) -> None:
    assert scores.Confusion("candidate", "Candidate", labels, [], [], 0, False).stub == stub
