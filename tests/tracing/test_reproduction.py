"""Every way in which a training that was made again can differ, one at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from tenuto.records import CodeVersion, DatasetVersion
from tenuto.tracing import reproduction
from tenuto.tracing.lineage import Lineage
from tenuto.tracing.reproduction import Comparison, Made

MADE = Made(
    lineage=Lineage(
        dataset=DatasetVersion(md5="d41d8.dir", manifest_path=Path("m.parquet"), clips=7, quarantined=0),
        code=CodeVersion(commit="abc", branch="main", dirty_files=("flows/retrain.py",)),
        inputs="1234",
        source_sha256="5678",
        environment={"python": "3.11.7", "platform": "Linux", "processor": "Xeon, avx512f", "torch": "2.13.0"},
    ),
    params={"name": "bells", "seed": 0, "threads": 1, "backbone": "speech-embedding", "finetune": {"epochs": 4}},
    settings={"promotion.yaml": "aa", "expectations.yaml": "bb"},
    lock={"torch": "2.13.0", "numpy": "2.4.6", "rich": "14.0"},
    backbone_revision="1",
    files={"model.safetensors": "w", "config.json": "c"},
    metrics={"macro_f1": 0.75, "accuracy": 0.8},
)


def code(**changes: Any) -> dict[str, Any]:
    return {"lineage": MADE.lineage.model_copy(update=changes)}


def compare(weight_difference: float | None = 0.0, **changes: Any) -> Comparison:
    return reproduction.compare(
        "bells",
        "3",
        MADE,
        MADE.model_copy(update=changes),
        weight_difference=weight_difference,
        probability_difference=0.0,
        clips=6,
    )


def test_the_same_inputs_and_the_same_bytes_are_identical() -> None:
    found = compare()
    assert (found.result, found.summary, found.note) == ("identical", "identical weights and metrics", "")
    assert all(row.same for row in found.inputs)
    assert found.metrics["macro_f1"] == (0.75, 0.75)
    assert found.files == {"config.json": True, "model.safetensors": True}


@pytest.mark.parametrize(
    ("changes", "differing"),
    [
        (code(source_sha256="9"), ("source code",)),
        (code(source_sha256="9", code=CodeVersion(commit="def", branch=None)), ("code commit", "source code")),
        (code(source_sha256="9", code=CodeVersion(commit=None, branch=None)), ("code commit", "source code")),
        (code(dataset=MADE.lineage.dataset.model_copy(update={"md5": "e"})), ("dataset",)),
        ({"params": MADE.params | {"seed": 1}}, ("seed",)),
        ({"params": MADE.params | {"threads": 2}}, ("threads",)),
        ({"params": MADE.params | {"backbone": "facebook/wav2vec2-base"}}, ("backbone",)),
        ({"params": MADE.params | {"finetune": {"epochs": 5}}}, ("finetune.epochs",)),
        ({"settings": {"promotion.yaml": "cc", "expectations.yaml": "bb"}}, ("promotion.yaml",)),
        ({"settings": {**MADE.settings, "holdout.yaml": "dd"}}, ("holdout.yaml",)),
        ({"backbone_revision": "2"}, ("backbone revision",)),
        (code(environment=MADE.lineage.environment | {"python": "3.12.0"}), ("python",)),
        (code(environment=MADE.lineage.environment | {"processor": "EPYC, avx2"}), ("processor",)),
        ({"lock": MADE.lock | {"rich": "15.0", "torch": "2.14.0"}}, ("torch", "rich")),
        ({"lock": {"torch": "2.13.0", "numpy": "2.4.6"}}, ("rich",)),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_each_input_that_differs_is_named_and_no_other(changes: dict[str, Any], differing: tuple[str, ...]) -> None:
    found = compare(0.5, **changes, files=MADE.files | {"model.safetensors": "x"}, metrics={"macro_f1": 0.5})
    assert found.differing == differing
    assert (found.result, found.summary) == ("differs", f"differs; inputs that differ: {', '.join(differing)}")


@pytest.mark.parametrize(
    "changes",
    [
        code(code=CodeVersion(commit="def", branch=None)),
        code(code=CodeVersion(commit=None, branch=None)),
        {"params": MADE.params | {"tracking_uri": None}},
        {"lock": {}},
    ],
    ids=["same source elsewhere", "same source without git", "another store", "no lock on record"],
)
def test_what_does_not_matter_or_is_unknown_is_no_difference(changes: dict[str, Any]) -> None:
    assert compare(**changes).differing == ()
    assert compare(**changes).result == "identical"


def test_uncommitted_changes_are_named_where_they_kept_the_code_from_being_rebuilt() -> None:
    (row,) = (row for row in compare(**code(source_sha256="9")).inputs if row.name == "source code")
    assert row.recorded == "5678 with uncommitted changes in flows/retrain.py"
    (row,) = (row for row in compare().inputs if row.name == "source code")
    assert row.recorded == "5678"


def test_other_weights_with_the_same_metrics_are_told_from_other_metrics() -> None:
    found = compare(2.5e-7, files=MADE.files | {"model.safetensors": "x"})
    assert found.result == "same metrics"
    assert found.summary == "same metrics, weights differ by at most 2.5e-07; no input on record differs"
    assert found.note == reproduction.UNEXPLAINED
    assert compare(None, files={"model.safetensors": "x"}).summary.startswith("same metrics, weights differ in shape;")
    assert compare(0.0, metrics={"macro_f1": 0.75, "accuracy": 0.8000000000000002}).result == "differs"


def test_without_metrics_or_files_nothing_is_identical() -> None:
    nothing = MADE.model_copy(update={"metrics": {}, "files": {}})
    found = reproduction.compare(
        "bells", "3", nothing, nothing, weight_difference=0.0, probability_difference=None, clips=0
    )
    assert found.result == "differs"


def test_another_processor_is_an_honest_reason() -> None:
    changes = code(environment=MADE.lineage.environment | {"processor": "EPYC, avx2"})
    assert compare(1e-7, **changes, files={"model.safetensors": "x"}).note == reproduction.OTHER_PROCESSOR
    assert compare(**changes).note == ""  # identical all the same


def weights(folder: Path, **tensors: torch.Tensor) -> Path:
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_the_weight_difference_is_the_largest_over_all_tensors(tmp_path: Path) -> None:
    one = weights(tmp_path / "one", a=torch.tensor([1.0, 2.0]), b=torch.tensor([[3.0]]))
    other = weights(tmp_path / "other", a=torch.tensor([1.0, 2.5]), b=torch.tensor([[1.0]]))
    assert reproduction.weight_difference(one, other) == 2.0
    assert reproduction.weight_difference(one, one) == 0.0
    shorter = weights(tmp_path / "shorter", a=torch.tensor([1.0]), b=torch.tensor([[3.0]]))
    assert reproduction.weight_difference(one, shorter) is None
    assert reproduction.weight_difference(one, weights(tmp_path / "fewer", b=torch.tensor([[3.0]]))) is None


def test_probabilities_are_compared_clip_by_clip_in_any_order() -> None:
    one = pd.DataFrame({"clip_id": ["a", "b"], "p_low": [0.25, 0.5], "p_high": [0.75, 0.5]})
    other = pd.DataFrame({"clip_id": ["c", "b", "a"], "p_low": [0.0, 0.5, 0.5], "p_high": [1.0, 0.5, 0.5]})
    assert reproduction.probability_difference(one, other) == (0.25, 2)
    # a class that only a champion of the time knew
    assert reproduction.probability_difference(one.assign(p_old=[0.0, 0.0]), one) == (0.0, 2)
    assert reproduction.probability_difference(one, other.assign(clip_id=["x", "y", "z"])) == (None, 0)
