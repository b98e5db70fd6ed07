"""A look from the log and the bundle to the page, and what it tells Prefect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows import monitor
from tenuto.errors import RegistryError
from tenuto.serving.hearing.bundle import REFERENCE_NAME
from tenuto.settings import MonitorSettings, Params
from tenuto.tracing import ledger, served
from tenuto.tracing.served import Feedback, Served
from tenuto.workspace import Workspace
from tests.monitoring import traffic

PARAMS = Params(name="bells", monitor=MonitorSettings(new_labels=20))


@dataclass
class Registry:
    """Version 2 is champion, version 1 was."""

    folder: Path
    name: str = "bells"
    champion: str | None = "2"
    previous: str | None = "1"

    def resolve(self, alias: str) -> str | None:
        return {"champion": self.champion, "previous": self.previous}.get(alias)

    def fetch(self, version: str) -> Path:
        return self.folder

    def card(self, version: str) -> str | None:
        return None


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    folder = tmp_path / "bundle"
    folder.mkdir()
    traffic.reference(np.random.default_rng(0)).to_parquet(folder / REFERENCE_NAME)
    return Registry(folder)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """What Prefect was told: (resource id, payloads by event)."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    heard: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(
        "prefect.events.emit_event",
        lambda event, resource, payload: heard.append((resource["prefect.resource.id"], {event: payload})),
    )
    monkeypatch.setattr("prefect.client.orchestration.SyncPrefectClient.api_healthcheck", lambda _: None)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        yield heard


def log(path: Path, frame: pd.DataFrame, version: str = "2") -> None:
    served.add(
        path,
        [
            Served(
                request_id=row.request_id,
                at=row.at,
                model="bells",
                version=version,
                label=row.label,
                probability=row.probability,
                probabilities={"high": row.p_high, "low": row.p_low},
                is_unknown=row.is_unknown,
                novelty=row.novelty,
                embedding=tuple(row.embedding.tolist()),
                duration_seconds=row.duration_seconds,
                level_dbfs=row.level_dbfs,
            )
            for row in frame.itertuples()
        ],
    )


def look(workspace: Workspace, registry: Registry, days_later: float = 0) -> monitor.Watched:
    return monitor.watch(workspace, PARAMS, source=registry, now=traffic.NOW + timedelta(days=days_later))


def test_clean_traffic_is_steady_and_nothing_is_told(tmp_path: Path, registry: Registry, told: list[Any]) -> None:
    workspace = Workspace(tmp_path)
    log(workspace.served, traffic.served(np.random.default_rng(1)))
    found = look(workspace, registry)
    assert (found.look.status, found.look.clips, found.exit_code) == ("steady", 200, 0)
    assert (found.events, told) == ((), [])
    assert "Steady" in found.page.read_text()


def test_drift_is_told_once_and_stays_on_the_page(tmp_path: Path, registry: Registry, told: list[Any]) -> None:
    workspace = Workspace(tmp_path)
    log(workspace.served, traffic.served(np.random.default_rng(1)).assign(level_dbfs=-45.0))
    first, second = look(workspace, registry), look(workspace, registry, days_later=0.1)
    assert (first.look.status, first.is_new, first.exit_code) == ("drift", True, 2)
    assert (second.look.status, second.is_new, second.exit_code) == ("drift", False, 2)
    assert [(resource, list(events)) for resource, events in told] == [("tenuto.model.bells", ["tenuto.drift.found"])]


def test_without_a_prefect_server_nobody_is_told_and_none_is_started(tmp_path: Path, registry: Registry) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    workspace = Workspace(tmp_path)
    log(workspace.served, traffic.served(np.random.default_rng(1)).assign(level_dbfs=-45.0))
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        found = look(workspace, registry)
    assert (found.look.status, found.events) == ("drift", ())


def test_what_nobody_heard_of_is_told_when_a_server_runs(tmp_path: Path, registry: Registry, told: list[Any]) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    workspace = Workspace(tmp_path)
    frame = traffic.served(np.random.default_rng(1)).assign(level_dbfs=-45.0)
    log(workspace.served, frame)
    given = [
        Feedback(request_id=row.request_id, label=row.label, at=traffic.NOW) for row in frame.head(25).itertuples()
    ]
    served.feedback(workspace.served, given)
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert look(workspace, registry).events == ()
    assert look(workspace, registry, days_later=0.1).events == ("tenuto.drift.found", "tenuto.labels.arrived")
    assert look(workspace, registry, days_later=0.2).events == ()


def test_a_drop_of_quality_proposes_a_rollback_and_moves_nothing(
    tmp_path: Path, registry: Registry, told: list[Any]
) -> None:
    workspace = Workspace(tmp_path)
    frame = traffic.served(np.random.default_rng(1))
    log(workspace.served, frame)
    answers = frame.head(60)
    wrong = np.where(np.arange(60) < 30, answers["label"], "neither")
    given = zip(answers["request_id"], wrong, strict=True)
    served.feedback(workspace.served, [Feedback(request_id=i, label=label, at=traffic.NOW) for i, label in given])
    found = look(workspace, registry)
    assert (found.look.status, found.previous) == ("quality dropped", "1")
    assert found.events == ("tenuto.labels.arrived", "tenuto.quality.dropped")
    assert told[-1][1]["tenuto.quality.dropped"]["to_version"] == "1"
    assert registry.champion == "2"
    assert look(workspace, registry, days_later=1).look.new_labels == 0, "labels are told once"


def test_a_version_that_was_left_by_a_rollback_is_not_proposed_as_the_way_back(
    tmp_path: Path, registry: Registry, told: list[Any]
) -> None:
    workspace = Workspace(tmp_path)
    frame = traffic.served(np.random.default_rng(1))
    log(workspace.served, frame)
    for request_id in frame["request_id"].head(60):
        served.feedback(workspace.served, [Feedback(request_id=request_id, label="neither", at=traffic.NOW)])
    for event, before, after in (("promotion", "2", "1"), ("rollback", "1", "2"), ("evidence", "2", "2")):
        moved = {"aliases_before": {"champion": before}, "aliases": {"champion": after}}
        decision = ledger.Decision(at=traffic.NOW, actor="ann", event=event, model="bells", **moved)  # type: ignore
        ledger.append(workspace.ledger, decision)
    found = look(workspace, registry)
    assert (found.look.status, found.previous) == ("quality dropped", None)
    assert "Version 1, the one before, was left by a rollback to version 2" in found.page.read_text()
    assert told[-1][1]["tenuto.quality.dropped"]["to_version"] is None
    registry.previous = None
    assert look(workspace, registry).advice == "There is no earlier version to return to."


def test_only_the_present_champions_answers_are_held_against_its_reference(
    tmp_path: Path, registry: Registry, told: list[Any]
) -> None:
    workspace = Workspace(tmp_path)
    log(workspace.served, traffic.served(np.random.default_rng(1)).assign(level_dbfs=-45.0), version="1")
    found = look(workspace, registry)
    assert (found.look.status, found.look.clips) == ("too few clips", 0)


def test_without_a_champion_or_reference_there_is_a_reason_in_one_line(tmp_path: Path, registry: Registry) -> None:
    with pytest.raises(RegistryError, match="bells has no @champion"):
        look(Workspace(tmp_path), Registry(registry.folder, champion=None))
    (registry.folder / REFERENCE_NAME).unlink()
    with pytest.raises(RegistryError, match=r"bells version 2 was exported without reference clips.*retrain --force"):
        look(Workspace(tmp_path), registry)
