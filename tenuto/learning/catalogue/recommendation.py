"""Which backbones of the catalogue suit a dataset, and why, in points that a person can add up.

The points are rules of thumb, each with its sentence; `tenuto compare` measures. A budget or a licence that a backbone
does not meet excludes it, and so does anything that keeps it from being a candidate; nothing is left out unsaid.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from tenuto import labels
from tenuto.learning.catalogue import ENTRIES, Domain, Entry, licences, preflight
from tenuto.records import Record

if TYPE_CHECKING:
    import pandas as pd

FEW_CLIPS, MANY_CLIPS = 500, 5_000
FEW_PER_CLASS = 20
SMALL, LARGE = 5_000_000, 50_000_000
"""Parameters."""

LONG_SECONDS = 20.0
"""Attention over longer sounds takes more time than everything else."""


OURS, CACHED, AWAY, OWN_CODE = "comes with Tenuto", "in the local cache", "wants the hub", "does not load"
"""Where a backbone is, for somebody on this machine."""


class Facts(Record):
    """What the ranking looks at in a dataset."""

    clips: int
    classes: int
    rarest: int = Field(description="clips of the class that has the fewest")
    median_seconds: float
    longest_seconds: float
    sample_rate_hz: int = Field(description="of most recordings, before anything is resampled")

    def __str__(self) -> str:
        return (
            f"{self.clips:,} clips of {self.classes} classes (the rarest has {self.rarest}), {self.median_seconds:.1f} "
            f"s in the median and {self.longest_seconds:.1f} s at most, at {_khz(self.sample_rate_hz)}"
        )


class Wishes(Record):
    """What somebody asks for; None where nothing is asked."""

    domain: Domain | None = None
    latency_ms: float | None = Field(default=None, gt=0, description="for a clip of median length, on one CPU thread")
    size_mb: float | None = Field(default=None, gt=0)
    commercial: bool = False


class Reason(Record):
    """A sentence, and what it weighs."""

    points: int
    words: str


class Ranked(Record):
    """One backbone's place: why, and what excludes it."""

    id: str
    points: int
    reasons: tuple[Reason, ...]
    excluded: tuple[str, ...] = Field(description="what keeps it from being used; empty when nothing does")
    where: str = Field(description="whether it can be loaded here: 'comes with Tenuto' ...")


def facts(recordings: pd.DataFrame, kind: labels.LabelType) -> Facts:
    """Of a manifest's table, which has at least one clip."""
    names = recordings["label"]
    counts = Counter(part for name in names for part in (labels.parts(name) if kind == "many" else (name,)))
    return Facts(
        clips=len(recordings),
        classes=len(counts),
        rarest=min(counts.values(), default=0),
        median_seconds=float(recordings["duration_seconds"].median()),
        longest_seconds=float(recordings["duration_seconds"].max()),
        sample_rate_hz=int(recordings["sample_rate_hz"].mode().iloc[0]),
    )


def assumption(wishes: Wishes) -> str | None:
    """What the ranking takes for granted where nobody said; None when nothing."""
    if wishes.domain is not None:
        return None
    return (
        "no --domain was given (speech, environmental, music, bio): the ranking does not know what the sounds are, and "
        "what a backbone was trained on counts for nothing"
    )


def where(entry: Entry) -> str:
    """Whether a backbone can be loaded on this machine, in words; does not touch the network."""
    if entry.origin == "hub":
        return CACHED if preflight.cached(entry.id, "config.json", None) else AWAY
    return OWN_CODE if entry.origin == "own code" else OURS


def rank(
    facts: Facts, wishes: Wishes, latency_ms: Mapping[str, float], entries: Iterable[Entry] = ENTRIES
) -> tuple[Ranked, ...]:
    """All `entries`, the best first: those that can be used, then by points, then the smaller one.

    `latency_ms` is by id, per second of sound, of those that were measured on this machine.
    """
    found = [(_ranked(entry, facts, wishes, latency_ms.get(entry.id)), entry.parameters) for entry in entries]
    found.sort(key=lambda item: (bool(item[0].excluded), -item[0].points, item[1]))
    return tuple(ranked for ranked, _ in found)


def _ranked(entry: Entry, facts: Facts, wishes: Wishes, latency_ms: float | None) -> Ranked:
    clip_ms = None if latency_ms is None else _clip_ms(entry, facts, latency_ms)
    reasons = (
        *_of_domain(entry, wishes),
        *_of_length(entry, facts),
        *_of_rate(entry, facts, wishes),
        *_of_clips(entry, facts),
        *_of_latency(wishes, clip_ms),
    )
    return Ranked(
        id=entry.id,
        points=sum(reason.points for reason in reasons),
        reasons=reasons,
        excluded=tuple(_exclusions(entry, wishes, clip_ms)),
        where=where(entry),
    )


