from __future__ import annotations

import threading
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tenuto.errors import RegistryError, ServerError
from tenuto.serving.app import create_app
from tenuto.serving.hearing.models import Models
from tenuto.serving.settings import ServingSettings
from tenuto.serving.state import State
from tenuto.sound.audio import encode_wav
from tests.bundles import SAMPLE_RATE_HZ, tone, write_tones


class Registry:
    """Versions '1' and '2' of a model; version '2' always says high. '3' has no bundle."""

    name = "tones"

    def __init__(self, folder: Path) -> None:
        self.aliases: dict[str, str] = {"champion": "1"}
        self.is_away = False
        self._folder = folder
        for version, bias in (("1", 0.0), ("2", 1e4)):
            write_tones(folder / version, bias=bias)

    def resolve(self, alias: str) -> str | None:
        if self.is_away:
            raise ServerError("The registry does not answer.")
        return self.aliases.get(alias)

    def fetch(self, version: str) -> Path:
        if version == "3":
            raise RegistryError("tones version 3 has no exported model.")
        return self._folder / version

    def card(self, version: str) -> str | None:
        return f"# card of {version}"


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def served(models: Models) -> tuple[str | None, str | None]:
    return tuple(model and model.version.version for model in (models.champion, models.challenger))  # type: ignore


def test_the_alias_is_followed_there_and_back(registry: Registry) -> None:
    models = Models(registry)
    models.poll()
    first = models.champion
    assert served(models) == ("1", None)
    assert models.champion and models.champion.card == "# card of 1"
    models.poll()
    assert models.champion is first, "nothing changed, nothing was loaded again"
    registry.aliases["champion"] = "2"
    models.poll()
    assert served(models) == ("2", None)
    assert models.champion.classifier.hear([tone(300)]).probabilities[0, 0] > 0.99
    # whoever began with the old one finishes with it
    assert first and first.classifier.hear([tone(300)]).probabilities[0, 0] < 0.01
    registry.aliases["champion"] = "1"
    models.poll()
    assert served(models) == ("1", None)


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (lambda registry: setattr(registry, "is_away", True), "The registry does not answer."),
        (lambda registry: registry.aliases.update(champion="3"), "tones version 3 has no exported model."),
        (lambda registry: registry.aliases.clear(), "@champion was taken away."),
        (
            lambda registry: setattr(registry, "resolve", None),
            "@champion cannot be followed (TypeError); the server's log says more.",
        ),
    ],
)
def test_whatever_happens_to_the_registry_the_model_stays(registry: Registry, happens: object, said: str) -> None:
    models = Models(registry)
    models.poll()
    assert callable(happens)
    happens(registry)
    models.poll()
    assert served(models) == ("1", None)
    assert models.problem == said


def test_a_server_without_a_model_says_why_and_takes_it_when_it_comes(registry: Registry) -> None:
    registry.aliases.clear()
    models = Models(registry)
    models.poll()
    assert served(models) == (None, None)
    assert models.problem == "tones has no @champion."
    registry.aliases["champion"] = "2"
    models.poll()
    assert (served(models), models.problem) == (("2", None), None)


def test_the_challenger_is_loaded_only_for_those_who_want_it_and_goes_when_it_goes(registry: Registry) -> None:
    registry.aliases["challenger"] = "2"
    without, with_it = Models(registry), Models(registry, has_challenger=True)
    for models in (without, with_it):
        models.poll()
    assert (served(without), served(with_it)) == (("1", None), ("1", "2"))
    del registry.aliases["challenger"]
    with_it.poll()
    assert (served(with_it), with_it.problem) == (("1", None), None)


def test_a_promotion_and_a_rollback_fail_no_request(registry: Registry) -> None:
    state = State.make(registry, ServingSettings(poll_seconds=0.01), threads=2)
    low = encode_wav(tone(300), SAMPLE_RATE_HZ)
    wrong: list[object] = []
    seen: list[str] = []
    is_over = threading.Event()

    def ask(client: TestClient) -> None:
        while not is_over.is_set():
            response = client.post("/v1/classify", content=low)
            (answer,) = response.json()["answers"]
            version = answer["model"]["version"]
            seen.append(version)
            if (version, answer["label"]) not in (("1", "low"), ("2", "high")):
                wrong.append(answer)

    def wait_for(client: TestClient, version: str) -> None:
        registry.aliases["champion"] = version
        while client.get("/readyz").json()["champion"]["version"] != version:
            pass
        count = len(seen)
        while len(seen) < count + 8:  # answers that were given since
            pass

    with TestClient(create_app(state)) as client:
        threads = [threading.Thread(target=ask, args=(client,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for version in ("2", "1"):
            wait_for(client, version)
        is_over.set()
        for thread in threads:
            thread.join()
    assert not wrong
    assert {"1", "2"} == set(seen)
    assert seen[-1] == "1"
