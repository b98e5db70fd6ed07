from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks import bench, store
from tenuto.errors import RegistryError
from tenuto.serving.hearing import bundle as bundles
from tests.bundles import write_tones


@pytest.fixture
def client(tracking_uri: str, tmp_path: Path) -> Any:
    """A registry with version 1, the champion, which has a bundle and the run that made it."""
    client = store.connect(tracking_uri)
    write_tones(tmp_path / "model" / "artifacts" / "serving")
    run = client.create_run(store.require_experiment(client, "tones"))
    client.create_registered_model("tones")
    client.create_model_version("tones", (tmp_path / "model").as_uri(), run_id=run.info.run_id)
    client.set_registered_model_alias("tones", "champion", "1")
    return client


@pytest.mark.parametrize("asked", ["@champion", "champion", "1"])
def test_the_files_of_a_version_are_fetched_by_alias_or_number(
    client: Any, tracking_uri: str, tmp_path: Path, asked: str
) -> None:
    version, model = bench.fetch(tracking_uri, "tones", asked, tmp_path / "fetched")
    assert version == "1"
    assert model.is_relative_to(tmp_path / "fetched")
    assert (model / "artifacts" / "serving" / bundles.FILE_NAME).is_file()


def test_an_unknown_version_is_named(client: Any, tracking_uri: str, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="no version or alias '@golden'"):
        bench.fetch(tracking_uri, "tones", "@golden", tmp_path)


def test_figures_are_metrics_of_the_run_that_made_the_version_and_go_to_its_card(
    client: Any, tracking_uri: str
) -> None:
    client.update_model_version("tones", "1", "# tones")
    figures = {"bench_fp32_p50_ms_1_threads": 1.5}
    run = bench.log(tracking_uri, "tones", "1", figures, lambda card, run_id: f"{card}, timed in {run_id}")
    assert client.get_model_version("tones", "1").description == f"# tones, timed in {run}"
    assert client.get_run(run).data.metrics == {"bench_fp32_p50_ms_1_threads": 1.5}
    assert client.get_model_version("tones", "1").run_id == run
