"""Whether a training that was made again came to the same, and if not, what it was made from that differs.

Pure comparison of two descriptions, `Made`, of the training on record and of the one made again, so that every way of
differing can be shown by itself. What makes it again is `flows.reproduce`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import Field

from tenuto.errors import TenutoError
from tenuto.records import Record
from tenuto.tracing.lineage import Lineage

FIRST_PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "transformers", "soundfile", "soxr", "onnx", "pandas")
"""The packages that weights depend on most, listed whether they differ or not."""

OTHER_PROCESSOR = (
    "The processors differ. Their vector instructions add up in another order, so the last bits of weights differ "
    "though nothing was changed; compare on the same kind of processor for identical weights."
)
UNEXPLAINED = (
    "Every input on record is the same. What is not on record: a graphics card's kernels, or embeddings "
    "computed in several runs by a backbone whose last bits depend on the size of a batch."
)

Result = Literal["identical", "same metrics", "differs"]


class NotReproducibleError(TenutoError):
    """The version cannot be made again: its bytes, its inputs or its code are gone."""


class Made(Record):
    """One training, as far as it can be compared: what it was made from and what it came to."""

    lineage: Lineage
    params: dict[str, Any] = Field(description="every setting as it applied")
    settings: dict[str, str] = Field(description="sha256 by name of each other file that it was given")
    lock: dict[str, str] = Field(description="version of each installed package")
    backbone_revision: str
    files: dict[str, str] = Field(description="sha256 by name of each file of the checkpoint but its record")
    metrics: dict[str, float] = Field(description="of the candidate, on the test clips of the training on record")


class Input(Record):
    """One thing that the training was made from, on record and now; None for what is not known."""

    name: str
    recorded: str | None
    now: str | None
    same: bool | None = Field(
        description="None when it cannot be told, or does not matter because the code is the same"
    )


class Comparison(Record):
    """What a training that was made again came to, beside the one on record."""

    model: str
    version: str
    result: Result
    summary: str
    inputs: tuple[Input, ...]
    files: dict[str, bool] = Field(description="per file of the checkpoint: whether its bytes are the same")
    metrics: dict[str, tuple[float | None, float | None]] = Field(description="of the candidate: recorded, now")
    weight_difference: float | None = Field(description="largest absolute one; None when the shapes differ")
    probability_difference: float | None = Field(description="largest absolute one over all test clips and classes")
    clips: int = Field(description="test clips that both were scored on")
    note: str = ""
    kept: Path | None = Field(default=None, description="the scratch folder, when it was to be kept")

    @property
    def differing(self) -> tuple[str, ...]:
        """The names of the inputs that differ."""
        return tuple(row.name for row in self.inputs if row.same is False)


def compare(
    model: str,
    version: str,
    recorded: Made,
    now: Made,
    *,
    weight_difference: float | None,
    probability_difference: float | None,
    clips: int,
) -> Comparison:
    """Both trainings side by side: 'identical' takes the same bytes of weights and exactly the same metrics."""
    rows = tuple(inputs(recorded, now))
    names = sorted(recorded.files.keys() | now.files.keys())
    files = {name: recorded.files.get(name) == now.files.get(name) for name in names}
    same_metrics = recorded.metrics == now.metrics and bool(recorded.metrics)
    result: Result = "differs"
    if same_metrics:
        result = "identical" if all(files.values()) and files else "same metrics"
    differing = [row.name for row in rows if row.same is False]
    return Comparison(
        model=model,
        version=version,
        result=result,
        summary=_summary(result, weight_difference, differing),
        inputs=rows,
        files=files,
        metrics={
            name: (recorded.metrics.get(name), now.metrics.get(name))
            for name in sorted(recorded.metrics.keys() | now.metrics.keys())
        },
        weight_difference=weight_difference,
        probability_difference=probability_difference,
        clips=clips,
        note=_note(result, differing),
    )


def inputs(recorded: Made, now: Made) -> Iterator[Input]:
    """Every input on record and now: code, data, settings, backbone, machine, packages."""
    yield from _code(recorded.lineage, now.lineage)
    yield _input("dataset", recorded.lineage.dataset.md5, now.lineage.dataset.md5)
    yield from _parameters(recorded.params, now.params)
    for name in sorted(recorded.settings.keys() | now.settings.keys()):
        yield Input(
            name=name,
            recorded=recorded.settings.get(name),
            now=now.settings.get(name),
            same=recorded.settings.get(name) == now.settings.get(name),
        )
    yield _input("backbone revision", recorded.backbone_revision, now.backbone_revision)
    yield from _machine(recorded.lineage.environment, now.lineage.environment)
    yield from packages(recorded.lock, now.lock)


def packages(recorded: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Input]:
    """The packages that matter most, then every other one that differs, then how many are the same."""
    differing = [name for name in sorted(recorded.keys() | now.keys()) if recorded.get(name) != now.get(name)]
    for name in dict.fromkeys((*FIRST_PACKAGES, *differing)):
        one, other = recorded.get(name), now.get(name)
        if one or other:
            yield Input(name=name, recorded=one, now=other, same=one == other if recorded and now else None)
    rest = len(recorded.keys() & now.keys() - set(FIRST_PACKAGES) - set(differing))
    if rest:
        yield Input(name="other packages", recorded=f"{rest}", now=f"{rest}", same=True)


def weight_difference(one: Path, other: Path) -> float | None:
    """The largest absolute difference of two checkpoints' weights; None when they have other tensors or shapes."""
    from safetensors.torch import load_file

    first, second = ({path.name: load_file(path) for path in sorted(at.glob("*.safetensors"))} for at in (one, other))
    if _shapes(first) != _shapes(second):
        return None
    differences = [
        float((value.double() - second[file][name].double()).abs().max())
        for file, tensors in first.items()
        for name, value in tensors.items()
        if value.numel()
    ]
    return max(differences, default=0.0)


