"""Labels of clips as text and as numbers.

With one label a clip, the manifest's `label` is the label. With many (`data.labels: many` in params.yaml) it holds all
of them, sorted and separated by a semicolon: 'dog;rain', and '' for a clip in which nothing of interest is heard.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SEPARATOR = ";"
LabelType = Literal["one", "many"]
UNKNOWN = "unknown"
"""What a clip is answered that is too unlike the training clips; no class may be called so."""

MULTI_LABEL = "multi_label_classification"
"""What transformers calls a model that gives a clip several labels, as `config.problem_type`."""


def parts(label: str) -> tuple[str, ...]:
    """The labels in 'dog;rain', sorted and each once; none in ''."""
    return tuple(sorted({part.strip() for part in label.split(SEPARATOR)} - {""}))


def parts_of(label: str, kind: LabelType) -> tuple[str, ...]:
    """The labels that a manifest's `label` stands for."""
    return (label,) if kind == "one" else parts(label)


def joined(names: Iterable[str]) -> str:
    """The text that stands for several labels: 'dog;rain'."""
    return SEPARATOR.join(sorted(set(names)))


def classes(labels: Iterable[str], kind: LabelType) -> tuple[str, ...]:
    """All classes that occur, sorted."""
    return tuple(sorted({name for label in set(labels) for name in parts_of(label, kind)}))


def matrix(
    labels: Sequence[str] | npt.NDArray[Any], names: Sequence[str], kind: LabelType = "many"
) -> npt.NDArray[np.bool_]:
    """(clips, classes): which of `names` each clip has. A label that is not among them is left out."""
    import numpy as np  # not needed by the command line, which imports the type

    places = {name: place for place, name in enumerate(names)}
    found = np.zeros((len(labels), len(names)), dtype=bool)
    for row, label in zip(found, labels, strict=True):
        for part in parts_of(str(label), kind):
            if part in places:
                row[places[part]] = True
    return found


def targets(labels: Sequence[str] | npt.NDArray[Any], names: Sequence[str], kind: LabelType) -> npt.NDArray[Any]:
    """What a model should say: class numbers (clips,) int64, or for "many" 0 and 1 (clips, classes) float32."""
    import numpy as np

    if kind == "many":
        return matrix(labels, names).astype(np.float32)
    places = {name: place for place, name in enumerate(names)}
    return np.array([places[label] for label in labels], dtype=np.int64)
