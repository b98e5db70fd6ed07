from pathlib import Path

import pytest

from tenuto.errors import BackboneError
from tenuto.learning import backbones, checkpoint
from tenuto.learning.preprocessing import Preprocessing
from tenuto.records import Checkpoint


def write(folder: Path, seconds: float = 1.5) -> Checkpoint:
    backbone = backbones.resolve("speech-embedding")
    preprocessing = Preprocessing.of(backbone.feature_extractor, backbone.config, 10.0)
    return checkpoint.write(
        backbone.pretrained(("no", "yes"), seed=0),
        preprocessing,
        folder,
        backbone=backbone.name,
        backbone_revision=backbone.revision,
        labels=("no", "yes"),
        trainable_parameters=3,
        seconds=seconds,
    )


def test_what_was_written_is_read(tmp_path: Path) -> None:
    written = write(tmp_path / "model")
    assert checkpoint.read(tmp_path / "model") == written
    assert written.labels == ("no", "yes")
    assert written.preprocessing == Preprocessing.load(written.path).sha256
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_finished_checkpoint_is_never_replaced(tmp_path: Path) -> None:
    first = write(tmp_path / "model", seconds=1.0)
    assert write(tmp_path / "model", seconds=2.0) == first


def test_the_hash_sees_every_byte(tmp_path: Path) -> None:
    written = write(tmp_path / "model")
    weights = written.path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    assert checkpoint.read(written.path).sha256 != written.sha256


def test_what_a_kill_left_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "model.writing").mkdir()
    with pytest.raises(BackboneError, match="no finished checkpoint"):
        checkpoint.read(tmp_path / "model.writing")
    assert write(tmp_path / "model").path.is_dir()
    assert not (tmp_path / "model.writing").exists()
