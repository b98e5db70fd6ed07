import pandas as pd
import pytest

from tenuto.validation import recordings
from tests.validation.tables import tables


def test_a_row_rule_counts_those_that_break_it_and_names_them():
    outcome = recordings.Clipping(at_most_share=0.05).outcome(False, 93, ("c1", "c2"), 1000)
    assert outcome.summary == (
        "93 of 1,000 clips (9.3 %) are clipped (more than 1 % of their samples); at most 5 % wanted"
    )
    assert outcome.clips == ("c1", "c2")
    assert outcome.observed == {"clips": 93, "share": 0.093}


def test_a_row_rule_that_all_keep_says_so():
    outcome = recordings.DeadChannel().outcome(True, 0, (), 12)
    assert outcome.summary == "none of 12 clips have a dead channel"


def test_a_row_rule_names_fifty_clips_at_most():
    ids = tuple(f"{i:03d}" for i in range(200))
    assert recordings.Truncated().outcome(False, 200, ids, 300).clips == ids[:50]


@pytest.mark.parametrize(
    ("expectation", "wanted"),
    [
        (recordings.UniqueClips(), "none of the clips share their identity with another one"),
        (
            recordings.Duration(at_least_seconds=0.2, at_most_seconds=3),
            "at most 5 % of the clips last less than 0.2 s or more than 3 s",
        ),
        (recordings.Noise(), "at most 10 % of the clips are less than 5 dB above their noise"),
        (recordings.SampleRates(), "clips have at most 1 sample rate"),
        (recordings.QuarantinedRecordings(), "none of the recordings are quarantined"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_wanted_reads_as_a_sentence(expectation, wanted):
    assert expectation.wanted() == wanted


@pytest.mark.parametrize(
    ("labels", "summary", "clips"),
    [
        ((), "1 of 4 clips are without a known label: 'no label' 1", ("0002",)),
        (("one",), "3 of 4 clips are without a known label: 'tow' 2, 'no label' 1", ("0001", "0002", "0003")),
    ],
)
def test_clips_without_a_known_label_are_counted_by_label(labels, summary, clips):
    rows = [{"label": "one"}, {"label": "tow"}, {"label": None}, {"label": "tow"}]
    outcome = recordings.KnownLabels(labels=labels).check(tables(rows))
    assert not outcome.success
    assert outcome.summary == summary
    assert outcome.clips == clips


def test_all_labels_are_known():
    assert recordings.KnownLabels().check(tables([{}] * 3)).summary == "none of 3 clips are without a known label"
    assert recordings.KnownLabels(labels=("one",)).check(tables([{}] * 3)).success


def test_mixed_sample_rates_are_counted_and_the_rarer_clips_named():
    rows = [{"sample_rate_hz": 8000}] * 5 + [{"sample_rate_hz": 44100}]
    outcome = recordings.SampleRates().check(tables(rows))
    assert not outcome.success
    assert outcome.summary == "2 sample rates: 8,000 Hz (5 clips), 44,100 Hz (1 clip); at most 1 wanted"
    assert outcome.clips == ("0005",)
    assert outcome.groups == ("sample_rate_hz=44100",)
    assert recordings.SampleRates(at_most=2).check(tables(rows)).success


def test_quarantined_recordings_are_counted_by_reason():
    quarantine = pd.DataFrame({"reason": ["silent", "silent", "not-audio"]})
    outcome = recordings.QuarantinedRecordings().check(tables([{}] * 7, quarantine=quarantine))
    assert not outcome.success
    assert outcome.summary == "3 of 10 recordings (30 %) quarantined: silent 2, not-audio 1; none wanted"
    assert outcome.groups == ("reason=silent", "reason=not-audio")
    assert recordings.QuarantinedRecordings(at_most_share=0.3).check(tables([{}] * 7, quarantine=quarantine)).success


def test_nothing_quarantined():
    outcome = recordings.QuarantinedRecordings().check(tables([{}] * 7))
    assert outcome.success
    assert outcome.summary == "none of 7 recordings is quarantined"
