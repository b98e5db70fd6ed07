"""Numbers and links as a reader wants them; the filters of the report's template."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

NOTHING = "–"


def figure(value: float | None, digits: int = 3) -> str:
    """A score such as 0.953, with a real minus sign; a dash when there is none."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{value:.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int = 3) -> str:
    """A difference such as +0.021 or −0.004."""
    return ("+" if value is not None and value > 0 else "") + figure(value, digits)


def small(value: float) -> str:
    """A probability with two digits that count: '0.31', '0.00096', 'under 0.0001'."""
    if 0 < value < 0.0001:
        return "under 0.0001"
    decimals = 2 if value >= 0.1 or value == 0 else 1 - math.floor(math.log10(value))
    return f"{value:.{decimals}f}"


def count(value: float | None) -> str:
    """A whole number with thousands apart."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:,.0f}"


def counted(value: float, noun: str, plural: str | None = None) -> str:
    """'1 clip', '1,340 clips'."""
    return f"{count(value)} {noun if value == 1 else plural or noun + 's'}"


def duration(seconds: float | None) -> str:
    """A time span: '0.84 s', '12.3 s', '4 min 20 s', '3 h 5 min'."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def moment(when: datetime) -> str:
    """'3 March 2026, 06:30 UTC'."""
    return f"{when.day} {when:%B %Y, %H:%M} {when.tzname() or ''}".strip()


def web_link(address: str | None) -> str | None:
    """The address if a browser may open it, None for any scheme but http and https."""
    return address if address and address.startswith(("http://", "https://")) else None


def share(value: float | None) -> str:
    """A position on a 0-1 scale as a CSS number, kept inside it."""
    return "0" if value is None or not math.isfinite(value) else f"{min(max(value, 0.0), 1.0):.4f}"


def named(group: str) -> str:
    """'label=seven' as 'class seven', 'speaker=ann' as 'speaker ann', anything else as it is."""
    kind, equals, name = group.partition("=")
    return f"{'class' if kind == 'label' else kind} {name}" if equals else group


def percent(share: float | None) -> str:
    """'4 %', '0.3 %', '120 %'."""
    if share is None or not math.isfinite(share):
        return NOTHING
    return f"{share * 100:.{0 if share >= 0.01 else 1}f} %"


FILTERS: dict[str, Callable[..., Any]] = {
    "figure": figure,
    "signed": signed,
    "small": small,
    "count": count,
    "counted": counted,
    "duration": duration,
    "moment": moment,
    "web_link": web_link,
    "share": share,
    "named": named,
    "percent": percent,
}
