"""Where events go: a live address, a dead one, none."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from flows.stages import Stages
from tasks.openlineage import sending
from tenuto.records import DatasetVersion
from tenuto.workspace import Workspace
from tests.tasks.openlineage.retrain import events


class Store(BaseHTTPRequestHandler):
    """A lineage store that keeps what it is sent."""

    received: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append({"path": self.path, **json.loads(body)})
        self.send_response(201)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def store() -> Iterator[str]:
    Store.received.clear()
    server = HTTPServer(("127.0.0.1", 0), Store)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_address_in_the_environment_wins(workspace: Workspace, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", store)
    monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "audio")
    with Stages().flow("retrain", workspace, "digits"):
        pass
    assert [e["eventType"] for e in Store.received] == ["START", "COMPLETE"]
    assert {e["path"] for e in Store.received} == {"/api/v1/lineage"}
    assert {e["job"]["namespace"] for e in Store.received} == {"audio"}
    assert not workspace.events.exists()


def test_the_workspaces_openlineage_yml_counts_from_any_folder(
    workspace: Workspace, store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (workspace.root / "openlineage.yml").write_text(f"transport:\n  type: http\n  url: {store}\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with Stages().flow("retrain", workspace, "digits"):
        pass
    assert len(Store.received) == 2


def test_a_dead_address_neither_fails_nor_holds_up_a_run(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", "http://127.0.0.1:9")
    started = time.perf_counter()
    stages = Stages()
    with stages.flow("retrain", workspace, "digits"):
        for name in ("fetch", "split"):
            with stages(name):
                pass
    assert time.perf_counter() - started < sending.PATIENCE_SECONDS + 20
    assert "not delivered" in caplog.text


def test_switched_off_nothing_is_sent(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")
    with Stages().flow("retrain", workspace, "digits"):
        pass
    assert not workspace.events.exists()


@pytest.mark.parametrize("configuration", ["transport: [", "transport:\n  type: nowhere.Transport\n", "- a list\n"])
def test_a_configuration_that_cannot_be_used_is_a_warning(
    workspace: Workspace, configuration: str, caplog: pytest.LogCaptureFixture
) -> None:
    (workspace.root / "openlineage.yml").write_text(configuration)
    stages = Stages()
    with stages.flow("retrain", workspace, "digits"), stages("fetch") as stage:
        assert stage.made(3) == 3
    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert warned
    assert "OpenLineage" in caplog.text


def test_a_record_that_cannot_be_told_of_is_a_warning(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    gone = DatasetVersion(md5="x.dir", manifest_path=workspace.root / "gone", clips=0, quarantined=0)
    stages = Stages()
    with stages.flow("retrain", workspace, "digits"):
        with stages("fetch") as stage:
            assert stage.made(gone) is gone
        with stages("split") as stage:
            stage.made(workspace.root / "gone.parquet")
    assert [e["eventType"] for e in events(workspace)][-1] == "COMPLETE"
    assert "an OpenLineage event could not be made" in caplog.text
