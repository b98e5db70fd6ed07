"""A year of weekly retrains against one test set: how often a rule promotes falsely, how soon it finds a better model.

    python -m benchmarks.wear            # 1,000 years
    python -m benchmarks.wear 10000      # smaller Monte-Carlo errors

The year: 52 candidates, one a week, each compared with the champion (accuracy 0.90) on 1,000 test clips of 50 speakers.
The two differ in correctness on 6 % of the clips: 3 % each way when they are equal, 4.5 % and 1.5 % when the candidate
is better by 3 points. Speakers lean to one of the two models, which gives the difference a design effect of about 1.3.
- equal: every candidate equals the champion; a year is false when any is promoted.
- better: candidates equal the champion until a random week; from then on they are 3 points better.
- mostly worse: candidates are 1 point worse until that week; what discarding earns.
- one draw: equal again, but the champion's errors and the speakers' leanings are drawn once a year and not weekly, as
  when the very same clips decide all year: the p-values of the weeks depend on one another.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from benchmarks.command import machine
from tenuto.deciding import wear
from tenuto.deciding.policy import WearSettings
from tenuto.scoring import statistics
from tenuto.tracing import ledger

Array = NDArray[Any]
Rule = Callable[[Array], Array]
"""Which weeks promote: wins less losses (years, weeks, speakers) -> (years, weeks) bool."""

WEEKS, SPEAKERS, CLIPS_EACH, ALPHA = 52, 50, 20, 0.05
CLIPS = SPEAKERS * CLIPS_EACH
ACCURACY, DIFFERING, DESIGN_EFFECT = 0.90, 0.06, 1.3
BETTER, WORSE = 0.03, -0.01
SIZES = np.full(SPEAKERS, CLIPS_EACH)
YEARS_AT_ONCE = 500


def leads(
    rng: np.random.Generator, years: int, gain: float, *, design_effect: float = DESIGN_EFFECT, one_draw: bool = False
) -> Array:
    """Clips that only the candidate gets right less those that only the champion does: (years, weeks, speakers).

    `gain` is the candidate's true lead in accuracy. The share of a speaker's differing clips that favour the candidate
    is Beta distributed, spread so that the variance of the mean lead is `design_effect` times that of single clips.
    """
    favour = 0.5 + gain / (2 * DIFFERING)
    within_speaker = (design_effect - 1) / (CLIPS_EACH - 1)
    spread = within_speaker * (DIFFERING - gain**2) / (2 * DIFFERING) ** 2
    strength = favour * (1 - favour) / spread - 1
    shape = (years, 1 if one_draw else WEEKS, SPEAKERS)
    leaning = rng.beta(favour * strength, (1 - favour) * strength, size=shape)
    champion_wrong = rng.binomial(CLIPS_EACH, 1 - ACCURACY, size=shape)
    full = (years, WEEKS, SPEAKERS)
    won = rng.binomial(champion_wrong, leaning * DIFFERING / (1 - ACCURACY), size=full)
    lost = rng.binomial(CLIPS_EACH - champion_wrong, (1 - leaning) * DIFFERING / ACCURACY, size=full)
    return np.asarray(won - lost)


def p_values(sums: Array) -> Array:
    """The gate's p-values of a lead, from sums over each speaker's clips: (..., speakers) -> (...)."""
    return statistics.p_greater(sums, SIZES)


def clip_p_values(lead: Array) -> Array:
    """The p-values of somebody who takes clips for independent; every differing clip counts +1 or -1."""
    total = lead.sum(axis=-1)
    variance = DIFFERING * CLIPS - total**2 / CLIPS
    return np.asarray(stats.norm.sf(total / np.sqrt(variance)))


def e_values(lead: Array) -> Array:
    """Evidence against 'not better' as a bet on every speaker, valid when an equal candidate's leads are symmetric.

    exp(b S - b^2 V / 2) with S the sum of the speakers' leads and V that of their squares (de la Pena 1999, "A general
    class of exponential inequalities for martingales and ratios"); the bet b is the best for a lead of 3 points.
    """
    bet = BETTER / (DIFFERING * DESIGN_EFFECT)
    return np.asarray(np.exp(bet * lead.sum(axis=-1) - bet**2 * (lead**2).sum(axis=-1) / 2))


def by_account(p: Array) -> Array:
    """What the account itself decides: each week's level is `wear.account` of the year's ledger so far."""
    settings = WearSettings(alpha=ALPHA, decisions=WEEKS)
    promoted = np.zeros(p.shape, dtype=bool)
    for year, row in enumerate(p.tolist()):
        entries: list[ledger.Entry] = []
        for week, p_value in enumerate(row):
            level = wear.account(entries, settings, "1").level
            promoted[year, week] = p_value <= level
            use = ledger.Use.model_construct(
                holdout="1", level=level, p_value=p_value, is_promotion=bool(promoted[year, week])
            )
            entries.append(ledger.Entry.model_construct(use=use))
    return promoted


def by_spending(p: Array, discard_above: float) -> Array:
    """The account's rule with another tau, all years at once; 1 only carries on the alpha of what was promoted."""
    left = np.full(len(p), ALPHA)
    promoted = np.zeros(p.shape, dtype=bool)
    for week in range(WEEKS):
        charge = left / (1 + discard_above * (WEEKS - week - 1))
        promoted[:, week] = p[:, week] <= discard_above * charge
        left -= np.where(promoted[:, week] | (p[:, week] > discard_above), 0, charge)
    return promoted


