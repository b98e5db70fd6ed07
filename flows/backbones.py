"""What `tenuto backbones` runs: the facts of the present dataset, and how fast backbones are on this machine.

Plain functions and no Prefect flow: nothing is trained and nothing registered.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path

from tenuto.errors import BackboneError
from tenuto.learning import catalogue
from tenuto.learning.catalogue import recommendation
from tenuto.learning.catalogue.recommendation import Facts
from tenuto.records import Record
from tenuto.settings import ModelSettings, Params
from tenuto.workspace import Workspace

SECONDS = 1.0
"""Of sound in a timed clip."""

_CLIPS = 20


class Speed(Record):
    """How fast one backbone is on one machine."""

    p50_ms: float
    revision: str
    machine: str


class Measured(Record):
    """What one measurement came to."""

    speeds: dict[str, Speed]
    failed: dict[str, str]


def dataset_facts(workspace: Workspace, params: Params) -> Facts:
    """Of the clips in the workspace's data folder; DatasetError when there are none."""
    from tenuto.dataset import manifest

    return recommendation.facts(manifest.read(workspace.manifest), params.data.labels)


def speeds(workspace: Workspace) -> dict[str, Speed]:
    """What was measured on this machine, by backbone; none of another machine's, none when the file is damaged."""
    try:
        stored = json.loads(workspace.speeds.read_text(encoding="utf-8"))
        found = {str(name): Speed.model_validate(speed) for name, speed in stored.items()}
    except (OSError, ValueError, AttributeError):
        return {}
    return {name: speed for name, speed in found.items() if speed.machine == machine()}


def measure(
    workspace: Workspace, names: Sequence[str], on_progress: Callable[[int, int], None] | None = None
) -> Measured:
    """Times each backbone on a second of noise, one clip at a time on one thread, and keeps it in the workspace."""
    found, failed = {}, {}
    for done, name in enumerate(names):
        if on_progress:
            on_progress(done, len(names))
        try:
            found[name] = _timed(name, workspace.root)
        except BackboneError as error:
            failed[name] = str(error)
    kept = {name: speed.model_dump() for name, speed in {**speeds(workspace), **found}.items()}
    workspace.state.mkdir(exist_ok=True)
    workspace.speeds.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return Measured(speeds=found, failed=failed)


def machine() -> str:
    """What tells one machine's figures from another's: host, processor and cores."""
    return f"{platform.node()}, {platform.machine()}, {os.cpu_count()} cores"


def _timed(name: str, root: Path) -> Speed:
    import numpy as np
    import torch

    from tenuto.learning import backbones
    from tenuto.learning.predictor import Predictor
    from tenuto.learning.preprocessing import Preprocessing
    from tenuto.scoring import latency

    entry = catalogue.entry(name)
    backbone = backbones.resolve(name, root=root).shortened(SECONDS)
    build = backbone.pretrained if backbone.is_pretrained else backbone.from_scratch
    tailoring = ModelSettings() if entry is None or entry.has_classifier else ModelSettings(pool="mean")
    preprocessing = Preprocessing.of(backbone.feature_extractor, backbone.config, SECONDS)
    predictor = Predictor(build(("a", "b"), seed=0, tailoring=tailoring), preprocessing)
    noise = np.random.default_rng(0).standard_normal((_CLIPS, round(SECONDS * predictor.sample_rate_hz)))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        figures = latency.measure(predictor, list(0.1 * noise.astype(np.float32)))
    finally:
        torch.set_num_threads(threads)
    return Speed(p50_ms=figures["p50_ms"] / SECONDS, revision=backbone.revision, machine=machine())
