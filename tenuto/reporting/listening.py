"""Which test clips are worth a listen: where two models disagree, and where both contradict the label.

The opponent is the champion, or the from-scratch baseline when there is no champion yet. Clips that the candidate
lost come first: they are what a promotion would cost. Clips that both models hear as the same other class come last:
often it is the label that is wrong.

With several labels a clip the two models hardly ever agree on everything, so there the clips are the candidate's misses
and false alarms, label by label, the labels with the most first.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from tenuto import labels
from tenuto.errors import ClipError
from tenuto.records import GROUP_PREFIX, Evaluation
from tenuto.reporting import sounds
from tenuto.reporting.formats import counted

logger = logging.getLogger(__name__)

MOST_PER_KIND = {"lost": 12, "won": 8, "both wrong": 6, "label in doubt": 6}
MOST_LABELS, MOST_PER_LABEL = 8, 3
"""With several labels a clip: of so many labels, so many misses and so many false alarms each."""

MOST_SOUND_BYTES = 2_000_000
"""What the players of one page may weigh together."""


@dataclass(frozen=True)
class Heard:
    """One clip, what its label says and what the two models answered, each with its probability.

    With several labels a clip, the probabilities and what is right are those of the label that the clip is here for.
    """

    clip_id: str
    kind: str  # a key of Listening.totals
    label: str
    candidate: str
    candidate_probability: float
    opponent: str
    opponent_probability: float
    is_right: bool
    is_opponent_right: bool
    source: str
    groups: list[str]
    sound: sounds.Sound | None = None


@dataclass(frozen=True)
class Listening:
    """The clips to hear, worst first, and how many there are of each kind in all."""

    opponent: str  # champion or baseline
    totals: dict[str, int]
    clips: list[Heard]
    without_player: int
    is_by_label: bool = False  # with several labels a clip

    @property
    def by_kind(self) -> list[tuple[str, list[Heard]]]:
        """The clips of each kind that has any."""
        kinds = [(kind, [one for one in self.clips if one.kind == kind]) for kind in self.totals]
        return [(kind, clips) for kind, clips in kinds if clips]

    @property
    def invitation(self) -> str:
        """What there is to hear, in a few words; empty when there is nothing."""
        if self.is_by_label:
            mistakes = counted(sum(self.totals.values()), "miss or false alarm", "misses and false alarms")
            return f"Listen to {len(self.clips)} of {mistakes}" if self.clips else ""
        in_doubt = sum(one.kind == "label in doubt" for one in self.clips)
        here = len(self.clips) - in_doubt
        disagreements = sum(n for kind, n in self.totals.items() if kind != "label in doubt")
        if here:
            share = f"{here} of the {disagreements:,} clips" if here < disagreements else counted(here, "clip")
            return f"Listen to {share} on which candidate and {self.opponent} disagree"
        return f"Listen to {counted(in_doubt, 'clip')} whose label both models contradict" if in_doubt else ""


def worth_hearing(evaluation: Evaluation | None, clips: pd.DataFrame | None, data: Path | None) -> Listening | None:
    """The clips to hear; None when nothing was evaluated or there is no second model."""
    if evaluation is None or not evaluation.probabilities_path.is_file():
        return None
    answers = pd.read_parquet(evaluation.probabilities_path)
    opponent = next((m for m in ("champion", "baseline") if (answers["model"] == m).any()), None)
    if opponent is None or not (answers["model"] == "candidate").any():
        return None
    if evaluation.labels_per_clip == "many":
        cases = _by_label(answers, opponent, evaluation.labels)
        totals = {kind: len(rows) for kind, rows in cases.items()}
        chosen = [row for rows in cases.values() for _, row in rows.head(MOST_PER_LABEL).iterrows()]
    else:
        pairs = _pairs(answers, opponent)
        totals = {kind: int((pairs["kind"] == kind).sum()) for kind in MOST_PER_KIND}
        chosen = [row for kind, most in MOST_PER_KIND.items() for row in _foremost(pairs, kind, most)]
    heard = _with_sound([_heard(row, clips) for row in chosen], clips, data)
    without = sum(one.sound is None for one in heard)
    return Listening(opponent, totals, heard, without, evaluation.labels_per_clip == "many")


def _by_label(answers: pd.DataFrame, opponent: str, names: Sequence[str]) -> dict[str, pd.DataFrame]:
    """The candidate's misses and false alarms per label, the plainest first; labels with the most mistakes first."""
    candidate, other = (answers[answers["model"] == m].set_index("clip_id") for m in ("candidate", opponent))
    both = candidate.join(other[["predicted"]].add_suffix("_opponent"), how="inner")
    other = other.loc[both.index]
    truth, said, theirs = (
        pd.DataFrame(labels.matrix(both[column].tolist(), names), both.index, list(names))
        for column in ("label", "predicted", "predicted_opponent")
    )
    told = both.assign(
        **{column: both[column].map(_in_words) for column in ("label", "predicted", "predicted_opponent")}
    )
    wrong = (truth != said).sum().sort_values(ascending=False, kind="stable").head(MOST_LABELS)
    cases: dict[str, pd.DataFrame] = {}
    for name in wrong[wrong > 0].index:
        cells = {
            "is_right": False,
            "is_right_opponent": theirs[name] == truth[name],
            "probability": both[f"p_{name}"],
            "probability_opponent": other[f"p_{name}"],
        }
        for kind, place, is_missed in (
            (f"{name}: missed", truth[name] & ~said[name], True),
            (f"{name}: false alarms", ~truth[name] & said[name], False),
        ):
            rows = told.assign(kind=kind, **cells)[place].sort_index()
            cases[kind] = rows.sort_values("probability", ascending=is_missed, kind="stable")
    return {kind: rows for kind, rows in cases.items() if len(rows)}