def probability_difference(recorded: pd.DataFrame, now: pd.DataFrame) -> tuple[float | None, int]:
    """The largest absolute difference of two tables (clip_id, `p_<label>` columns), and on how many common clips.

    A class that only one of them knows has the probability 0 in the other.
    """
    one, other = (table.set_index("clip_id").filter(regex="^p_") for table in (recorded, now))
    common = one.index.intersection(other.index)
    if common.empty:
        return None, 0
    columns = one.columns.union(other.columns)
    one, other = (table.loc[common].reindex(columns=columns, fill_value=0.0) for table in (one, other))
    return float((one - other).abs().to_numpy().max()), len(common)


def _shapes(checkpoint: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, str], tuple[int, ...]]:
    return {(file, name): tuple(t.shape) for file, tensors in checkpoint.items() for name, t in tensors.items()}


def _code(recorded: Lineage, now: Lineage) -> Iterator[Input]:
    is_same = recorded.source_sha256 == now.source_sha256
    same_commit = recorded.code.commit == now.code.commit and recorded.code.commit is not None
    # another commit with the same source is the same code
    yield Input(
        name="code commit",
        recorded=recorded.code.commit,
        now=now.code.commit,
        same=True if same_commit else (None if is_same else False),
    )
    yield Input(
        name="source code",
        recorded=recorded.source_sha256 + _dirty(recorded.code.dirty_files, is_same),
        now=now.source_sha256,
        same=is_same,
    )


def _dirty(files: Sequence[str], is_same: bool) -> str:
    """Which files kept the code from being rebuilt exactly; nothing when it was."""
    return "" if is_same or not files else f" with uncommitted changes in {', '.join(files)}"


def _parameters(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Input]:
    """Those that differ, and threads and seed in any case; where MLflow is does not matter."""
    one, other = ({name: v for name, v in _flat(params) if name != "tracking_uri"} for params in (recorded, now))
    always = ("backbone", "seed", "threads")
    differing = [name for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]
    for name in dict.fromkeys((*always, *differing)):
        yield _input(name, one.get(name), other.get(name))
    rest = len(one.keys() - set(always) - set(differing))
    if rest:
        yield Input(name="other parameters", recorded=f"{rest}", now=f"{rest}", same=True)


def _machine(recorded: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Input]:
    for name in ("python", "platform", "processor"):
        yield _input(name, recorded.get(name), now.get(name))


def _input(name: str, recorded: Any, now: Any) -> Input:
    one, other = (None if value is None else str(value) for value in (recorded, now))
    return Input(name=name, recorded=one, now=other, same=None if one is None or other is None else one == other)


def _summary(result: Result, difference: float | None, differing: Sequence[str]) -> str:
    if result == "identical":
        return "identical weights and metrics"
    because = f"inputs that differ: {', '.join(differing)}" if differing else "no input on record differs"
    if result == "same metrics":
        by = "in shape" if difference is None else f"by at most {difference:.2g}"
        return f"same metrics, weights differ {by}; {because}"
    return f"differs; {because}"


def _note(result: Result, differing: Sequence[str]) -> str:
    if result == "identical":
        return ""
    if "processor" in differing:
        return OTHER_PROCESSOR
    return "" if differing else UNEXPLAINED


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
