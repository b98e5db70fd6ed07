"""The champion with its files, as a retrain finds it."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from tasks import registry as registries
from tenuto.errors import TenutoError
from tests.tasks.registry.conftest import HOLD, PROMOTE, Registry


def champion(registry: Registry, cache: Path) -> registries.Champion | None:
    return registries.champion.fn(registry.tracking_uri, "bells", cache, registry.ledger)


def test_without_a_champion_there_is_none(registry: Registry, tmp_path: Path) -> None:
    assert champion(registry, tmp_path) is None
    registry.carry_out(HOLD, None)
    assert champion(registry, tmp_path) is None


def test_the_champion_comes_with_checkpoint_and_clips(registry: Registry, tmp_path: Path) -> None:
    registry.carry_out(PROMOTE, None, run_id=registry.run_id)
    for _ in range(2):  # the second time from the copy
        found = champion(registry, tmp_path / "cache")
        assert found is not None
        assert (found.version, found.run_id) == ("1", registry.run_id)
        assert (found.checkpoint / "config.json").read_text() == "{}"
        assert found.clips_path is not None
        assert found.clips_path.read_text() == "stands for a table"
        shutil.rmtree(tmp_path / "store" / "mlartifacts", ignore_errors=True)


def test_a_champion_whose_files_are_gone_is_an_error_that_says_what_to_do(registry: Registry, tmp_path: Path) -> None:
    registry.carry_out(PROMOTE, None)
    shutil.rmtree(tmp_path / "store" / "mlartifacts")
    with pytest.raises(TenutoError, match=r"bells version 1, the champion, cannot be read .* `tenuto rollback`"):
        champion(registry, tmp_path / "cache")
    assert list((tmp_path / "cache" / "champions").iterdir()) == []


def test_a_champion_without_clips_table_is_said(
    registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry.carry_out(PROMOTE, None)
    with caplog.at_level(logging.WARNING):
        found = champion(registry, tmp_path / "cache")
    assert found is not None
    assert found.clips_path is None
    assert "has no clips table" in caplog.text
