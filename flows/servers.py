"""The workspace's own Prefect and MLflow servers on loopback, and the settings that make every command use them.

`tenuto up` starts both, `tenuto down` ends them; what runs is written to `.tenuto/servers.json`. Apart from the flows,
because `environment` must be applied before Prefect is imported: this module imports nothing heavy.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout
from pydantic import ValidationError

from tenuto import processes
from tenuto.errors import ServerError
from tenuto.records import Record
from tenuto.settings import Params
from tenuto.workspace import Workspace

_HOST = "127.0.0.1"
_START_SECONDS = 180.0
_STOP_SECONDS = 15.0

QUIET: Mapping[str, str] = {
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # its own time-out of 20 s is shorter than a start on a busy machine
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
}
"""Environment settings that keep the libraries quiet, private and patient."""


_children: dict[int, subprocess.Popen[bytes]] = {}
"""Servers that this very process started."""


_TRACKING_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")


class Server(Record):
    """One server that `up` started."""

    name: str
    address: str
    port: int
    pid: int
    began: str


class Servers(Record):
    """The servers, by what they serve; None for one that does not run."""

    prefect: Server | None = None
    mlflow: Server | None = None


def up(workspace: Workspace, on_wait: Callable[[str], None] | None = None) -> Servers:
    """Both servers, running and answering; starts those that do not run yet.

    `on_wait` hears the name of the server that is waited for. Raises ServerError, naming the log file, when a server
    ends early or does not answer within three minutes; what was started is then ended again.
    """
    workspace.state.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(workspace.state / "servers.lock", timeout=2 * _START_SECONDS):
            return _start_missing(workspace, on_wait or (lambda name: None))
    except Timeout:
        raise ServerError(
            f"Another `tenuto up` has been starting the servers of {workspace.root} for minutes."
        ) from None


def down(workspace: Workspace) -> tuple[str, ...]:
    """The names of the servers that ran and were ended."""
    alive = [server for server in _noted(workspace) if _is_alive(server)]
    for server in alive:
        _end(server.pid)
    return tuple(server.name for server in alive)


def addresses(workspace: Workspace) -> Servers | None:
    """The servers of `up` that run now; None when neither does. Takes milliseconds."""
    running = {s.name: s for s in _noted(workspace) if _is_alive(s) and _listens(s.port)}
    return Servers(**running) if running else None


def environment(workspace: Workspace) -> dict[str, str]:
    """The environment variables for commands in `workspace`; apply them before Prefect or MLflow is imported.

    What the user has set already wins, PREFECT_API_URL above all. Without any server Prefect starts its embedded one,
    with its database in the workspace.
    """
    wanted = {**QUIET, "PREFECT_HOME": str(workspace.prefect_home)}
    running = addresses(workspace)
    if running and running.prefect:
        wanted["PREFECT_API_URL"] = running.prefect.address
    return {name: os.environ.get(name) or value for name, value in wanted.items()}


def tracking_uri(workspace: Workspace, params: Params | None = None, *, must_answer: bool = True) -> str:
    """Where MLflow keeps runs and models.

    The first of: MLFLOW_TRACKING_URI, `tracking_uri` in params.yaml, the running server of `up`, the SQLite file in
    the workspace. Raises ServerError when a chosen server takes no connection: MLflow would try for minutes. Whoever
    can do without for a while says so by `must_answer`.
    """
    chosen = os.environ.get("MLFLOW_TRACKING_URI") or (params.tracking_uri if params else None)
    if chosen:
        if must_answer:
            _check_reachable(chosen)
        return chosen
    running = addresses(workspace)
    return running.mlflow.address if running and running.mlflow else own_store(workspace)


def own_store(workspace: Workspace) -> str:
    """The URI of the SQLite file in the workspace."""
    return f"sqlite:///{workspace.mlflow_db}"


def answers(url: str) -> bool:
    """True when `url` answers a request with status 200 within five seconds."""
    # a proxy of the user's has no business on loopback
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _check_reachable(uri: str) -> None:
    parts = urlsplit(uri)
    if parts.scheme.partition("+")[0] not in _TRACKING_SCHEMES or not (parts.hostname or parts.scheme == "sqlite"):
        raise ServerError(
            f"{uri!r} is no MLflow server; wanted an address such as http://host:5000, or a database such as "
            "sqlite:///mlflow.db. Change MLFLOW_TRACKING_URI or `tracking_uri` in params.yaml."
        )
    if parts.scheme not in ("http", "https"):
        return
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(parts.hostname or ""):
        return
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=5).close()
    except OSError as error:
        raise ServerError(
            f"The MLflow server {parts.hostname}:{port} takes no connection ({error}); start it, or change "
            "MLFLOW_TRACKING_URI or `tracking_uri` in params.yaml."
        ) from error


def _start_missing(workspace: Workspace, on_wait: Callable[[str], None]) -> Servers:
    noted = {server.name: server for server in _noted(workspace)}
    servers = {name: server for name, server in noted.items() if _is_alive(server)}
    started = []
    try:
        for name, start in (("prefect", _start_prefect), ("mlflow", _start_mlflow)):
            if name not in servers:
                servers[name] = start(workspace, _port(noted.get(name)))
                started.append(servers[name])
                # at once, so that `down` finds it even if this process is killed while it waits
                _write(workspace.servers, Servers(**servers))
        for server in servers.values():
            on_wait(server.name)
            _wait(workspace, server)
    except BaseException:
        for server in started:
            _end(server.pid)
        raise
    return Servers(**servers)


def _start_prefect(workspace: Workspace, port: int) -> Server:
    command = ["-m", "prefect", "server", "start", "--host", _HOST, "--port", str(port)]
    own = {
        "PREFECT_HOME": str(workspace.prefect_home),
        # a server must not be told of another one
        "PREFECT_API_URL": "",
        "PREFECT_UI_API_URL": f"http://{_HOST}:{port}/api",
    }
    pid = _spawn(workspace, "prefect", command, own)
    return _server("prefect", f"http://{_HOST}:{port}/api", port, pid)


def _start_mlflow(workspace: Workspace, port: int) -> Server:
    command = ["-m", "mlflow", "server", "--host", _HOST, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", own_store(workspace)]
    # not served: the SQLite file and the server then name the same artifacts by the same path
    command += ["--default-artifact-root", workspace.mlflow_artifacts.as_uri(), "--no-serve-artifacts"]
    # its job runner is a dozen processes for features that Tenuto does not use
    own = {"MLFLOW_TRACKING_URI": "", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    pid = _spawn(workspace, "mlflow", command, own)
    return _server("mlflow", f"http://{_HOST}:{port}", port, pid)


def _server(name: str, address: str, port: int, pid: int) -> Server:
    return Server(name=name, address=address, port=port, pid=pid, began=processes.began(pid))


def _spawn(workspace: Workspace, name: str, command: list[str], own: dict[str, str]) -> int:
    environment = {key: value for key, value in {**os.environ, **QUIET, **own}.items() if value}
    with _log(workspace, name).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=workspace.state,
            env=environment,
            start_new_session=True,
        )
    _children[process.pid] = process
    return process.pid


def _log(workspace: Workspace, name: str) -> Path:
    return workspace.state / f"{name}-server.log"


def _wait(workspace: Workspace, server: Server) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not answers(f"{server.address}/health"):
        if not _is_alive(server) or time.monotonic() > deadline:
            what = "did not answer" if _is_alive(server) else "ended at once"
            raise ServerError(
                f"The {server.name} server on port {server.port} {what}; its log is {_log(workspace, server.name)}."
            )
        time.sleep(0.1)


def _noted(workspace: Workspace) -> list[Server]:
    """The servers that `up` last started here, whether they still run or not."""
    try:
        noted = Servers.model_validate_json(workspace.servers.read_bytes())
    except (OSError, ValidationError):
        return []
    return [server for server in (noted.prefect, noted.mlflow) if server is not None]


def _is_alive(server: Server) -> bool:
    return processes.is_alive(server.pid, server.began)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((_HOST, port)) == 0


def _port(before: Server | None) -> int:
    """The port that the server had before, so that bookmarks and workers stay right; any free one otherwise."""
    for port in (before.port, 0) if before else (0,):
        # the last server's closed connections must not make its port look taken
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((_HOST, port))
            return int(probe.getsockname()[1])
    raise ServerError(f"No free port on {_HOST}.")


def _end(pid: int) -> None:
    """Ends the process group of `pid`: asks first, and insists after a while."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(pid, sign)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < deadline:
            # a child of ours that has ended counts as running until it is polled
            if pid in _children:
                _children[pid].poll()
            try:
                os.killpg(pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.05)


def _write(path: Path, servers: Servers) -> None:
    fresh = path.with_suffix(f".{os.getpid()}.part")
    fresh.write_text(servers.model_dump_json(indent=2))
    fresh.replace(path)
