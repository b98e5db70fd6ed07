"""The folder that the export stage leaves and that a server needs: graphs, and what goes with them.

    serving.json       this module's `Bundle`
    model.onnx ...     the graphs: waves in, logits and embeddings out; feature extraction is inside
    novelty.npz        what tells clips unlike the training clips (`tenuto.serving.hearing.novelty`)
    reference.parquet  training and validation clips as the exported model heard them, for drift

A graph has the input `waves`, float32 (clips, samples), or (clips, windows, samples) with windows, made by
`Framing`; with masks also `lengths`, int64, of the same shape without the last dimension: samples that are clip. Its
outputs are `logits` (clips, classes) and `embeddings` (clips, dims), what the head takes in. All clips of a call have
equally many samples.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from tenuto.errors import BackboneError
from tenuto.labels import LabelType
from tenuto.learning.calibration import Calibration
from tenuto.learning.framing import Framing
from tenuto.records import Record

FOLDER_NAME = "serving"
"""What the folder is called beside the checkpoint in a logged model."""
FILE_NAME = "serving.json"
REFERENCE_NAME = "reference.parquet"

HEARD_ALONE = "tenuto.heard_alone"
"""Metadata of a graph in which what one clip is answered depends on the others of the call."""
WINDOWS_AVERAGED = "tenuto.windows_averaged"
"""Metadata of a graph whose answers are means over windows, so that a clip's can be heard in several calls."""

ArtefactName = Literal["fp32", "int8-dynamic", "int8-static"]


class Parity(Record):
    """How like an artefact's answers are to those of the checkpoint in torch, on the test clips and edge cases."""

    clips: int
    agreement: float = Field(description="share of clips with the same label, in [0, 1]")
    macro_f1: float = Field(description="on the test clips")
    macro_f1_change: float = Field(description="the artefact's less the checkpoint's")
    largest_difference: float = Field(description="of any probability")
    edge_cases: int = Field(
        default=0, description="very short, very long, silent and loud clips that were compared too"
    )


class Artefact(Record):
    """One graph of a bundle, and whether it may serve."""

    name: ArtefactName
    file: str = Field(description="in the bundle's folder; absent there when it is not published")
    size_mb: float
    is_published: bool
    reason: str = Field(default="", description="why it is not published, as a clause")
    parity: Parity | None = None
    figures: dict[str, float] = Field(
        default_factory=dict,
        description="p50_ms, p95_ms, real_time_factor, clips, size_mb on one thread, when measured",
    )


class Bundle(Record):
    """What serves one checkpoint."""

    version: Literal[1] = 1
    checkpoint: str = Field(description="the checkpoint's sha256")
    labels: tuple[str, ...]
    kind: LabelType
    framing: Framing
    calibration: Calibration
    dims: int = Field(description="numbers of an embedding")
    artefacts: tuple[Artefact, ...]
    best: ArtefactName = Field(description="the published artefact with the lowest median latency: what serves")

    @property
    def published(self) -> tuple[Artefact, ...]:
        return tuple(artefact for artefact in self.artefacts if artefact.is_published)

    def artefact(self, name: str | None = None) -> Artefact:
        """The published artefact of a name, the best by default; BackboneError when it is not published."""
        for artefact in self.published:
            if artefact.name == (name or self.best):
                return artefact
        known = ", ".join(artefact.name for artefact in self.published) or "none"
        raise BackboneError(f"The model has no published artefact {name or self.best!r}; published: {known}.")


class Exported(Record):
    """What the export stage came to: a bundle in a folder, or why there is none."""

    folder: Path | None = None
    bundle: Bundle | None = None
    reason: str = Field(default="", description="why there is no bundle, as a sentence")

    @property
    def figures(self) -> dict[str, float]:
        """Those of the artefact that serves; empty where there is none, or nothing was timed."""
        return self.bundle.artefact().figures if self.bundle else {}


def write(bundle: Bundle, folder: Path) -> None:
    """Write `serving.json`; last of all files, since a folder with it counts as whole."""
    values: dict[str, Any] = bundle.model_dump(mode="json", exclude={"framing", "calibration"})
    values |= {"framing": asdict(bundle.framing), "calibration": asdict(bundle.calibration)}
    fresh = folder / f"{FILE_NAME}.part"
    fresh.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    fresh.replace(folder / FILE_NAME)


def read(folder: Path) -> Bundle:
    """The bundle in a folder; BackboneError when there is none, or one of another version of Tenuto."""
    try:
        return Bundle.model_validate_json((folder / FILE_NAME).read_text(encoding="utf-8"), strict=False)
    except FileNotFoundError:
        raise BackboneError(f"{folder} holds no exported model: {FILE_NAME} is not there.") from None
    except (OSError, ValidationError) as error:
        raise BackboneError(f"{folder / FILE_NAME} cannot be read: {error}") from error
