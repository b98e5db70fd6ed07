import re
from pathlib import Path

import pytest

from tenuto import scaffold
from tenuto.errors import SettingsError, WorkspaceError
from tenuto.serving import settings as serving
from tenuto.settings import Params, load_params

FILES = {
    "params.yaml",
    "expectations.yaml",
    "mlflow/promotion.yaml",
    "mlflow/model-card.md.j2",
    "mlflow/serving.yaml",
    ".gitignore",
}


def files_below(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_create_writes_every_file_and_names_the_model(tmp_path: Path) -> None:
    written = scaffold.create(tmp_path / "w", "bird-calls")
    assert {str(p.relative_to(tmp_path / "w")) for p in written} == FILES == files_below(tmp_path / "w")
    assert load_params(tmp_path / "w" / "params.yaml") == Params(name="bird-calls")


@pytest.mark.parametrize("name", ["2024", "true", "1e5", "null"])
def test_a_name_that_yaml_would_read_as_something_else_stays_text(tmp_path: Path, name: str) -> None:
    scaffold.create(tmp_path, name)
    assert load_params(tmp_path / "params.yaml").name == name


@pytest.mark.parametrize("name", ["", "bird calls", "-x", "a/b", "ok\n"])
def test_a_name_that_the_registry_could_not_hold_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(repr(name))):
        scaffold.create(tmp_path / "w", name)
    assert not (tmp_path / "w").exists()


def test_a_fresh_git_repository_counts_as_empty(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    scaffold.create(tmp_path, "x")
    assert (tmp_path / "params.yaml").is_file()


def test_a_workspace_is_never_overwritten(tmp_path: Path) -> None:
    scaffold.create(tmp_path, "first")
    with pytest.raises(WorkspaceError, match="is a workspace already"):
        scaffold.create(tmp_path, "second")
    assert load_params(tmp_path / "params.yaml").name == "first"


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(WorkspaceError, match=r"is not empty \(it holds notes\.txt\)"):
        scaffold.create(tmp_path, "x")
    assert files_below(tmp_path) == {"notes.txt"}


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w").write_text("")
    with pytest.raises(WorkspaceError, match="is a file"):
        scaffold.create(tmp_path / "w", "x")


def test_params_template_shows_every_key_with_its_default(tmp_path: Path) -> None:
    text = re.sub(r"(?m)^#((?:  )?[a-z_]+:)", r"\1", scaffold.template_text("params.yaml"))
    (tmp_path / "params.yaml").write_text(text)
    params = load_params(tmp_path / "params.yaml")
    assert params == Params(name="audio-classifier")
    assert params.model_fields_set == set(Params.model_fields)
    for name in set(Params.model_fields) - {"name", "backbone", "backbone_revision", "seed", "threads", "tracking_uri"}:
        section = getattr(params, name)
        assert section.model_fields_set == set(type(section).model_fields), name


def test_serving_template_shows_every_key_with_its_default(tmp_path: Path) -> None:
    scaffold.create(tmp_path, "x")
    written = serving.load(tmp_path / "mlflow" / "serving.yaml")
    assert written == serving.ServingSettings()
    assert written.model_fields_set == set(serving.ServingSettings.model_fields)
    for name in ("limits", "batch", "log", "stream"):
        section = getattr(written, name)
        assert section.model_fields_set == set(type(section).model_fields), name


@pytest.mark.parametrize(
    "name", ["expectations.yaml", "mlflow/promotion.yaml", "mlflow/model-card.md.j2", "mlflow/serving.yaml"]
)
def test_the_projects_own_files_are_the_templates(project_root: Path, name: str) -> None:
    assert (project_root / name).read_text(encoding="utf-8") == scaffold.template_text(name)


def test_the_projects_gitignore_covers_what_a_workspace_ignores(project_root: Path) -> None:
    wanted = scaffold.template_text("gitignore").split()
    assert set(wanted) <= set((project_root / ".gitignore").read_text(encoding="utf-8").split())
