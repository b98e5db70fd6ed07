from __future__ import annotations

from pathlib import Path

import pytest

from tasks.export import export
from tenuto.errors import ExportError
from tenuto.exporting import making
from tests.bundles import write_tones


def test_what_was_exported_says_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = write_tones(tmp_path / "serving")
    monkeypatch.setattr(making, "export", lambda checkpoint, clips, data, folder: made)
    found = export.fn(tmp_path / "checkpoint", tmp_path / "clips", tmp_path, tmp_path / "serving")
    assert (found.folder, found.bundle, found.reason) == (tmp_path / "serving", made, "")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ExportError("CLAP has no graph."), "CLAP has no graph."),
        (MemoryError("no room"), "MemoryError: no room"),
    ],
)
def test_a_model_that_cannot_be_exported_gives_a_reason_and_no_failure(
    error: Exception, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Path) -> None:
        raise error

    monkeypatch.setattr(making, "export", fail)
    found = export.fn(tmp_path / "checkpoint", tmp_path / "clips", tmp_path, tmp_path / "serving")
    assert (found.folder, found.bundle, found.reason, found.figures) == (None, None, reason, {})


def test_ctrl_c_is_no_reason_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(making, "export", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export.fn(tmp_path / "checkpoint", tmp_path / "clips", tmp_path, tmp_path / "serving")