def _exclusions(entry: Entry, wishes: Wishes, clip_ms: float | None) -> Iterator[str]:
    if not entry.is_pretrained:
        yield f"has no pre-trained weights: an opponent, finetune.baseline: {entry.id}"
    if entry.origin == "own code":
        yield entry.traps[0]
    if wishes.commercial and not entry.allows_commercial_use:
        yield licences.in_words(entry.licence)
    if wishes.size_mb is not None and entry.size_mb > wishes.size_mb:
        yield f"{entry.size_mb:.0f} MB, and {wishes.size_mb:g} MB are allowed"
    if wishes.latency_ms is not None and clip_ms is not None and clip_ms > wishes.latency_ms:
        yield f"{clip_ms:.0f} ms for a clip on this machine, and {wishes.latency_ms:g} ms are allowed"


def _of_domain(entry: Entry, wishes: Wishes) -> Iterator[Reason]:
    if wishes.domain is None or not entry.domains:
        return
    if wishes.domain == entry.domains[0]:
        yield Reason(
            points=3, words=f"trained on {wishes.domain} sounds" if wishes.domain != "speech" else "trained on speech"
        )
    elif wishes.domain in entry.domains:
        yield Reason(points=2, words=f"{wishes.domain} sounds are among what it was trained on")
    else:
        yield Reason(points=-3, words=f"trained on {' and '.join(entry.domains)}, not on {wishes.domain} sounds")


def _of_length(entry: Entry, facts: Facts) -> Iterator[Reason]:
    window = entry.window_seconds
    if window is not None and facts.longest_seconds > window:
        advice = f"set model.window_seconds: {window:g} or less"
        yield Reason(
            points=-1, words=f"hears {window:g} s at once and clips last up to {facts.longest_seconds:.0f} s: {advice}"
        )
    if window is None and entry.has_attention and facts.longest_seconds > LONG_SECONDS:
        yield Reason(
            points=-1, words=f"attention over clips of {facts.longest_seconds:.0f} s is slow: set model.window_seconds"
        )
    if window is not None and entry.is_padded:
        filled = min(window, facts.longest_seconds) if entry.is_shortened else window
        silent = 1 - facts.median_seconds / filled
        if silent > 0.5:
            points = -2 if silent >= 0.9 else -1
            up_to = f"fills a clip up to {filled:.2g} s" + (" (the longest clip)" if filled < window else "")
            yield Reason(points=points, words=f"{up_to}: {silent:.0%} of its work is on padding")


def _of_rate(entry: Entry, facts: Facts, wishes: Wishes) -> Iterator[Reason]:
    heard_hz = facts.sample_rate_hz / 2
    empty = 1 - heard_hz / entry.highest_hz
    if empty >= 0.4:
        yield Reason(
            points=-2 if empty >= 0.7 else -1,
            words=f"recordings at {_khz(facts.sample_rate_hz)} leave {empty:.0%} of the band empty that it listens to",
        )
    if wishes.domain not in (None, "speech") and heard_hz > 1.5 * entry.highest_hz:
        yield Reason(points=-1, words=f"is deaf to what lies above {_khz(entry.highest_hz)}")


def _of_clips(entry: Entry, facts: Facts) -> Iterator[Reason]:
    if not entry.is_pretrained:
        return
    clips = f"{facts.clips:,} clips"
    millions = f"{entry.parameters / 1e6:.0f} million parameters"
    if facts.clips < FEW_CLIPS or facts.rarest < FEW_PER_CLASS:
        few = clips if facts.clips < FEW_CLIPS else f"{facts.rarest} clips of the rarest class"
        if entry.parameters < SMALL:
            yield Reason(points=1, words=f"small enough to fine-tune on {few}")
        else:
            advice = "keep them frozen (finetune.epochs: 0, or unfreeze: head)"
            yield Reason(
                points=-2 if entry.parameters > LARGE else -1, words=f"{millions} learn {few} by heart: {advice}"
            )
    elif facts.clips >= MANY_CLIPS and entry.parameters > LARGE:
        yield Reason(points=1, words=f"{clips} are enough to fine-tune {millions}")


def _of_latency(wishes: Wishes, clip_ms: float | None) -> Iterator[Reason]:
    if wishes.latency_ms is None:
        return
    if clip_ms is None:
        yield Reason(points=-2, words="its latency was not measured here (`tenuto backbones measure`)")
    elif clip_ms <= wishes.latency_ms:
        yield Reason(points=1, words=f"{clip_ms:.0f} ms for a clip on this machine")


def _clip_ms(entry: Entry, facts: Facts, latency_ms: float) -> float:
    """Of a clip of median length; one that fills clips up takes a window's time for each window."""
    if entry.is_padded and entry.window_seconds:
        if entry.is_shortened:
            return latency_ms * max(min(facts.longest_seconds, entry.window_seconds), 1.0)
        return latency_ms * math.ceil(facts.median_seconds / entry.window_seconds)
    return latency_ms * max(facts.median_seconds, 1.0)


def _khz(rate_hz: float) -> str:
    return f"{rate_hz / 1000:g} kHz"
