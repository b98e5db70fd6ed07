"""The folder that serves a checkpoint, made whole: graphs, their parity with the checkpoint and their speed.

It is written beside its final name and renamed at the end, so what lies under that name is finished.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from tenuto.errors import ExportError
from tenuto.exporting import parity, reference
from tenuto.exporting.parity import Expected
from tenuto.learning import checkpoint as checkpoints
from tenuto.learning.framing import Wave
from tenuto.scoring import latency
from tenuto.serving import bundle as bundles
from tenuto.serving.bundle import Artefact, ArtefactName, Bundle
from tenuto.serving.classifier import Classifier, session
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

    `clips` is the run's table of clips (clip_id, path relative to `data`, label, split): artefacts are held against the
    checkpoint on its test clips, and timed on some of them, with `threads` threads. Raises ExportError when the model
    has no graph, or none that answers as the checkpoint does.
    """
    from tenuto.learning.predictor import Predictor

    if (folder / bundles.FILE_NAME).is_file():
        return bundles.read(folder)
    predictor = Predictor.load(checkpoint)
    table = pd.read_parquet(clips)
    test = table[table["split"] == "test"].reset_index(drop=True)
    writing = folder.with_name(folder.name + ".writing")
    shutil.rmtree(writing, ignore_errors=True)
    writing.mkdir(parents=True)
    try:
        draft = _draft(checkpoint, predictor, writing)
        names: list[ArtefactName] = ["fp32", *_quantized(draft, writing, table[table["split"] == "train"], data)]
        (writing / _EXPORTED_FILE).unlink()
        expected = _expected(predictor, test, data)
        artefacts = [_artefact(name, _FILES[name], writing, draft, expected, threads) for name in names]
        bundle = _chosen(draft, _timed(artefacts, draft, writing, test, data, threads))
        bundles.write(bundle, writing)
        reference.write(writing, table, data, threads=threads)
        try:
            writing.rename(folder)
        except OSError:  # another process was first
            logger.info("%s is there already", folder)
        return bundles.read(folder)
    finally:
        shutil.rmtree(writing, ignore_errors=True)


def _draft(checkpoint: Path, predictor: Predictor, folder: Path) -> Bundle:
    """A bundle without artefacts; writes the graph as it was exported, and the fp32 artefact."""
    import onnx

    from tenuto.exporting import graph, rewriting

    model = graph.export(predictor.model, predictor.preprocessing)
    onnx.save(model, str(folder / _EXPORTED_FILE))
    onnx.save(rewriting.rewrite(model), str(folder / _FILES["fp32"]))
    embeddings = model.graph.output[1].type.tensor_type.shape
    return Bundle(
        checkpoint=checkpoints.sha256(checkpoint),
        labels=predictor.labels,
        kind=predictor.kind,
        framing=predictor.preprocessing.framing,
        calibration=predictor.calibration,
        dims=embeddings.dim[1].dim_value,
        artefacts=(),
        best="fp32",
    )


def _quantized(draft: Bundle, folder: Path, train: pd.DataFrame, data: Path) -> list[ArtefactName]:
    """The artefacts in integers that were written; none where the graph has nothing to quantize."""
    from tenuto.exporting import quantization

    source = folder / _EXPORTED_FILE
    classifier = Classifier(draft, session(source))

    def feeds() -> Iterable[quantization.Feed]:
        for path in latency.chosen(train, _CALIBRATION_CLIPS)["path"]:
            yield classifier.inputs([audio.load_waveform(data / path, classifier.sample_rate_hz)])

    written: dict[ArtefactName, Callable[[Path], bool]] = {
        "int8-dynamic": lambda target: quantization.dynamic(source, target),
        "int8-static": lambda target: not train.empty and quantization.static(source, target, feeds()),
    }
    found: list[ArtefactName] = []
    for name, write in written.items():
        try:
            found += [name] if write(folder / _FILES[name]) else []
        except Exception as error:  # the quantizer's errors have no common base but this
            (folder / _FILES[name]).unlink(missing_ok=True)
            logger.warning("The model cannot be made %s: %s", name, error)
    return found


def _expected(predictor: Predictor, test: pd.DataFrame, data: Path) -> Expected:
    def waves() -> Iterable[Wave]:
        return (audio.load_waveform(data / path, predictor.sample_rate_hz) for path in test["path"])

    return Expected.of(predictor, predictor.preprocessing.framing, waves, test["label"].tolist())


def _artefact(name: ArtefactName, file: str, folder: Path, draft: Bundle, expected: Expected, threads: int) -> Artefact:
    """A graph that was written, and whether it may serve; it is removed when it may not."""
    size_mb = (folder / file).stat().st_size / _BYTES_PER_MB
    found = None
    try:
        classifier = Classifier(draft, session(folder / file, threads))
        found, reason = parity.measure(expected, classifier.predict)
    except Exception as error:  # onnxruntime's errors have no common base but this
        reason = f"it does not run: {error}"
    if reason:
        logger.warning("The %s model is not published: %s.", name, reason)
        (folder / file).unlink()
    return Artefact(name=name, file=file, size_mb=size_mb, is_published=not reason, reason=reason, parity=found)


def _timed(
    artefacts: Sequence[Artefact], draft: Bundle, folder: Path, test: pd.DataFrame, data: Path, threads: int
) -> tuple[Artefact, ...]:
    """The artefacts with the figures of those that are published, over the same test clips."""
    if test.empty:
        return tuple(artefacts)
    paths = [data / path for path in latency.chosen(test)["path"]]
    waves = [audio.load_waveform(path, draft.framing.sample_rate_hz) for path in paths]
    found = []
    for artefact in artefacts:
        figures = {}
        if artefact.is_published:
            classifier = Classifier(draft, session(folder / artefact.file, threads))
            figures = latency.measure(classifier, waves) | {"size_mb": artefact.size_mb}
        found.append(artefact.model_copy(update={"figures": figures}))
    return tuple(found)


def _chosen(draft: Bundle, artefacts: Sequence[Artefact]) -> Bundle:
    """The bundle with the fastest of the published artefacts as its best; ExportError when there is none."""
    published = [artefact for artefact in artefacts if artefact.is_published]
    if not published:
        reasons = "; ".join(f"{artefact.name}: {artefact.reason}" for artefact in artefacts)
        raise ExportError(f"No graph answers as the checkpoint does: {reasons}.")
    best = min(published, key=lambda artefact: artefact.figures.get("p50_ms", float("inf")))
    return draft.model_copy(update={"artefacts": tuple(artefacts), "best": best.name})
