"""Whether a graph answers as the checkpoint does in torch: on the test clips, and where models usually part ways.

An artefact is published when it gives at least 99.5 % of the test clips the checkpoint's label, its macro-F1 is within
0.005 of the checkpoint's, and every edge case is answered alike. Without test clips there is little to go by: nothing
in 8-bit integers is published then, and of the others what answers the edge cases as the checkpoint does, but for
rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tenuto import labels as texts
from tenuto.learning.framing import Framing, Wave
from tenuto.scoring import metrics
from tenuto.scoring.robustness import Model
from tenuto.serving.hearing.bundle import Parity

MIN_AGREEMENT = 0.995
MAX_MACRO_F1_CHANGE = 0.005
EDGE_TOLERANCE = 0.05
"""An edge case with another label is still alike when no probability differs by more: nobody knows silence's label."""
MOST_WITHOUT_CLIPS = 0.001
"""By how much a probability of an edge case may differ when there is no test clip."""

_NAMED = 3

Array = npt.NDArray[np.float64]
Waves = Callable[[], Iterable[Wave]]
"""The waves of the test clips, read anew at each call."""


@dataclass(frozen=True)
class Expected:
    """What the checkpoint answers: probabilities (clips, classes) of the test clips and of the edge cases.

    `truth` are the test clips' labels as text, as many as `waves` gives.
    """

    checkpoint: Model
    waves: Waves
    truth: Sequence[str]
    edges: Mapping[str, Wave]
    clip_answers: Array
    edge_answers: Array

    @classmethod
    def of(cls, checkpoint: Model, framing: Framing, waves: Waves, truth: Sequence[str]) -> Expected:
        """The answers of the checkpoint itself."""
        edges = edge_cases(framing)
        return cls(checkpoint, waves, truth, edges, checkpoint.predict(waves()), checkpoint.predict(edges.values()))


def measure(
    expected: Expected, predict: Callable[[Iterable[Wave]], Array], *, in_integers: bool = False
) -> tuple[Parity, str]:
    """How like an artefact's answers are, and why it is not published, as a clause; '' when it is."""
    found, edges = predict(expected.waves()), predict(expected.edges.values())
    decide = expected.checkpoint.decide
    before, after = decide(expected.clip_answers), decide(found)
    macro_f1 = _macro_f1(after, expected)
    clip_changes, edge_changes = _changes(found, expected.clip_answers), _changes(edges, expected.edge_answers)
    is_same = (before == after).all(axis=1) & np.isfinite(found).all(axis=1)
    differs = (decide(expected.edge_answers) != decide(edges)).any(axis=1) | ~np.isfinite(edges).all(axis=1)
    parity = Parity(
        clips=len(found),
        agreement=float(is_same.mean()) if len(found) else 1.0,
        macro_f1=macro_f1,
        macro_f1_change=macro_f1 - _macro_f1(before, expected),
        largest_difference=float(max(clip_changes.max(initial=0), edge_changes.max(initial=0))),
        edge_cases=len(edges),
    )
    is_unlike = differs & (edge_changes > EDGE_TOLERANCE)
    unlike = [name for name, its in zip(expected.edges, is_unlike, strict=True) if its]
    return parity, refusal(parity, unlike, in_integers=in_integers)


def refusal(parity: Parity, unlike: Sequence[str], *, in_integers: bool = False) -> str:
    """Why an artefact with this parity and these edge cases answered differently is not published; '' when it is."""
    if not parity.clips and in_integers:
        return "there are no test clips to hold it against"
    if not parity.clips and parity.largest_difference > MOST_WITHOUT_CLIPS:
        return (
            f"there are no test clips to hold it against, and without them a probability may differ by "
            f"{MOST_WITHOUT_CLIPS}, not by {parity.largest_difference:.3f}"
        )
    if parity.agreement < MIN_AGREEMENT:
        return (
            f"it gives {parity.agreement:.2%} of {parity.clips} test clips the checkpoint's label, at least "
            f"{MIN_AGREEMENT:.1%} wanted"
        )
    if abs(parity.macro_f1_change) > MAX_MACRO_F1_CHANGE:
        return f"its macro-F1 differs by {parity.macro_f1_change:+.4f}, at most {MAX_MACRO_F1_CHANGE} wanted"
    if unlike:
        named = "; ".join(unlike[:_NAMED]) + (f"; and {len(unlike) - _NAMED} more" if len(unlike) > _NAMED else "")
        return f"it answers {len(unlike)} of {parity.edge_cases} edge cases differently: {named}"
    return ""


def edge_cases(framing: Framing) -> dict[str, Wave]:
    """The shortest clips and the longest, silence, a click, full scale and a clipped tone, by name; (n,) float32."""
    rng = np.random.default_rng(0)
    shortest, longest = framing.shortest, framing.longest

    def noise(samples: int, amplitude: float) -> Wave:
        return (amplitude * rng.uniform(-1, 1, samples)).astype(np.float32)

    click = np.zeros(shortest, np.float32)
    click[shortest // 2] = 1
    turns = np.arange(shortest) * (2 * np.pi * 440 / framing.sample_rate_hz)
    return {
        "one sample of noise": noise(1, 0.1),
        "10 ms of noise": noise(framing.sample_rate_hz // 100, 0.1),
        "noise a sample below the shortest length": noise(shortest - 1, 0.1),
        "noise a sample above the shortest length": noise(shortest + 1, 0.1),
        "noise a sample below the longest length": noise(longest - 1, 0.1),
        "noise of the longest length": noise(longest, 0.1),
        "noise half as long again as the longest length": noise(longest + longest // 2, 0.1),
        "one sample of silence": np.zeros(1, np.float32),
        "short silence": np.zeros(shortest, np.float32),
        "long silence": np.zeros(longest, np.float32),
        "a click": click,
        "faint noise": noise(shortest, 1e-4),
        "noise at full scale": noise(shortest, 1.0),
        "a tone at full scale": np.sin(turns).astype(np.float32),
        "a clipped tone": np.clip(10 * np.sin(turns), -1, 1).astype(np.float32),
        "a constant at full scale": np.ones(shortest, np.float32),
    }


def _changes(found: Array, expected: Array) -> Array:
    """(clips,): by how much any probability of a clip differs; 1, the most there is, where one is no number."""
    return np.asarray(np.nan_to_num(np.abs(found - expected), nan=1.0).max(axis=1, initial=0))


def _macro_f1(decided: npt.NDArray[np.bool_], expected: Expected) -> float:
    """In [0, 1], over the classes that occur, whether or not the model knows them; 0 without clips."""
    kind, known = expected.checkpoint.kind, tuple(expected.checkpoint.labels)
    names = (*known, *sorted(set(texts.classes(expected.truth, kind)) - set(known)))
    said = np.pad(decided, ((0, 0), (0, len(names) - len(known))))
    truth = metrics.coded(expected.truth, names, kind)
    return metrics.macro_f1(truth, said.argmax(axis=1) if kind == "one" else said) if len(said) else 0.0
