from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tenuto.reporting import formats


@pytest.mark.parametrize(
    ("value", "expected"), [(0.9534, "0.953"), (-0.0042, "−0.004"), (1.0, "1.000"), (None, "–"), (float("nan"), "–")]
)
def test_figure(value: float | None, expected: str) -> None:
    assert formats.figure(value) == expected


@pytest.mark.parametrize(("value", "expected"), [(0.0214, "+0.021"), (-0.004, "−0.004"), (0.0, "0.000"), (None, "–")])
def test_signed(value: float | None, expected: str) -> None:
    assert formats.signed(value) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.84, "0.84 s"),
        (12.34, "12.3 s"),
        (59.96, "60.0 s"),
        (260, "4 min 20 s"),
        (3599.7, "1 h 0 min"),
        (11_100, "3 h 5 min"),
        (None, "–"),
    ],
)
def test_duration(seconds: float | None, expected: str) -> None:
    assert formats.duration(seconds) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.31, "0.31"), (0.05, "0.050"), (0.00096154, "0.00096"), (0.0, "0.00"), (1.0, "1.00"), (2e-9, "under 0.0001")],
)
def test_small(value: float, expected: str) -> None:
    assert formats.small(value) == expected


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0064, "0.6 %"), (0.05, "5 %"), (1.2, "120 %"), (None, "–"), (float("nan"), "–")]
)
def test_percent(share: float | None, expected: str) -> None:
    assert formats.percent(share) == expected


def test_counted() -> None:
    assert formats.counted(1, "clip") == "1 clip"
    assert formats.counted(1340, "clip") == "1,340 clips"
    assert formats.counted(0, "copy", "copies") == "0 copies"


def test_moment() -> None:
    assert formats.moment(datetime(2026, 3, 3, 6, 5, tzinfo=UTC)) == "3 March 2026, 06:05 UTC"
    assert formats.moment(datetime(2026, 3, 3, 6, 5)) == "3 March 2026, 06:05"


@pytest.mark.parametrize("address", ["javascript:alert(1)", "file:///etc/passwd", " http://x", "", None])
def test_only_web_addresses_become_links(address: str | None) -> None:
    assert formats.web_link(address) is None
    assert formats.web_link("https://mlflow.example/#/runs/1") == "https://mlflow.example/#/runs/1"


@pytest.mark.parametrize(
    ("value", "expected"), [(-1, "0.0000"), (0.25, "0.2500"), (7, "1.0000"), (None, "0"), (float("inf"), "0")]
)
def test_a_position_stays_on_its_scale(value: float | None, expected: str) -> None:
    assert formats.share(value) == expected


def test_named() -> None:
    assert formats.named("label=seven") == "class seven"
    assert formats.named("speaker=a=b") == "speaker a=b"
    assert formats.named("everything") == "everything"
