"""The folder that serves a checkpoint, made whole: graphs, their parity with the checkpoint and their speed.

It is written beside its final name and renamed at the end, so what lies under that name is finished.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from tenuto.errors import ExportError
from tenuto.exporting import parity, reference
from tenuto.exporting.parity import Expected
from tenuto.learning import checkpoint as checkpoints
from tenuto.learning.backbones.families.base import first_line
from tenuto.learning.framing import Wave
from tenuto.scoring import latency
from tenuto.serving.hearing import bundle as bundles
from tenuto.serving.hearing.bundle import Artefact, ArtefactName, Bundle
from tenuto.serving.hearing.classifier import Classifier, session
from tenuto.sound import audio

if TYPE_CHECKING:
    from tenuto.learning.predictor import Predictor

logger = logging.getLogger(__name__)

_BYTES_PER_MB = 1_000_000
_EXPORTED_FILE = "exported.onnx"
"""As torch wrote it: what the artefacts are made of."""
_FILES: dict[ArtefactName, str] = {
    "fp32": "model.onnx",
    "int8-dynamic": "model-int8-dynamic.onnx",
    "int8-static": "model-int8-static.onnx",
}
_CALIBRATION_CLIPS = 64
"""So many training clips say what range an activation has."""


def export(checkpoint: Path, clips: Path, data: Path, folder: Path, *, threads: int = 1) -> Bundle:
    """The bundle of a checkpoint, in `folder`; one that is finished there already is taken.

    `clips` is the run's table of clips (clip_id, path relative to `data`, label, split, duration_seconds): artefacts
    are held against the checkpoint on its test clips, and timed on some of them, with `threads` threads. Raises
    ExportError when the model has no graph, or none that answers as the checkpoint does.
    """
    sha256 = checkpoints.sha256(checkpoint)
    if (folder / bundles.FILE_NAME).is_file():
        return _finished(folder, sha256)
    writing = folder.with_name(folder.name + ".writing")
    shutil.rmtree(writing, ignore_errors=True)
    writing.mkdir(parents=True)
    try:
        _write(checkpoint, sha256, pd.read_parquet(clips), data, writing, threads)
        with contextlib.suppress(OSError):  # another process was first
            writing.rename(folder)
        return _finished(folder, sha256)
    finally:
        shutil.rmtree(writing, ignore_errors=True)


def _finished(folder: Path, sha256: str) -> Bundle:
    found = bundles.read(folder)
    if found.checkpoint != sha256:
        raise ExportError(f"{folder} holds what was exported from another checkpoint; give another folder.")
    return found


def _write(checkpoint: Path, sha256: str, clips: pd.DataFrame, data: Path, folder: Path, threads: int) -> None:
    """All files of a bundle."""
    from tenuto.learning.predictor import Predictor

    predictor = Predictor.load(checkpoint)
    draft = _draft(sha256, predictor, folder / _EXPORTED_FILE)
    reasons = _write_graphs(draft, _split(clips, "train"), data, folder)
    (folder / _EXPORTED_FILE).unlink()
    test = _split(clips, "test")
    expected = _expected(predictor, test, data)
    judged = [_judged(name, why, folder, draft, expected, threads) for name, why in reasons.items()]
    bundles.write(_chosen(draft, _timed(judged, draft, folder, test, data, threads)), folder)
    reference.write(folder, clips, data, threads=threads)


def _split(clips: pd.DataFrame, name: str) -> pd.DataFrame:
    return clips[clips["split"] == name].reset_index(drop=True)


def _draft(sha256: str, predictor: Predictor, target: Path) -> Bundle:
    """A bundle without artefacts; writes the graph as torch exports it to `target`."""
    import onnx

    from tenuto.exporting import graph

    model = graph.export(predictor.model, predictor.preprocessing)
    onnx.save(model, str(target))
    return Bundle(
        checkpoint=sha256,
        labels=predictor.labels,
        kind=predictor.kind,
        framing=predictor.preprocessing.framing,
        calibration=predictor.calibration,
        dims=model.graph.output[1].type.tensor_type.shape.dim[1].dim_value,
        artefacts=(),
        best="fp32",
    )


def _write_graphs(draft: Bundle, clips: pd.DataFrame, data: Path, folder: Path) -> dict[ArtefactName, str]:
    """Write the graphs that there can be, and say of each why it could not be written; '' where it was."""
    import onnx

    from tenuto.exporting import quantization, rewriting

    exported = folder / _EXPORTED_FILE
    onnx.save(rewriting.rewrite(onnx.load(str(exported))), str(folder / _FILES["fp32"]))
    classifier = Classifier(draft, session(folder / _FILES["fp32"]))
    waves = _waves(latency.chosen(clips, _CALIBRATION_CLIPS), data, classifier.sample_rate_hz)
    edges = parity.edge_cases(draft.framing)  # ranges that no training clip reaches
    feeds = (classifier.inputs([wave]) for wave in itertools.chain(waves, edges.values()))
    reasons: dict[ArtefactName, str] = {"fp32": ""}
    makers: dict[ArtefactName, Callable[[Path], bool]] = {
        "int8-dynamic": lambda target: quantization.dynamic(exported, target),
        "int8-static": lambda target: not clips.empty and quantization.static(exported, target, feeds),
    }
    for name, make in makers.items():
        try:
            if make(folder / _FILES[name]):
                reasons[name] = ""
        except Exception as error:  # onnxruntime's errors have no common base but this
            reasons[name] = f"it cannot be made: {first_line(error)}"
    return reasons


def _waves(clips: pd.DataFrame, data: Path, sample_rate_hz: int) -> Iterator[Wave]:
    return (audio.load_waveform(data / path, sample_rate_hz) for path in clips["path"])


def _expected(predictor: Predictor, test: pd.DataFrame, data: Path) -> Expected:
    def waves() -> Iterator[Wave]:
        return _waves(test, data, predictor.sample_rate_hz)

    return Expected.of(predictor, predictor.preprocessing.framing, waves, test["label"].tolist())


def _judged(name: ArtefactName, reason: str, folder: Path, draft: Bundle, expected: Expected, threads: int) -> Artefact:
    """A graph, and whether it may serve; its file is removed when it may not."""
    path, found, size_mb = folder / _FILES[name], None, 0.0
    if not reason:
        size_mb = path.stat().st_size / _BYTES_PER_MB
        try:
            hears = Classifier(draft, session(path, threads)).predict
            found, reason = parity.measure(expected, hears, in_integers=name != "fp32")
        except Exception as error:  # onnxruntime's errors have no common base but this
            reason = f"it does not run: {first_line(error)}"
    if reason:
        logger.warning("The %s model is not published: %s.", name, reason)
        path.unlink(missing_ok=True)
    return Artefact(name=name, file=_FILES[name], size_mb=size_mb, is_published=not reason, reason=reason, parity=found)


def _timed(
    artefacts: Sequence[Artefact], draft: Bundle, folder: Path, test: pd.DataFrame, data: Path, threads: int
) -> tuple[Artefact, ...]:
    """The artefacts with the figures of those that are published, over the same test clips."""
    if test.empty:
        return tuple(artefacts)
    waves = list(_waves(latency.chosen(test), data, draft.framing.sample_rate_hz))
    classifiers = {
        each.name: Classifier(draft, session(folder / each.file, threads)) for each in artefacts if each.is_published
    }
    figures = latency.in_turns({name: (classifier, waves) for name, classifier in classifiers.items()})
    return tuple(
        each.model_copy(update={"figures": figures[each.name] | {"size_mb": each.size_mb}})
        if each.name in figures
        else each
        for each in artefacts
    )


def _chosen(draft: Bundle, artefacts: Sequence[Artefact]) -> Bundle:
    """The bundle with the fastest of the published artefacts as its best; ExportError when there is none."""
    published = [artefact for artefact in artefacts if artefact.is_published]
    if not published:
        reasons = "; ".join(f"{artefact.name}: {artefact.reason}" for artefact in artefacts)
        raise ExportError(f"No graph answers as the checkpoint does: {reasons}.")
    best = min(published, key=lambda artefact: artefact.figures.get("p50_ms", float("inf")))
    return draft.model_copy(update={"artefacts": tuple(artefacts), "best": best.name})
