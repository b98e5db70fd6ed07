"""Recordings with several labels through the whole flow: added, divided, trained, judged, registered."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flows.shell import QUICK, Shell
from tests.sounds import write_sounds

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")

POLICY = """\
rules:
  - {name: good enough, metric: macro_f1, at_least: 0.2, severity: reject}
  - {name: ranks well, metric: mean_average_precision, at_least: 0.2, severity: reject}
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 72 recordings at six sites."""
    folder = tmp_path_factory.mktemp("source")
    named = write_sounds(folder, 72)
    lines = [f"{name},{label},s{number // 4 % 6}" for number, (name, label) in enumerate(named)]
    (folder / "clips.csv").write_text("\n".join(["path,label,site", *lines]) + "\n")
    return folder / "clips.csv"


@pytest.fixture(scope="module")
def root(shell: Shell, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which they were added."""
    parent = tmp_path_factory.mktemp("many")
    shell.json(parent, "init", "sounds")
    settings = "name: sounds\ndata: {labels: many}\ncalibrate: {thresholds: true}\n"
    (parent / "sounds" / "params.yaml").write_text(settings)
    (parent / "sounds" / "mlflow" / "promotion.yaml").write_text(POLICY)
    added = shell.json(parent / "sounds", "data", "add", str(source))
    assert (added["added"], added["quarantined"]) == (72, [])
    return parent / "sounds"


@pytest.mark.slow
def test_a_dataset_of_several_labels_is_judged_and_registered(shell: Shell, root: Path) -> None:
    found = shell.json(root, "retrain", *QUICK, "--set", "augment={pitch: 0, stretch: 0, room: 0}")
    assert found["verdict"] == "promote", found["reasons"]
    assert shell.json(root, "champion")["version"] == "1"