RULES: Mapping[str, Rule] = {
    "bare >=": lambda lead: lead.sum(axis=-1) >= 0,
    "uncorrected 5 % test": lambda lead: p_values(lead) <= ALPHA,
    "Bonferroni, clusters ignored": lambda lead: clip_p_values(lead) <= ALPHA / WEEKS,
    "Bonferroni, cluster-robust": lambda lead: p_values(lead) <= ALPHA / WEEKS,
    "the account (tenuto.deciding.wear)": lambda lead: by_account(p_values(lead)),
    "  nothing discarded (tau 1)": lambda lead: by_spending(p_values(lead), 1.0),
    "  more discarded (tau 0.5)": lambda lead: by_spending(p_values(lead), 0.5),
    "e-values, symmetric leads": lambda lead: e_values(lead) >= WEEKS / ALPHA,
}


def appeared(before: Array, better: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Years in which the better candidates come at a random week, with four weeks left for them, and that week."""
    week = rng.integers(0, WEEKS - 3, size=len(before))
    from_then = np.arange(WEEKS) >= week[:, None]
    return np.where(from_then[..., None], better, before), week


def found(promoted: Array, week: Array) -> tuple[Array, Array]:
    """Whether the better candidate was promoted at its first appearance, and within four weeks; (years,) each."""
    rows = np.arange(len(promoted))
    four = np.stack([promoted[rows, week + later] for later in range(4)])
    return four[0], four.any(axis=0)


def table(rng: np.random.Generator, years: int, design_effect: float = DESIGN_EFFECT) -> dict[str, list[Array]]:
    """Per rule, for every year: false when equal, found at once and in four weeks; the same two where most are worse;
    false when the test set is drawn once."""
    columns: dict[str, list[list[Array]]] = {rule: [] for rule in RULES}
    for start in range(0, years, YEARS_AT_ONCE):
        some = min(YEARS_AT_ONCE, years - start)
        equal, better, worse = (leads(rng, some, gain, design_effect=design_effect) for gain in (0.0, BETTER, WORSE))
        after_equal, week = appeared(equal, better, rng)
        after_worse, week_worse = appeared(worse, better, rng)
        once = leads(rng, some, 0.0, design_effect=design_effect, one_draw=True)
        for name, rule in RULES.items():
            columns[name].append(
                [
                    rule(equal).any(axis=1),
                    *found(rule(after_equal), week),
                    *found(rule(after_worse), week_worse),
                    rule(once).any(axis=1),
                ]
            )
    return {name: [np.concatenate(parts) for parts in zip(*rows, strict=True)] for name, rows in columns.items()}


def margins(
    rng: np.random.Generator, years: int, weeks: int, gain: float, *, surer: float = 1.0
) -> tuple[Array, Array]:
    """Leads in hits and in the probability of the true class, summed by speaker: two (years, weeks, speakers).

    Both models have a latent margin on each clip, normal, positive when they are right; the candidate's is correlated
    so that the two differ on 6 % of the clips, and shifted by the gain and, for each speaker, by chance. A probability
    is the logistic function of twice the margin; `surer` multiplies it for a candidate that only claims more.
    """
    mean, shift = stats.norm.ppf(ACCURACY), stats.norm.ppf(ACCURACY + gain) - stats.norm.ppf(ACCURACY)
    shared, by_speaker = (0.9072 if gain == 0 else 0.8993), 0.18  # solved for 6 %; design effect of hits about 1.3
    rest = np.sqrt(1 - shared**2 - by_speaker**2)
    hits, sure = [], []
    for _ in range(years):
        size = (weeks, SPEAKERS, CLIPS_EACH)
        champion, own = (rng.standard_normal(size, dtype=np.float32) for _ in range(2))
        speaker = rng.standard_normal((weeks, SPEAKERS, 1), dtype=np.float32)
        candidate = mean + shift + shared * champion + rest * own + by_speaker * speaker
        champion += mean
        hits.append(((candidate > 0).astype(np.int8) - (champion > 0)).sum(axis=-1))
        sure.append((special.expit(2 * surer * candidate) - special.expit(2 * champion)).sum(axis=-1))
    return np.stack(hits), np.stack(sure)


def measured_design_effect(lead: Array) -> float:
    """The variance of the mean lead over what it would be if clips were independent."""
    # a clip differs with a chance of 6 %, and then counts 1
    return float(lead.sum(axis=-1).var() / (CLIPS * (DIFFERING - (lead.mean() / CLIPS_EACH) ** 2)))


def share(events: Array) -> str:
    """A share of the years in percent with its Monte-Carlo standard error."""
    at = float(events.mean())
    return f"{100 * at:5.1f} ± {100 * np.sqrt(at * (1 - at) / len(events)):.1f}"


def show(rows: Mapping[str, list[Array]], headings: tuple[str, ...]) -> None:
    print(f"{'share of years, %':32}" + "".join(f"{heading:>16}" for heading in headings))
    for name, columns in rows.items():
        print(f"{name:32}" + "".join(f"{share(column):>16}" for column in columns))


def main(years: int = 1_000) -> None:
    print(machine())
    started, rng = time.perf_counter(), np.random.default_rng(2026)
    some = min(years, YEARS_AT_ONCE)
    effects = [measured_design_effect(leads(rng, some, gain)) for gain in (0.0, BETTER)]
    print(f"{years:,} years of {WEEKS} weeks; design effect {effects[0]:.2f} when equal, {effects[1]:.2f} when better")
    headings = ("false, equal", "found at once", "in 4 weeks", "once, mostly <", "in 4 weeks", "false, one draw")
    show(table(rng, years), headings)
    print("\nA design effect of 1.5:")
    show(table(rng, years, design_effect=1.5), headings)
    print("\nHits against probabilities (latent margins), each at Bonferroni's level:")
    equal, better = margins(rng, years, WEEKS, 0.0), margins(rng, years, 4, BETTER)
    print(f"design effect of hits {measured_design_effect(equal[0]):.2f} when equal")
    surer = margins(rng, years, 1, 0.0, surer=1.5)
    rows = {
        name: [
            was(equal[kind]).any(axis=1),
            was(better[kind])[:, 0],
            was(better[kind]).any(axis=1),
            was(surer[kind])[:, 0],
        ]
        for kind, name in enumerate(("hits", "probability of the true class"))
    }
    show(rows, ("false, equal", "found at once", "in 4 weeks", "surer, week 1"))
    print("surer: no more often right, only more confident; promoting it is false, since the claim is accuracy.")
    print(f"\n{time.perf_counter() - started:.0f} s; {machine()}")


def was(sums: Array) -> Array:
    return p_values(sums) <= ALPHA / WEEKS


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
