"""Real servers on loopback, and a workspace that has been retrained once, made once for all tests that need them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from flows import servers
from tenuto.exporting import making
from tenuto.serving.hearing import bundle as bundles
from tenuto.serving.hearing.bundle import Bundle
from tenuto.sound import audio
from tenuto.workspace import Workspace
from tests import chirps
from tests.bundles import write_tones
from tests.flows.shell import QUICK, Shell
from tests.recordings import speechlike

EXPORT = making.export
BIRDS = ("ann", "ben", "cat", "dan", "eve", "fay", "gus")


@pytest.fixture(scope="session", autouse=True)
def _exported_quickly() -> Iterator[None]:
    """A bundle of a few nodes in place of the export, which takes many seconds; `test_export` has the real one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making, "export", export_tones)
        yield


@pytest.fixture
def exported_really(monkeypatch: pytest.MonkeyPatch) -> None:
    """The export as it is, for a test that asks what a version answers."""
    monkeypatch.setattr(making, "export", EXPORT)


def export_tones(checkpoint: Path, clips: Path, data: Path, folder: Path, *, threads: int = 1) -> Bundle:
    """Stands in for `making.export`: the bundle answers 'high' and 'low', whatever the checkpoint's labels."""
    if folder.is_dir():
        return bundles.read(folder)
    made = write_tones(folder)
    figures = {"p50_ms": 0.2, "p95_ms": 0.3, "real_time_factor": 0.0004, "clips": 30.0, "size_mb": 0.002}
    made = made.model_copy(update={"artefacts": (made.artefacts[0].model_copy(update={"figures": figures}),)})
    bundles.write(made, folder)
    return made


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, servers.Servers]]:
    """A workspace whose Prefect and MLflow servers run."""
    workspace = Workspace(tmp_path_factory.mktemp("live"))
    workspace.params.write_text("name: bells\n")
    try:
        yield workspace, servers.up(workspace)
    finally:
        servers.down(workspace)


@pytest.fixture(scope="session")
def shell(live: tuple[Workspace, servers.Servers]) -> Shell:
    prefect = live[1].prefect
    assert prefect is not None
    return Shell(prefect.address)


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings of three classes by seven speakers, as `label_speaker_index.wav`."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(1)
    for label in chirps.SLOPES:
        for speaker in BIRDS:
            for index in range(2):
                # the murmur tells two recordings of one chirp apart, or they would be near-duplicates
                murmur = speechlike(int(rng.integers(1 << 30)), seconds=0.8)
                wave = chirps.chirp(label, rng, seconds=0.8) + 0.5 * murmur
                (folder / f"{label}_{speaker}_{index}.wav").write_bytes(audio.encode_wav(wave, chirps.RATE_HZ))
    return folder


@pytest.fixture(scope="session")
def retrained(shell: Shell, recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose version 1 is @champion. It is shared: look, and change nothing.

    The registry names absolute paths, so a copy of the folder would not be a second workspace.
    """
    parent = tmp_path_factory.mktemp("retrained")
    shell.json(parent, "init", "chirps")
    root = parent / "chirps"
    shell.json(root, "data", "add", str(recordings), "--pattern", "{label}_{speaker}_{index}.wav")
    policy = "rules:\n  - {name: good enough, metric: accuracy, at_least: 0.05, severity: reject}\n"
    (root / "mlflow" / "promotion.yaml").write_text(policy)
    assert shell.json(root, "retrain", *QUICK)["verdict"] == "promote"
    return root
