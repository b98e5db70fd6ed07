import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tenuto.errors import BackboneError
from tenuto.learning import backbones, checkpoint
from tenuto.learning.calibration import softmax
from tenuto.learning.predictor import Predictor
from tenuto.learning.preprocessing import Preprocessing
from tests.chirps import chirp, tiny_checkpoint

LABELS = ("down", "flat", "up")
FAMILIES = ("speech-embedding", "ast", "wav2vec2", "wav2vec2-stable", "hubert", "wavlm", "whisper")


def saved(family: str, folder: Path) -> Path:
    name = family if family == "speech-embedding" else str(tiny_checkpoint(family, folder / "backbone"))
    backbone = backbones.resolve(name)
    model = backbone.pretrained(LABELS, seed=1)
    if family != "speech-embedding":
        backbones.head(model).weight.data *= 50  # tiny random models hear next to no difference
    preprocessing = Preprocessing.of(backbone.feature_extractor, backbone.config, 3.0)
    facts = {"labels": LABELS, "trainable_parameters": 1, "seconds": 0.0}
    return checkpoint.write(
        model, preprocessing, folder / "checkpoint", backbone=name, backbone_revision=backbone.revision, **facts
    ).path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved("speech-embedding", tmp_path_factory.mktemp("predictor"))


@pytest.fixture(scope="module")
def predictor(folder: Path) -> Predictor:
    return Predictor.load(folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_probabilities_do_not_depend_on_the_batch(family: str, tmp_path: Path) -> None:
    predictor = Predictor.load(saved(family, tmp_path))
    rng = np.random.default_rng(0)
    waves = [chirp(LABELS[index % 3], rng, rng.uniform(0.05, 4.0)) for index in range(12)]
    together = predictor.predict(waves)
    alone = np.concatenate([predictor.predict([wave]) for wave in waves])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(predictor.predict(waves[::-1], batch_size=5)[::-1], alone, atol=1e-5)
    assert together.shape == (12, 3)
    assert together.dtype == np.float64
    np.testing.assert_allclose(together.sum(axis=1), 1)
    assert np.ptp(together, axis=0).max() > 1e-3, "all clips sound alike: this test would see nothing"


def test_knows_labels_and_rate(predictor: Predictor) -> None:
    assert predictor.labels == LABELS
    assert predictor.sample_rate_hz == 16_000


def test_no_waves_give_no_rows(predictor: Predictor) -> None:
    assert predictor.predict([]).shape == (0, 3)


def test_softmax_of_huge_logits() -> None:
    np.testing.assert_allclose(softmax(np.array([[1e4, 1e4 + np.log(3)]])), [[0.25, 0.75]])


def test_a_folder_without_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        if path.suffix == ".json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(BackboneError, match="no weights that load"):
        Predictor.load(tmp_path)


@pytest.mark.slow
def test_imports_nothing_of_training_or_orchestration() -> None:
    heavy = ("sklearn.linear_model", "audiomentations", "transformers.trainer", "prefect", "mlflow", "dvc", "pandas")
    code = f"import sys, tenuto.learning.predictor; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
