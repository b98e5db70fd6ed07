"""Expectations about single recordings: most rules are for one column, and most clips must keep them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar

import pandas as pd
from pydantic import Field

from tenuto.labels import parts_of
from tenuto.validation.base import (
    Expectation,
    Outcome,
    Rows,
    TableExpectation,
    Tables,
    at_most_clips,
    count,
    limit,
    percent,
    sentence_list,
)

Share = Annotated[float, Field(ge=0, lt=1)]

KEPT = "nothing: the clips stay in; take them out of the source if they are not typical of what the model will hear"


class RowExpectation(Expectation):
    """A rule that at most `at_most_share` of the clips may break."""

    fault: ClassVar[str]
    action = KEPT
    at_most_share: Share = 0.0

    @abstractmethod
    def rows(self) -> Rows:
        """The rule that each clip must keep."""

    def wanted(self) -> str:
        return f"{limit(self.at_most_share)} of the clips {self.told()}"

    def told(self) -> str:
        """What is said of the clips that break the rule: 'are clipped'."""
        return self.fault

    def outcome(self, success: bool, broken: int, clips: tuple[str, ...], total: int) -> Outcome:
        """The finding, given how many of `total` clips broke the rule and which ones those are."""
        share = broken / total if total else 0.0
        figures = (
            f"{broken:,} of {count(total, 'clip')} ({percent(share)})" if broken else f"none of {count(total, 'clip')}"
        )
        summary = f"{figures} {self.told()}" + (f"; {limit(self.at_most_share)} wanted" if broken else "")
        return Outcome(success, summary, at_most_clips(clips), observed={"clips": broken, "share": share})


class UniqueClips(RowExpectation):
    """No clip occurs twice."""

    action = "none: the manifest is damaged; run `tenuto data add` again"
    fault = "share their identity with another one"

    def rows(self) -> Rows:
        return Rows("clip_id", "unique")


class KnownLabels(TableExpectation):
    """Every clip has a label, and when they are listed, one of these."""

    labels: tuple[str, ...] = ()
    action = "clips with an unexpected label make a class of their own; correct the label in the source"

    def wanted(self) -> str:
        return "every clip has one of the labels that are listed" if self.labels else "every clip has a label"

    def check(self, tables: Tables) -> Outcome:
        labels = tables.clips["label"]
        unknown = labels.isna()
        if self.labels:
            unknown |= ~labels.fillna("").map(lambda label: set(self.labels).issuperset(parts_of(label, tables.kind)))
        counts = labels[unknown].fillna("no label").value_counts()
        total = count(len(labels), "clip")
        summary = f"none of {total} are without a known label"
        if unknown.any():
            named = sentence_list(f"'{label}' {clips:,}" for label, clips in counts.items())
            summary = f"{unknown.sum():,} of {total} are without a known label: {named}"
        return Outcome(
            not unknown.any(),
            summary,
            at_most_clips(tables.clips.loc[unknown, "clip_id"]),
            tuple(f"label={label}" for label in counts.index),
            {"clips": int(unknown.sum())},
        )


class Duration(RowExpectation):
    """Clips are about as long as the model expects."""

    at_least_seconds: float = Field(default=0.1, ge=0)
    at_most_seconds: float = Field(default=10.0, gt=0)
    at_most_share: Share = 0.05
    action = (
        "short clips are padded, and longer ones than finetune.max_clip_seconds cut around their centre (by default "
        "10 s, and with model.window_seconds none)"
    )

    def rows(self) -> Rows:
        return Rows("duration_seconds", "between", self.at_least_seconds, self.at_most_seconds)

    def told(self) -> str:
        return f"last less than {self.at_least_seconds:g} s or more than {self.at_most_seconds:g} s"


class Level(RowExpectation):
    """Clips are neither very quiet nor very loud (RMS)."""

    at_least_dbfs: float = Field(default=-50.0, le=0)
    at_most_dbfs: float = Field(default=0.0, le=0)
    at_most_share: Share = 0.05

    def rows(self) -> Rows:
        return Rows("level_dbfs", "between", self.at_least_dbfs, self.at_most_dbfs)

    def told(self) -> str:
        return f"are quieter than {self.at_least_dbfs:g} dBFS or louder than {self.at_most_dbfs:g} dBFS"


class Noise(RowExpectation):
    """Clips stand out from their background noise (an estimate)."""

    at_least_snr_db: float = 5.0
    at_most_share: Share = 0.1

    def rows(self) -> Rows:
        return Rows("snr_db", "between", self.at_least_snr_db)

    def told(self) -> str:
        return f"are less than {self.at_least_snr_db:g} dB above their noise"


class Clipping(RowExpectation):
    """Few samples of a clip are cut off at full scale."""

    at_most_fraction: float = Field(default=0.01, ge=0, le=1)
    at_most_share: Share = 0.05

    def rows(self) -> Rows:
        return Rows("clipped_fraction", "between", None, self.at_most_fraction)

    def told(self) -> str:
        return f"are clipped (more than {percent(self.at_most_fraction)} of their samples)"


class DcOffset(RowExpectation):
    """Clips swing around zero."""

    at_most_offset: float = Field(default=0.02, ge=0, le=1)
    at_most_share: Share = 0.05
    action = "the offset is taken out before training and prediction"

    def rows(self) -> Rows:
        return Rows("dc_offset", "between", -self.at_most_offset, self.at_most_offset)

    def told(self) -> str:
        return f"have a DC offset of more than {self.at_most_offset:g} of full scale"


class DeadChannel(RowExpectation):
    """All channels carry sound."""

    fault = "have a dead channel"
    action = "the dead channel is left out, and the others are averaged"
    at_most_share: Share = 0.05

    def rows(self) -> Rows:
        return Rows("has_dead_channel", "in set", values=(False,))


class FakeBandwidth(RowExpectation):
    """The sample rate is not higher than what was recorded."""

    fault = "have an empty upper band (recorded at a lower rate than the file claims)"
    at_most_share: Share = 0.2

    def rows(self) -> Rows:
        return Rows("is_fake_bandwidth", "in set", values=(False,))


class Truncated(RowExpectation):
    """Files hold as much sound as their headers claim."""

    fault = "are truncated: the file ends before the sound that its header announces"
    at_most_share: Share = 0.05

    def rows(self) -> Rows:
        return Rows("is_truncated", "in set", values=(False,))


class SampleRates(TableExpectation):
    """Clips come at few different sample rates, and not at a rate that tells the label."""

    at_most: int = Field(default=1, ge=1)
    action = "clips are resampled to the backbone's rate; the model may still hear which ones had a narrower band"

    def wanted(self) -> str:
        return f"clips have at most {count(self.at_most, 'sample rate')}"

    def check(self, tables: Tables) -> Outcome:
        rates = tables.clips["sample_rate_hz"].value_counts()
        listed = sentence_list(f"{rate:,} Hz ({count(clips, 'clip')})" for rate, clips in rates.items())
        rarer = rates.index[self.at_most :]
        odd = tables.clips.loc[tables.clips["sample_rate_hz"].isin(rarer), "clip_id"]
        return Outcome(
            len(rates) <= self.at_most,
            f"{count(len(rates), 'sample rate')}: {listed}; at most {self.at_most} wanted",
            at_most_clips(odd),
            tuple(f"sample_rate_hz={rate}" for rate in rarer),
            {"sample_rates": {str(rate): int(clips) for rate, clips in rates.items()}},
        )


class QuarantinedRecordings(TableExpectation):
    """Few recordings of the source could not be used."""

    at_most_share: Share = 0.0
    action = "they were not taken in, and where the same clip is in the dataset already it stays; the report lists each"

    def wanted(self) -> str:
        return f"{limit(self.at_most_share)} of the recordings are quarantined"

    def check(self, tables: Tables) -> Outcome:
        reasons: pd.Series = tables.quarantine["reason"].value_counts()
        left_out, total = len(tables.quarantine), len(tables.quarantine) + len(tables.clips)
        share = left_out / total if total else 0.0
        observed = {"recordings": left_out, "share": share, "reasons": {str(r): int(n) for r, n in reasons.items()}}
        if not left_out:
            return Outcome(True, f"none of {count(total, 'recording')} is quarantined", observed=observed)
        by_reason = sentence_list(f"{reason} {number:,}" for reason, number in reasons.items())
        figures = f"{left_out:,} of {count(total, 'recording')} ({percent(share)})"
        summary = f"{figures} quarantined: {by_reason}; {limit(self.at_most_share)} wanted"
        return Outcome(
            share <= self.at_most_share, summary, (), tuple(f"reason={reason}" for reason in reasons.index), observed
        )
