from __future__ import annotations

from pathlib import Path

import pytest

from tenuto.errors import SettingsError
from tenuto.serving.settings import ServingSettings, load


def test_without_a_file_and_with_the_template_there_are_the_defaults(tmp_path: Path, project_root: Path) -> None:
    assert load(tmp_path / "mlflow" / "serving.yaml") == ServingSettings()
    assert load(project_root / "mlflow" / "serving.yaml") == ServingSettings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limits: {max_clip: 3}", "mlflow/serving.yaml: unknown key 'limits.max_clip'; did you mean 'max_clips'?"),
        ("poll_seconds: 0", "mlflow/serving.yaml: poll_seconds"),
        ("challenger_share: 2", "mlflow/serving.yaml: challenger_share"),
    ],
)
def test_a_key_that_cannot_be_used_is_named_with_the_file(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mlflow" / "serving.yaml"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(SettingsError) as wrong:
        load(path)
    assert str(wrong.value).startswith(said)
