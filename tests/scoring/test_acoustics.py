"""Bands by hand: which clip falls into which, and when a kind of slice divides nothing."""

from __future__ import annotations

import pandas as pd
import pytest

from tenuto.scoring import acoustics


def facts(**columns: list[object]) -> pd.DataFrame:
    return pd.DataFrame(columns)


@pytest.mark.parametrize(
    ("kind", "fact", "value", "band"),
    [
        ("noise", "snr_db", 0.0, "under 10 dB"),
        ("noise", "snr_db", 9.99, "under 10 dB"),
        ("noise", "snr_db", 10.0, "10-20 dB"),
        ("noise", "snr_db", 29.0, "20-30 dB"),
        ("noise", "snr_db", 100.0, "over 30 dB"),
        ("duration", "duration_seconds", 0.2, "under 0.5 s"),
        ("duration", "duration_seconds", 0.5, "0.5-1 s"),
        ("duration", "duration_seconds", 2.0, "1-3 s"),
        ("duration", "duration_seconds", 3.0, "3-10 s"),
        ("duration", "duration_seconds", 10.0, "over 10 s"),
        ("rate", "sample_rate_hz", 8_000, "8 kHz"),
        ("rate", "sample_rate_hz", 11_025, "11.025 kHz"),
        ("rate", "sample_rate_hz", 44_100, "44.1 kHz"),
        ("codec", "codec", "FLAC/PCM_16", "FLAC, 16 bit"),
        ("codec", "codec", "WAV/ULAW", "WAV, mu-law"),
        ("codec", "codec", "MP3/MPEG_LAYER_III", "MP3"),
        ("codec", "codec", "OGG/OPUS", "Ogg Opus"),
        ("codec", "codec", "VOC/SOMETHING_NEW", "VOC"),
        ("level", "level_dbfs", -120.0, "under -40 dBFS"),
        ("level", "level_dbfs", -40.0, "-40 to -30 dBFS"),
        ("level", "level_dbfs", -25.0, "-30 to -20 dBFS"),
        ("level", "level_dbfs", -3.0, "over -20 dBFS"),
    ],
)
def test_a_value_falls_into_its_band(kind: str, fact: str, value: object, band: str) -> None:
    assert acoustics.bands(facts(**{fact: [value]}))[f"slice_{kind}"].tolist() == [band]


def test_a_clip_without_the_fact_is_in_no_band() -> None:
    found = acoustics.bands(facts(snr_db=[5.0, None], codec=[None, "WAV/PCM_16"], sample_rate_hz=[None, 8000.0]))
    assert found["slice_noise"].isna().tolist() == [False, True]
    assert found["slice_codec"].isna().tolist() == [True, False]
    assert found["slice_rate"].isna().tolist() == [True, False]
    assert found["slice_duration"].isna().all()  # no such column
    assert list(found) == ["slice_noise", "slice_duration", "slice_rate", "slice_codec", "slice_level"]


def test_no_clips_have_no_bands_but_columns() -> None:
    assert acoustics.bands(facts(snr_db=[])).shape == (0, 5)


def test_rows_keep_their_index() -> None:
    clips = facts(snr_db=[5.0, 15.0]).set_index(pd.Index([7, 3]))
    assert acoustics.bands(clips).loc[3, "slice_noise"] == "10-20 dB"


def test_one_band_over_all_clips_divides_nothing() -> None:
    rows = acoustics.bands(facts(snr_db=[5.0, 15.0], sample_rate_hz=[8000, 8000], codec=[None, "WAV/PCM_16"]))
    assert acoustics.kinds(rows) == ["noise"]
