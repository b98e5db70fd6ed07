from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tenuto.errors import BackboneError
from tenuto.serving.hearing import bundle as bundles
from tenuto.serving.hearing.classifier import Classifier
from tests.bundles import tone, write_tones


def test_clips_of_many_lengths_come_back_in_their_order(tmp_path: Path) -> None:
    write_tones(tmp_path)
    pitches_hz = [300, 3000, 500, 2000, 400]
    lengths = [0.1, 0.3, 0.31, 2.0, 0.9]
    heard = Classifier.load(tmp_path).hear([tone(hz, s) for hz, s in zip(pitches_hz, lengths, strict=True)], 2)
    high = heard.probabilities[:, 0] > 0.5
    assert high.tolist() == [False, True, False, True, False]
    assert np.array_equal(heard.decided[:, 0], high)
    assert heard.embeddings.shape == (5, 2)


def test_how_clips_share_batches_changes_nothing(tmp_path: Path) -> None:
    write_tones(tmp_path)
    waves = [tone(hz, s) for hz in (700, 1100) for s in (0.2, 0.26, 0.5, 1.3)]
    classifier = Classifier.load(tmp_path)
    together = classifier.hear(waves).probabilities
    alone = np.concatenate([classifier.hear([wave]).probabilities for wave in waves])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_a_bundle_is_what_was_written(tmp_path: Path) -> None:
    written = write_tones(tmp_path)
    assert bundles.read(tmp_path) == written


def test_a_folder_without_an_exported_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"holds no exported model: serving\.json is not there"):
        Classifier.load(tmp_path)


def test_an_artefact_that_is_not_published_is_named(tmp_path: Path) -> None:
    write_tones(tmp_path)
    with pytest.raises(BackboneError, match="no published artefact 'int8-static'; published: fp32"):
        Classifier.load(tmp_path, "int8-static")
