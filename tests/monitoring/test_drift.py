"""Drift of each signal is found by that signal, and clean traffic raises few alarms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tenuto.monitoring import drift
from tests.monitoring import traffic

LEVEL = 0.01


@pytest.fixture(scope="module")
def reference() -> pd.DataFrame:
    return traffic.reference(np.random.default_rng(0))


def served(seed: int = 1, clips: int = 200) -> pd.DataFrame:
    return traffic.served(np.random.default_rng(seed), clips)


def found(reference: pd.DataFrame, table: pd.DataFrame) -> set[str]:
    return {signal.name for signal in drift.judged(drift.measure(reference, table), LEVEL) if signal.is_found}


def test_clean_traffic_is_steady(reference: pd.DataFrame) -> None:
    assert found(reference, served()) == set()


def test_longer_clips_are_found_by_their_duration_alone(reference: pd.DataFrame) -> None:
    table = served()
    assert found(reference, table.assign(duration_seconds=1.4 * table["duration_seconds"])) == {"duration"}


def test_a_microphone_that_was_turned_down_is_found_by_the_level(reference: pd.DataFrame) -> None:
    table = served()
    assert found(reference, table.assign(level_dbfs=table["level_dbfs"] - 4)) == {"level"}


def test_digital_silence_has_a_level_low_enough_to_be_found(reference: pd.DataFrame) -> None:
    table = served()
    silent = np.arange(len(table)) < 80
    assert found(reference, table.assign(level_dbfs=table["level_dbfs"].mask(silent, -np.inf))) == {"level"}


def test_another_mix_of_classes_is_found_by_the_labels(reference: pd.DataFrame) -> None:
    table = served(clips=600)
    kept = pd.concat([table[table["label"] == "high"].head(180), table[table["label"] == "low"].head(40)])
    assert found(reference, kept) == {"labels"}


def test_another_sound_within_the_classes_is_found_by_the_embeddings(reference: pd.DataFrame) -> None:
    table = served()
    shifted = [vector + np.array([0, 0.7, 0, 0], np.float32) for vector in table["embedding"]]
    assert found(reference, table.assign(embedding=shifted)) == {"sound"}


def test_doubt_is_found_by_the_confidence(reference: pd.DataFrame) -> None:
    table = served()
    assert found(reference, table.assign(probability=0.5 + (table["probability"] - 0.5) / 2)) == {"confidence"}


def test_strange_clips_are_found_by_novelty_and_by_unknown(reference: pd.DataFrame) -> None:
    table = served()
    strange = np.arange(len(table)) < 60
    novel = table.assign(novelty=table["novelty"].mask(strange, 1.5), is_unknown=strange)
    assert found(reference, novel) == {"novelty", "unknown"}


def test_a_change_too_small_to_matter_is_no_alarm_however_many_clips_show_it(reference: pd.DataFrame) -> None:
    table = served(clips=6000)
    table = table.assign(level_dbfs=table["level_dbfs"] - 1)
    signals = {signal.name: signal for signal in drift.judged(drift.measure(reference, table), LEVEL)}
    assert signals["level"].p_value <= LEVEL
    assert not signals["level"].is_found


def test_without_novelty_in_the_bundle_neither_it_nor_unknown_is_judged(reference: pd.DataFrame) -> None:
    measured = drift.measure(reference.assign(novelty=0.0), served())
    assert [signal.name for signal in measured] == ["duration", "level", "labels", "sound", "confidence"]


def test_p_values_are_corrected_for_the_number_of_signals() -> None:
    raw = [drift.Measured(name, 1.0, 0.2, p, "", "") for name, p in (("level", 0.004), ("duration", 0.03))]
    assert [signal.p_value for signal in drift.judged(raw, LEVEL)] == pytest.approx([0.008, 0.03])
    assert [signal.is_found for signal in drift.judged(raw, LEVEL)] == [True, False]


def test_the_same_tables_give_the_same_signals(reference: pd.DataFrame) -> None:
    assert drift.measure(reference, served()) == drift.measure(reference, served())


def test_any_false_finding_is_as_rare_as_the_level_whatever_its_size() -> None:
    rng, rounds, level = np.random.default_rng(11), 40, 0.1
    alarms = 0
    for _ in range(rounds):
        measured = drift.measure(traffic.reference(rng, training=80, validation=40), traffic.served(rng, 60), 199)
        alarms += any(signal.p_value <= level for signal in drift.judged(measured, level))
    assert alarms <= stats.binom.ppf(0.999, rounds, level)


@pytest.mark.slow
def test_fifty_clean_weeks_raise_at_most_three_alarms_whatever_the_reference() -> None:
    rng = np.random.default_rng(12)
    for _ in range(3):
        held_to = traffic.reference(rng)
        assert sum(bool(found(held_to, traffic.served(rng))) for _ in range(50)) <= 3