def _in_words(text: str) -> str:
    return ", ".join(labels.parts(text)) or "none"


def _pairs(answers: pd.DataFrame, opponent: str) -> pd.DataFrame:
    """One row per test clip: both answers, both probabilities, and the kind of the case."""
    theirs = _answers_of(answers, opponent)[["predicted", "probability", "is_right"]].add_suffix("_opponent")
    both = _answers_of(answers, "candidate").join(theirs, how="inner")
    both["kind"] = [
        _kind(label, candidate, other)
        for label, candidate, other in zip(both["label"], both["predicted"], both["predicted_opponent"], strict=True)
    ]
    return both


def _answers_of(answers: pd.DataFrame, model: str) -> pd.DataFrame:
    own = answers[answers["model"] == model].set_index("clip_id")
    probability = np.array([own[f"p_{said}"].iat[row] for row, said in enumerate(own["predicted"])], dtype=float)
    return own.assign(probability=probability, is_right=own["predicted"] == own["label"])


def _kind(label: str, candidate: str, opponent: str) -> str:
    if candidate == opponent:
        return "agreed" if candidate == label else "label in doubt"
    if opponent == label:
        return "lost"
    return "won" if candidate == label else "both wrong"


def _foremost(pairs: pd.DataFrame, kind: str, most: int) -> list[pd.Series]:
    """The `most` cases of a kind in which the models were surest, ties by clip id."""
    own = pairs[pairs["kind"] == kind].sort_index()
    surest = own.assign(sure=own["probability"] + own["probability_opponent"]).sort_values(
        "sure", ascending=False, kind="stable"
    )
    return [row for _, row in surest.head(most).iterrows()]


def _heard(row: pd.Series, clips: pd.DataFrame | None) -> Heard:
    groups = [f"{c.removeprefix(GROUP_PREFIX)} {row[c]}" for c in row.index if _is_group(c) and pd.notna(row[c])]
    return Heard(
        clip_id=str(row.name),
        kind=row["kind"],
        label=row["label"],
        candidate=row["predicted"],
        candidate_probability=float(row["probability"]),
        opponent=row["predicted_opponent"],
        opponent_probability=float(row["probability_opponent"]),
        is_right=bool(row["is_right"]),
        is_opponent_right=bool(row["is_right_opponent"]),
        source=_cell(clips, str(row.name), "source") or str(row.name),
        groups=groups,
    )


def _is_group(column: str) -> bool:
    return column.startswith(GROUP_PREFIX)


def _cell(clips: pd.DataFrame | None, clip_id: str, column: str) -> str | None:
    if clips is None or column not in clips:
        return None
    found = clips.loc[clips["clip_id"] == clip_id, column]
    return None if found.empty else str(found.iloc[0])


def _with_sound(heard: list[Heard], clips: pd.DataFrame | None, data: Path | None) -> list[Heard]:
    """The same clips with players, in their order, until MOST_SOUND_BYTES are used up."""
    if data is None:
        return heard
    left, result = MOST_SOUND_BYTES, []
    for one in heard:
        player = _player(data, _cell(clips, one.clip_id, "path"))
        if player is not None and len(player.address) <= left:
            left -= len(player.address)
            one = replace(one, sound=player)
        result.append(one)
    return result


def _player(data: Path, path: str | None) -> sounds.Sound | None:
    if path is None:
        return None
    try:
        return sounds.clip(data / path)
    except (ClipError, OSError) as error:
        logger.warning("no player in the report for %s: %s", path, error)
        return None
