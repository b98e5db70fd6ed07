from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks import store
from tasks.follow import RegistrySource
from tenuto.errors import RegistryError, ServerError
from tenuto.serving.hearing import bundle as bundles
from tests.bundles import write_tones


@pytest.fixture
def client(tracking_uri: str, tmp_path: Path) -> Any:
    """A registry with versions 1 and 2, which have bundles, and 3, which has none; 1 is champion."""
    from mlflow.models import Model

    client = store.connect(tracking_uri)
    client.create_registered_model("tones")
    for number in ("1", "2", "3"):
        folder = tmp_path / f"model-{number}"
        artifacts = {"checkpoint": {"path": "artifacts/checkpoint"}}
        if number != "3":
            write_tones(folder / "artifacts" / "serving")
            artifacts["serving"] = {"path": "artifacts/serving"}
        folder.mkdir(exist_ok=True)
        description = Model()
        description.add_flavor("python_function", artifacts=artifacts)
        description.save(str(folder / "MLmodel"))
        client.create_model_version("tones", folder.as_uri(), description=f"# version {number}")
    client.set_registered_model_alias("tones", "champion", "1")
    return client


def away(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(tracking_uri: str) -> Any:
        raise ConnectionRefusedError("connection refused")

    monkeypatch.setattr(store, "connect", connect)


def test_the_alias_leads_to_the_version_and_its_bundle(client: Any, tracking_uri: str, tmp_path: Path) -> None:
    source = RegistrySource(tracking_uri, "tones", tmp_path / "cache")
    assert source.resolve("champion") == "1"
    assert source.resolve("challenger") is None
    folder = source.fetch("1")
    assert bundles.read(folder) == bundles.read(tmp_path / "model-1" / "artifacts" / "serving")
    assert source.card("1") == "# version 1"
    client.set_registered_model_alias("tones", "champion", "2")
    assert source.resolve("champion") == "2"


def test_a_version_is_downloaded_once(client: Any, tracking_uri: str, tmp_path: Path) -> None:
    first = RegistrySource(tracking_uri, "tones", tmp_path / "cache").fetch("1")
    (tmp_path / "model-1" / "MLmodel").unlink()
    assert RegistrySource(tracking_uri, "tones", tmp_path / "cache").fetch("1") == first


def test_a_version_without_an_exported_model_is_named(client: Any, tracking_uri: str, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="tones version 3 has no exported model and cannot be served"):
        RegistrySource(tracking_uri, "tones", tmp_path / "cache").fetch("3")


def test_a_download_that_breaks_off_leaves_nothing(
    client: Any, tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Path, target: Path) -> Path:
        raise OSError("no space left on device")

    source = RegistrySource(tracking_uri, "tones", tmp_path / "cache")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", broken)
        with pytest.raises(ServerError, match="no space left"):
            source.fetch("1")
    assert list((tmp_path / "cache" / "tones").iterdir()) == []
    assert (source.fetch("1") / bundles.FILE_NAME).is_file()


def test_without_the_registry_a_new_server_goes_on_with_the_last_champion(
    client: Any, tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = RegistrySource(tracking_uri, "tones", tmp_path / "cache")
    folder = before.fetch(before.resolve("champion") or "")
    away(monkeypatch)
    after = RegistrySource(tracking_uri, "tones", tmp_path / "cache")
    assert after.resolve("champion") == "1"
    assert after.fetch("1") == folder
    assert after.card("1") == "# version 1"
    # one that has heard from the registry knows better than the file, and what it serves stays anyhow
    with pytest.raises(ServerError, match=r"The registry of tones cannot be read \(ConnectionRefusedError"):
        before.resolve("champion")
    with pytest.raises(ServerError):
        after.fetch("2")


def test_the_same_number_in_another_registry_is_another_version(client: Any, tracking_uri: str, tmp_path: Path) -> None:
    source = RegistrySource(tracking_uri, "tones", tmp_path / "cache")
    first = source.fetch("1")
    client.delete_registered_model("tones")
    client.create_registered_model("tones")
    client.create_model_version("tones", (tmp_path / "model-2").as_uri())
    assert source.fetch("1") != first


def test_old_downloads_go(client: Any, tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.follow._KEPT_VERSIONS", 1)
    source = RegistrySource(tracking_uri, "tones", tmp_path / "cache")
    source.fetch("1")
    second = source.fetch("2")
    assert list((tmp_path / "cache" / "tones").glob("*-*")) == [second]


def test_models_with_names_alike_do_not_take_one_another_s_downloads(
    client: Any, tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.follow._KEPT_VERSIONS", 1)
    client.create_registered_model("tones-2")
    client.create_model_version("tones-2", (tmp_path / "model-2").as_uri())
    client.set_registered_model_alias("tones-2", "challenger", "1")
    other = RegistrySource(tracking_uri, "tones-2", tmp_path / "cache")
    others_folder = other.fetch(other.resolve("challenger") or "")
    source = RegistrySource(tracking_uri, "tones", tmp_path / "cache")
    source.fetch(source.resolve("champion") or "")
    assert (others_folder / bundles.FILE_NAME).is_file()
    away(monkeypatch)
    # version 2 of tones was never downloaded, and version 1 of tones-2 is not it
    with pytest.raises(ServerError):
        RegistrySource(tracking_uri, "tones", tmp_path / "cache").fetch("2")
    assert RegistrySource(tracking_uri, "tones-2", tmp_path / "cache").resolve("challenger") == "1"


@pytest.mark.parametrize(
    "told",
    [
        "API request to http://ann:s3cret@models.example/api/2.0/get failed",
        "could not connect to postgresql://ann:s3/cret@x@models.example/mlflow",
        "https://models.example/a.onnx?X-Amz-Signature=s3cret is gone",
    ],
)
def test_no_password_of_the_registry_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    def connect(tracking_uri: str) -> Any:
        raise ConnectionRefusedError(told)

    monkeypatch.setattr(store, "connect", connect)
    with pytest.raises(ServerError, match=r"models\.example") as failed:
        RegistrySource("http://ann:s3cret@models.example", "tones", tmp_path).resolve("champion")
    assert "s3" not in str(failed.value) and "cret" not in str(failed.value)
