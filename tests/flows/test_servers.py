"""The workspace's servers: what counts as running, which settings follow, and the real ones on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import servers
from tenuto import processes
from tenuto.errors import ServerError
from tenuto.settings import Params
from tenuto.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    for name in ("PREFECT_API_URL", "PREFECT_HOME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".tenuto").mkdir()
    return Workspace(tmp_path)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def note(workspace: Workspace, port: int, *, pid: int | None = None, began: str | None = None) -> None:
    """Writes servers.json as if this process were both servers."""
    pid = pid or os.getpid()
    began = processes.began(pid) if began is None else began
    base = f"http://127.0.0.1:{port}"
    servers._write(
        workspace.servers,
        servers.Servers(
            prefect=servers.Server(name="prefect", address=f"{base}/api", port=port, pid=pid, began=began),
            mlflow=servers.Server(name="mlflow", address=base, port=port, pid=pid, began=began),
        ),
    )


def port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return port_of(listening)


def test_without_servers_everything_is_embedded(workspace: Workspace) -> None:
    assert servers.addresses(workspace) is None
    assert servers.tracking_uri(workspace) == f"sqlite:///{workspace.mlflow_db}"
    environment = servers.environment(workspace)
    assert "PREFECT_API_URL" not in environment
    assert environment["PREFECT_HOME"] == str(workspace.prefect_home)
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_running_servers_are_used(workspace: Workspace, listener: socket.socket) -> None:
    base = f"http://127.0.0.1:{port_of(listener)}"
    note(workspace, port_of(listener))
    assert servers.environment(workspace)["PREFECT_API_URL"] == f"{base}/api"
    assert servers.tracking_uri(workspace, Params(name="bells")) == base


def test_servers_of_the_users_own_win(
    workspace: Workspace, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(workspace, port_of(listener))
    theirs = f"http://localhost:{port_of(listener)}"
    in_params = Params(name="bells", tracking_uri="sqlite:///elsewhere.db")
    assert servers.tracking_uri(workspace, in_params) == "sqlite:///elsewhere.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", theirs)
    monkeypatch.setenv("PREFECT_API_URL", "https://prefect.example.org/api")
    assert servers.tracking_uri(workspace, in_params) == theirs
    assert servers.environment(workspace)["PREFECT_API_URL"] == "https://prefect.example.org/api"


def test_a_tracking_server_that_is_away_is_an_error_at_once(workspace: Workspace) -> None:
    port = closed_port()
    away = Params(name="bells", tracking_uri=f"http://127.0.0.1:{port}")
    with pytest.raises(ServerError, match=rf"127\.0\.0\.1:{port} takes no connection .* MLFLOW_TRACKING_URI"):
        servers.tracking_uri(workspace, away)


def test_a_stale_note_counts_for_nothing(workspace: Workspace, listener: socket.socket) -> None:
    note(workspace, port_of(listener), began="1")  # another process has the number now
    assert servers.addresses(workspace) is None
    note(workspace, closed_port())  # lives, and does not listen
    assert servers.addresses(workspace) is None
    workspace.servers.write_text('{"prefect": 3')
    assert servers.addresses(workspace) is None


def test_asking_for_addresses_imports_nothing_heavy(workspace: Workspace) -> None:
    code = (
        "import sys; from flows import servers; from tenuto.workspace import Workspace; from pathlib import Path; "
        "servers.environment(Workspace(Path('.'))); "
        "print([m for m in ('prefect', 'mlflow', 'torch', 'pandas', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


def test_a_server_keeps_its_port_unless_it_is_taken(listener: socket.socket) -> None:
    free = closed_port()
    before = servers.Server(name="mlflow", address="", port=free, pid=1, began="1")
    assert servers._port(before) == free
    assert servers._port(before.model_copy(update={"port": port_of(listener)})) != port_of(listener)


def test_down_ends_a_server_that_ignores_the_polite_way(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_STOP_SECONDS", 0.3)
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdout.readline()
    server = servers.Server(name="mlflow", address="", port=closed_port(), pid=child.pid, began="")
    running = server.model_copy(update={"began": processes.began(child.pid)})
    servers._write(workspace.servers, servers.Servers(mlflow=running))
    assert servers.down(workspace) == ("mlflow",)
    assert not processes.is_alive(child.pid, running.began)
    assert servers.down(workspace) == ()
    child.stdin.close()
    child.stdout.close()
    child.wait()


def test_a_server_that_ends_at_once_is_an_error_that_names_its_log(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start_nothing(workspace: Workspace, port: int) -> servers.Server:
        return servers._server(
            "prefect", f"http://127.0.0.1:{port}/api", port, servers._spawn(workspace, "prefect", ["-c", ""], {})
        )

    def sleep(workspace: Workspace, port: int) -> servers.Server:
        code = ["-c", "import time; time.sleep(60)"]
        return servers._server(
            "mlflow", f"http://127.0.0.1:{port}", port, servers._spawn(workspace, "mlflow", code, {})
        )

    monkeypatch.setattr(servers, "_start_prefect", start_nothing)
    monkeypatch.setattr(servers, "_start_mlflow", sleep)
    with pytest.raises(
        ServerError, match=r"prefect server on port \d+ ended at once; its log is .*prefect-server\.log"
    ):
        servers.up(workspace)
    noted = servers.Servers.model_validate_json(workspace.servers.read_bytes())
    assert noted.mlflow is not None
    assert not processes.is_alive(noted.mlflow.pid, noted.mlflow.began)  # what was started is ended again


@pytest.mark.servers
def test_up_is_idempotent_and_heals(live: tuple[Workspace, servers.Servers]) -> None:
    workspace, running = live
    assert servers.up(workspace) == running == servers.addresses(workspace)
    assert running.prefect is not None
    assert running.mlflow is not None
    assert servers.answers(f"{running.prefect.address}/health")
    assert servers.answers(f"{running.mlflow.address}/health")
    assert not servers.answers(f"http://127.0.0.1:{closed_port()}/health")


@pytest.mark.slow
@pytest.mark.servers
def test_up_after_a_crash_and_down(workspace: Workspace) -> None:
    first = servers.up(workspace)
    try:
        assert first.prefect is not None
        assert first.mlflow is not None
        os.killpg(first.mlflow.pid, signal.SIGKILL)
        while servers._is_alive(first.mlflow):
            time.sleep(0.05)
        assert servers.addresses(workspace) == servers.Servers(prefect=first.prefect)
        second = servers.up(workspace)
        assert second.prefect == first.prefect
        assert second.mlflow is not None
        assert (second.mlflow.port, second.mlflow.pid) != (first.mlflow.port, first.mlflow.pid)
    finally:
        stopped = servers.down(workspace)
    assert stopped == ("prefect", "mlflow")
    assert servers.addresses(workspace) is None
